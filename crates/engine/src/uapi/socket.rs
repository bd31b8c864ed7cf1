//! The Unix socket on which `wg` finds the device.
//!
//! The device's thread accepts; each connection then has a thread of its own, so that a slow client never holds up packets. The
//! socket can be opened by its owner only, from the first moment on: it is made under another name and renamed. A socket
//! that a dead process left behind is replaced; one that answers is not.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Request, parse, print};
use crate::device::{DeviceError, DeviceHandle, interface_index};
use crate::limits::{UAPI_CONNECTIONS_MAX, UAPI_IDLE, UAPI_REQUEST_BYTES_MAX};

/// A listening UAPI socket. Its file goes when it is closed or dropped.
#[derive(Debug)]
pub struct UapiSocket {
    listener: UnixListener,
    path: PathBuf,
    /// One reference is here, and one with each connection.
    connections: Arc<()>,
}

impl UapiSocket {
    /// Makes the socket, and its directory if need be.
    pub fn bind(path: &Path) -> io::Result<UapiSocket> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        remove_if_present(&hidden)?;
        let listener = UnixListener::bind(&hidden)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
        fs::rename(&hidden, path)?;
        Ok(UapiSocket { listener, path: path.to_owned(), connections: Arc::new(()) })
    }

    /// Takes in all clients that wait.
    pub(crate) fn handle_connections(&mut self, device: &DeviceHandle) {
        while let Ok((stream, _)) = self.listener.accept() {
            let slot = Arc::clone(&self.connections);
            if Arc::strong_count(&self.connections) > UAPI_CONNECTIONS_MAX + 1 {
                continue;
            }
            let device = device.clone();
            // Without a thread the client is turned away by the closing of its connection, as when there are too many.
            let _ = std::thread::Builder::new().name("wayleave-uapi".to_owned()).spawn(move || {
                // A client that goes away in the middle is its own business.
                let _ = serve(&stream, &device);
                drop(slot);
            });
        }
    }

    /// Stops listening.
    pub(crate) fn close(self) {
        drop(self);
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl Drop for UapiSocket {
    fn drop(&mut self) {
        // If it is gone already, all the better.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Answers one client's requests until it leaves.
fn serve(stream: &UnixStream, device: &DeviceHandle) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(UAPI_IDLE))?;
    stream.set_write_timeout(Some(UAPI_IDLE))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader)? {
        let answer = match std::str::from_utf8(&request).ok().and_then(|text| parse(text, &interface_index).ok()) {
            None => Err(libc::EINVAL),
            Some(request) => perform(request, device),
        };
        let (text, errno) = match answer {
            Ok(text) => (text, 0),
            Err(errno) => (Zeroizing::default(), errno),
        };
        writer.write_all(text.as_bytes())?;
        // `wg` and wireguard-go agree on negative numbers.
        writer.write_all(format!("errno={}\n\n", -errno).as_bytes())?;
    }
    Ok(())
}

/// Reads up to and without the next empty line; none at the end.
pub(super) fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut request = Zeroizing::new(Vec::new());
    let mut limited = reader.take(UAPI_REQUEST_BYTES_MAX as u64);
    loop {
        let start = request.len();
        if limited.read_until(b'\n', &mut request)? == 0 {
            return Ok(None);
        }
        if request[start..] == *b"\n" {
            request.truncate(start);
            return Ok(Some(request));
        }
    }
}

fn perform(request: Request, device: &DeviceHandle) -> Result<Zeroizing<String>, i32> {
    match request {
        Request::Get => device.describe().map(|description| print(&description)),
        Request::Set(change) => device.configure(&change).map(|()| Zeroizing::default()),
    }
    .map_err(|error| errno(&error))
}

fn errno(error: &DeviceError) -> i32 {
    match error {
        DeviceError::Setup(source)
        | DeviceError::Uapi { source, .. }
        | DeviceError::Listen { source, .. }
        | DeviceError::Fwmark { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        DeviceError::Configure(_) => libc::ENOMEM,
        DeviceError::Ended => libc::ENODEV,
    }
}
