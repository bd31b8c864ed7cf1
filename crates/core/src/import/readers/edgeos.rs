//! EdgeOS and VyOS: `set interfaces wireguard ...` lines, or the configuration tree with braces.
//!
//! Both become the same list of words. EdgeOS names a peer by its key, VyOS by a name with the key inside. What is not
//! about WireGuard devices is passed over: it is the rest of a router's configuration.

use super::lines::{Line, Notes, items, unquoted};
use crate::check::{Imported, Span};
use crate::file::Spanned;
use crate::import::hosts::{Device, Effect, Format, Hook, Moment, Peer, Table};
use crate::keys::PublicKey;
use crate::limits::{IMPORT_DEVICES_MAX, IMPORT_ROUTER_PEERS_MAX, NESTING_DEPTH_MAX};
use crate::network::Platform;

/// A setting as words, each with its place.
type Path<'l> = Vec<Spanned<&'l str>>;

/// How a remark begins that says which peer is there for later.
const STANDBY: &str = "# standby ";

/// Whether lines are EdgeOS's or VyOS's.
pub(in crate::import) fn is_edgeos<'t>(lines: impl Iterator<Item = &'t str>) -> bool {
    let mut in_interfaces = false;
    // Taking a line apart is the costly part.
    let speaks_of_it = |line: &&str| line.contains("wireguard") || line.starts_with("interfaces");
    for line in lines.filter(speaks_of_it) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("set"), Some("interfaces"), Some("wireguard")) => return true,
            (Some("interfaces"), Some("{"), None) => in_interfaces = true,
            (Some("wireguard"), Some(_), Some("{")) if in_interfaces || line.starts_with("wireguard wg") => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Reads all WireGuard devices of a router.
pub(in crate::import) fn read<'t>(lines: impl Iterator<Item = Line<'t>>, notes: &mut Notes<'_>) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    // Words of the open braces. Their places are lost, which nothing needs.
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut standby: Vec<String> = Vec::new();
    for line in lines {
        let text = line.trimmed();
        standby.extend(text.strip_prefix(STANDBY).and_then(|rest| Some(rest.split_once(':')?.0.to_owned())));
        if text.starts_with("/*") || text.starts_with(['#', '!']) || text.is_empty() {
            continue;
        }
        // A prompt may stand before a pasted command: `user@router# set ...`.
        let text = text.split_once("# set ").map_or(text, |(_, rest)| rest);
        let is_set = line.trimmed().starts_with("set ") || line.text.contains("# set ");
        // Outside of all braces only commands say anything.
        if open.is_empty() && !is_set && !text.ends_with('{') {
            continue;
        }
        let words: Vec<Spanned<&str>> = words(text).into_iter().map(|word| line.part(word)).collect();
        let bare: Vec<&str> = words.iter().map(|word| word.value).collect();
        match bare.as_slice() {
            ["}"] => {
                open.pop();
            }
            [inner @ .., "{"] => {
                if open.len() >= NESTING_DEPTH_MAX {
                    let why = format!("braces are nested deeper than {NESTING_DEPTH_MAX}");
                    notes.push(Imported::UnknownLine { why }, line.span);
                    return devices;
                }
                let inner = inner.iter().map(|word| unquoted(word).to_owned()).collect();
                open.push(inner);
                let outer: Vec<String> = open.concat();
                let place = line.part(text).span;
                let path: Path<'_> = outer.iter().map(|word| Spanned { value: word.as_str(), span: place }).collect();
                setting(&path, &mut devices, notes);
            }
            _ => {
                let outer: Vec<String> = if is_set { Vec::new() } else { open.concat() };
                let mut path: Path<'_> =
                    outer.iter().map(|word| Spanned { value: word.as_str(), span: line.span }).collect();
                let skip = usize::from(bare.first() == Some(&"set"));
                path.extend(words[skip..].iter().map(|word| line.part(unquoted(word.value))));
                setting(&path, &mut devices, notes);
            }
        }
    }
    for peer in devices.iter_mut().flat_map(|device| &mut device.peers) {
        // What VyOS must be given stands for nothing.
        if peer.name.as_ref().is_some_and(|name| standby.contains(&name.value)) {
            peer.allowed.clear();
        }
    }
    devices
}

/// Words of a line; quotes hold one together.
fn words(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => rest[1..].find(quote).map_or(rest.len(), |at| at + 2),
            _ => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        found.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    found
}

fn setting(path: &Path<'_>, devices: &mut Vec<Device>, notes: &mut Notes<'_>) {
    // The tree may be pasted from `wireguard wg0 {` on.
    let path = match path.iter().map(|word| word.value).take(2).collect::<Vec<_>>().as_slice() {
        ["interfaces", "wireguard"] => &path[2..],
        ["wireguard", _] => &path[1..],
        ["protocols", "static"] => return static_route(&path[2..], devices),
        _ => return,
    };
    let Some((name, rest)) = path.split_first() else { return };
    let at = devices.iter().position(|device| device.name == name.value);
    if at.is_none() && devices.len() >= IMPORT_DEVICES_MAX {
        return;
    }
    let at = at.unwrap_or_else(|| {
        devices.push(Device::new(name.value, Format::Edgeos, name.span));
        devices.len() - 1
    });
    let Some((key, values)) = rest.split_first() else { return };
    if key.value == "peer" {
        if let Some((peer, rest)) = values.split_first() {
            peer_setting(&mut devices[at], peer, rest, notes);
        }
        return;
    }
    let Some(value) = values.first() else { return };
    device_setting(&mut devices[at], key, value, notes);
}

