//! Shell scripts that write a wg-quick file or run `wg set`: user-data and entrypoints.
//!
//! No shell is run or imitated. Known are assignments, arrays, here-documents, loops over an array with `read` of fields,
//! `sed` that appends a line after a peer's key, and `wg set`, `ip address`, `ip route`. All branches are taken. What only
//! the running script knows is a finding, and so is a `sed` pattern that a key breaks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::lines::{Line, Notes, items, unquoted};
use super::{hooks, wg_quick};
use crate::check::{Finding, Imported, SourceIx, Span};
use crate::file::Spanned;
use crate::import::hosts::{Device, Effect, Format, Hook, Moment, Peer};
use crate::limits::{IMPORT_SCRIPT_CASES_MAX, IMPORT_SCRIPT_LINES_MAX, IMPORT_SCRIPT_VALUE_BYTES_MAX};
use crate::network::Platform;

#[derive(Default)]
struct Script<'t> {
    values: BTreeMap<String, Spanned<String>>,
    arrays: BTreeMap<String, Vec<Spanned<String>>>,
    /// Files that are written, by path, line by line.
    files: BTreeMap<String, Vec<Line<'t>>>,
    devices: Vec<Device>,
    /// A name in a remark, for the peer that comes next.
    remark: Option<Spanned<String>>,
    /// Lines run and written so far, those of loops each time.
    run: usize,
    /// Whether that was too many.
    is_full: bool,
    /// Where the branch of a `case` began that is being read, and the words it is for.
    case: Option<(u32, Vec<String>)>,
    /// All such branches: from, to, and the words.
    cases: Vec<(u32, u32, Vec<String>)>,
}

/// Reads the devices that a script makes.
pub(in crate::import) fn read<'t>(
    name: &str,
    lines: impl Iterator<Item = Line<'t>>,
    notes: &mut Notes<'_>,
) -> Vec<Device> {
    let lines: Vec<Line<'t>> = lines.collect();
    let mut script = Script::default();
    script.block(&lines, notes);
    let mut devices = std::mem::take(&mut script.devices);
    devices.iter().filter(|device| !device.brings_routes).for_each(|device| without_route(device, notes));
    for (path, lines) in std::mem::take(&mut script.files) {
        let is_config = lines.iter().any(|line| line.trimmed().eq_ignore_ascii_case("[interface]"));
        if !is_config {
            continue;
        }
        let stem = path.rsplit('/').next().unwrap_or(name).split('.').next().unwrap_or(name);
        let place = lines.first().map_or(Span { source: SourceIx(0), start: 0, end: 0 }, |line| line.span);
        let known = lines.into_iter().filter(|line| is_known(line, notes)).collect::<Vec<_>>();
        let mut device = wg_quick::read(stem, place, known.into_iter(), notes);
        device.format = Format::Shell;
        for peer in &mut device.peers {
            let case = script.cases.iter().find(|(from, to, _)| (*from..*to).contains(&peer.place.start));
            peer.cases = case.map_or_else(Vec::new, |(.., words)| words.clone());
        }
        devices.push(device);
    }
    let becomes_its_command = lines.iter().any(|line| line.text.contains("exec \"$@\""));
    for device in &mut devices {
        device.platform = match (becomes_its_command, device.brings_routes) {
            (true, _) => Platform::Container,
            (false, false) => Platform::Commands,
            (false, true) => Platform::WgQuick,
        };
    }
    devices
}

/// Whether a line of a file holds nothing that only the running script knows.
fn is_known(line: &Line<'_>, notes: &mut Notes<'_>) -> bool {
    let Some((_, variable)) = line.text.split_once('$').filter(|_| !line.trimmed().starts_with('#')) else {
        return true;
    };
    let what = line.text.split('=').next().unwrap_or_default().trim().to_owned();
    let end = variable.find(['}', ')', ' ', ',']).unwrap_or(variable.len());
    let variable = variable[..end].trim_start_matches(['{', '(']).to_owned();
    // A hook's `$` is for the shell that runs it.
    let is_hook = ["PostUp", "PostDown", "PreUp", "PreDown"].iter().any(|key| key.eq_ignore_ascii_case(&what));
    if !is_hook {
        notes.push(Imported::NotKnownYet { what, variable }, line.span);
    }
    is_hook
}

