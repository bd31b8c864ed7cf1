//! Directories below `/run` in which running programs of ours leave what others need to find them, each with a lock.
//!
//! For root they are below `/run/wayleave`, for others below `$XDG_RUNTIME_DIR/wayleave` or a directory of their own in
//! the temporary directory; `WAYLEAVE_RUNTIME_DIR` says otherwise. Whoever holds a directory's lock is alive; all in it
//! goes when the machine restarts, as does what it is about.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// What the file system refuses.
#[derive(Debug, thiserror::Error)]
#[error("can't {attempt} {path}")]
pub struct DirectoryError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On what.
    pub path: String,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

/// Where all of them are.
pub fn root() -> PathBuf {
    // SAFETY: geteuid takes nothing and can't fail.
    let user = unsafe { libc::geteuid() };
    if let Some(own) = std::env::var_os("WAYLEAVE_RUNTIME_DIR") {
        return PathBuf::from(own);
    }
    if user == 0 && !in_user_namespace() {
        return PathBuf::from("/run/wayleave");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => PathBuf::from(runtime).join("wayleave"),
        None => std::env::temp_dir().join(format!("wayleave-{}", outer_user())),
    }
}

/// Whether user numbers are mapped, so that 0 is not the machine's root.
pub fn in_user_namespace() -> bool {
    outer_user_of_root().is_some_and(|outer| outer != 0)
}

/// The machine's number of this user.
fn outer_user() -> u32 {
    // SAFETY: geteuid takes nothing and can't fail.
    let user = unsafe { libc::geteuid() };
    if user == 0 { outer_user_of_root().unwrap_or(0) } else { user }
}

/// Second column of the first line of `uid_map`: what 0 in here is outside (user_namespaces(7)).
fn outer_user_of_root() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let mut fields = map.split_whitespace();
    let (inside, outside) = (fields.next()?, fields.next()?);
    if inside == "0" { outside.parse().ok() } else { None }
}

/// Makes a directory that only its owner may enter, and those above it.
///
/// # Errors
/// What the file system refuses.
pub fn make(path: &Path) -> Result<(), DirectoryError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refusal("make", path))
}

/// Locks a directory by the file `lock` in it; nothing if somebody else holds the lock.
///
/// # Errors
/// What the file system refuses.
pub fn lock(path: &Path) -> Result<Option<File>, DirectoryError> {
    let file = path.join("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&file).map_err(refusal("open", &file))?;
    // SAFETY: the descriptor is open; flock touches no memory.
    if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(Some(lock));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(refusal("lock", &file)(error)) }
}

/// Whether somebody holds a directory's lock.
pub fn is_locked(path: &Path) -> bool {
    path.join("lock").exists() && matches!(lock(path), Ok(None))
}

/// An error about a path.
pub fn refusal(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + use<> {
    let path = path.display().to_string();
    move |source| DirectoryError { attempt, path, source }
}
