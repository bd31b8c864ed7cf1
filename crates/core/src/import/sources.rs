//! From files to hosts: which format a file has, and which files belong to one host.
//!
//! A folder is a host, unless the files in it talk to each other: then each file is one. Folders that only say where
//! programs keep their files (`etc`, `wireguard`) are not names. Key files are passed over without being kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts::Facts;
use super::hosts::{Device, Format, Host};
use super::readers::lines::{Line, Notes, bare_lines, lines};
use super::readers::{cloud_init, dump, edgeos, facts, networkd, routeros, shell, wg_quick};
use super::rules;
use crate::check::{Finding, Findings, Hazard, Imported, Source, SourceIx, Sources, Span};
use crate::file::Spanned;
use crate::keys::KEY_TEXT_BYTES;
use crate::limits::{IMPORT_BYTES_MAX, IMPORT_FILE_BYTES_MAX, IMPORT_FILES_MAX};
use crate::network::Platform;

/// A file to be read.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path, as people know it.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permissions, if they are known.
    pub mode: Option<u32>,
}

/// Everything that was read.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// Hosts, sorted by name.
    pub hosts: Vec<Host>,
    /// The files, private keys blotted out.
    pub sources: Sources,
    /// Files that hold a private key, and where they are among the sources.
    pub key_files: Vec<(String, Option<Span>)>,
    /// What is wrong or odd.
    pub findings: Findings,
}

/// What one file holds.
struct Part {
    folder: String,
    stem: String,
    /// Whether the file is where a program looks for it, so that its name is a device's.
    installed: bool,
    devices: Vec<Device>,
    /// `.network` files: about devices that another file makes.
    networks: Vec<networkd::Network>,
    /// What the file says of the host besides.
    facts: Facts,
    /// The file.
    path: String,
}

/// Folders that are not named after hosts.
const PLACES: &[&str] = &[
    "",
    ".",
    "..",
    "etc",
    "wireguard",
    "wg",
    "systemd",
    "network",
    "config",
    "configs",
    "conf",
    "amneziawg",
    "sysctl.d",
    "docker",
    "bird",
    "frr",
    "nftables.d",
    "iptables",
    "proc",
    "run",
];

/// Reads files in any order.
pub fn read(mut files: Vec<File>) -> Read {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut read = Read::default();
    if files.len() > IMPORT_FILES_MAX {
        let kind = Imported::TooMuch { what: "files".into(), max: IMPORT_FILES_MAX };
        read.findings.push(Finding::new(kind, None));
        files.truncate(IMPORT_FILES_MAX);
    }
    let (mut parts, mut bytes) = (Vec::new(), 0_usize);
    for file in files {
        bytes = bytes.saturating_add(file.bytes.len());
        let max = if file.bytes.len() > IMPORT_FILE_BYTES_MAX { IMPORT_FILE_BYTES_MAX } else { IMPORT_BYTES_MAX };
        if file.bytes.len() > IMPORT_FILE_BYTES_MAX || bytes > IMPORT_BYTES_MAX {
            let kind = Imported::TooMuch { what: format!("bytes in {}", file.path), max };
            read.findings.push(Finding::new(kind, None));
            continue;
        }
        parts.extend(part(file, &mut read));
    }
    read.hosts = hosts(parts, &mut read.findings);
    rules::check(&read.hosts, &mut read.findings);
    read
}

fn part(file: File, read: &mut Read) -> Option<Part> {
    let text = text(file.bytes);
    let format = format(&file.path, &text);
    let kind = if format.is_none() { facts::kind(&file.path, &text) } else { None };
    if format.is_none() && kind.is_none() {
        if is_key_file(&text) {
            key_file(&file.path, file.mode, read);
            return None;
        }
        if is_ours(&text) {
            return None;
        }
        let kind = Imported::UnknownFormat { file: file.path };
        read.findings.push(Finding::new(kind, None));
        return None;
    }
    // IMPORT_FILES_MAX fits.
    let source = SourceIx(read.sources.0.len() as u16);
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let stem = name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or(name);
    let place = Span { source, start: 0, end: 0 };
    let mut secrets = Vec::new();
    let mut notes = Notes { findings: &mut read.findings, secrets: &mut secrets, mistakes: 0 };
    let mut part = Part {
        folder: host_folder(folder),
        stem: stem.to_owned(),
        installed: host_folder(folder) != folder,
        devices: Vec::new(),
        networks: Vec::new(),
        facts: Facts::default(),
        path: file.path.clone(),
    };
    match (format, kind) {
        (Some(Format::CloudInit), _) => user_data(&text, source, &mut part, &mut notes),
        (format, kind) => part.content(stem, What { format, kind }, place, || lines(&text, source), &mut notes),
    }
    if part.devices.iter().any(|device| device.private_key.is_some()) {
        holds_key(&file.path, file.mode, Some(place), read);
    }
    read.sources.0.push(Source { name: file.path, text: Arc::from(blotted(text, secrets)) });
    Some(part)
}

