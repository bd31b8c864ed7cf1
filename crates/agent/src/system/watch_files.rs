//! Being told that files have changed, however editors and tools write them: in place, or a new one with the old one's name.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Room for some hundred events; what does not fit comes with the next read.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of `struct inotify_event` without the name.
const EVENT: usize = 16;

/// Files to hear of.
#[derive(Debug)]
pub struct FileWatch {
    fd: OwnedFd,
    names: Vec<PathBuf>,
}

impl FileWatch {
    /// Watches the directories that the files are in.
    ///
    /// # Errors
    /// What the kernel says, such as that a user has too many watches.
    pub fn open(files: &[PathBuf]) -> io::Result<FileWatch> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mask = libc::IN_CLOSE_WRITE | libc::IN_MOVED_TO | libc::IN_CREATE | libc::IN_DELETE | libc::IN_ATTRIB;
        for file in files {
            let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let path = CString::new(directory.as_os_str().as_bytes())?;
            // SAFETY: the string lives through the call.
            if unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), mask) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(FileWatch { fd, names: files.to_vec() })
    }

    /// Waits until one of the files may have changed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self) -> io::Result<()> {
        let mut buffer = vec![0_u8; BUFFER_BYTES];
        loop {
            // SAFETY: the buffer is as long as said.
            let got = unsafe { libc::read(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
            if got < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            if self.concerns(&buffer[..got as usize]) {
                return Ok(());
            }
        }
    }

    fn concerns(&self, mut events: &[u8]) -> bool {
        while events.len() >= EVENT {
            let length = u32::from_ne_bytes([events[12], events[13], events[14], events[15]]) as usize;
            let end = (EVENT + length).min(events.len());
            let name = &events[EVENT..end];
            let name = OsStr::from_bytes(name.split(|byte| *byte == 0).next().unwrap_or_default());
            // An event without a name is about the directory, or says that events were lost.
            if name.is_empty() || self.names.iter().any(|file| file.file_name() == Some(name)) {
                return true;
            }
            events = &events[end..];
        }
        false
    }
}
