//! Network namespaces without names, joined by veth: made by a test, gone with it even if it panics.
//!
//! A namespace lives as long as its descriptor, and everything in it goes with it, so nothing is left on the machine and no two
//! tests can meet. Closures and commands run inside by a thread of their own.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// A network namespace.
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// A fresh namespace with its loopback up.
    pub fn new() -> Namespace {
        let fd = thread::spawn(|| {
            // SAFETY: takes no pointers; concerns this thread only, which ends right after.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "unshare: {}", std::io::Error::last_os_error());
            OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
        })
        .join()
        .unwrap();
        let namespace = Namespace { fd };
        namespace.command("ip link set lo up");
        namespace
    }

    /// Runs something inside.
    pub fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: takes no pointers; concerns this thread only.
                    let result = unsafe { libc::setns(self.fd.as_raw_fd(), libc::CLONE_NEWNET) };
                    assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
                    act()
                })
                .join()
                .unwrap()
        })
    }

    /// Runs a command (words parted by spaces) inside; gives what it printed. Panics if it fails.
    pub fn command(&self, line: &str) -> String {
        let output = self.output(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{line}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command inside, whatever comes of it.
    pub fn output(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        self.enter(move || command.output()).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// A path that names the namespace to other processes.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }
}

/// Joins two namespaces by a veth pair called `out` in both, with 10.99.0.1 and .2, fd99::1 and ::2.
pub fn join(a: &Namespace, b: &Namespace) {
    a.command(&format!("ip link add out type veth peer name out netns {}", b.path()));
    for (namespace, host) in [(a, 1), (b, 2)] {
        namespace.command(&format!("ip addr add 10.99.0.{host}/24 dev out"));
        namespace.command(&format!("ip addr add fd99::{host}/64 dev out nodad"));
        namespace.command("ip link set out up");
    }
}

/// An interface name that nobody else on the machine uses at the same time: UAPI sockets share one directory.
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("wt{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