/// What a text is, as far as it is known.
struct What {
    format: Option<Format>,
    kind: Option<facts::Kind>,
}

impl Part {
    /// Adds what a text says.
    fn content<'t, L: Iterator<Item = Line<'t>>>(
        &mut self,
        stem: &str,
        what: What,
        place: Span,
        all: impl Fn() -> L,
        notes: &mut Notes<'_>,
    ) {
        match what.format {
            Some(Format::WgQuick) => self.devices.push(wg_quick::read(stem, place, all(), notes)),
            Some(Format::Dump) => self.devices.extend(dump::read(stem, all(), notes)),
            Some(Format::Networkd) => networkd::read(all(), &mut self.devices, &mut self.networks, notes),
            Some(Format::Edgeos) => {
                self.devices.extend(edgeos::read(all(), notes));
                self.facts.extend(facts::router::read(all()));
            }
            Some(Format::Routeros) => {
                let (devices, facts) = routeros::read(all(), notes);
                self.devices.extend(devices);
                self.facts.extend(facts);
            }
            Some(Format::Shell) => self.devices.extend(shell::read(stem, all(), notes)),
            Some(Format::CloudInit) | None => {
                self.facts.extend(what.kind.map_or_else(Facts::default, |kind| facts::read(kind, all())));
            }
        }
    }
}

/// The files that user-data writes, and the keys among them.
fn user_data(text: &str, source: SourceIx, part: &mut Part, notes: &mut Notes<'_>) {
    let mut keys = Vec::new();
    for file in cloud_init::read(text, source, notes) {
        let format = format(&file.path, &file.content).filter(|format| *format != Format::CloudInit);
        let kind = if format.is_none() { facts::kind(&file.path, &file.content) } else { None };
        let place = file.lines.first().map_or(Span { source, start: 0, end: 0 }, |line| line.span);
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default();
        part.content(stem, What { format, kind }, place, || file.lines.iter().cloned(), notes);
        let key = file.lines.iter().find(|line| !line.trimmed().is_empty());
        if let Some(line) = key.filter(|_| format.is_none() && kind.is_none() && is_key_file(&file.content)) {
            keys.extend(notes.private_key(&line.part(line.trimmed())).map(|key| (file.path.clone(), key)));
        }
    }
    for device in &mut part.devices {
        device.format = Format::CloudInit;
        device.platform = Platform::CloudInit;
        let path = device.key_path.as_ref().map(|path| path.value.replace("%i", &device.name));
        let key = keys.iter().find(|(file, _)| Some(file) == path.as_ref());
        if let Some((_, key)) = key.filter(|_| device.private_key.is_none()) {
            device.public_key = Some(Spanned { value: key.value.public_key(), span: key.span });
            device.private_key = Some(key.clone());
        }
    }
}

/// Whether a file was rendered by this program. What is in no format of WireGuard among them is a firewall or a snippet.
fn is_ours(text: &str) -> bool {
    text.lines().take(2).any(|line| line.contains("Generated by Wayleave "))
}

/// A file with nothing but a key: a private one, if its name does not say otherwise.
fn key_file(path: &str, mode: Option<u32>, read: &mut Read) {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let is_private = name.contains("priv") || name.contains("psk") || name.contains("preshared");
    if is_private || (name.ends_with(".key") && !name.contains("pub")) {
        holds_key(path, mode, None, read);
    }
}

/// Notes a file with a private key, and whether others can read it.
fn holds_key(path: &str, mode: Option<u32>, place: Option<Span>, read: &mut Read) {
    if let Some(mode) = mode.filter(|mode| mode & 0o004 != 0) {
        let kind = Imported::KeyExposed { file: path.to_owned(), mode: mode & 0o7777 };
        read.findings.push(Finding::new(kind, place).with_fix(format!("chmod 600 {}", shell_word(path))));
    }
    read.key_files.push((path.to_owned(), place));
}