impl<'t> Script<'t> {
    fn block(&mut self, lines: &[Line<'t>], notes: &mut Notes<'_>) {
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            self.run += 1;
            if self.run > IMPORT_SCRIPT_LINES_MAX {
                return self.too_long(line, notes);
            }
            let text = line.trimmed();
            at += 1;
            if text.is_empty() || text.starts_with('#') {
                let found = wg_quick::named(line, text).filter(|found| found.is_certain);
                self.remark = found.map(|found| found.name).or(self.remark.take());
                continue;
            }
            if let Some((file, delimiter, expands)) = here_document(text) {
                let length =
                    lines[at..].iter().position(|line| line.trimmed() == delimiter).unwrap_or(lines.len() - at);
                self.write(&self.expand(&file), text, &lines[at..at + length], expands, notes);
                at = (at + length + 1).min(lines.len());
            } else if let Some(name) = array(text) {
                let length =
                    lines[at..].iter().position(|line| line.trimmed().starts_with(')')).unwrap_or(lines.len() - at);
                self.arrays.insert(name.to_owned(), entries(&lines[at..at + length]));
                at = (at + length + 1).min(lines.len());
            } else if text.starts_with("for ") {
                let length = body(&lines[at..]);
                self.each(text, &lines[at..at + length], notes);
                at = (at + length + 1).min(lines.len());
            } else {
                self.command(line, text, notes);
            }
        }
    }

    fn too_long(&mut self, line: &Line<'t>, notes: &mut Notes<'_>) {
        if !self.is_full {
            self.is_full = true;
            let what = "lines that the script runs".to_owned();
            notes.push(Imported::TooMuch { what, max: IMPORT_SCRIPT_LINES_MAX }, line.span);
        }
    }

