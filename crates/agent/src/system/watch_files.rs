//! Being told that files have changed, however editors and tools write them: in place, or a new one with the old one's name, or by
//! turning a symbolic link on the way to it. And whether somebody has opened one.
//!
//! In: paths. Out: that something may have changed, not what; whoever hears of it reads again. Nothing is read here.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::signals::wait_readable;

/// Room for some hundred events; what does not fit comes with the next read.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of `struct inotify_event` without the name.
const EVENT: usize = 16;
/// Symbolic links that are followed: as many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Files to hear of.
#[derive(Debug)]
pub struct FileWatch {
    fd: OwnedFd,
    names: Vec<PathBuf>,
}

impl FileWatch {
    /// Watches the directories that the files are in, and those of all links on the way. Where links lead may change: open it anew
    /// after each change.
    ///
    /// # Errors
    /// What the kernel says, such as that a user has too many watches.
    pub fn open(files: &[PathBuf]) -> io::Result<FileWatch> {
        let fd = begin(libc::IN_CLOEXEC)?;
        let mask = libc::IN_CLOSE_WRITE | libc::IN_MOVED_TO | libc::IN_CREATE | libc::IN_DELETE | libc::IN_ATTRIB;
        let names: Vec<PathBuf> = files.iter().flat_map(|file| places(file)).collect();
        for file in &names {
            let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
            add(&fd, directory, mask)?;
        }
        Ok(FileWatch { fd, names })
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

/// A file's place, and those of all symbolic links on the way to it.
fn places(file: &Path) -> Vec<PathBuf> {
    let (mut places, mut way) = (Vec::new(), file.to_owned());
    while places.len() < LINKS_MAX {
        // The first link on the way, with what comes after it.
        let mut steps: Vec<&Path> = way.ancestors().collect();
        steps.reverse();
        let link = steps.into_iter().find_map(|step| Some((step.to_owned(), std::fs::read_link(step).ok()?)));
        let Some((link, target)) = link else { break };
        let rest = way.strip_prefix(&link).map(Path::to_owned).unwrap_or_default();
        let mut next = link.parent().unwrap_or(Path::new("")).join(target);
        if !rest.as_os_str().is_empty() {
            next.push(rest);
        }
        places.push(link);
        way = next;
    }
    places.push(way);
    places
}

/// Whether anybody opens a file.
#[derive(Debug)]
pub struct Opened(OwnedFd);

impl Opened {
    /// Counts from now on. The file must be there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch(file: &Path) -> io::Result<Opened> {
        let fd = begin(libc::IN_CLOEXEC | libc::IN_NONBLOCK)?;
        add(&fd, file, libc::IN_OPEN)?;
        Ok(Opened(fd))
    }

    /// Whether it was opened since.
    pub fn was(&self) -> bool {
        wait_readable(&[self.0.as_fd()], 0).is_ok_and(|ready| ready[0])
    }
}

fn begin(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::inotify_init1(flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn add(fd: &OwnedFd, path: &Path, mask: u32) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the string lives through the call.
    let watch = unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), mask) };
    if watch < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_links_on_the_way_to_a_file_are_watched() {
        let root = std::env::temp_dir().join(format!("wayleave-places-{}", std::process::id()));
        std::fs::create_dir_all(root.join("v1")).expect("it can be made");
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, root.join(name)).expect("it can be made");
        link("v1", "data");
        link("data/file", "file");
        link("circle", "circle");
        std::fs::write(root.join("v1/file"), "").expect("it can be written");
        let names = |file: &str| -> Vec<String> {
            let ends = places(&root.join(file))
                .into_iter()
                .filter_map(|p| Some(p.strip_prefix(&root).ok()?.display().to_string()));
            ends.collect()
        };
        assert_eq!(names("file"), ["file", "data", "v1/file"]);
        assert_eq!(names("v1/file"), ["v1/file"]);
        assert_eq!(names("v1/none"), ["v1/none"]);
        assert_eq!(names("circle").len(), LINKS_MAX + 1);
        let _ = std::fs::remove_dir_all(&root);
    }
}
