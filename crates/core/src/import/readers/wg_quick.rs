//! wg-quick files and `wg showconf`: every key of wg(8) and wg-quick(8), in any case and with any spacing.
//!
//! What follows `#` or `;` is a remark. Remarks right before or inside a `[Peer]` section may name the peer; those of other
//! programs (exporters, installers, web interfaces) are known. Keys of the telephone apps that say nothing about the
//! network are understood and left behind.

use std::collections::BTreeMap;

use super::hooks;
use super::lines::{Line, Notes, items, unquoted};
use crate::check::{Finding, Imported, Span};
use crate::file::Spanned;
use crate::import::hosts::{Device, Format, Hook, Moment, Peer, Table, table_number};
use crate::import::rules::peer_label;
use crate::keys::PublicKey;
use crate::limits::{IMPORT_PEERS_MAX, IMPORT_REMARK_WORDS_MAX};

/// Which section a line is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    None,
    Interface,
    Peer,
    Unknown,
}

/// A name that a remark gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Remark {
    pub name: Spanned<String>,
    pub is_certain: bool,
}

struct Reader<'n, 'f> {
    device: Device,
    section: Section,
    /// Remarks since the last key: they belong to the section that follows.
    pending: Option<Remark>,
    /// Whether the section has no key yet.
    is_fresh: bool,
    /// Whether there was an `[Interface]`.
    has_interface: bool,
    /// Which of [`ONCE`] the section has.
    given: u16,
    notes: &'n mut Notes<'f>,
}

/// Reads a file that is one device.
pub(in crate::import) fn read<'t>(
    name: &str,
    place: Span,
    lines: impl Iterator<Item = Line<'t>>,
    notes: &mut Notes<'_>,
) -> Device {
    let device = Device::new(name, Format::WgQuick, place);
    let mut reader =
        Reader { device, section: Section::None, pending: None, is_fresh: true, has_interface: false, given: 0, notes };
    for line in lines {
        reader.line(&line);
        if reader.notes.is_hopeless() {
            break;
        }
    }
    peers_twice(&mut reader.device, reader.notes);
    reader.device
}

/// Of two sections of one peer wg takes the allowed prefixes of the last.
fn peers_twice(device: &mut Device, notes: &mut Notes<'_>) {
    let mut sections: BTreeMap<PublicKey, usize> = BTreeMap::new();
    for at in 0..device.peers.len() {
        let Some(earlier) = device.peers[at].key().and_then(|key| sections.insert(key, at)) else { continue };
        let kind = Imported::PeerTwice { peer: peer_label(&device.peers[at]) };
        let finding = Finding::new(kind, device.peers[at].place)
            .with_related(device.peers[earlier].place, "the first one")
            .with_fix("Make one section of the two.");
        notes.findings.push(finding);
        device.peers[earlier].allowed.clear();
    }
}

/// Keys of which the last value counts; [`Reader::once`] notes the second.
const ONCE: &[&str] = &[
    "privatekey",
    "listenport",
    "mtu",
    "table",
    "fwmark",
    "publickey",
    "presharedkey",
    "endpoint",
    "persistentkeepalive",
];

impl Reader<'_, '_> {
    /// Notes a key that was given before in this section.
    fn once(&mut self, key: &Spanned<&str>) {
        let lower = key.value.to_ascii_lowercase();
        let Some(at) = ONCE.iter().position(|once| *once == lower) else { return };
        if self.given & 1 << at != 0 {
            self.notes.push(Imported::ValueTwice { key: key.value.to_owned() }, key.span);
        }
        self.given |= 1 << at;
    }

    fn line(&mut self, line: &Line<'_>) {
        let text: &str = &line.text;
        let text = text.trim_start_matches('\u{feff}');
        let (before, remark) = match text.find(['#', ';']) {
            // A hook is a shell's line: only wg-quick's own `#` ends it.
            Some(at) if text.as_bytes()[at] == b';' && is_hook(text) => match text.find('#') {
                Some(hash) => (&text[..hash], Some(&text[hash..])),
                None => (text, None),
            },
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        };
        let content = before.trim();
        if content.is_empty() {
            if let Some(found) = remark.and_then(|remark| named(line, remark)) {
                self.remark(found);
            }
            return;
        }
        if let Some(inner) = content.strip_prefix('[') {
            self.open(line, inner.trim_end_matches(']').trim(), content);
            if let Some(found) = remark.and_then(|remark| named(line, remark)) {
                self.remark(found);
            }
            return;
        }
        self.pending = None;
        self.is_fresh = false;
        let Some((key, value)) = content.split_once('=') else {
            let why = "a key and a value with = between them are expected".to_owned();
            return self.notes.push(Imported::UnknownLine { why }, line.part(content).span);
        };
        let (key, value) = (line.part(key.trim()), line.part(unquoted(value.trim())));
        self.once(&key);
        match self.section {
            Section::Interface => self.interface(&key, &value),
            Section::Peer => self.peer(&key, &value, remark.and_then(|remark| named(line, remark))),
            Section::None => {
                let why = "it stands before any section".to_owned();
                self.notes.push(Imported::UnknownLine { why }, key.span);
            }
            Section::Unknown => {}
        }
    }

