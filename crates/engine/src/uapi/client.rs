//! The other side of the protocol: asking and changing a device that somebody else runs, such as wireguard-go's.
//!
//! [`Client`] speaks with the socket of one device; [`read`] and [`write()`] are its words, pure, and the counterparts of `print` and
//! `parse`. Answers are bounded in size and time: the other end is a program that may hang.

use std::fmt::Write as _;
use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::parse::{Invalid, Request, parse};
use super::print::{print_key, print_line};
use super::socket::read_request;
use crate::config::{ConfigureDevice, ConfigurePeer, DeviceDescription, PeerDescription};
use crate::device::interface_index;
use crate::limits::UAPI_IDLE;

/// A connection to a device's socket. One request after the other.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at a path.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(UAPI_IDLE))?;
        stream.set_write_timeout(Some(UAPI_IDLE))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Everything there is to know about the device, but for its name.
    ///
    /// # Errors
    /// If the device answers nothing sensible.
    pub fn describe(&mut self) -> io::Result<DeviceDescription> {
        let answer = self.ask("get=1\n\n")?;
        read(&answer).map_err(io::Error::other)
    }

    /// Changes the device.
    ///
    /// # Errors
    /// If it refuses.
    pub fn configure(&mut self, change: &ConfigureDevice) -> io::Result<()> {
        self.ask(&write(change)).map(drop)
    }

    fn ask(&mut self, request: &str) -> io::Result<Zeroizing<String>> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let answer = read_request(&mut self.stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let text = std::str::from_utf8(&answer).map_err(io::Error::other)?;
        let errno = text.lines().next_back().and_then(|line| line.strip_prefix("errno=")?.parse::<i32>().ok());
        match errno {
            Some(0) => Ok(Zeroizing::new(text.to_owned())),
            // Some programs write them negative, some not.
            Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_abs())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Reads the answer to `get=1`.
///
/// # Errors
/// If a line is not understood.
pub fn read(text: &str) -> Result<DeviceDescription, Invalid> {
    let mut settable = Zeroizing::new(String::with_capacity(text.len() + 16));
    settable.push_str("set=1\n");
    let mut figures: Vec<Figures> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (key, value) = line.split_once('=').ok_or(Invalid { line: at + 1 })?;
        if key == "public_key" {
            figures.push(Figures::default());
        }
        let figure = || value.parse::<u64>().map_err(|_| Invalid { line: at + 1 });
        match (key, figures.last_mut()) {
            ("errno", _) => {}
            ("last_handshake_time_sec", Some(last)) => last.handshake_s = figure()?,
            ("last_handshake_time_nsec", Some(last)) => last.handshake_ns = figure()?,
            ("tx_bytes", Some(last)) => last.sent = figure()?,
            ("rx_bytes", Some(last)) => last.received = figure()?,
            _ => {
                settable.push_str(line);
                settable.push('\n');
            }
        }
    }
    let Request::Set(device) = parse(&settable, &interface_index)? else { return Err(Invalid { line: 1 }) };
    Ok(DeviceDescription {
        public_key: device.private_key.as_ref().map(crate::keys::PrivateKey::public_key),
        private_key: device.private_key,
        listen_port: device.listen_port.unwrap_or_default(),
        fwmark: device.fwmark.unwrap_or_default(),
        peers: device.peers.into_iter().zip(figures).map(|(peer, figures)| described(peer, figures)).collect(),
        ..DeviceDescription::default()
    })
}

#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    handshake_s: u64,
    handshake_ns: u64,
    sent: u64,
    received: u64,
}

fn described(peer: ConfigurePeer, figures: Figures) -> PeerDescription {
    let handshake = Duration::from_secs(figures.handshake_s) + Duration::from_nanos(figures.handshake_ns);
    PeerDescription {
        public_key: peer.public_key,
        preshared_key: peer.preshared_key.unwrap_or_default(),
        endpoint: peer.endpoint,
        persistent_keepalive_s: peer.persistent_keepalive_s.unwrap_or_default(),
        last_handshake: (!handshake.is_zero()).then_some(handshake),
        rx_bytes: figures.received,
        tx_bytes: figures.sent,
        allowed_ips: peer.allowed_ips,
    }
}

