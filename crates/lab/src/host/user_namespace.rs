//! Becoming root of one's own.
//!
//! Network namespaces take privilege, but a user namespace gives an ordinary user all of it over what is made inside. A program that
//! calls [`enter_if_needed`] first thing in `main` works for root and for everybody else. It has to be first because the kernel
//! lets only a process with a single thread enter. Where the machine forbids it, the error says which setting does and how to change
//! it: that's the commonest reason for a lab not to start.

use super::tun::{self, TunError};
use std::fs;
use std::io;

/// How the process came by its privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// It had it.
    Present,
    /// It's in a user namespace of its own.
    UserNamespace,
}

/// Why there is no privilege to be had.
#[derive(Debug, thiserror::Error)]
pub enum UserNamespaceError {
    /// `kernel.unprivileged_userns_clone` is 0 (Debian's switch).
    #[error(
        "this machine doesn't let ordinary users make user namespaces: run as root, or as root \
         `sysctl kernel.unprivileged_userns_clone=1`"
    )]
    SwitchedOff,
    /// `user.max_user_namespaces` is 0 or reached.
    #[error(
        "no more user namespaces are allowed (user.max_user_namespaces is {limit}): run as root, or as root \
         `sysctl user.max_user_namespaces=10000`"
    )]
    Limit {
        /// The setting.
        limit: String,
    },
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu since 23.10).
    #[error(
        "AppArmor keeps ordinary users' namespaces powerless: run as root, or as root \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or give this program a profile with `userns,`"
    )]
    AppArmor,
    /// Called too late.
    #[error("a user namespace can only be entered while the process has a single thread")]
    Threads,
    /// Forbidden by something else, as a container's seccomp filter.
    #[error("can't make a user namespace: run as root (in a container: with `--privileged`)")]
    Forbidden(#[source] io::Error),
    /// Written to `/proc/self`.
    #[error("can't write {file} to become root in the user namespace")]
    Map {
        /// Which file.
        file: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Mounts couldn't be separated from the machine's.
    #[error("can't make the mounts of the new namespace private")]
    Mounts(#[source] io::Error),
    /// `/dev/net/tun`.
    #[error("a lab needs TUN devices")]
    Tun(#[from] TunError),
}

/// Enters a user, network and mount namespace as root unless the process may do already what a lab does. Call it first thing in `main`.
pub fn enter_if_needed() -> Result<Privilege, UserNamespaceError> {
    tun::check_access()?;
    if is_privileged() {
        return Ok(Privilege::Present);
    }
    // SAFETY: these calls take nothing and can't fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS;
    // SAFETY: no pointer. Nothing in this process relies on the namespaces it leaves.
    if unsafe { libc::unshare(flags) } < 0 {
        return Err(explain(io::Error::last_os_error()));
    }
    // The kernel lets a group be mapped only once groups can't be dropped any more.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/gid_map", &format!("0 {group} 1"))?;
    write("/proc/self/uid_map", &format!("0 {user} 1"))?;
    separate_mounts()?;
    Ok(Privilege::UserNamespace)
}

/// Whether the process has CAP_SYS_ADMIN and CAP_NET_ADMIN. User 0 alone says little: containers take capabilities away.
fn is_privileged() -> bool {
    const CAP_NET_ADMIN: u32 = 12;
    const CAP_SYS_ADMIN: u32 = 21;
    let needed = (1_u64 << CAP_NET_ADMIN) | (1 << CAP_SYS_ADMIN);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|have| have & needed == needed)
}

fn write(file: &'static str, text: &str) -> Result<(), UserNamespaceError> {
    fs::write(file, text).map_err(|source| match source.raw_os_error() {
        // With this setting the namespace is made, but without any rights.
        Some(libc::EPERM | libc::EACCES) if setting(APPARMOR).as_deref() == Some("1") => UserNamespaceError::AppArmor,
        _ => UserNamespaceError::Map { file, source },
    })
}

fn separate_mounts() -> Result<(), UserNamespaceError> {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the strings are constants that end in zero; source, type and data may be null for a change of propagation.
    let result = unsafe { libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if setting(APPARMOR).as_deref() == Some("1") {
        return Err(UserNamespaceError::AppArmor);
    }
    Err(UserNamespaceError::Mounts(error))
}

const APPARMOR: &str = "kernel/apparmor_restrict_unprivileged_userns";

/// Which of the known obstacles the kernel's answer means.
fn explain(error: io::Error) -> UserNamespaceError {
    match error.raw_os_error() {
        Some(libc::EINVAL) => UserNamespaceError::Threads,
        Some(libc::ENOSPC | libc::EUSERS) => {
            let limit = setting("user/max_user_namespaces").unwrap_or_else(|| "unknown".into());
            UserNamespaceError::Limit { limit }
        }
        Some(libc::EPERM | libc::EACCES) if setting("kernel/unprivileged_userns_clone").as_deref() == Some("0") => {
            UserNamespaceError::SwitchedOff
        }
        Some(libc::EPERM | libc::EACCES) if setting(APPARMOR).as_deref() == Some("1") => UserNamespaceError::AppArmor,
        _ => UserNamespaceError::Forbidden(error),
    }
}

fn setting(path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{path}")).ok().map(|text| text.trim().to_owned())
}
