//! MikroTik RouterOS 7: what `/export` prints, and scripts of commands such as those that are rendered for it.
//!
//! A command is a menu, a verb and properties. The menu stands before them, or on a line of its own for all that follow; a line
//! may go on behind a backslash. Commands are collected first and understood in the order of devices, peers, addresses and
//! routes, whatever theirs is. What is in other menus is passed over, and so is what is disabled.

use super::lines::{Line, Notes, items, unquoted};
use crate::check::{Imported, Span};
use crate::file::Spanned;
use crate::import::facts::Facts;
use crate::import::hosts::{Device, Effect, Format, Hook, Moment, Peer};
use crate::keys::PublicKey;
use crate::limits::{IMPORT_DEVICES_MAX, IMPORT_ROUTER_PEERS_MAX};
use crate::network::Platform;

/// Verbs after which properties come.
const VERBS: [&str; 5] = ["add", "set", "remove", "find", "print"];
const DEVICES: &str = "interface wireguard";
const PEERS: &str = "interface wireguard peers";

/// A command that adds or sets something.
struct Command {
    menu: String,
    /// What it is about, of `set [find ...]`; then its properties.
    properties: Vec<(String, Spanned<String>)>,
    place: Span,
}

/// Whether lines are RouterOS's.
pub(in crate::import) fn is_routeros<'t>(lines: impl Iterator<Item = &'t str>) -> bool {
    let speaks_of_it = |line: &&str| line.contains("/interface/wireguard") || line.contains("/interface wireguard");
    lines.filter(speaks_of_it).any(|line| line.starts_with(['/', ':']))
}

/// Reads all WireGuard devices of a router, and what it says besides.
pub(in crate::import) fn read<'t>(
    lines: impl Iterator<Item = Line<'t>>,
    notes: &mut Notes<'_>,
) -> (Vec<Device>, Facts) {
    let commands = commands(lines);
    let mut devices: Vec<Device> = Vec::new();
    let of = |menu: &'static str| commands.iter().filter(move |command| command.menu == menu);
    of(DEVICES).for_each(|command| device(command, &mut devices, notes));
    of(PEERS).for_each(|command| peer(command, &mut devices, notes));
    for command in of("ip address").chain(of("ipv6 address")) {
        let on = command.get("interface").and_then(|name| devices.iter_mut().find(|device| device.name == name.value));
        if let (Some(device), Some(address)) = (on, command.get("address")) {
            let address = notes.prefix("address", &address);
            device.addresses.extend(address.filter(|new| device.addresses.iter().all(|old| old.value != new.value)));
        }
    }
    of("ip route").chain(of("ipv6 route")).for_each(|command| route(command, &mut devices));
    let mangles = of("ip firewall mangle").chain(of("ipv6 firewall mangle"));
    let clamps_mss =
        mangles.into_iter().any(|command| command.get("action").is_some_and(|action| action.value == "change-mss"));
    (devices, Facts { clamps_mss, ..Facts::default() })
}

impl Command {
    /// The last value of a property, if there is any.
    fn get(&self, name: &str) -> Option<Spanned<&str>> {
        let found = self.properties.iter().rev().find(|(property, _)| property == name);
        found
            .map(|(_, value)| Spanned { value: value.value.as_str(), span: value.span })
            .filter(|value| !value.value.is_empty())
    }
}

/// All commands that add or set something which is not disabled.
fn commands<'t>(lines: impl Iterator<Item = Line<'t>>) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    let mut menu = String::new();
    let mut open: Option<(Vec<Spanned<String>>, Span)> = None;
    for line in lines {
        let text = line.trimmed();
        if open.is_none() && (text.is_empty() || text.starts_with('#')) {
            continue;
        }
        let (text, goes_on) = text.strip_suffix('\\').map_or((text, false), |text| (text.trim_end(), true));
        let text = inner(text);
        let words = words(text).into_iter().map(|word| {
            let word = line.part(word);
            Spanned { value: word.value.to_owned(), span: word.span }
        });
        let (mut all, place) = open.take().unwrap_or_else(|| (Vec::new(), line.part(text).span));
        for word in words {
            // A value may stand on the next line.
            match all.last_mut().filter(|last| last.value.ends_with('=') && !last.value.ends_with("==")) {
                Some(last) => *last = Spanned { value: format!("{}{}", last.value, word.value), span: word.span },
                None => all.push(word),
            }
        }
        if goes_on {
            open = Some((all, place));
        } else {
            found.extend(command(&all, place, &mut menu));
        }
    }
    found.extend(open.and_then(|(all, place)| command(&all, place, &mut menu)));
    found.retain(|command| command.get("disabled").is_none_or(|value| value.value != "yes"));
    found
}