    fn each(&mut self, header: &str, body: &[Line<'t>], notes: &mut Notes<'_>) {
        let mut words = header.split_whitespace().skip(1);
        let (variable, list) = (words.next().unwrap_or_default().to_owned(), words.nth(1).unwrap_or_default());
        let name: String = list.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(entries) = self.arrays.get(&name).cloned() else {
            // Words, or what only the shell knows: run once.
            return self.block(body, notes);
        };
        for entry in entries {
            self.values.insert(variable.clone(), entry);
            self.block(body, notes);
        }
    }

    fn write(&mut self, file: &str, command: &str, body: &[Line<'t>], expands: bool, notes: &mut Notes<'_>) {
        // What a script writes counts like what it runs.
        let room = IMPORT_SCRIPT_LINES_MAX.saturating_sub(self.run);
        self.run += body.len();
        if let Some(line) = body.get(room) {
            self.too_long(line, notes);
        }
        let expanded = body[..body.len().min(room)].iter().map(|line| {
            let text = if expands { Cow::Owned(self.expand(&line.text)) } else { line.text.clone() };
            let verbatim = line.verbatim && text == line.text;
            Line { text: if verbatim { line.text.clone() } else { text }, span: line.span, verbatim }
        });
        let expanded: Vec<Line<'t>> = expanded.collect();
        let lines = self.files.entry(file.to_owned()).or_default();
        if !command.contains(">>") && !command.contains("tee -a") {
            lines.clear();
        }
        lines.extend(expanded);
    }

    fn command(&mut self, line: &Line<'t>, text: &str, notes: &mut Notes<'_>) {
        if text.contains("<<<") && text.contains("read ") {
            return self.fields(text);
        }
        self.branch(line, text);
        let bare = text.trim_start_matches("sudo ").trim_start_matches("export ").trim_start_matches("readonly ");
        let bare = bare.trim_start_matches("local ").trim_start_matches("declare ");
        let words: Vec<&str> = bare.split_whitespace().collect();
        match words.as_slice() {
            ["sed", ..] => self.sed(line, bare, notes),
            ["wg", "set", name, rest @ ..] => self.wg_set(line, name, rest, notes),
            ["wg-quick", "up", name] => {
                self.devices
                    .iter_mut()
                    .filter(|device| device.name == *name)
                    .for_each(|device| device.brings_routes = true);
            }
            ["ip", ..] => self.ip(line, &words, notes),
            _ if words.contains(&"sysctl") => self.sysctl(line, bare),
            _ => {
                if let Some((name, value)) = bare.split_once('=').filter(|(name, _)| is_variable(name)) {
                    let value = self.expand(unquoted(value.split(" #").next().unwrap_or_default().trim()));
                    self.values.insert(name.to_owned(), Spanned { value, span: line.span });
                }
            }
        }
    }

    /// `a|b)` begins a branch of a `case`, `;;` and `esac` end it.
    fn branch(&mut self, line: &Line<'t>, text: &str) {
        if text.ends_with(";;") || text == "esac" {
            let ended = self.case.take().map(|(from, words)| (from, line.span.start, words));
            self.cases.extend(ended.filter(|_| self.cases.len() < IMPORT_SCRIPT_CASES_MAX));
        } else if let Some(words) = text.strip_suffix(')').filter(|words| !words.contains(['(', '$', '='])) {
            let words = words.split('|').map(|word| unquoted(word.trim()).to_owned()).collect();
            self.case = Some((line.span.start, words));
        }
    }

    /// `IFS='|' read -r a b c <<< "$entry"`
    fn fields(&mut self, text: &str) {
        let separator =
            text.split("IFS=").nth(1).and_then(|rest| rest.trim_start_matches(['$', '\'', '"']).chars().next());
        let separator = separator.filter(|c| !c.is_whitespace()).unwrap_or(' ');
        let (Some(before), Some(after)) = (text.split("<<<").next(), text.split("<<<").nth(1)) else { return };
        let Some(names) = before.split("read ").nth(1) else { return };
        let source = after.split(';').next().unwrap_or_default().trim();
        let variable: String = source.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(entry) = self.values.get(&variable).cloned() else { return };
        let mut fields = entry.value.split(separator);
        for name in names.split_whitespace().filter(|name| !name.starts_with('-')) {
            let value = fields.next().unwrap_or_default().to_owned();
            self.values.insert(name.to_owned(), Spanned { value, span: entry.span });
        }
    }

    /// `sed -i "/PublicKey = ${key}/a Endpoint = ${endpoint}" FILE`
    fn sed(&mut self, line: &Line<'t>, text: &str, notes: &mut Notes<'_>) {
        let Some(raw) = text.find(['"', '\'']).map(|at| &text[at + 1..]) else { return };
        let raw = raw.rsplit_once(['"', '\'']).map_or(raw, |(inner, _)| inner);
        let (expanded, written) = (self.expand(raw), raw);
        // All branches are taken, also that for a value which is not there.
        if expanded.trim_end().ends_with('=') && !raw.trim_end().ends_with('=') {
            return;
        }
        let Some(rest) = expanded.strip_prefix('/') else { return };
        let Some((pattern, action)) = rest.split_once('/') else { return };
        let is_append = |action: &str| action.starts_with(['a', 'i', 'c']);
        if !written.to_ascii_lowercase().contains("publickey") || !is_append(action.trim_start()) {
            // Only a pattern that ends too early is news.
            let Some((whole, wanted)) = rest.rsplit_once("/a") else { return };
            if written.contains('$') && written.to_ascii_lowercase().contains("publickey") {
                self.lost(line, whole, wanted, action, notes);
            }
            return;
        }
        // `.../a` may come after a slash of the key all the same: `/PublicKey = abc/aXYZ.../a Endpoint`.
        if let Some((whole, wanted)) = rest.rsplit_once("/a").filter(|(whole, _)| *whole != pattern) {
            return self.lost(line, whole, wanted, action, notes);
        }
        let added = action.trim_start()[1..].trim_start_matches('\\').trim().to_owned();
        let pattern = pattern.to_owned();
        for lines in self.files.values_mut() {
            let mut at = 0;
            while at < lines.len() {
                if lines[at].text.contains(&pattern) {
                    let made = Line { text: Cow::Owned(added.clone()), span: line.span, verbatim: false };
                    lines.insert(at + 1, made);
                    at += 1;
                }
                at += 1;
            }
        }
    }

    fn lost(&self, line: &Line<'t>, pattern: &str, wanted: &str, action: &str, notes: &mut Notes<'_>) {
        let key = pattern.rsplit('=').find(|part| !part.is_empty()).unwrap_or(pattern).trim();
        let key = format!("{}=", key.trim_end_matches('='));
        let entry = self.values.values().find(|value| value.value.trim_end_matches('=') == key.trim_end_matches('='));
        let name = self.values.get("name").map(|name| name.value.clone()).filter(|name| !name.is_empty());
        let endpoint = wanted.split('=').nth(1).unwrap_or(wanted).trim().to_owned();
        let ran = action.starts_with('e');
        let kind = Imported::EndpointLost { peer: name.unwrap_or(key), endpoint, ran };
        let mut finding = Finding::new(kind, line.span)
            .with_fix("Write the Endpoint line where the peer is written; never edit configurations with patterns.");
        if let Some(entry) = entry {
            finding = finding.with_related(entry.span, "the key and endpoint");
        }
        notes.findings.push(finding);
    }

    fn device(&mut self, name: &str, span: Span) -> &mut Device {
        let at = self.devices.iter().position(|device| device.name == name);
        let at = at.unwrap_or_else(|| {
            self.devices.push(Device { brings_routes: false, ..Device::new(name, Format::Shell, span) });
            self.devices.len() - 1
        });
        &mut self.devices[at]
    }

    fn wg_set(&mut self, line: &Line<'t>, name: &str, words: &[&str], notes: &mut Notes<'_>) {
        let words: Vec<String> = merged(words).iter().map(|word| unquoted(&self.expand(word)).to_owned()).collect();
        let remark = self.remark.take();
        let device = self.device(name, line.span);
        let mut words = words.iter().map(String::as_str).peekable();
        let at = |value| Spanned { value, span: line.span };
        let mut has_peer = false;
        while let Some(word) = words.next() {
            if word == "peer" {
                let mut peer = Peer::new(line.span);
                peer.name_is_certain = remark.is_some();
                peer.name.clone_from(&remark);
                let key = words.next().unwrap_or_default();
                if key.starts_with(['$', '<', '`']) {
                    let kind = Imported::NotKnownYet { what: "the key of a peer".into(), variable: key.to_owned() };
                    notes.push(kind, line.span);
                    peer.name = None;
                } else {
                    peer.public_key = notes.public_key("peer", &at(key));
                }
                device.peers.push(peer);
                has_peer = true;
                continue;
            }
            let value = match word {
                "remove" => {
                    device.peers.pop();
                    continue;
                }
                _ => words.next().unwrap_or_default(),
            };
            match (word, device.peers.last_mut().filter(|_| has_peer)) {
                ("listen-port", _) => device.port = notes.number("listen-port", &at(value)),
                ("fwmark", _) => device.fwmark = notes.number("fwmark", &at(value)),
                ("private-key", _) => device.key_path = Some(Spanned { value: value.to_owned(), span: line.span }),
                ("endpoint", _) if value.starts_with('<') || value.contains('$') => {
                    let kind = Imported::NotKnownYet { what: "an endpoint".into(), variable: value.to_owned() };
                    notes.push(kind, line.span);
                }
                ("endpoint", Some(peer)) => peer.endpoint = notes.endpoint("endpoint", &at(value)),
                ("allowed-ips", Some(peer)) => {
                    for item in items(value) {
                        peer.allowed.extend(notes.allowed("allowed-ips", &at(item)));
                    }
                }
                ("persistent-keepalive", Some(peer)) => {
                    peer.keepalive_s = notes.keepalive("persistent-keepalive", &at(value))
                }
                ("preshared-key", _) => {}
                _ => {
                    let why = format!("wg set has no {word:?}");
                    notes.push(Imported::UnknownLine { why }, line.span);
                }
            }
        }
    }

    /// Forwarding that is switched on once the device is there.
    fn sysctl(&mut self, line: &Line<'t>, text: &str) {
        let effects = hooks::effects(text).into_iter().filter(|effect| matches!(effect, Effect::Forwarding { .. }));
        let effects: Vec<Effect> = effects.collect();
        if let Some(device) = self.devices.last_mut().filter(|_| !effects.is_empty()) {
            let command = Spanned { value: text.to_owned(), span: line.span };
            device.hooks.push(Hook { moment: Moment::PostUp, command, effects });
        }
    }

    /// `ip address add ADDRESS dev DEVICE`, `ip route add PREFIX dev DEVICE`.
    fn ip(&mut self, line: &Line<'t>, words: &[&str], notes: &mut Notes<'_>) {
        let words = words.iter().filter(|word| !["-4", "-6"].contains(word));
        let words: Vec<String> = words.map(|word| unquoted(&self.expand(word)).to_owned()).collect();
        let Some(name) = words.iter().skip_while(|word| *word != "dev").nth(1).cloned() else { return };
        if words.get(1).is_some_and(|object| "address".starts_with(object.as_str()) && object.starts_with('a')) {
            let is_address = |word: &&String| word.parse::<IpNet>().is_ok() || word.parse::<std::net::IpAddr>().is_ok();
            let Some(address) = words.iter().find(is_address) else { return };
            // Addresses of other interfaces are the host's own business.
            if self.devices.iter().any(|device| device.name == name) || name.starts_with("wg") {
                let address = notes.prefix("address", &Spanned { value: address.as_str(), span: line.span });
                self.device(&name, line.span).addresses.extend(address);
            }
            return;
        }
        if words.iter().any(|word| word == "wireguard") {
            self.device(&name, line.span);
        } else if let Some(device) = self.devices.iter_mut().find(|device| device.name == name) {
            let command = Spanned { value: words.join(" "), span: line.span };
            let effects = hooks::effects(&command.value);
            if let Some(mtu) = words.iter().skip_while(|word| *word != "mtu").nth(1) {
                device.mtu = notes.number("mtu", &Spanned { value: mtu.as_str(), span: line.span });
            }
            if effects.iter().any(|effect| matches!(effect, Effect::Route { .. } | Effect::Rule { .. })) {
                device.hooks.push(Hook { moment: Moment::PostUp, command, effects });
            }
        }
    }

    /// Fills variables in; what is not known stays as it is.
    fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        // A script may double a value again and again.
        while let Some(at) = rest.find('$').filter(|_| out.len() < IMPORT_SCRIPT_VALUE_BYTES_MAX) {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let (whole, name, default) = variable(after);
            let value =
                self.values.get(name).map(|value| value.value.as_str()).filter(|value| !value.starts_with("${"));
            match value.or(default).filter(|_| !name.is_empty()) {
                Some(value) => out.push_str(value),
                None => {
                    out.push('$');
                    out.push_str(&after[..whole]);
                }
            }
            rest = &after[whole..];
        }
        out.push_str(rest);
        out
    }
}

/// The bytes after a `$` that belong to it, the variable's name, and its default.
fn variable(after: &str) -> (usize, &str, Option<&str>) {
    if let Some(inner) = after.strip_prefix('{') {
        let Some(end) = inner.find('}') else { return (0, "", None) };
        let inside = &inner[..end];
        let at = inside.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inside.len());
        let default = inside[at..].strip_prefix(":-").or_else(|| inside[at..].strip_prefix('-'));
        return (end + 2, &inside[..at], default.map(unquoted));
    }
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
    (end, &after[..end], None)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// `cat > FILE << WORD`: the file, the word that ends it, and whether variables are filled in.
fn here_document(text: &str) -> Option<(String, String, bool)> {
    let at = text.find("<<").filter(|_| !text.contains("<<<"))?;
    let word = text[at + 2..].trim_start_matches('-').split_whitespace().next()?;
    let (before, rest) = (&text[..at], &text[at + 2..]);
    let file_in = |part: &str| Some(part.rsplit_once('>')?.1.split_whitespace().next()?.to_owned());
    let tee =
        || before.split_whitespace().skip_while(|word| *word != "tee").skip(1).find(|word| !word.starts_with('-'));
    let file = file_in(before).or_else(|| file_in(rest)).or_else(|| tee().map(str::to_owned))?;
    let bare = word.trim_matches(['\'', '"', '\\']);
    Some((unquoted(&file).to_owned(), bare.to_owned(), bare.len() == word.len()))
}

/// `declare -a NAME=(`
fn array(text: &str) -> Option<&str> {
    let name = text.strip_suffix("=(")?.split_whitespace().last()?;
    is_variable(name).then_some(name)
}

fn entries(lines: &[Line<'_>]) -> Vec<Spanned<String>> {
    let content = lines.iter().filter(|line| !line.trimmed().is_empty() && !line.trimmed().starts_with('#'));
    content
        .map(|line| {
            let part = line.part(unquoted(line.trimmed()));
            Spanned { value: part.value.to_owned(), span: part.span }
        })
        .collect()
}

/// Lines up to the `done` of a loop whose header was before.
fn body(lines: &[Line<'_>]) -> usize {
    let mut depth = 1;
    for (at, line) in lines.iter().enumerate() {
        let text = line.trimmed();
        if text.starts_with("for ") || text.starts_with("while ") || text.starts_with("until ") {
            depth += 1;
        } else if text == "done" || text.starts_with("done ") || text.starts_with("done;") {
            depth -= 1;
        }
        if depth == 0 {
            return at;
        }
    }
    lines.len()
}

/// Words with those inside `$( )` joined.
fn merged(words: &[&str]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for word in words {
        match out.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(word);
            }
            None => out.push((*word).to_owned()),
        }
        open = (open || word.contains("$(") || word.contains("<(")) && !word.contains(')');
    }
    out
}

/// `wg set` makes no routes; only prefixes inside the device's own network have one.
fn without_route(device: &Device, notes: &mut Notes<'_>) {
    let routes: Vec<IpNet> = device
        .effects_up()
        .filter_map(|effect| match effect {
            Effect::Route { prefix, removed: false, .. } => *prefix,
            _ => None,
        })
        .chain(device.addresses.iter().map(|address| address.value.trunc()))
        .collect();
    for peer in &device.peers {
        let missing = peer.allowed.iter().map(|prefix| prefix.value.trunc());
        let missing: Vec<IpNet> = missing
            .filter(|prefix| prefix.prefix_len() > 0 && !routes.iter().any(|route| route.contains(prefix)))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let list: Vec<String> = missing.iter().map(IpNet::to_string).collect();
        let label = peer.key().map_or_else(|| "a peer".to_owned(), |key| format!("peer {key}"));
        let kind = Imported::PeerWithoutRoute { peer: label, prefixes: list.join(", ") };
        notes.findings.push(
            Finding::new(kind, peer.place)
                .with_fix("Add `ip route add PREFIX dev DEVICE`, or bring the device up with wg-quick."),
        );
    }
}
