//! systemd-networkd: a device in a `.netdev` file, its addresses and routes in a `.network` file (systemd.netdev(5),
//! systemd.network(5)).
//!
//! The two are joined by the device's name once all files of a host are read. `.network` files of other interfaces are
//! passed over.

use super::lines::{Line, Notes, unquoted};
use super::wg_quick::{named, parts, table};
use crate::check::{Finding, Findings, Imported, Span};
use crate::file::Spanned;
use crate::import::hosts::{Device, Effect, Format, Hook, Moment, Peer};

/// What a `.network` file says about a device.
pub(in crate::import) struct Network {
    /// Names it matches, `*` allowed.
    matches: Vec<String>,
    place: Span,
    addresses: Vec<Spanned<ipnet::IpNet>>,
    dns: Vec<Spanned<String>>,
    mtu: Option<Spanned<u16>>,
    hooks: Vec<Hook>,
    /// The `[Route]` or `[RoutingPolicyRule]` that is being read.
    open: Option<Routing>,
}

/// A section about routing, as the words of ip-route(8) or ip-rule(8).
struct Routing {
    is_rule: bool,
    place: Span,
    destination: Option<String>,
    words: Vec<String>,
}

/// Reads a file of either kind.
pub(in crate::import) fn read<'t>(
    lines: impl Iterator<Item = Line<'t>>,
    devices: &mut Vec<Device>,
    networks: &mut Vec<Network>,
    notes: &mut Notes<'_>,
) {
    let mut section = String::new();
    let mut device: Option<Device> = None;
    let mut network: Option<Network> = None;
    let mut is_wireguard = false;
    let mut remark = None;
    for line in lines {
        if notes.is_hopeless() {
            break;
        }
        let text = line.trimmed().trim_start_matches('\u{feff}');
        if text.is_empty() || text.starts_with(['#', ';']) {
            remark = named(&line, text).or(remark);
            continue;
        }
        if let Some(name) = text.strip_prefix('[') {
            name.trim_end_matches(']').to_ascii_lowercase().clone_into(&mut section);
            let place = line.part(text).span;
            if let Some(network) = &mut network {
                network.close();
            }
            match section.as_str() {
                "netdev" => device = Some(Device::new("", Format::Networkd, place)),
                "match" => network = Some(Network::new(place)),
                "route" | "routingpolicyrule" => {
                    if let Some(network) = &mut network {
                        network.open = Some(Routing::new(section == "routingpolicyrule", place));
                    }
                }
                "wireguardpeer" => {
                    let mut peer = Peer::new(place);
                    if let Some(found) = remark.take() {
                        peer.name_is_certain = found.is_certain;
                        peer.name = Some(found.name);
                    }
                    if let Some(device) = &mut device {
                        device.peers.push(peer);
                    }
                }
                _ => {}
            }
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            let why = "a key and a value with = between them are expected".to_owned();
            notes.push(Imported::UnknownLine { why }, line.span);
            continue;
        };
        let (key, value) = (line.part(key.trim()), line.part(unquoted(value.trim())));
        let lower = key.value.to_ascii_lowercase();
        let known = match (section.as_str(), &mut device, &mut network) {
            ("netdev", Some(device), _) => {
                is_wireguard |= lower == "kind" && value.value.eq_ignore_ascii_case("wireguard");
                netdev(device, &lower, &value, notes)
            }
            ("wireguard", Some(device), _) => wireguard(device, &lower, &value, notes),
            ("wireguardpeer", Some(device), _) => {
                device.peers.last_mut().is_none_or(|last| peer(last, &lower, &value, notes))
            }
            (_, _, Some(network)) => about(network, &section, &lower, &value, notes),
            _ => true,
        };
        if !known {
            notes.push(Imported::UnknownKey { section: section.clone(), key: key.value.to_owned() }, key.span);
        }
    }
    devices.extend(device.filter(|_| is_wireguard));
    if let Some(network) = &mut network {
        network.close();
    }
    networks.extend(network);
}

impl Network {
    fn new(place: Span) -> Network {
        Network {
            matches: Vec::new(),
            place,
            addresses: Vec::new(),
            dns: Vec::new(),
            mtu: None,
            hooks: Vec::new(),
            open: None,
        }
    }

    /// Keeps the section about routing that ends.
    fn close(&mut self) {
        self.hooks.extend(self.open.take().map(Routing::hook));
    }

    fn is_about(&self, device: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => device.starts_with(start),
            None => pattern == device,
        };
        self.matches.iter().any(fits)
    }
}

impl Routing {
    fn new(is_rule: bool, place: Span) -> Routing {
        Routing { is_rule, place, destination: None, words: Vec::new() }
    }

    fn key(&mut self, key: &str, value: &str) {
        let word = match (self.is_rule, key) {
            (false, "destination") => return self.destination = Some(value.to_owned()),
            (false, "gateway") => "via",
            (false, "type") if ["blackhole", "unreachable", "prohibit"].contains(&value) => {
                return self.words.insert(0, value.to_owned());
            }
            (true, "from") => "from",
            (true, "to") => "to",
            (true, "firewallmark") => "fwmark",
            (true, "incominginterface") => "iif",
            (true, "outgoinginterface") => "oif",
            (true, "suppressprefixlength") => "suppress_prefixlength",
            (true, "invertrule") => return self.words.extend((value == "yes").then(|| "not".to_owned())),
            (_, "table") => "table",
            (_, "priority") => "priority",
            _ => return,
        };
        self.words.extend([word.to_owned(), value.to_owned()]);
    }