/// UTF-8 as far as it goes; Windows editors also write UTF-16.
fn text(bytes: Vec<u8>) -> String {
    let wide = |unit: fn([u8; 2]) -> u16| -> String {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes.get(..2) {
        Some([0xff, 0xfe]) => wide(u16::from_le_bytes),
        Some([0xfe, 0xff]) => wide(u16::from_be_bytes),
        _ => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        },
    }
}

/// A path as a shell takes it for one word.
fn shell_word(path: &str) -> String {
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || "/._+=@:,-".contains(c)) && !path.starts_with('-');
    if is_plain { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

fn is_key_file(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let is_key = |word: &str| word.len() == KEY_TEXT_BYTES && word.ends_with('=');
    words.next().is_none_or(is_key) && words.all(is_key)
}

/// What a file is, by its name and what it says.
fn format(path: &str, text: &str) -> Option<Format> {
    if path.ends_with(".netdev") || path.ends_with(".network") {
        return Some(Format::Networkd);
    }
    let text = text.trim_start_matches('\u{feff}');
    if cloud_init::is_user_data(text) {
        return Some(Format::CloudInit);
    }
    let all = || bare_lines(text).map(|(_, line)| line.trim());
    let mut content = all().filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let first = content.next().unwrap_or_default();
    let is_section = |line: &str, names: &[&str]| {
        let name =
            line.split('#').next().unwrap_or_default().trim().trim_start_matches('[').trim_end_matches(']').trim();
        line.starts_with('[') && names.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    if dump::is_dump(first) {
        return Some(Format::Dump);
    }
    if is_section(first, &["NetDev", "Match"]) {
        return Some(Format::Networkd);
    }
    if first.starts_with('[') && all().any(|line| is_section(line, &["Interface", "Peer"])) {
        return Some(Format::WgQuick);
    }
    if edgeos::is_edgeos(all()) {
        return Some(Format::Edgeos);
    }
    if routeros::is_routeros(all()) {
        return Some(Format::Routeros);
    }
    let speaks_of_wireguard = |line: &str| is_section(line, &["Interface", "Peer"]) || line.contains("wg set ");
    let is_script = text.starts_with("#!") || text.contains("<<") || all().any(|line| line.contains("wg set "));
    if is_script && all().any(speaks_of_wireguard) {
        return Some(Format::Shell);
    }
    all().any(|line| is_section(line, &["Interface"])).then_some(Format::WgQuick)
}

/// A folder without what only says where programs keep their files.
fn host_folder(folder: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    while parts.last().is_some_and(|last| PLACES.contains(&last.to_ascii_lowercase().as_str())) {
        parts.pop();
    }
    parts.join("/")
}

/// Whether a file's name names a device rather than a host.
fn names_device(stem: &str) -> bool {
    let letters = stem.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '_']);
    letters.is_empty()
        || ["wg", "wgs", "wgc", "utun", "tun", "vpn", "wireguard", "awg", "interface", "showconf", "dump"]
            .contains(&letters.to_ascii_lowercase().as_str())
}

fn hosts(parts: Vec<Part>, findings: &mut Findings) -> Vec<Host> {
    let mut by_folder: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for part in parts {
        by_folder.entry(part.folder.clone()).or_default().push(part);
    }
    let is_host = |parts: &Vec<Part>| parts.iter().any(|part| !part.devices.is_empty() || !part.networks.is_empty());
    let many = by_folder.values().filter(|parts| is_host(parts)).count() > 1;
    // A name that files of several folders have is a device's: `backbone` on every server.
    let mut stems: BTreeMap<String, usize> = BTreeMap::new();
    for parts in by_folder.values() {
        let own: std::collections::BTreeSet<&String> = parts.iter().map(|part| &part.stem).collect();
        own.into_iter().for_each(|stem| *stems.entry(stem.clone()).or_default() += 1);
    }
    let is_common = |part: &Part| stems.get(&part.stem).is_some_and(|folders| *folders > 1);
    let mut hosts: Vec<Host> = Vec::new();
    for (folder, mut parts) in by_folder {
        let mut known: Vec<(String, Facts)> = Vec::new();
        for part in parts.iter_mut().filter(|part| !part.facts.is_empty()) {
            known.push((part.path.clone(), std::mem::take(&mut part.facts)));
        }
        let before = hosts.len();
        let networks: Vec<networkd::Network> = parts.iter_mut().flat_map(|part| part.networks.drain(..)).collect();
        parts.retain(|part| !part.devices.is_empty());
        let mut devices: Vec<&mut Device> = parts.iter_mut().flat_map(|part| &mut part.devices).collect();
        networkd::join(networks, &mut devices, findings);
        let folder_name = folder.rsplit('/').next().unwrap_or_default().to_owned();
        if parts.len() > 1 && (are_hosts(&parts) || (are_named(&parts) && !parts.iter().any(is_common))) {
            hosts.extend(parts.into_iter().map(|part| host(&part.stem, !names_device(&part.stem), part.devices)));
        } else if let [part] = parts.as_mut_slice()
            && !names_device(&part.stem)
            && !many
        {
            hosts.push(host(&part.stem.clone(), true, std::mem::take(&mut part.devices)));
        } else if !parts.is_empty() {
            let (name, named) =
                if folder_name.is_empty() { (parts[0].stem.clone(), false) } else { (folder_name, true) };
            hosts.push(host(&name, named, parts.into_iter().flat_map(|part| part.devices).collect()));
        }
        give(known, &mut hosts[before..], findings);
    }
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts
}

