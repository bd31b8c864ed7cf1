//! New texts of several files, of which all take effect or none.
//!
//! They are written beside the files that they are to replace, and are on the disk before the first one gets its name: a
//! full disk, a directory that can't be written and the like show before anything has changed. What happens between the
//! two, such as showing a key, can still call everything off. Dropped without a commit, nothing is left of them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::write_beside;

/// Files to be replaced.
#[derive(Default)]
pub struct Staged {
    files: Vec<Pending>,
}

struct Pending {
    temporary: PathBuf,
    path: PathBuf,
    /// What the file was, if there is one.
    before: Option<(Vec<u8>, fs::Metadata)>,
}

impl Staged {
    /// A file of ours.
    pub fn replace(&mut self, path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        self.stage(path, bytes, mode).map(drop)
    }

    /// The text of a file that is somebody's: it keeps its owner and permissions, and a link to it stays one.
    pub fn rewrite(&mut self, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        let about = || format!("writing {}", path.display());
        let path = fs::canonicalize(path).with_context(about)?;
        let meta = fs::metadata(&path).with_context(about)?;
        let temporary = self.stage(&path, bytes, meta.mode() & 0o7777)?;
        owned_alike(&temporary, &meta).with_context(about)
    }

    fn stage(&mut self, path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<PathBuf> {
        let about = || format!("writing {}", path.display());
        let before = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => bail!("{} is a directory, and a file is to be there", path.display()),
            Ok(meta) => Some((fs::read(path).with_context(about)?, meta)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(about),
        };
        let temporary = write_beside(path, bytes, mode)?;
        self.files.push(Pending { temporary: temporary.clone(), path: path.to_owned(), before });
        fs::File::open(&temporary).and_then(|file| file.sync_all()).with_context(about)?;
        Ok(temporary)
    }

    /// Gives all files their names, in the order in which they were staged. If one can't have it, the others get their
    /// former texts back.
    pub fn commit(mut self) -> anyhow::Result<()> {
        let files = std::mem::take(&mut self.files);
        for (at, file) in files.iter().enumerate() {
            if let Err(error) = fs::rename(&file.temporary, &file.path) {
                files[at..].iter().for_each(|rest| drop(fs::remove_file(&rest.temporary)));
                files[..at].iter().rev().try_for_each(Pending::put_back)?;
                return Err(error).with_context(|| format!("writing {}", file.path.display()));
            }
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.files.iter().for_each(|file| drop(fs::remove_file(&file.temporary)));
    }
}

impl Pending {
    fn put_back(&self) -> anyhow::Result<()> {
        let about = || format!("{} could not be put back as it was", self.path.display());
        let Some((bytes, meta)) = &self.before else { return fs::remove_file(&self.path).with_context(about) };
        let temporary = write_beside(&self.path, bytes, meta.mode() & 0o7777).with_context(about)?;
        owned_alike(&temporary, meta).and_then(|()| fs::rename(&temporary, &self.path)).with_context(about)
    }
}

fn owned_alike(path: &Path, like: &fs::Metadata) -> io::Result<()> {
    let is = fs::metadata(path)?;
    // Whoever may not give files away is their owner, or is not to write here at all.
    if is.uid() != like.uid() || is.gid() != like.gid() {
        std::os::unix::fs::chown(path, Some(like.uid()), Some(like.gid()))?;
    }
    fs::set_permissions(path, like.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_one_file_cannot_have_its_name_all_are_as_they_were() {
        let folder = std::env::temp_dir().join(format!("wayleave-staged-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        fs::write(path("kept"), "old").unwrap();
        let mut staged = Staged::default();
        staged.rewrite(&path("kept"), b"new").unwrap();
        staged.replace(&path("made"), b"new", 0o600).unwrap();
        staged.replace(&path("taken"), b"new", 0o600).unwrap();
        // Somebody makes a folder there meanwhile.
        fs::create_dir(path("taken")).unwrap();
        assert!(staged.commit().is_err());
        assert_eq!(fs::read_to_string(path("kept")).unwrap(), "old");
        let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["kept", "taken"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
