//! The file in which all that `core` is told and wants done is written down, line by line, to be played again elsewhere
//! ([`wayleave_core::node::recording`]).
//!
//! It grows to a bound and no further; a program that starts again goes on in the same file. Nobody else may read it: it
//! says when who spoke with whom.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use wayleave_core::node::recording::Line;

use crate::limits::RECORDING_BYTES_MAX;

/// A recording that is open.
#[derive(Debug)]
pub struct Recording {
    file: File,
    left: u64,
    is_full: bool,
}

impl Recording {
    /// Opens a file, which need not be there yet.
    ///
    /// # Errors
    /// What the kernel says; and if it is no plain file, somebody else's, or open to others.
    pub fn open(path: &Path) -> io::Result<Recording> {
        let mut options = File::options();
        let mut file = options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let metadata = file.metadata()?;
        // SAFETY: takes nothing, touches nothing, can't fail.
        let own = unsafe { libc::geteuid() };
        if !metadata.is_file() || metadata.uid() != own || metadata.mode() & 0o077 != 0 {
            let words = "it is no plain file of this user's that is closed to all others (chmod 600)";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
        }
        if metadata.len() > 0 {
            // The last line may be torn: a new one begins in any case.
            file.write_all(b"\n")?;
        }
        let left = RECORDING_BYTES_MAX.saturating_sub(metadata.len());
        Ok(Recording { file, left, is_full: false })
    }

    /// Writes a line, or nothing any more once the file is full.
    ///
    /// # Errors
    /// What the kernel says, after which the file is as good as full.
    pub(crate) fn write(&mut self, line: &Line) -> io::Result<()> {
        if self.is_full {
            return Ok(());
        }
        let mut text = line.text()?;
        if text.len() as u64 > self.left {
            self.is_full = true;
            text = Line::Full {}.text()?;
        }
        self.left = self.left.saturating_sub(text.len() as u64);
        let written = self.file.write_all(text.as_bytes());
        self.is_full |= written.is_err();
        written
    }

    /// Whether nothing is written any more.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_closed_to_others_and_grows_to_its_bound() {
        let path = std::env::temp_dir().join(format!("wayleave-recording-{}", std::process::id()));
        let line = Line::Polled { at_us: 7, outputs: Vec::new() };
        let length = line.text().unwrap().len() as u64;
        let mut recording = Recording::open(&path).unwrap();
        recording.left = 2 * length + 1;
        (0..5).for_each(|_| recording.write(&line).unwrap());
        assert!(recording.is_full());
        let (text, mode) = (std::fs::read_to_string(&path).unwrap(), std::fs::metadata(&path).unwrap().mode());
        assert_eq!((text.lines().count(), text.lines().last()), (3, Some(r#"{"full":{}}"#)));
        assert_eq!(mode & 0o777, 0o600);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, open).unwrap();
        assert_eq!(Recording::open(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Recording::open(&path).is_err(), "nor is a link followed");
        std::fs::remove_file(&path).unwrap();
    }
}