    fn open(&mut self, line: &Line<'_>, name: &str, content: &str) {
        let place = line.part(content).span;
        self.is_fresh = true;
        self.given = 0;
        self.section = match name.to_ascii_lowercase().as_str() {
            "interface" => {
                if std::mem::replace(&mut self.has_interface, true) {
                    self.notes.push(Imported::InterfaceTwice, place);
                }
                Section::Interface
            }
            "peer" if self.device.peers.len() >= IMPORT_PEERS_MAX => {
                let kind = Imported::TooMuch { what: "peers of one device".into(), max: IMPORT_PEERS_MAX };
                if self.section != Section::Unknown {
                    self.notes.push(kind, place);
                }
                Section::Unknown
            }
            "peer" => {
                let mut peer = Peer::new(place);
                if let Some(remark) = self.pending.take() {
                    peer.name_is_certain = remark.is_certain;
                    peer.name = Some(remark.name);
                }
                self.device.peers.push(peer);
                Section::Peer
            }
            _ => {
                self.notes.push(Imported::UnknownSection { section: name.to_owned() }, place);
                Section::Unknown
            }
        };
        if self.section == Section::Interface {
            self.device.place = place;
            self.pending = None;
        }
    }

    /// A remark names the peer it is in until the peer has a key; after that, whatever follows.
    fn remark(&mut self, found: Remark) {
        match self.section {
            Section::Interface if found.is_certain && self.is_fresh => {
                self.device.called = Some(found.name);
            }
            Section::Peer => {
                let Some(peer) = self.device.peers.last_mut() else { return };
                let is_bare = peer.public_key.is_none() && peer.endpoint.is_none() && peer.allowed.is_empty();
                if is_bare && (peer.name.is_none() || (found.is_certain && !peer.name_is_certain)) {
                    peer.name_is_certain = found.is_certain;
                    peer.name = Some(found.name);
                } else if !is_bare {
                    self.keep(found);
                }
            }
            _ => self.keep(found),
        }
    }

    fn keep(&mut self, found: Remark) {
        if self.pending.as_ref().is_none_or(|earlier| found.is_certain || !earlier.is_certain) {
            self.pending = Some(found);
        }
    }

    fn interface(&mut self, key: &Spanned<&str>, value: &Spanned<&str>) {
        let (device, notes) = (&mut self.device, &mut *self.notes);
        match key.value.to_ascii_lowercase().as_str() {
            "privatekey" => {
                let bare = Spanned { value: compact(value.value), span: value.span };
                device.private_key = notes.private_key(&Spanned { value: bare.value.as_ref(), span: bare.span });
                device.public_key = device
                    .private_key
                    .as_ref()
                    .map(|key| Spanned { value: key.value.public_key(), span: key.span })
                    .or(device.public_key.take());
            }
            "publickey" => device.public_key = notes.public_key("PublicKey", value).or(device.public_key.take()),
            "address" => {
                let all = parts(value);
                device.addresses.extend(all.iter().filter_map(|item| notes.prefix("Address", item)));
            }
            "listenport" => device.port = notes.number("ListenPort", value),
            "mtu" => device.mtu = notes.number("MTU", value),
            "dns" => device.dns.extend(parts(value).iter().map(owned)),
            "table" => device.table = table(value, notes),
            "fwmark" if value.value.eq_ignore_ascii_case("off") => device.fwmark = None,
            "fwmark" => device.fwmark = notes.number("FwMark", value).filter(|mark| mark.value > 0),
            "preup" => device.hooks.push(hook(Moment::PreUp, value)),
            "postup" => {
                let hook = hook(Moment::PostUp, value);
                device.key_path = hooks::key_path(&hook).or(device.key_path.take());
                device.hooks.push(hook);
            }
            "predown" => device.hooks.push(hook(Moment::PreDown, value)),
            "postdown" => device.hooks.push(hook(Moment::PostDown, value)),
            "saveconfig" => {}
            "includedapplications" | "excludedapplications" => {
                let (what, whom) = (key.value.to_owned(), "the telephone app".to_owned());
                notes.push(Imported::StaysBehind { what, whom, why: "it is about programs, not networks" }, key.span);
            }
            _ => notes.push(Imported::UnknownKey { section: "Interface".into(), key: key.value.to_owned() }, key.span),
        }
    }

