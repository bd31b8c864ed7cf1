//! Other people's files: found in folders, read within bounds, handed to `core`.
//!
//! Everything below a folder is read but hidden files, links (they may lead in circles) and what is no file. Nothing is
//! changed.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wayleave_core::import::{self, File, Read};
use wayleave_core::limits::{IMPORT_BYTES_MAX, IMPORT_DEPTH_MAX, IMPORT_FILE_BYTES_MAX, IMPORT_FILES_MAX};

/// Whether paths name other people's files: folders, several at once, or files that are no network file by their names.
pub fn are(paths: &[PathBuf]) -> bool {
    let is_network_file = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_none_or(|extension| ["toml", "yaml", "yml", "json"].contains(&extension))
    };
    match paths {
        [only] => only.is_dir() || !is_network_file(only),
        _ => true,
    }
}

/// Reads all files below some paths.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Read> {
    let mut gathered = Gathered::default();
    for path in paths {
        gathered.add(path, 0)?;
    }
    if gathered.files.is_empty() {
        bail!("there are no files in what was named");
    }
    Ok(import::read(gathered.files))
}

/// Files to be read, within bounds.
#[derive(Default)]
struct Gathered {
    files: Vec<File>,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, path: &Path, depth: usize) -> anyhow::Result<()> {
        let about = || format!("reading {}", path.display());
        let meta = fs::metadata(path).with_context(about)?;
        if meta.is_dir() {
            if depth >= IMPORT_DEPTH_MAX {
                bail!("{}: folders are nested deeper than {IMPORT_DEPTH_MAX}", path.display());
            }
            let mut entries: Vec<PathBuf> = Vec::new();
            for entry in fs::read_dir(path).with_context(about)? {
                let entry = entry.with_context(about)?;
                // Links may lead in circles, and hidden files are editors'.
                let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if !is_hidden && !entry.file_type().with_context(about)?.is_symlink() {
                    entries.push(entry.path());
                }
            }
            entries.sort();
            return entries.iter().try_for_each(|entry| self.add(entry, depth + 1));
        }
        if !meta.is_file() {
            return Ok(());
        }
        if self.files.len() >= IMPORT_FILES_MAX {
            bail!("more than {IMPORT_FILES_MAX} files; name fewer paths");
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(path).with_context(about)?;
        file.take(IMPORT_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).with_context(about)?;
        self.bytes += bytes.len();
        if self.bytes > IMPORT_BYTES_MAX {
            bail!("more than {IMPORT_BYTES_MAX} bytes; name fewer paths");
        }
        let path = path.to_str().with_context(|| format!("the name of {} is not UTF-8", path.display()))?.to_owned();
        self.files.push(File { path, bytes, mode: Some(meta.permissions().mode()) });
        Ok(())
    }
}