/// Gives the one host of a folder what else is known of it. Of several hosts it can't be told which one it is about.
fn give(known: Vec<(String, Facts)>, hosts: &mut [Host], findings: &mut Findings) {
    let count = hosts.len();
    for (file, facts) in known {
        match hosts {
            [host] => host.facts.extend(facts),
            _ => findings.push(
                Finding::new(Hazard::FactsOfNobody { file, count }, None).with_fix("Make a folder for each host."),
            ),
        }
    }
}

fn host(name: &str, named: bool, devices: Vec<Device>) -> Host {
    let called = devices.iter().find_map(|device| device.called.as_ref()).map(|called| called.value.clone());
    let name = called.clone().unwrap_or_else(|| name.to_owned());
    Host { named: named || called.is_some(), name, devices, facts: Facts::default() }
}

/// Whether the files of one folder have the names of hosts.
fn are_named(parts: &[Part]) -> bool {
    parts.iter().all(|part| !part.installed && !names_device(&part.stem) && part.devices.len() == 1)
        && parts.iter().all(|part| part.devices.iter().all(|device| device.format == Format::WgQuick))
}

/// Whether the files of one folder are hosts: one is a peer of another, or two are alike in what a host has once.
fn are_hosts(parts: &[Part]) -> bool {
    let devices =
        || parts.iter().enumerate().flat_map(|(at, part)| part.devices.iter().map(move |device| (at, device)));
    let mut owners = BTreeMap::new();
    let mut ports = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    let mut called = BTreeMap::new();
    for (at, device) in devices() {
        if let Some(key) = device.key() {
            owners.insert(key, at);
        }
        // Where programs look for devices, two with one port are a mistake and not two hosts.
        let in_place = parts[at].installed && names_device(&parts[at].stem);
        let port = device.port.as_ref().filter(|_| !in_place);
        if port.is_some_and(|port| ports.insert(port.value, at).is_some_and(|other| other != at)) {
            return true;
        }
        for address in &device.addresses {
            addresses.insert(address.value.addr(), at);
        }
        if let Some(name) = &device.called {
            called.insert(&name.value, at);
        }
    }
    if called.len() > 1 {
        return true;
    }
    let speaks_to_other = |(at, device): (usize, &Device)| {
        device.peers.iter().any(|peer| {
            let by_key = peer.key().and_then(|key| owners.get(&key)).is_some_and(|other| *other != at);
            let mut singles = peer.allowed.iter().filter(|p| p.value.prefix_len() == p.value.max_prefix_len());
            by_key || singles.any(|prefix| addresses.get(&prefix.value.addr()).is_some_and(|other| *other != at))
        })
    };
    devices().any(speaks_to_other)
}

/// The text with secrets replaced by asterisks of the same length.
fn blotted(text: String, mut secrets: Vec<Span>) -> String {
    secrets.sort();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        let (start, end) = (secret.start as usize, secret.end as usize);
        let (Some(before), Some(_)) = (text.get(at..start.max(at)), text.get(start.max(at)..end.max(at))) else {
            continue;
        };
        out.push_str(before);
        out.extend(std::iter::repeat_n('*', end.saturating_sub(start.max(at))));
        at = end.max(at);
    }
    out.push_str(&text[at..]);
    out
}
