//! Directories below `/run` in which running programs of ours leave what others need to find them, each with a lock.
//!
//! For root they are below `/run/wayleave`, for others below `$XDG_RUNTIME_DIR/wayleave` or a directory of their own in
//! the temporary directory; `WAYLEAVE_RUNTIME_DIR` says otherwise. Whoever holds a directory's lock is alive; all in it
//! goes when the machine restarts, as does what it is about.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
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
/// What the file system refuses; and one that is there already, this one or one above it up to [`root`], if somebody else
/// owns it or may write there: what is read from it later would be that one's.
pub fn make(path: &Path) -> Result<(), DirectoryError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refusal("make", path))?;
    let root = root();
    let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&root));
    std::iter::once(path).chain(above).try_for_each(|path| trust(path).map_err(refusal("use", path)))
}

/// Whether nobody else can have put anything into a directory.
fn trust(path: &Path) -> io::Result<()> {
    // SAFETY: geteuid takes nothing and can't fail.
    let own = unsafe { libc::geteuid() };
    let (itself, target) = (fs::symlink_metadata(path)?, fs::metadata(path)?);
    let words = match target.mode() & 0o022 {
        _ if itself.uid() != own || target.uid() != own => "it belongs to another user; remove it",
        0 => return Ok(()),
        _ => "others may write there; `chmod go-w` it, or remove it",
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, words))
}

/// Locks a directory by the file `lock` in it; nothing if somebody else holds the lock, or is just removing the directory.
///
/// # Errors
/// What the file system refuses.
pub fn lock(path: &Path) -> Result<Option<File>, DirectoryError> {
    let file = path.join("lock");
    let lock = match File::options().create(true).truncate(false).write(true).open(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(refusal("open", &file))?,
    };
    // SAFETY: the descriptor is open; flock touches no memory.
    if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        // Who held it may have removed the file with its directory: a lock on that keeps nobody out.
        let is_there = lock.metadata().is_ok_and(|lock| lock.nlink() > 0);
        return Ok(is_there.then_some(lock));
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_directory_that_its_holder_removes_is_not_locked_by_who_waited_for_it() {
        let place = std::env::temp_dir().join(format!("wayleave-lock-{}", std::process::id()));
        make(&place).unwrap();
        let held = lock(&place).unwrap().expect("nobody else has it");
        assert!(lock(&place).unwrap().is_none() && is_locked(&place));
        fs::remove_dir_all(&place).unwrap();
        assert!(lock(&place).unwrap().is_none(), "there is none");
        drop(held);
        make(&place).unwrap();
        assert!(lock(&place).unwrap().is_some());
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_directory_that_others_own_or_may_write_is_refused() {
        let place = std::env::temp_dir().join(format!("wayleave-directory-{}", std::process::id()));
        make(&place.join("inner")).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o700);
        let check = |mode: u32, words: &str| {
            fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
            let error = make(&place).map_err(|error| error.source.to_string());
            assert!(
                if words.is_empty() { error.is_ok() } else { error.clone().unwrap_err().contains(words) },
                "{error:?}"
            );
        };
        check(0o755, "");
        check(0o775, "others may write");
        check(0o1777, "others may write");
        check(0o700, "");
        // Only root can give something away; others have nothing that belongs to somebody else.
        if chown(&place, Some(65_534), None).is_ok() {
            check(0o700, "belongs to another user");
            let link = place.with_extension("link");
            std::os::unix::fs::symlink(&place, &link).unwrap();
            assert!(make(&link).is_err(), "nor by way of a link");
            fs::remove_file(link).unwrap();
        }
        fs::remove_dir_all(place).unwrap();
    }
}