/// Writes a change as a request, with its final empty line. The text may hold keys and wipes itself.
pub fn write(change: &ConfigureDevice) -> Zeroizing<String> {
    let prefixes: usize = change.peers.iter().map(|peer| peer.allowed_ips.len() + peer.remove_allowed_ips.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(256 + change.peers.len() * 448 + prefixes * 64));
    text.push_str("set=1\n");
    if let Some(key) = &change.private_key {
        print_key(&mut text, "private_key", key.expose());
    }
    change.listen_port.iter().for_each(|port| print_line(&mut text, "listen_port", port));
    change.fwmark.iter().for_each(|mark| print_line(&mut text, "fwmark", mark));
    if change.replace_peers {
        text.push_str("replace_peers=true\n");
    }
    change.peers.iter().for_each(|peer| write_peer(&mut text, peer));
    text.push('\n');
    text
}

fn write_peer(text: &mut String, peer: &ConfigurePeer) {
    print_key(text, "public_key", &peer.public_key.0);
    for (key, is_set) in [("remove", peer.remove), ("update_only", peer.update_only)] {
        if is_set {
            print_line(text, key, true);
        }
    }
    if let Some(key) = &peer.preshared_key {
        print_key(text, "preshared_key", key.expose());
    }
    peer.endpoint.iter().for_each(|endpoint| print_line(text, "endpoint", endpoint));
    peer.persistent_keepalive_s.iter().for_each(|s| print_line(text, "persistent_keepalive_interval", s));
    if peer.replace_allowed_ips {
        print_line(text, "replace_allowed_ips", true);
    }
    for prefix in &peer.remove_allowed_ips {
        let _ = writeln!(text, "allowed_ip=-{prefix}");
    }
    peer.allowed_ips.iter().for_each(|prefix| print_line(text, "allowed_ip", prefix));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{PresharedKey, PrivateKey, PublicKey};
    use crate::uapi::print;

    fn peer(byte: u8) -> PeerDescription {
        PeerDescription {
            public_key: PublicKey([byte; 32]),
            preshared_key: PresharedKey::new([byte; 32]),
            endpoint: Some("[fe80::1%3]:9".parse().unwrap()),
            persistent_keepalive_s: 25,
            last_handshake: Some(Duration::new(1_700_000_000, 5)),
            rx_bytes: 10,
            tx_bytes: 20,
            allowed_ips: vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()],
        }
    }

    #[test]
    fn what_a_device_prints_is_read() {
        let key = PrivateKey::new([0xab; 32]);
        let device = DeviceDescription {
            public_key: Some(key.public_key()),
            private_key: Some(key),
            listen_port: 51820,
            fwmark: 7,
            peers: vec![peer(1), PeerDescription { last_handshake: None, endpoint: None, ..peer(2) }],
            ..DeviceDescription::default()
        };
        assert_eq!(read(&format!("{}errno=0\n", *print(&device))), Ok(device));
        assert!(read("").is_ok_and(|device| device.peers.is_empty()));
        for bad in ["noise", "rx_bytes=1", "public_key=00", "listen_port=70000"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_parsed_as_the_same_change() {
        let change = ConfigureDevice {
            private_key: Some(PrivateKey::new([3; 32])),
            listen_port: Some(0),
            fwmark: Some(1),
            number: None,
            common: None,
            replace_peers: true,
            peers: vec![
                ConfigurePeer { remove: true, ..ConfigurePeer::new(PublicKey([1; 32])) },
                ConfigurePeer {
                    preshared_key: Some(PresharedKey::new([2; 32])),
                    endpoint: Some("192.0.2.1:5".parse().unwrap()),
                    persistent_keepalive_s: Some(0),
                    replace_allowed_ips: true,
                    allowed_ips: vec!["10.0.0.0/8".parse().unwrap()],
                    ..ConfigurePeer::new(PublicKey([1; 32]))
                },
                ConfigurePeer {
                    update_only: true,
                    remove_allowed_ips: vec!["10.1.0.0/16".parse().unwrap()],
                    ..ConfigurePeer::new(PublicKey([4; 32]))
                },
            ],
        };
        let text = write(&change);
        assert_eq!(parse(text.trim_end(), &|_| None), Ok(Request::Set(change)));
    }
}
