//! Moving the calling process into a member of a running lab, to run a program there.
//!
//! The process enters the lab's user namespace, if it has one, and the member's network namespace. In a mount namespace
//! of its own it then sees the member's UAPI sockets at `/var/run/wireguard`, so that the real `wg show` works there, and
//! a `/sys` that shows the member's devices. Nothing on the machine's own file system is changed.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::Entry;

/// What can go wrong on the way in.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// A namespace can't be entered.
    #[error("can't {attempt} (run it as the user who started the lab)")]
    Namespace {
        /// What was attempted.
        attempt: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Something can't be mounted.
    #[error("can't mount {what}")]
    Mount {
        /// What.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Enters for good. The process must have one thread only.
///
/// # Errors
/// What the kernel refuses; the process is then somewhere in between and should end.
pub fn enter(entry: &Entry) -> Result<(), EnterError> {
    let namespace = |attempt| move |source| EnterError::Namespace { attempt, source };
    let open = |path: String, attempt| File::open(path).map_err(namespace(attempt));
    let user = if entry.in_user_namespace {
        Some(open(format!("/proc/{}/ns/user", entry.pid), "open the lab's user namespace")?)
    } else {
        None
    };
    let network = open(format!("/proc/{}/fd/{}", entry.pid, entry.network_fd), "open the member's network namespace")?;
    if let Some(user) = user {
        set_namespace(&user, libc::CLONE_NEWUSER).map_err(namespace("enter the lab's user namespace"))?;
    }
    set_namespace(&network, libc::CLONE_NEWNET).map_err(namespace("enter the member's network namespace"))?;
    // SAFETY: takes no pointer.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
        return Err(namespace("make a mount namespace")(io::Error::last_os_error()));
    }
    mount(None, "/", None, libc::MS_REC | libc::MS_SLAVE)?;
    // A /sys of the old namespace would show its devices; where a new one is forbidden, that is no reason to fail.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), 0);
    match &entry.uapi {
        Some(uapi) => show_sockets(uapi),
        None => Ok(()),
    }
}

/// Shows a file in the place of another one, to this process and those that it starts. After [`enter`].
///
/// # Errors
/// What the kernel refuses.
pub fn put_over(file: &Path, place: &str) -> Result<(), EnterError> {
    mount(Some(&file.display().to_string()), place, None, libc::MS_BIND)
}

fn set_namespace(file: &File, kind: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open and the call takes no pointer.
    if unsafe { libc::setns(file.as_raw_fd(), kind) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts the member's sockets where tools look for them. If that directory does not exist, a copy of `/run` that has it is
/// put over `/run`: making it would change the machine.
fn show_sockets(uapi: &str) -> Result<(), EnterError> {
    const PLACE: &str = "/run/wireguard";
    let sockets = File::open(uapi).map_err(|source| EnterError::Mount { what: uapi.to_owned(), source })?;
    if !Path::new(PLACE).is_dir() {
        let run = File::open("/run").map_err(|source| EnterError::Mount { what: "/run".to_owned(), source })?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), 0)?;
        let old = format!("/proc/self/fd/{}", run.as_raw_fd());
        let entries = fs::read_dir(&old).map_err(|source| EnterError::Mount { what: old.clone(), source })?;
        for entry in entries.flatten() {
            let (from, to) = (entry.path(), Path::new("/run").join(entry.file_name()));
            // What can't be carried over is missing in there; the sockets matter, not that.
            let _ = carry_over(&from, &to);
        }
        fs::create_dir(PLACE).map_err(|source| EnterError::Mount { what: PLACE.to_owned(), source })?;
    }
    mount(Some(&format!("/proc/self/fd/{}", sockets.as_raw_fd())), PLACE, None, libc::MS_BIND)
}

fn carry_over(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?
    } else {
        drop(File::create(to)?)
    }
    let texts = from.to_str().zip(to.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    mount(Some(texts.0), texts.1, None, libc::MS_BIND | libc::MS_REC).map_err(io::Error::other)
}

fn mount(source: Option<&str>, target: &str, kind: Option<&str>, flags: libc::c_ulong) -> Result<(), EnterError> {
    let text = |value: &str| CString::new(value).map_err(io::Error::from);
    let call = || -> io::Result<()> {
        let (source, target) = (source.map(text).transpose()?, text(target)?);
        let kind = kind.map(text).transpose()?;
        let pointer = |value: &Option<CString>| value.as_ref().map_or(std::ptr::null(), |value| value.as_ptr());
        // SAFETY: all strings live through the call; null is allowed for source, type and data.
        let done = unsafe { libc::mount(pointer(&source), target.as_ptr(), pointer(&kind), flags, std::ptr::null()) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    call().map_err(|source| EnterError::Mount { what: target.to_owned(), source })
}