/// The command inside `:if (...) do={ ... }`; anything else is itself.
fn inner(text: &str) -> &str {
    let body = text.strip_prefix(":if ").and_then(|rest| rest.split_once("do={"));
    body.map_or(text, |(_, body)| body.trim_end().trim_end_matches('}').trim())
}

/// Words of a line; quotes and brackets hold one together.
fn words(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut depth, mut is_quoted, mut is_escaped) = (Vec::new(), None, 0_usize, false, false);
    for (at, c) in text.char_indices() {
        if !is_quoted && depth == 0 && c.is_whitespace() {
            found.extend(start.take().map(|start: usize| &text[start..at]));
            continue;
        }
        start.get_or_insert(at);
        match c {
            '"' if !is_escaped => is_quoted = !is_quoted,
            '[' | '(' | '{' if !is_quoted => depth += 1,
            ']' | ')' | '}' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    found.extend(start.map(|start| &text[start..]));
    found
}

/// A command of its words. A line that is a menu alone is the menu of those behind it.
fn command(words: &[Spanned<String>], place: Span, current: &mut String) -> Option<Command> {
    let verb_in = |path: &str| path.rsplit_once('/').map(|(_, last)| VERBS.contains(&last)).unwrap_or_default();
    let verb = words.iter().position(|word| VERBS.contains(&word.value.as_str()) || verb_in(&word.value));
    let menu_of = |words: &[Spanned<String>]| {
        let all: Vec<&str> =
            words.iter().flat_map(|word| word.value.split('/')).filter(|part| !part.is_empty()).collect();
        all.into_iter().filter(|part| !VERBS.contains(part)).collect::<Vec<_>>().join(" ")
    };
    let is_path = words.first().is_some_and(|word| word.value.starts_with('/'));
    let Some(at) = verb else {
        if is_path {
            *current = menu_of(words);
        }
        return None;
    };
    let menu = if is_path { menu_of(&words[..=at]) } else { current.clone() };
    let is_verb = |verb: &str| words[at].value == verb || words[at].value.ends_with(&format!("/{verb}"));
    if !is_verb("add") && !is_verb("set") {
        return None;
    }
    let mut properties = Vec::new();
    for word in &words[at + 1..] {
        let found = word.value.strip_prefix('[').map(|found| found.trim_end_matches(']').trim());
        match found {
            Some(found) => {
                properties.extend(self::words(found).into_iter().filter_map(|part| property(part, word.span)))
            }
            None => properties.extend(property(&word.value, word.span)),
        }
    }
    Some(Command { menu, properties, place })
}

fn property(word: &str, span: Span) -> Option<(String, Spanned<String>)> {
    let (name, value) = word.split_once('=')?;
    // Of `name=value` only the value is the place; quotes are not part of it.
    let bare = unquoted(value);
    let is_whole = (span.end - span.start) as usize == word.len();
    let span = if is_whole { Span { start: span.start + (word.len() - value.len()) as u32, ..span } } else { span };
    Some((name.to_owned(), Spanned { value: bare.to_owned(), span }))
}

fn device(command: &Command, devices: &mut Vec<Device>, notes: &mut Notes<'_>) {
    let Some(name) = command.get("name") else { return };
    let at = devices.iter().position(|device| device.name == name.value);
    if at.is_none() && devices.len() >= IMPORT_DEVICES_MAX {
        return;
    }
    let at = at.unwrap_or_else(|| {
        let mut device = Device::new(name.value, Format::Routeros, command.place);
        device.platform = Platform::Routeros;
        device.brings_routes = false;
        devices.push(device);
        devices.len() - 1
    });
    let device = &mut devices[at];
    if let Some(value) = command.get("mtu") {
        device.mtu = notes.number("mtu", &value);
    }
    if let Some(value) = command.get("listen-port") {
        device.port = notes.number("listen-port", &value);
    }
    match command.get("private-key") {
        // An expression that reads a file.
        Some(value) if value.value.starts_with('[') => {
            let path = value.value.split('"').nth(1);
            device.key_path = path.map(|path| Spanned { value: path.to_owned(), span: value.span });
        }
        Some(value) => {
            device.private_key = notes.private_key(&value);
            let public = device.private_key.as_ref();
            device.public_key = public.map(|key| Spanned { value: key.value.public_key(), span: key.span });
        }
        None => {}
    }
}

fn peer(command: &Command, devices: &mut [Device], notes: &mut Notes<'_>) {
    let on = command.get("interface").and_then(|name| devices.iter_mut().find(|device| device.name == name.value));
    let (Some(device), Some(key)) = (on, command.get("public-key")) else { return };
    let Some(public) = notes.public_key("public-key", &key) else { return };
    let known = device.peers.iter().position(|peer: &Peer| peer.key() == Some(public.value));
    let at = match known {
        Some(at) => at,
        None if device.peers.len() >= IMPORT_ROUTER_PEERS_MAX => return,
        None => {
            let mut peer = Peer::new(command.place);
            peer.public_key = Some(Spanned::<PublicKey> { ..public });
            device.peers.push(peer);
            device.peers.len() - 1
        }
    };
    let peer = &mut device.peers[at];
    if let Some(prefixes) = command.get("allowed-address") {
        for item in items(prefixes.value) {
            peer.allowed.extend(notes.allowed("allowed-address", &Spanned { value: item, span: prefixes.span }));
        }
    }
    if let (Some(host), Some(port)) = (command.get("endpoint-address"), command.get("endpoint-port")) {
        let text = if host.value.contains(':') {
            format!("[{}]:{}", host.value, port.value)
        } else {
            format!("{}:{}", host.value, port.value)
        };
        peer.endpoint = notes.endpoint("endpoint-address", &Spanned { value: text.as_str(), span: host.span });
    }
    if let Some(time) = command.get("persistent-keepalive") {
        match seconds(time.value) {
            Some(value) => {
                peer.keepalive_s = Some(Spanned { value, span: time.span }).filter(|seconds| seconds.value > 0)
            }
            None => {
                let why = "a time such as 25s is expected".to_owned();
                notes.push(Imported::UnknownLine { why }, time.span);
            }
        }
    }
    if let Some(preshared) = command.get("preshared-key") {
        peer.preshared_key = notes.private_key(&preshared);
    }
    // Newer versions name peers, older ones have a comment at most.
    for (property, is_certain) in [("comment", true), ("name", false)] {
        if let Some(name) = command.get(property).filter(|_| peer.name.is_none() || is_certain) {
            peer.name = Some(Spanned { value: name.value.to_owned(), span: name.span });
            peer.name_is_certain = is_certain && !name.value.contains(' ');
        }
    }
}

/// `25s`, `1m40s`, `00:00:25` or bare seconds.
fn seconds(text: &str) -> Option<u16> {
    if let [hours, minutes, seconds] = text.split(':').collect::<Vec<_>>().as_slice() {
        let part = |text: &str| text.parse::<u32>().ok();
        return u16::try_from(
            part(hours)?
                .checked_mul(3_600)?
                .checked_add(part(minutes)?.checked_mul(60)?)?
                .checked_add(part(seconds)?)?,
        )
        .ok();
    }
    let (mut total, mut digits) = (0_u32, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            _ => return None,
        };
        total = total.checked_add(digits.parse::<u32>().ok()?.checked_mul(unit)?)?;
        digits.clear();
    }
    let rest = if digits.is_empty() { 0 } else { digits.parse::<u32>().ok()? };
    u16::try_from(total.checked_add(rest)?).ok()
}

