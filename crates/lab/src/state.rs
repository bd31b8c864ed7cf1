//! Where running labs leave what others need to find them: one directory each, gone when the lab ends.
//!
//! For root it is below `/run/wayleave/lab`, for others below `$XDG_RUNTIME_DIR/wayleave/lab` or a directory of their
//! own in the temporary directory. A lab holds a lock on its directory; one whose lock is free belongs to a dead lab and
//! is removed by the next start.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use wayleave_agent::system::directory::{self, DirectoryError};
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
    #[error(transparent)]
    Io(#[from] DirectoryError),
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
        directory::make(&root)?;
        let owner = fs::metadata(&root).map_err(directory::refusal("look at", &root))?.uid();
        // SAFETY: geteuid takes nothing and can't fail.
        if owner != unsafe { libc::geteuid() } {
            return Err(StateError::Foreign { path: root.display().to_string() });
        }
        sweep(&root);
        let path = root.join(name.as_str());
        directory::make(&path)?;
        let lock = directory::lock(&path)?.ok_or_else(|| StateError::Running(name.clone()))?;
        directory::make(&path.join("members"))?;
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
        directory::make(&path)?;
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
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| directory::is_locked(path)).collect(),
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
    directory::root().join("lab")
}

/// Removes the directories of dead labs. What can't be removed is left for later.
fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if matches!(directory::lock(&path), Ok(Some(_))) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