    fn peer(&mut self, key: &Spanned<&str>, value: &Spanned<&str>, remark: Option<Remark>) {
        let Some(peer) = self.device.peers.last_mut() else { return };
        let notes = &mut *self.notes;
        match key.value.to_ascii_lowercase().as_str() {
            "publickey" => {
                let bare = compact(value.value);
                peer.public_key = notes.public_key("PublicKey", &Spanned { value: bare.as_ref(), span: value.span });
                if let Some(remark) = remark.filter(|_| peer.name.is_none()) {
                    peer.name = Some(remark.name);
                    peer.name_is_certain = remark.is_certain;
                }
            }
            "presharedkey" if value.value.is_empty() => {}
            "presharedkey" => peer.preshared_key = notes.private_key(value),
            "endpoint" if value.value.is_empty() || value.value == "(none)" => {}
            "endpoint" => {
                let bare = compact(value.value);
                peer.endpoint = notes.endpoint("Endpoint", &Spanned { value: bare.as_ref(), span: value.span });
            }
            "allowedips" if value.value == "(none)" => {}
            "allowedips" => {
                // `+` and `-` change the list of a running device; in a file `+` says nothing new.
                let items = parts(value);
                let (gone, kept): (Vec<&Spanned<&str>>, Vec<&Spanned<&str>>) =
                    items.iter().partition(|item| item.value.starts_with('-'));
                let bare =
                    kept.iter().map(|item| Spanned { value: item.value.trim_start_matches('+'), span: item.span });
                peer.allowed.extend(notes.allowed_list("AllowedIPs", &bare.collect::<Vec<_>>()));
                peer.allowed.retain(|prefix| gone.iter().all(|gone| gone.value[1..].parse() != Ok(prefix.value)));
            }
            "persistentkeepalive" => peer.keepalive_s = notes.keepalive("PersistentKeepalive", value),
            _ => notes.push(Imported::UnknownKey { section: "Peer".into(), key: key.value.to_owned() }, key.span),
        }
    }
}

fn is_hook(text: &str) -> bool {
    let key = text.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(key.as_str(), "preup" | "postup" | "predown" | "postdown")
}

/// A value without the spaces inside, as wg(8) reads keys and endpoints.
fn compact(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(char::is_whitespace) { text.split_whitespace().collect::<String>().into() } else { text.into() }
}

fn owned(text: &Spanned<&str>) -> Spanned<String> {
    Spanned { value: text.value.to_owned(), span: text.span }
}

/// The items of a list, each with its place.
pub(in crate::import) fn parts<'v>(value: &Spanned<&'v str>) -> Vec<Spanned<&'v str>> {
    let verbatim = (value.span.end - value.span.start) as usize == value.value.len();
    let place = |item: &str| {
        if !verbatim {
            return value.span;
        }
        let start = value.span.start + (item.as_ptr() as usize - value.value.as_ptr() as usize) as u32;
        Span { source: value.span.source, start, end: start + item.len() as u32 }
    };
    items(value.value).map(|item| Spanned { value: item, span: place(item) }).collect()
}

pub(in crate::import) fn table(value: &Spanned<&str>, notes: &mut Notes<'_>) -> Option<Spanned<Table>> {
    let table = match value.value.to_ascii_lowercase().as_str() {
        "auto" => Table::Auto,
        "off" => Table::Off,
        name => match table_number(name) {
            Some(number) => Table::Number(number),
            None => return notes.bad("Table", value.span, "this is no number or name of a table"),
        },
    };
    Some(Spanned { value: table, span: value.span })
}

fn hook(moment: Moment, value: &Spanned<&str>) -> Hook {
    Hook { moment, command: owned(value), effects: hooks::effects(value.value) }
}

/// The name that a remark gives, if it is one: `friendly_name = x`, `Name: x`, what installers write, or a few words.
pub(in crate::import) fn named(line: &Line<'_>, remark: &str) -> Option<Remark> {
    let bare = remark.trim_matches(|c: char| c == '#' || c == ';' || c.is_whitespace());
    let certain = |text: &str| {
        let name = text.trim().trim_matches(['"', '\'']);
        (!name.is_empty()).then(|| Remark { name: owned(&line.part(name)), is_certain: true })
    };
    let lower = bare.to_ascii_lowercase();
    for key in ["friendly_name", "friendly-name", "friendlyname", "name", "client name", "peer name", "hostname"] {
        let rest = lower.strip_prefix(key).map(str::trim_start);
        if rest.is_some_and(|rest| rest.starts_with(['=', ':'])) {
            return certain(bare.split_once(['=', ':'])?.1);
        }
    }
    // nyr, angristan, pivpn, wg-easy.
    for key in ["begin_peer ", "begin ", "client: ", "client ", "peer: "] {
        if lower.starts_with(key) {
            let rest = bare[key.len()..].split(" (").next().unwrap_or_default();
            return certain(rest.trim_end_matches(['#', ' ']));
        }
    }
    let words = bare.split(" - ").next()?.split(" (").next()?.trim();
    let count = words.split_whitespace().count();
    let is_sentence =
        count > IMPORT_REMARK_WORDS_MAX || words.ends_with(['.', ':', '!', '?']) || lower.starts_with("end");
    let is_name = words.chars().all(|c| c.is_alphanumeric() || " -_.'@".contains(c));
    if count == 0 || is_sentence || !is_name || lower.starts_with("standby") {
        return None;
    }
    Some(Remark { name: owned(&line.part(words)), is_certain: false })
}
