//! Requests: `get=1`, or `set=1` with one `key=value` on each line.
//!
//! Keys before the first `public_key` concern the device, those after it the peer. Everything is checked here, to the last line;
//! what comes out can be applied as a whole. Interface names in link-local endpoints are resolved by a function that is handed in.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use ipnet::IpNet;

use crate::config::{ConfigureDevice, ConfigurePeer};
use crate::keys::{PresharedKey, PrivateKey, PublicKey};

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The device's description.
    Get,
    /// Changes to the device.
    Set(ConfigureDevice),
}

/// A line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the request is invalid")]
pub struct Invalid {
    /// The line, from 1. What it says is left out, as it may hold a key.
    pub line: usize,
}

/// Reads a request without its final empty line. `zone_index` gives the index of an interface name.
pub fn parse(text: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Result<Request, Invalid> {
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let operation = lines.next().map(|(_, line)| line);
    match operation {
        Some("get=1") => match lines.next() {
            None => Ok(Request::Get),
            Some((line, _)) => Err(Invalid { line }),
        },
        Some("set=1") => {
            let mut device = ConfigureDevice::default();
            for (line, text) in lines {
                parse_line(text, &mut device, zone_index).ok_or(Invalid { line })?;
            }
            Ok(Request::Set(device))
        }
        _ => Err(Invalid { line: 1 }),
    }
}

fn parse_line(line: &str, device: &mut ConfigureDevice, zone_index: &dyn Fn(&str) -> Option<u32>) -> Option<()> {
    let (key, value) = line.split_once('=')?;
    if key == "public_key" {
        device.peers.push(ConfigurePeer::new(PublicKey(parse_key(value)?)));
        return Some(());
    }
    match device.peers.last_mut() {
        None => parse_device_line(key, value, device),
        Some(peer) => parse_peer_line(key, value, peer, zone_index),
    }
}

fn parse_device_line(key: &str, value: &str, device: &mut ConfigureDevice) -> Option<()> {
    match key {
        "private_key" => device.private_key = Some(PrivateKey::new(parse_key(value)?)),
        "listen_port" => device.listen_port = Some(parse_number(value)?),
        "fwmark" => device.fwmark = Some(parse_number(value)?),
        "replace_peers" => device.replace_peers = parse_true(value)?,
        _ => return None,
    }
    Some(())
}

fn parse_peer_line(
    key: &str,
    value: &str,
    peer: &mut ConfigurePeer,
    zone_index: &dyn Fn(&str) -> Option<u32>,
) -> Option<()> {
    match key {
        "remove" => peer.remove = parse_true(value)?,
        "update_only" => peer.update_only = parse_true(value)?,
        "preshared_key" => peer.preshared_key = Some(PresharedKey::new(parse_key(value)?)),
        "endpoint" => peer.endpoint = Some(parse_endpoint(value, zone_index)?),
        "persistent_keepalive_interval" => peer.persistent_keepalive_s = Some(parse_number(value)?),
        "replace_allowed_ips" => {
            peer.replace_allowed_ips = parse_true(value)?;
            peer.allowed_ips.clear();
            peer.remove_allowed_ips.clear();
        }
        "allowed_ip" => parse_allowed_ip(value, peer)?,
        "protocol_version" if value == "1" => {}
        _ => return None,
    }
    Some(())
}

/// A prefix to add, or with a minus to remove. Of two lines about one prefix the later one counts.
fn parse_allowed_ip(value: &str, peer: &mut ConfigurePeer) -> Option<()> {
    if let Some(removed) = value.strip_prefix('-') {
        let prefix = parse_prefix(removed)?;
        peer.allowed_ips.retain(|added| *added != prefix);
        peer.remove_allowed_ips.push(prefix);
    } else {
        let prefix = parse_prefix(value)?;
        peer.allowed_ips.push(prefix);
    }
    Some(())
}

fn parse_prefix(value: &str) -> Option<IpNet> {
    let (address, length) = value.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    IpNet::new(address, parse_number(length)?).ok().map(|net| net.trunc())
}

fn parse_endpoint(value: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Some((address, rest)) = value.strip_prefix('[').and_then(|inside| inside.split_once('%')) {
        let (zone, port) = rest.split_once("]:")?;
        let zone = parse_number(zone).or_else(|| zone_index(zone))?;
        return Some(SocketAddrV6::new(address.parse().ok()?, parse_number(port)?, 0, zone).into());
    }
    let endpoint: SocketAddr = value.parse().ok()?;
    Some(match endpoint {
        // The sockets speak their own protocol only, so a v4 address in v6 clothes is taken for what it is.
        SocketAddr::V6(v6) => v6.ip().to_ipv4_mapped().map_or(endpoint, |v4| SocketAddr::from((v4, v6.port()))),
        SocketAddr::V4(_) => endpoint,
    })
}

/// Decimal digits only: no sign, no spaces.
fn parse_number<T: std::str::FromStr>(value: &str) -> Option<T> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

fn parse_true(value: &str) -> Option<bool> {
    (value == "true").then_some(true)
}

fn parse_key(value: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = value.as_bytes().try_into().ok()?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) -> Result<Request, Invalid> {
        parse(text, &|name| (name == "eth0").then_some(7))
    }

    fn set(text: &str) -> ConfigureDevice {
        match check(&format!("set=1\n{text}")) {
            Ok(Request::Set(device)) => device,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The example of the protocol's web page.
    const EXAMPLE: &str = "\
private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
fwmark=0
listen_port=12912
replace_peers=true
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
replace_allowed_ips=true
allowed_ip=192.168.4.4/32
endpoint=[abcd:23::33%2]:51820
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
replace_allowed_ips=true
allowed_ip=192.168.4.6/32
persistent_keepalive_interval=111
endpoint=182.122.22.19:3233
public_key=662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58
endpoint=5.152.198.39:51820
replace_allowed_ips=true
allowed_ip=192.168.4.10/32
allowed_ip=192.168.4.11/32
public_key=e818b58db5274087fcc1be5dc728cf53d3b5726b4cef6b9bab8f8f8c2452c25c
remove=true";

    #[test]
    fn the_example_of_the_specification() {
        let device = set(EXAMPLE);
        assert_eq!((device.listen_port, device.fwmark, device.replace_peers), (Some(12912), Some(0), true));
        assert_eq!(device.peers.len(), 4);
        assert_eq!(device.peers[0].endpoint.unwrap().to_string(), "[abcd:23::33%2]:51820");
        assert_eq!(device.peers[1].persistent_keepalive_s, Some(111));
        assert_eq!(device.peers[2].allowed_ips.len(), 2);
        assert!(device.peers[3].remove);
    }

    #[test]
    fn bad_lines_are_refused_with_their_number() {
        let peer = format!("public_key={}", "0a".repeat(32));
        for (bad, line) in [
            ("listen_port=65536", 2),
            ("listen_port=+1", 2),
            ("listen_port=", 2),
            ("fwmark=-1", 2),
            ("replace_peers=false", 2),
            ("private_key=00", 2),
            ("nonsense=1", 2),
            ("noise", 2),
            ("", 2),
            (&format!("public_key={}", "0g".repeat(32)), 2),
            (&format!("{peer}\nallowed_ip=10.0.0.0"), 3),
            (&format!("{peer}\nallowed_ip=10.0.0.0/33"), 3),
            (&format!("{peer}\nallowed_ip=--10.0.0.0/8"), 3),
            (&format!("{peer}\nendpoint=example.org:1"), 3),
            (&format!("{peer}\nendpoint=[fe80::1%nosuch]:1"), 3),
            (&format!("{peer}\nprotocol_version=2"), 3),
            (&format!("{peer}\nlisten_port=1"), 3),
        ] {
            assert_eq!(check(&format!("set=1\n{bad}\n")), Err(Invalid { line }), "{bad}");
        }
        for bad in ["", "get=2", "set=0", "get=1\nlisten_port=1"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_two_lines_about_one_prefix_the_later_counts() {
        let peer = format!("public_key={}\n", "0a".repeat(32));
        let change = set(&format!("{peer}allowed_ip=10.1.2.3/8\nallowed_ip=-10.0.0.0/8"));
        assert_eq!((change.peers[0].allowed_ips.len(), change.peers[0].remove_allowed_ips.len()), (0, 1));
        let change = set(&format!("{peer}allowed_ip=-10.0.0.0/8\nallowed_ip=10.0.0.0/8"));
        assert_eq!(change.peers[0].allowed_ips.len(), 1);
    }

    #[test]
    fn zones_are_numbers_or_names_and_mapped_addresses_are_v4() {
        let peer = format!("public_key={}\n", "0a".repeat(32));
        let endpoint = |text: &str| set(&format!("{peer}endpoint={text}")).peers[0].endpoint.unwrap().to_string();
        assert_eq!(endpoint("[fe80::1%eth0]:9"), "[fe80::1%7]:9");
        assert_eq!(endpoint("[fe80::1%3]:9"), "[fe80::1%3]:9");
        assert_eq!(endpoint("[::ffff:192.0.2.1]:9"), "192.0.2.1:9");
    }

    /// Whatever a client writes into the UAPI socket is a request or an error, and a request that is understood is bounded by its text.
    #[test]
    fn uapi_text_is_understood_or_refused() {
        let cases: Vec<Vec<u8>> = include_str!("../../tests/corpus/uapi.txt")
            .split("\n\n")
            .map(|request| request.as_bytes().to_vec())
            .collect();
        crate::rng::fuzz::fuzz("uapi", &cases, 20_000, |_, case| {
            let text = String::from_utf8_lossy(case);
            let Ok(Request::Set(change)) = parse(&text, &|name| (name == "eth0").then_some(2)) else { return };
            let parts: usize =
                change.peers.iter().map(|peer| 1 + peer.allowed_ips.len() + peer.remove_allowed_ips.len()).sum();
            assert!(parts <= text.lines().count());
        });
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC*") {
            let _ = check(&text);
        }

        #[test]
        fn any_change_to_a_good_request_is_parsed_or_refused(at in 0usize..1200, byte in 0u8..128, cut in 0usize..1200) {
            let mut bytes = format!("set=1\n{EXAMPLE}").into_bytes();
            let (at, cut) = (at % bytes.len(), cut % bytes.len());
            bytes[at] = byte;
            let _ = check(std::str::from_utf8(&bytes).unwrap());
            let _ = check(std::str::from_utf8(&bytes[..cut]).unwrap());
        }
    }
}