    fn hook(self) -> Hook {
        let default = || "default".to_owned();
        let destination = self.destination.clone().unwrap_or_else(default);
        let text = if self.is_rule { self.words.join(" ") } else { format!("{} {destination}", self.words.join(" ")) };
        let rest = text.trim().to_owned();
        let prefix = self.destination.and_then(|text| text.parse().ok());
        let effect = match self.is_rule {
            true => Effect::Rule { rest: rest.clone(), removed: false },
            false => Effect::Route { prefix, rest: rest.clone(), removed: false },
        };
        let command = Spanned { value: rest, span: self.place };
        Hook { moment: Moment::PostUp, command, effects: vec![effect] }
    }
}

fn text(value: &Spanned<&str>) -> Spanned<String> {
    Spanned { value: value.value.to_owned(), span: value.span }
}

fn netdev(device: &mut Device, key: &str, value: &Spanned<&str>, notes: &mut Notes<'_>) -> bool {
    match key {
        "name" => value.value.clone_into(&mut device.name),
        "mtubytes" => device.mtu = notes.number("MTUBytes", value),
        "kind" | "macaddress" => {}
        "description" => device.called = None,
        _ => return false,
    }
    true
}

fn wireguard(device: &mut Device, key: &str, value: &Spanned<&str>, notes: &mut Notes<'_>) -> bool {
    match key {
        "privatekey" if value.value.starts_with('@') => device.key_path = Some(text(value)),
        "privatekey" => {
            device.private_key = notes.private_key(value);
            let public = device.private_key.as_ref();
            device.public_key = public.map(|key| Spanned { value: key.value.public_key(), span: key.span });
        }
        "privatekeyfile" => device.key_path = Some(text(value)),
        "listenport" if value.value == "auto" => {}
        "listenport" => device.port = notes.number("ListenPort", value),
        "firewallmark" => device.fwmark = notes.number("FirewallMark", value).filter(|mark| mark.value > 0),
        "routetable" => device.table = table(value, notes),
        "routemetric" => {}
        _ => return false,
    }
    true
}

fn peer(peer: &mut Peer, key: &str, value: &Spanned<&str>, notes: &mut Notes<'_>) -> bool {
    match key {
        "publickey" => peer.public_key = notes.public_key("PublicKey", value),
        "presharedkey" => peer.preshared_key = notes.private_key(value),
        "endpoint" => peer.endpoint = notes.endpoint("Endpoint", value),
        "allowedips" if value.value.is_empty() => peer.allowed.clear(),
        "allowedips" => {
            for item in parts(value) {
                peer.allowed.extend(notes.allowed("AllowedIPs", &item));
            }
        }
        "persistentkeepalive" => peer.keepalive_s = notes.keepalive("PersistentKeepalive", value),
        "presharedkeyfile" | "routetable" | "routemetric" | "publickeyfile" => {}
        _ => return false,
    }
    true
}

/// Keys of `.network` files that say something about the network; all others are about other things.
fn about(network: &mut Network, section: &str, key: &str, value: &Spanned<&str>, notes: &mut Notes<'_>) -> bool {
    let hook = |command: Spanned<String>, effects| Hook { moment: Moment::PostUp, command, effects };
    match (section, key) {
        ("match", "name") => network.matches.extend(value.value.split_whitespace().map(str::to_owned)),
        ("network" | "address", "address") => network.addresses.extend(notes.prefix("Address", value)),
        ("network", "dns" | "domains") => network.dns.extend(parts(value).iter().map(text)),
        ("link", "mtubytes") => network.mtu = notes.number("MTUBytes", value),
        ("network", "ipforward" | "ipv4forwarding" | "ipv6forwarding") => {
            let word = value.value.to_ascii_lowercase();
            let yes = ["yes", "true", "1", "on"].contains(&word.as_str());
            let v4 = key != "ipv6forwarding" && (yes || word == "ipv4");
            let v6 = key != "ipv4forwarding" && (yes || word == "ipv6");
            let effects = [(v4, false), (v6, true)].into_iter().filter(|(on, _)| *on);
            let effects: Vec<Effect> = effects.map(|(_, v6)| Effect::Forwarding { v6 }).collect();
            if !effects.is_empty() {
                network.hooks.push(hook(text(value), effects));
            }
        }
        ("network", "ipmasquerade") if value.value != "no" => {
            let both = |v6| Effect::Masquerade { v6, output: None, source: None, removed: false };
            network.hooks.push(hook(text(value), vec![both(false), both(true)]));
        }
        ("route" | "routingpolicyrule", _) => {
            if let Some(open) = &mut network.open {
                open.key(key, value.value);
            }
        }
        _ => {}
    }
    true
}

/// Gives each device what `.network` files say about it.
pub(in crate::import) fn join(networks: Vec<Network>, devices: &mut [&mut Device], findings: &mut Findings) {
    for network in networks {
        let Some(device) = devices.iter_mut().find(|device| network.is_about(&device.name)) else {
            let is_wireguard = network.matches.iter().any(|name| name.starts_with("wg"));
            if is_wireguard && !network.addresses.is_empty() {
                let why = format!("there is no .netdev file for {}", network.matches.join(" "));
                findings.push(Finding::new(Imported::UnknownLine { why }, network.place));
            }
            continue;
        };
        device.addresses.extend(network.addresses);
        device.dns.extend(network.dns);
        device.mtu = device.mtu.take().or(network.mtu);
        device.hooks.extend(network.hooks);
    }
}
