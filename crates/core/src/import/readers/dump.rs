//! `wg show all dump` and `wg show IFACE dump` (wg(8)): tab-separated, one line per device and peer.
//!
//! An endpoint there may have been learnt from a packet rather than configured, and addresses of the device are not in it.

use super::lines::{Line, Notes, items};
use crate::check::Imported;
use crate::file::Spanned;
use crate::import::hosts::{Device, Format, Peer};
use crate::keys::KEY_TEXT_BYTES;
use crate::limits::{IMPORT_DEVICES_MAX, IMPORT_PEERS_MAX};

fn is_key(field: &str) -> bool {
    field.len() == KEY_TEXT_BYTES && field.ends_with('=')
}

/// Whether a first line is that of a dump.
pub(in crate::import) fn is_dump(line: &str) -> bool {
    let fields: Vec<&str> = line.split('\t').collect();
    match fields.len() {
        4 => is_key(fields[1]),
        5 => is_key(fields[2]),
        _ => false,
    }
}

/// Reads all devices of a dump. One of a single interface is named after the file.
pub(in crate::import) fn read<'t>(
    name: &str,
    lines: impl Iterator<Item = Line<'t>>,
    notes: &mut Notes<'_>,
) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for line in lines.filter(|line| !line.trimmed().is_empty()) {
        if notes.is_hopeless() {
            break;
        }
        let fields: Vec<&str> = line.text.split('\t').map(str::trim).collect();
        let (owner, rest) = match fields.len() {
            4 | 8 => (name, fields.as_slice()),
            5 | 9 => (fields[0], &fields[1..]),
            _ => {
                let why = "a dump has 4, 5, 8 or 9 fields in a line".to_owned();
                notes.push(Imported::UnknownLine { why }, line.span);
                continue;
            }
        };
        let rest: Vec<Spanned<&str>> = rest.iter().map(|field| line.part(field)).collect();
        if rest.len() == 4 {
            if devices.len() >= IMPORT_DEVICES_MAX {
                let what = "devices in one file".to_owned();
                notes.push(Imported::TooMuch { what, max: IMPORT_DEVICES_MAX }, line.span);
                break;
            }
            devices.push(device(owner, &line, &rest, notes));
            continue;
        }
        let Some(device) = devices.iter_mut().rev().find(|device| device.name == owner) else {
            let why = format!("no device {owner} was named before");
            notes.push(Imported::UnknownLine { why }, line.span);
            continue;
        };
        if device.peers.len() >= IMPORT_PEERS_MAX {
            notes.push(Imported::TooMuch { what: "peers of one device".into(), max: IMPORT_PEERS_MAX }, line.span);
            break;
        }
        device.peers.push(peer(&line, &rest, notes));
    }
    devices
}

fn device(name: &str, line: &Line<'_>, fields: &[Spanned<&str>], notes: &mut Notes<'_>) -> Device {
    let mut device = Device::new(name, Format::Dump, line.span);
    if is_key(fields[0].value) {
        device.private_key = notes.private_key(&fields[0]);
    }
    device.public_key =
        Some(&fields[1]).filter(|key| is_key(key.value)).and_then(|key| notes.public_key("public key", key));
    device.port = notes.number("listening port", &fields[2]).filter(|port| port.value > 0);
    if fields[3].value != "off" {
        device.fwmark = notes.number("fwmark", &fields[3]).filter(|mark| mark.value > 0);
    }
    device
}

fn peer(line: &Line<'_>, fields: &[Spanned<&str>], notes: &mut Notes<'_>) -> Peer {
    let mut peer = Peer::new(line.span);
    peer.public_key = notes.public_key("public key", &fields[0]);
    if is_key(fields[1].value) {
        peer.preshared_key = notes.private_key(&fields[1]);
    }
    if fields[2].value != "(none)" {
        peer.endpoint = notes.endpoint("endpoint", &fields[2]);
        peer.endpoint_is_learnt = true;
    }
    if fields[3].value != "(none)" {
        let allowed = items(fields[3].value).filter_map(|item| {
            let at = Spanned { value: item, span: fields[3].span };
            notes.allowed("allowed ips", &at)
        });
        peer.allowed = allowed.collect();
    }
    peer.keepalive_s = notes.keepalive("persistent keepalive", &fields[7]);
    peer
}
