//! Other people's files, gathered within bounds: what `import` and `check` read.
//!
//! A folder is read with all below it, in the order of names; hidden files are editors', and links are followed to files
//! only, since those to folders may lead in circles. What can't be read below a folder is kept as such: `import` stops at it, and
//! `check` says so and goes on.

mod repository;

use std::fs;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wayleave_core::import::{self, File, Read};
use wayleave_core::limits::{IMPORT_BYTES_MAX, IMPORT_DEPTH_MAX, IMPORT_FILE_BYTES_MAX, IMPORT_FILES_MAX};

pub use repository::Repositories;

use crate::report::printable;

/// Bytes of a file by which it is told what it is.
const HEAD_BYTES: u64 = 64 << 10;

/// How long a pipe may stay silent before it is given up.
const STREAM_MS_MAX: i32 = 5_000;

/// Files that were read, and those that could not be.
#[derive(Default)]
pub struct Gathered {
    /// What was read.
    pub files: Vec<File>,
    /// Below a folder: what could not be read, and why.
    pub unreadable: Vec<(String, String)>,
    bytes: usize,
}

/// Whether paths name other people's files: folders, several at once, or a file that is no network file.
pub fn are(paths: &[PathBuf]) -> bool {
    match paths {
        [only] => !is_network_file(only),
        _ => true,
    }
}

/// By its name, or by its content where the name says nothing. What is not there is taken for one, since that is what it
/// mostly was to be.
pub fn is_network_file(path: &Path) -> bool {
    // What is read once, such as a pipe of the shell, must not be read to be told apart.
    let is_stream = fs::metadata(path).is_ok_and(|meta| !meta.is_file());
    if is_stream || path == Path::new("-") {
        return false;
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_docker = path.file_name().is_some_and(|name| name == "daemon.json");
    let is_user_data = || head(path).is_some_and(|text| text.starts_with("#cloud-config"));
    if ["toml", "yaml", "yml", "json"].contains(&extension) && !is_docker {
        return !is_user_data();
    }
    let Some(head) = head(path) else { return true };
    head.lines().map(str::trim).any(|line| {
        line.starts_with("[network]")
            || line.strip_prefix("network").is_some_and(|rest| rest.trim_start().starts_with('='))
    })
}

/// How a file begins.
fn head(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    let _ = fs::File::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut head);
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Reads all files below some paths.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Read> {
    let files = gather(paths)?.complete()?;
    if files.is_empty() {
        bail!("there are no files in what was named");
    }
    Ok(import::read(files))
}

/// Reads all files of some paths. What was named itself must be readable.
pub fn gather(paths: &[PathBuf]) -> anyhow::Result<Gathered> {
    let mut gathered = Gathered::default();
    for path in paths {
        let about = || format!("reading {}", path.display());
        if path == Path::new("-") {
            gathered.take("stdin".to_owned(), std::io::stdin().lock(), None).context("reading stdin")?;
            continue;
        }
        let meta = fs::metadata(path).with_context(about)?;
        if meta.is_dir() {
            gathered.folder(path, 0).with_context(about)?;
        } else if meta.is_file() {
            gathered.file(path)?;
        } else {
            // A pipe or a device is read only where it is named itself.
            let file = stream(path).with_context(about)?;
            gathered.take(path.display().to_string(), file, None).with_context(about)?;
        }
    }
    Ok(gathered)
}

/// Opens a pipe or a device. A pipe into which nobody writes would be waited for without a word, and for ever.
fn stream(path: &Path) -> anyhow::Result<fs::File> {
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut wanted = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives through the call.
    if unsafe { libc::poll(&raw mut wanted, 1, STREAM_MS_MAX) } == 0 {
        bail!("nobody wrote into it for {} seconds", STREAM_MS_MAX / 1_000);
    }
    // SAFETY: the descriptor is open; its flags are numbers. From here on its reader waits as readers do.
    unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK);
    }
    Ok(file)
}

impl Gathered {
    /// Fails at the first file that could not be read.
    pub fn complete(self) -> anyhow::Result<Vec<File>> {
        if let Some((path, why)) = self.unreadable.first() {
            bail!("reading {path}: {why}");
        }
        Ok(self.files)
    }

    fn folder(&mut self, path: &Path, depth: usize) -> anyhow::Result<()> {
        if depth >= IMPORT_DEPTH_MAX {
            bail!("{}: folders are nested deeper than {IMPORT_DEPTH_MAX}", path.display());
        }
        let mut entries: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                entries.push(entry.path());
            }
        }
        entries.sort();
        for entry in entries {
            let meta = match fs::symlink_metadata(&entry) {
                Ok(meta) => meta,
                Err(error) => {
                    self.skip(&entry, error.to_string());
                    continue;
                }
            };
            if meta.is_dir() {
                match fs::read_dir(&entry) {
                    Ok(_) => self.folder(&entry, depth + 1)?,
                    Err(error) => self.skip(&entry, error.to_string()),
                }
            } else if fs::metadata(&entry).is_ok_and(|meta| meta.is_file())
                && let Err(error) = fs::File::open(&entry)
            {
                self.skip(&entry, error.to_string());
            } else {
                self.file(&entry)?;
            }
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, why: String) {
        self.unreadable.push((path.display().to_string(), why));
    }

    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let about = || format!("reading {}", path.display());
        // A link to nothing or to a folder, a socket, a device.
        let Some(meta) = fs::metadata(path).ok().filter(fs::Metadata::is_file) else { return Ok(()) };
        // Names are shown to people, and are no longer needed to find the file.
        let name = printable(&path.to_string_lossy()).into_owned();
        let file = fs::File::open(path).with_context(about)?;
        self.take(name, file, Some(meta.permissions().mode())).with_context(about)
    }

    fn take(&mut self, path: String, file: impl std::io::Read, mode: Option<u32>) -> anyhow::Result<()> {
        if self.files.len() >= IMPORT_FILES_MAX {
            bail!("more than {IMPORT_FILES_MAX} files; name fewer paths");
        }
        let mut bytes = Vec::new();
        file.take(IMPORT_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        self.bytes += bytes.len();
        if self.bytes > IMPORT_BYTES_MAX {
            bail!("more than {IMPORT_BYTES_MAX} bytes; name fewer paths");
        }
        self.files.push(File { path, bytes, mode });
        Ok(())
    }
}
