//! Network namespaces without names.
//!
//! A namespace lives as long as a thread is in it or a descriptor refers to it. These are held by descriptors of this process only,
//! not by a mount under `/run/netns`, so when the process ends, however it ends, the kernel takes them away with all
//! devices, addresses and routes in them. Work is done in them by threads that enter, never by the caller's own thread: a thread
//! that can't get back would be a leak.

use super::{Netlink, NetlinkError};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What can go wrong with a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// No privilege, or a limit.
    #[error("can't make a network namespace (it takes CAP_SYS_ADMIN: run as root or in a user namespace)")]
    Create(#[source] io::Error),
    /// Its descriptor can't be opened.
    #[error("can't open /proc/thread-self/ns/net (is /proc mounted?)")]
    Open(#[source] io::Error),
    /// Entering failed.
    #[error("can't enter a network namespace")]
    Enter(#[source] io::Error),
    /// No thread.
    #[error("can't start a thread for a network namespace")]
    Thread(#[source] io::Error),
    /// A closure given to [`Namespace::run`] panicked; its message is on standard error.
    #[error("the work in a network namespace panicked")]
    Panicked,
    /// A setting can't be written.
    #[error("can't write {value} to {path}{}", read_only_hint(.source))]
    Sysctl {
        /// The file below `/proc/sys`.
        path: String,
        /// What should be in it.
        value: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The loopback device.
    #[error("can't prepare a new network namespace")]
    Netlink(#[from] NetlinkError),
}

/// A network namespace of this process; clones refer to the same one.
#[derive(Debug, Clone)]
pub struct Namespace {
    descriptor: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes one, brings its loopback device up and sets it up as a forwarding host whose addresses are usable at once.
    pub fn create() -> Result<Self, NamespaceError> {
        in_thread("namespace", || {
            // SAFETY: no pointer. Affects the calling thread only, which ends after this.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
                return Err(NamespaceError::Create(io::Error::last_os_error()));
            }
            let file = File::open("/proc/thread-self/ns/net").map_err(NamespaceError::Open)?;
            prepare()?;
            Ok(Self { descriptor: Arc::new(file.into()) })
        })?
    }

    /// Does something in it and returns what came of it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        in_thread("in-namespace", || {
            self.enter()?;
            Ok(work())
        })?
    }

    /// Starts a thread that stays in it. The namespace lives at least as long as the thread.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T, NamespaceError>>, NamespaceError> {
        let namespace = self.clone();
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                namespace.enter()?;
                Ok(work())
            })
            .map_err(NamespaceError::Thread)
    }

    /// Moves the calling thread into it, for good. For processes about to run another program, between fork and exec: it
    /// allocates nothing.
    pub fn enter_for_good(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open; affects the calling thread only.
        if unsafe { libc::setns(self.descriptor.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Writes one of its settings: `net/ipv4/ip_forward`, `1`.
    pub fn set(&self, path: &str, value: &str) -> Result<(), NamespaceError> {
        self.run(|| set_here(path, value))?
    }

    fn enter(&self) -> Result<(), NamespaceError> {
        self.enter_for_good().map_err(NamespaceError::Enter)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Runs something in a thread of its own and waits for it.
fn in_thread<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.into()).spawn_scoped(scope, work);
        thread.map_err(NamespaceError::Thread)?.join().map_err(|_| NamespaceError::Panicked)
    })
}

/// What every namespace of the lab needs, in the one of the calling thread.
fn prepare() -> Result<(), NamespaceError> {
    for (path, value) in SETTINGS {
        match set_here(path, value) {
            // A kernel without IPv6 has none of its settings, and a lab without IPv6 addresses does without.
            Err(NamespaceError::Sysctl { source, .. })
                if source.kind() == io::ErrorKind::NotFound && path.starts_with("net/ipv6/") => {}
            other => other?,
        }
    }
    Ok(Netlink::open()?.set_up("lo")?)
}

const SETTINGS: [(&str, &str); 14] = [
    ("net/ipv4/ip_forward", "1"),
    // The wire and the overlay are asymmetric on purpose; a node must not drop what came another way.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    // Nodes relay packets back out of the device they came from; being told "use a better way" isn't wanted.
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/ping_group_range", "0 0"),
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
    // Without these, new IPv6 addresses can't be used for a second.
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    // No neighbour, no router, nothing to solicit.
    ("net/ipv6/conf/default/router_solicitations", "0"),
];

fn set_here(path: &str, value: &str) -> Result<(), NamespaceError> {
    let file = format!("/proc/sys/{path}");
    // Where /proc/sys can't be written, what is in it may be right already.
    if std::fs::read_to_string(&file).is_ok_and(|present| present.split_whitespace().eq(value.split_whitespace())) {
        return Ok(());
    }
    std::fs::write(&file, value).map_err(|source| NamespaceError::Sysctl { path: file, value: value.into(), source })
}

fn read_only_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EROFS) => {
            " (/proc/sys is mounted read-only, as in containers: start the container with \
             `--security-opt systempaths=unconfined`, or as root `mount -o remount,rw /proc/sys`)"
        }
        Some(libc::EACCES | libc::EPERM) => " (it takes CAP_NET_ADMIN in this namespace)",
        _ => "",
    }
}
