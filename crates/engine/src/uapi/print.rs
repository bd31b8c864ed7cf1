//! Descriptions: the answer to `get=1`.
//!
//! What `print` writes, `parse` reads, apart from the lines that only a device can know (times and counters).

use std::fmt::Write;

use zeroize::Zeroizing;

use crate::config::{DeviceDescription, PeerDescription};

/// Writes the description's lines, without the `errno` line. The text holds the private key and wipes itself.
pub fn print(device: &DeviceDescription) -> Zeroizing<String> {
    // Reserved at once, so that no copy of the key is left behind by growing.
    let prefixes: usize = device.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(256 + device.peers.len() * 448 + prefixes * 64));
    if let Some(key) = &device.private_key {
        print_key(&mut text, "private_key", key.expose());
    }
    print_line(&mut text, "listen_port", device.listen_port);
    if device.fwmark != 0 {
        print_line(&mut text, "fwmark", device.fwmark);
    }
    for peer in &device.peers {
        print_peer(&mut text, peer);
    }
    text
}

fn print_peer(text: &mut String, peer: &PeerDescription) {
    print_key(text, "public_key", &peer.public_key.0);
    print_key(text, "preshared_key", peer.preshared_key.expose());
    print_line(text, "protocol_version", 1);
    if let Some(endpoint) = peer.endpoint {
        print_line(text, "endpoint", endpoint);
    }
    let handshake = peer.last_handshake.unwrap_or_default();
    print_line(text, "last_handshake_time_sec", handshake.as_secs());
    print_line(text, "last_handshake_time_nsec", handshake.subsec_nanos());
    print_line(text, "tx_bytes", peer.tx_bytes);
    print_line(text, "rx_bytes", peer.rx_bytes);
    print_line(text, "persistent_keepalive_interval", peer.persistent_keepalive_s);
    for prefix in &peer.allowed_ips {
        print_line(text, "allowed_ip", prefix);
    }
}

pub(super) fn print_line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{key}={value}");
}

pub(super) fn print_key(text: &mut String, key: &str, bytes: &[u8; 32]) {
    text.push_str(key);
    text.push('=');
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{PresharedKey, PrivateKey, PublicKey};
    use crate::uapi::{Request, parse};
    use std::time::Duration;

    #[test]
    fn what_is_printed_reads_back() {
        let device = DeviceDescription {
            private_key: Some(PrivateKey::new([0xab; 32])),
            listen_port: 51820,
            fwmark: 7,
            peers: vec![PeerDescription {
                public_key: PublicKey([1; 32]),
                preshared_key: PresharedKey::new([2; 32]),
                endpoint: Some("[fe80::1%3]:9".parse().unwrap()),
                persistent_keepalive_s: 25,
                last_handshake: Some(Duration::new(1_700_000_000, 5)),
                rx_bytes: 10,
                tx_bytes: 20,
                allowed_ips: vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()],
            }],
            ..DeviceDescription::default()
        };
        let text = print(&device);
        let settable: String = text
            .lines()
            .filter(|line| !line.starts_with("last_") && !line.contains("_bytes="))
            .fold("set=1\n".to_owned(), |text, line| text + line + "\n");
        let Ok(Request::Set(read)) = parse(&settable, &|_| None) else { panic!("{settable}") };
        assert_eq!((read.private_key, read.listen_port, read.fwmark), (device.private_key, Some(51820), Some(7)));
        assert_eq!(read.peers[0].endpoint, device.peers[0].endpoint);
        assert_eq!(read.peers[0].allowed_ips, device.peers[0].allowed_ips);
        assert!(
            text.contains("last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=20\nrx_bytes=10\n")
        );
    }
}