fn route(command: &Command, devices: &mut [Device]) {
    let (Some(prefix), Some(gateway)) = (command.get("dst-address"), command.get("gateway")) else { return };
    let Some(device) = devices.iter_mut().find(|device| device.name == gateway.value) else { return };
    let rest = format!("{} dev {}", prefix.value, gateway.value);
    let effects = vec![Effect::Route { prefix: prefix.value.parse().ok(), rest: rest.clone(), removed: false }];
    let command = Spanned { value: rest, span: prefix.span };
    device.hooks.push(Hook { moment: Moment::PostUp, command, effects });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_however_they_are_written() {
        for (text, expected) in [
            ("25s", Some(25)),
            ("25", Some(25)),
            ("1m40s", Some(100)),
            ("00:00:25", Some(25)),
            ("1h", Some(3_600)),
            ("0s", Some(0)),
            ("", Some(0)),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for text in ["x", "25x", "99999h", "1:2", "-1s", "s"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn brackets_and_quotes_hold_words_together() {
        assert_eq!(
            words("set [find name=\"a b\"] x=[:pick [/file/get \"k\"] 0 44] y=1"),
            ["set", "[find name=\"a b\"]", "x=[:pick [/file/get \"k\"] 0 44]", "y=1"]
        );
        assert_eq!(words("  a=\"x \\\" y\"  b"), ["a=\"x \\\" y\"", "b"]);
    }
}
