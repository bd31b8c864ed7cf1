//! Where running labs leave what others need to find them: one directory each, gone when the lab ends.
//!
//! For root it is below `/run/wayleave/lab`, for others below `$XDG_RUNTIME_DIR/wayleave/lab` or a directory of their
//! own in the temporary directory. A lab holds a lock on its directory; one whose lock is free belongs to a dead lab and
//! is removed by the next start.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use wayleave_core::names::Name;

/// What can go wrong with a lab's directory.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A lab of that name runs.
    #[error("a lab named {0} is running already; end it with `wayleave lab down --name {0}` or choose another --name")]
    Running(Name),
    /// No lab of that name runs.
    #[error("no lab named {0} is running")]
    NotRunning(Name),
    /// It is not up yet.
    #[error("lab {0} is still being built; it can be asked as soon as it is up")]
    Starting(String),
    /// No lab runs at all.
    #[error("no lab is running; start one with `wayleave lab up`")]
    None,
    /// Several run and none was named.
    #[error("several labs are running: {}; choose one with --name", .0.join(", "))]
    Several(Vec<String>),
    /// The directory belongs to somebody else.
    #[error("{path} belongs to another user")]
    Foreign {
        /// Which.
        path: String,
    },
    /// The file system refuses.
    #[error("can't {attempt} {path}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A lab's directory, locked and removed when dropped.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

impl StateDirectory {
    /// Makes the directory of a new lab. Whatever dead labs left is removed first.
    ///
    /// # Errors
    /// If a lab of that name runs, or the file system refuses.
    pub fn create(name: &Name) -> Result<StateDirectory, StateError> {
        let root = root();
        make(&root)?;
        let owner = fs::metadata(&root).map_err(io_error("look at", &root))?.uid();
        // SAFETY: geteuid takes nothing and can't fail.
        if owner != unsafe { libc::geteuid() } {
            return Err(StateError::Foreign { path: root.display().to_string() });
        }
        sweep(&root);
        let path = root.join(name.as_str());
        make(&path)?;
        let lock = lock(&path)?.ok_or_else(|| StateError::Running(name.clone()))?;
        make(&path.join("members"))?;
        Ok(StateDirectory { path, _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The control socket's path.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Where a member's UAPI sockets are.
    pub fn member_path(&self, name: &Name) -> PathBuf {
        self.path.join("members").join(name.as_str())
    }

    /// Makes the directory for a member's UAPI sockets.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn member(&self, name: &Name) -> Result<PathBuf, StateError> {
        let path = self.member_path(name);
        make(&path)?;
        Ok(path)
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        // What can't be removed is found by the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The control socket of a running lab: of the named one, or of the only one.
///
/// # Errors
/// If there is none, or several and none is named.
pub fn find(name: Option<&Name>) -> Result<PathBuf, StateError> {
    let root = root();
    let running: Vec<PathBuf> = match fs::read_dir(&root) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| is_running(path)).collect(),
        Err(_) => Vec::new(),
    };
    if let Some(name) = name {
        let path = root.join(name.as_str());
        return if running.contains(&path) { listening(&path) } else { Err(StateError::NotRunning(name.clone())) };
    }
    match running.as_slice() {
        [] => Err(StateError::None),
        [only] => listening(only),
        several => {
            let mut names: Vec<String> =
                several.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
            names.sort();
            Err(StateError::Several(names))
        }
    }
}

/// The control socket of a running lab, which is there once the lab is up.
fn listening(path: &Path) -> Result<PathBuf, StateError> {
    let socket = path.join("control.sock");
    let name = || path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    if socket.exists() { Ok(socket) } else { Err(StateError::Starting(name())) }
}

fn root() -> PathBuf {
    // SAFETY: geteuid takes nothing and can't fail.
    let user = unsafe { libc::geteuid() };
    let own = std::env::var_os("WAYLEAVE_RUNTIME_DIR").map(PathBuf::from);
    if let Some(own) = own {
        return own.join("lab");
    }
    if user == 0 && !in_user_namespace() {
        return PathBuf::from("/run/wayleave/lab");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => PathBuf::from(runtime).join("wayleave/lab"),
        None => std::env::temp_dir().join(format!("wayleave-{}", outer_user())).join("lab"),
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

/// Removes the directories of dead labs. What can't be removed is left for later.
fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if matches!(lock(&path), Ok(Some(_))) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn is_running(path: &Path) -> bool {
    path.join("lock").exists() && matches!(lock(path), Ok(None))
}

/// Locks a lab's directory; nothing if somebody else holds the lock.
fn lock(path: &Path) -> Result<Option<File>, StateError> {
    let file = path.join("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&file).map_err(io_error("open", &file))?;
    // SAFETY: the descriptor is open; flock touches no memory.
    if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(Some(lock));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(io_error("lock", &file)(error)) }
}

fn make(path: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("make", path))
}

fn io_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError + use<> {
    let path = path.display().to_string();
    move |source| StateError::Io { attempt, path, source }
}