fn device_setting(device: &mut Device, key: &Spanned<&str>, value: &Spanned<&str>, notes: &mut Notes<'_>) {
    let text = || Spanned { value: value.value.to_owned(), span: value.span };
    match key.value {
        "address" => device.addresses.extend(notes.prefix("address", value)),
        "mtu" => device.mtu = notes.number("mtu", value),
        "listen-port" => device.port = notes.number("listen-port", value),
        "port" => {
            is_vyos(device);
            device.port = notes.number("port", value);
        }
        "fwmark" => device.fwmark = notes.number("fwmark", value).filter(|mark| mark.value > 0),
        "route-allowed-ips" if value.value == "false" => {
            device.table = Some(Spanned { value: Table::Off, span: value.span });
        }
        "private-key" if value.value.starts_with('/') => device.key_path = Some(text()),
        // The router's shell reads it.
        "private-key" if value.value.starts_with("$(cat ") => {
            let path = value.value.trim_start_matches("$(cat ").trim_end_matches(')').trim().to_owned();
            device.key_path = Some(Spanned { value: path, span: value.span });
        }
        "private-key" => {
            device.private_key = notes.private_key(value);
            let public = device.private_key.as_ref();
            device.public_key = public.map(|key| Spanned { value: key.value.public_key(), span: key.span });
        }
        "description" | "route-allowed-ips" | "firewall" | "vrf" | "ip" | "ipv6" | "policy" | "disable"
        | "redirect" | "per-client-thread" | "traffic-policy" | "mirror" | "max-dns-retry" => {}
        _ => notes.push(Imported::UnknownKey { section: "wireguard".into(), key: key.value.to_owned() }, key.span),
    }
}

/// VyOS names ports and peers otherwise than EdgeOS, and makes no routes of allowed prefixes.
fn is_vyos(device: &mut Device) {
    device.platform = Platform::Vyos;
    device.brings_routes = false;
}

fn peer_setting(device: &mut Device, id: &Spanned<&str>, rest: &[Spanned<&str>], notes: &mut Notes<'_>) {
    // Peers are few enough on a router to be searched.
    let known = device.peers.iter().position(|peer| {
        peer.key().is_some_and(|key| key.to_string() == id.value)
            || (peer.name_is_certain && peer.name.as_ref().is_some_and(|name| name.value == id.value))
    });
    let at = match known {
        Some(at) => at,
        None if device.peers.len() >= IMPORT_ROUTER_PEERS_MAX => return,
        None => {
            let mut peer = Peer::new(id.span);
            match PublicKey::parse(id.value) {
                Ok(key) => peer.public_key = Some(Spanned { value: key, span: id.span }),
                Err(_) => {
                    peer.name = Some(Spanned { value: id.value.to_owned(), span: id.span });
                    peer.name_is_certain = true;
                    is_vyos(device);
                }
            }
            device.peers.push(peer);
            device.peers.len() - 1
        }
    };
    let peer = &mut device.peers[at];
    let Some((key, values)) = rest.split_first() else { return };
    let Some(value) = values.first() else { return };
    match key.value {
        "allowed-ips" => {
            for item in items(value.value) {
                peer.allowed.extend(notes.allowed("allowed-ips", &Spanned { value: item, span: value.span }));
            }
        }
        "endpoint" => peer.endpoint = notes.endpoint("endpoint", value),
        // VyOS gives host and port apart, in either order.
        "address" | "host-name" => half(peer, Some(value.value), None, value.span, notes),
        "port" => half(peer, None, value.value.parse().ok(), value.span, notes),
        "persistent-keepalive" => peer.keepalive_s = notes.keepalive("persistent-keepalive", value),
        "preshared-key" if value.value.starts_with('/') => {}
        "preshared-key" => peer.preshared_key = notes.private_key(value),
        "pubkey" | "public-key" => peer.public_key = notes.public_key(key.value, value),
        "description" => {
            if !peer.name_is_certain {
                peer.name = Some(Spanned { value: value.value.to_owned(), span: value.span });
            }
        }
        "disable" => {}
        _ => notes.push(Imported::UnknownKey { section: "peer".into(), key: key.value.to_owned() }, key.span),
    }
}

/// Adds one half of an endpoint to the other. A port alone waits with an empty host, a host alone with port 51820.
fn half(peer: &mut Peer, host: Option<&str>, port: Option<u16>, span: Span, notes: &mut Notes<'_>) {
    let known = peer.endpoint.as_ref().map(|endpoint| &endpoint.value);
    let host = host.map(str::to_owned).or_else(|| known.map(|known| known.text.trim_matches(['[', ']']).to_owned()));
    let port = port.or_else(|| known.map(|known| known.port)).unwrap_or(crate::limits::PORT_DEFAULT);
    let host = host.unwrap_or_default();
    if host.is_empty() {
        let value = crate::import::hosts::Dial { host: None, text: String::new(), port };
        peer.endpoint = Some(Spanned { value, span });
        return;
    }
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    peer.endpoint = notes.endpoint("address", &Spanned { value: text.as_str(), span });
}

/// `interface-route PREFIX next-hop-interface DEVICE` and `route PREFIX interface DEVICE`.
fn static_route(path: &[Spanned<&str>], devices: &mut [Device]) {
    let words: Vec<&str> = path.iter().map(|word| word.value).collect();
    let [kind, prefix, "next-hop-interface" | "interface", name, ..] = words.as_slice() else { return };
    let Some(device) = devices.iter_mut().find(|device| device.name == *name) else { return };
    if !kind.contains("route") {
        return;
    }
    let rest = words.join(" ");
    let effects = vec![Effect::Route { prefix: prefix.parse().ok(), rest: rest.clone(), removed: false }];
    let span = path.first().map_or(device.place, |word| word.span);
    device.hooks.push(Hook { moment: Moment::PostUp, command: Spanned { value: rest, span }, effects });
}
