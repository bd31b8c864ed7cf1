//! Hosts as read, as [`crate::prove`] wants them: what their files make of packets, nothing planned, nothing mended.
//!
//! Devices bring routes as the program that reads their file would make them: wg-quick one for each allowed prefix, `wg set`
//! none. Hooks are looked at for routes, rules, translation and forwarding. What is behind a host is what others send it
//! and it sends nowhere else. Forwarding is often switched on where no file of WireGuard says so: where nothing says
//! anything it is taken to be on, and [`Model::assumed`] tells whose. Hosts that a script makes are those that its peers
//! know and whose own files were not read; a peer whose file is missing stays unknown, and is never an end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::hosts::{Device, Effect, Format, Peer, Table, table_number};
use super::infer::{Draft, Table as Owners, Tables, World, atoms, draft, is_usable};
use super::sources::Read;
use crate::check::{Finding, Findings, Imported};
use crate::names::Name;
use crate::prove::{self, EndKind, Hosts, Proof, Route, RouteTo, Rule, TABLE_MAIN, WrittenPeer};

/// Prefixes at least this wide stand for the internet.
const DEFAULT_ROUTE_BITS: u8 = 3;
/// Rules without a priority come before this one, the last first (ip-rule(8)).
const PRIORITY_MAIN: u32 = 32_766;

/// Hosts as [`crate::prove`] wants them, and what had to be assumed.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The hosts.
    pub hosts: Hosts,
    /// Hosts of which nothing says whether they forward, each with the family (IPv6 or not).
    pub assumed: Vec<(u32, bool)>,
    /// Hosts that a script makes, whose own files were not read.
    pub made: BTreeSet<u32>,
    /// Peers whose own files were not read.
    pub unread: Vec<String>,
    /// What is odd about the whole.
    pub findings: Findings,
}

/// Makes the model of everything that was read.
pub fn model(read: &Read) -> Model {
    let mut dropped = Findings::default();
    let world = World::new(&read.hosts, &mut dropped);
    let tables = Tables::new(&world);
    let name = Name::new("imported").expect("a name");
    let draft = draft(&world, &tables, &name, &mut dropped);
    let mut builder = Builder { world: &world, draft: &draft, at: BTreeMap::new(), model: Model::default() };
    builder.number();
    builder.run_templates();
    builder.fill();
    builder.behind();
    builder.name_ends();
    builder.model
}

/// Where forwarding that was assumed is needed: the hosts by which pairs are lost without it, as findings of a proof.
pub fn assumptions(model: &Model) -> Findings {
    let mut findings = Findings::default();
    if model.assumed.is_empty() {
        return findings;
    }
    let mut hosts = model.hosts.clone();
    for (host, v6) in &model.assumed {
        let host = &mut hosts.hosts[*host as usize];
        *(if *v6 { &mut host.forwards_v6 } else { &mut host.forwards_v4 }) = false;
    }
    let proof = prove::reachability(hosts);
    let mut needed: BTreeMap<u32, usize> = BTreeMap::new();
    for (drop, tally) in proof.drops.iter().filter(|(drop, _)| drop.reason == prove::Reason::NotForwarding) {
        if model.assumed.iter().any(|(host, _)| *host == drop.host) {
            *needed.entry(drop.host).or_default() += tally.pairs;
        }
    }
    for (host, pairs) in needed {
        let host = &model.hosts.hosts[host as usize];
        let kind = Imported::ForwardingAssumed { host: host.name.clone(), pairs };
        let fix = "Check `sysctl net.ipv4.ip_forward` there, or switch it on in a PostUp.";
        findings.push(Finding::new(kind, host.place).with_fix(fix));
    }
    findings
}

/// Proves a model: the proof, and all findings about it.
pub fn prove_read(read: &Read) -> (Proof, Model, Findings) {
    let model = model(read);
    let proof = proof(&model);
    let mut findings = model.findings.clone();
    findings.extend(proof.findings());
    findings.extend(assumptions(&model));
    (proof, model, findings)
}

/// Proves hosts as they are, and says which of them a script makes.
pub fn proved(read: &Read) -> (Proof, BTreeSet<u32>) {
    let model = model(read);
    (proof(&model), model.made)
}

fn proof(model: &Model) -> Proof {
    let mut proof = prove::reachability(model.hosts.clone());
    // A circle that needs forwarding of which nobody knows is no news.
    let is_certain = |(hosts, v6): &(Vec<u32>, bool)| !hosts.iter().any(|host| model.assumed.contains(&(*host, *v6)));
    let certain: Vec<bool> = proof.stray_ways().iter().map(is_certain).collect();
    let mut certain = certain.into_iter();
    proof.stray_loops.retain(|_| certain.next().unwrap_or(true));
    proof
}

struct Builder<'w, 'r> {
    world: &'w World<'r>,
    draft: &'w Draft,
    /// The host and the device that each member is.
    at: BTreeMap<usize, (u32, u32)>,
    model: Model,
}

/// A member's device, and the peers of it that count.
struct Written<'r> {
    member: usize,
    device: &'r Device,
    peers: Vec<&'r Peer>,
}

impl<'r> Builder<'_, 'r> {
    /// Gives every device that was read its place.
    fn number(&mut self) {
        let mut by_host: BTreeMap<usize, u32> = BTreeMap::new();
        for (at, member) in self.world.members.iter().enumerate() {
            let Some((h, d)) = member.station else { continue };
            let (host, device) = (&self.world.hosts[h], &self.world.hosts[h].devices[d]);
            let hosts = &mut self.model.hosts.hosts;
            let number = *by_host.entry(h).or_insert_with(|| {
                let name = if host.named { host.name.clone() } else { member.name.to_string() };
                hosts.push(prove::Host { name, place: Some(device.place), ..prove::Host::default() });
                hosts.len() as u32 - 1
            });
            let devices = &mut hosts[number as usize].devices;
            devices.push(prove::Device { name: device.name.clone(), public_key: member.key, ..Default::default() });
            self.at.insert(at, (number, devices.len() as u32 - 1));
        }
    }

    /// Hosts that a script makes: those that know its peers, and whose own files were not read.
    fn run_templates(&mut self) {
        let world = self.world;
        let [template] = world.templates.as_slice() else {
            let unread = (0..world.members.len()).filter(|at| world.members[*at].station.is_none());
            self.model.unread = unread.map(|at| world.members[at].name.to_string()).collect();
            return;
        };
        let served: BTreeSet<usize> = world.peers(template).map(|(member, _)| member).collect();
        let known: BTreeSet<usize> = served
            .iter()
            .filter_map(|member| world.device(*member))
            .flat_map(|device| world.peers(device).map(|(member, _)| member))
            .collect();
        let mut made = Vec::new();
        let mut strangers: Vec<_> =
            world.members.iter().enumerate().filter(|(_, member)| member.station.is_none()).collect();
        strangers.sort_by_key(|(_, member)| &member.name);
        for (at, member) in strangers {
            if !known.contains(&at) || served.contains(&at) {
                self.model.unread.push(member.name.to_string());
                continue;
            }
            let device = prove::Device { name: template.name.clone(), public_key: member.key, ..Default::default() };
            let place = Some(template.place);
            let host =
                prove::Host { name: member.name.to_string(), devices: vec![device], place, ..Default::default() };
            let number = self.model.hosts.hosts.len() as u32;
            self.at.insert(at, (number, 0));
            self.model.made.insert(number);
            self.model.hosts.hosts.push(host);
            made.push(member.name.to_string());
        }
        if !made.is_empty() {
            let kind = Imported::RunsScript { hosts: made };
            let fix = "Name the files that the script made on the hosts, if it is another way.";
            self.model.findings.push(Finding::new(kind, template.place).with_fix(fix));
        }
    }

    fn written(&self, member: usize) -> Option<Written<'r>> {
        if let Some(device) = self.world.device(member) {
            return Some(Written { member, device, peers: device.peers.iter().collect() });
        }
        let device = *self.world.templates.first()?;
        let name = self.world.members[member].name.as_str();
        let fits = |case: &String| case == "*" || case.eq_ignore_ascii_case(name);
        let peers = device.peers.iter().filter(|peer| peer.cases.is_empty() || peer.cases.iter().any(fits));
        Some(Written { member, device, peers: peers.collect() })
    }

    fn fill(&mut self) {
        for (member, (host, no)) in self.at.clone() {
            let Some(written) = self.written(member) else { continue };
            let peers = written.peers.iter().map(|peer| self.peer(peer)).collect();
            let hooks = Hooks::of(written.device);
            let target = &mut self.model.hosts.hosts[host as usize];
            let own = &self.world.members[written.member].addresses;
            let read = written.device.addresses.iter().map(|address| address.value.addr());
            target.addresses.extend(own.iter().copied().chain(read));
            target.addresses.sort();
            target.addresses.dedup();
            let device = &mut target.devices[no as usize];
            device.peers = peers;
            device.routed_in = routed_in(written.device);
            device.masquerade = hooks.masquerades(&written.device.name);
            target.routes.extend(connected(written.device, no));
        }
        // Routes may lead into other devices of the host, so all must be there.
        for (member, (host, no)) in self.at.clone() {
            let Some(written) = self.written(member) else { continue };
            let target = &mut self.model.hosts.hosts[host as usize];
            let hooks = Hooks::of(written.device);
            target.routes.extend(hooks.routes(&target.devices, no));
            target.rules.extend(hooks.rules());
        }
        self.forwarding();
    }

    /// Forwarding as it was read, and on where nothing is said of it.
    fn forwarding(&mut self) {
        let mut said: BTreeMap<u32, [Option<bool>; 2]> = BTreeMap::new();
        for (member, (host, _)) in &self.at {
            let read = self.world.members[*member].station.map(|(h, _)| &self.world.hosts[h]);
            let by_script = |v6| {
                let up = self.written(*member).filter(|_| read.is_none());
                up.filter(|up| up.device.effects_up().any(|effect| *effect == Effect::Forwarding { v6 })).map(|_| true)
            };
            let entry = said.entry(*host).or_default();
            for (family, v6) in [(0, false), (1, true)] {
                entry[family] = entry[family].or(read.and_then(|host| host.forwarding(v6))).or(by_script(v6));
            }
        }
        for (at, host) in self.model.hosts.hosts.iter_mut().enumerate() {
            let [v4, v6] = said.get(&(at as u32)).copied().unwrap_or_default();
            (host.forwards_v4, host.forwards_v6) = (v4.unwrap_or(true), v6.unwrap_or(true));
            let open = [(v4, false), (v6, true)].into_iter().filter(|(said, _)| said.is_none());
            self.model.assumed.extend(open.map(|(_, v6)| (at as u32, v6)));
        }
    }

    fn peer(&self, peer: &Peer) -> prove::Peer {
        let member = peer.key().and_then(|key| self.world.by_key.get(&key));
        let label = member.map(|member| self.world.members[*member].name.to_string());
        let label = label.or_else(|| peer.name.as_ref().map(|name| name.value.clone()));
        let allowed: Vec<IpNet> = peer.allowed.iter().map(|prefix| prefix.value.trunc()).collect();
        prove::Peer {
            to: member.and_then(|member| self.at.get(member)).copied(),
            dials: peer.endpoint.is_some(),
            allowed: Arc::from(allowed),
            written: Some(Box::new(WrittenPeer { public_key: peer.key(), label, place: Some(peer.place) })),
        }
    }

    /// LANs: prefixes that others send to a host, and it sends nowhere else. What holds a host's own address, or is a
    /// network of devices, is none.
    fn behind(&mut self) {
        let world = self.world;
        let hosts = &self.model.hosts.hosts;
        let table = |host: &prove::Host| {
            let peers = host.devices.iter().flat_map(|device| &device.peers);
            let known = peers.filter_map(|peer| Some((peer.to?.0 as usize, peer)));
            Some(Owners::new(known.flat_map(|(to, peer)| peer.allowed.iter().map(move |prefix| (*prefix, to)))))
        };
        let tables = Tables::of_all(hosts.iter().map(table).collect());
        let addresses: BTreeSet<IpAddr> = world.members.iter().flat_map(|member| member.addresses.clone()).collect();
        let devices = || world.stations().map(|(_, device)| device);
        let nets: BTreeSet<IpNet> =
            devices().flat_map(|device| device.addresses.iter().map(|address| address.value.trunc())).collect();
        let is_lan = |prefix: &IpNet| {
            let overlaps = |net: &IpNet| net.contains(prefix) || prefix.contains(net);
            prefix.prefix_len() > DEFAULT_ROUTE_BITS
                && is_usable(prefix.addr())
                && addresses.range(prefix.network()..=prefix.broadcast()).next().is_none()
                && !nets.iter().any(overlaps)
        };
        let routed = devices().flat_map(|device| device.peers.iter().flat_map(|peer| &peer.allowed));
        // Most prefixes are named by many hosts.
        let mut routed: BTreeSet<IpNet> = routed.map(|prefix| prefix.value.trunc()).collect();
        routed.retain(is_lan);
        for prefix in atoms(&routed) {
            let ends = tables.ends(prefix.network()).into_iter().enumerate();
            let ends: BTreeSet<usize> = ends.filter_map(|(from, end)| end.filter(|end| *end != from)).collect();
            for host in ends {
                let lan = Route { table: TABLE_MAIN, prefix, to: RouteTo::Lan };
                self.model.hosts.hosts[host].routes.push(lan);
            }
        }
    }

    fn name_ends(&mut self) {
        self.model.hosts.name_ends();
        for (member, (host, _)) in &self.at {
            if !self.draft.is_node(*member) {
                self.model.hosts.ends[*host as usize].kind = EndKind::Client;
            }
        }
    }
}

/// The table into which a device's allowed prefixes are routed.
fn routed_in(device: &Device) -> Option<u32> {
    match device.table.as_ref().map(|table| table.value) {
        Some(Table::Off) => None,
        Some(Table::Number(table)) => Some(table),
        Some(Table::Auto) => Some(TABLE_MAIN),
        // systemd.netdev(5): RouteTable is off unless it is given.
        None if device.format == Format::Networkd => None,
        None => device.brings_routes.then_some(TABLE_MAIN),
    }
}

/// The network of each address, as the kernel routes it: IPv4 networks without their first and last address, which are for
/// broadcasts.
fn connected(device: &Device, no: u32) -> Vec<Route> {
    let nets = device.addresses.iter().map(|address| address.value.trunc());
    let mut routes = Vec::new();
    for prefix in nets.filter(|net| net.prefix_len() < net.max_prefix_len()) {
        routes.push(Route { table: TABLE_MAIN, prefix, to: RouteTo::Device(no) });
        if prefix.addr().is_ipv4() && prefix.prefix_len() < 31 {
            let ends = [prefix.network(), prefix.broadcast()].map(IpNet::from);
            routes.extend(ends.map(|prefix| Route { table: TABLE_MAIN, prefix, to: RouteTo::Nowhere }));
        }
    }
    routes
}

/// What a device's hooks do when it comes up.
struct Hooks<'d> {
    effects: Vec<&'d Effect>,
}

impl<'d> Hooks<'d> {
    fn of(device: &'d Device) -> Hooks<'d> {
        Hooks { effects: device.effects_up().collect() }
    }

    /// Whether packets leave through a device with the host's own source.
    fn masquerades(&self, name: &str) -> bool {
        let is_this = |output: &str| {
            let start = output.strip_suffix('+');
            output == "%i" || output == name || start.is_some_and(|start| name.starts_with(start))
        };
        self.effects.iter().any(|effect| match effect {
            Effect::Masquerade { output, source: None, removed: false, .. } => output.as_deref().is_none_or(is_this),
            _ => false,
        })
    }

    /// `ip route add`: into a device of the host, or out of what is known.
    fn routes(&self, devices: &[prove::Device], own: u32) -> Vec<Route> {
        let mut routes = Vec::new();
        for effect in &self.effects {
            let Effect::Route { prefix, rest, removed: false } = effect else { continue };
            let words: Vec<&str> = rest.split_whitespace().collect();
            let is_dead = matches!(words.first(), Some(&("blackhole" | "unreachable" | "prohibit")));
            let everything = words.contains(&"default").then(|| {
                let v6 = words.iter().any(|word| word.contains(':'));
                if v6 { "::/0" } else { "0.0.0.0/0" }.parse::<IpNet>().expect("both are prefixes")
            });
            let second = || words.get(1).and_then(|word| word.parse::<IpNet>().ok());
            let Some(prefix) = prefix.or(everything).or_else(second) else { continue };
            let to = match after(&words, "dev") {
                _ if is_dead => RouteTo::Nowhere,
                None | Some("%i") => RouteTo::Device(own),
                Some(name) => match devices.iter().position(|device| device.name == name) {
                    Some(no) => RouteTo::Device(no as u32),
                    None => RouteTo::Lan,
                },
            };
            let Some(table) = after(&words, "table").map_or(Some(TABLE_MAIN), table_number) else { continue };
            routes.push(Route { table, prefix: prefix.trunc(), to });
        }
        routes
    }

    /// `ip rule add`: by source, in the order in which the kernel asks them. Rules that look at anything else are for
    /// other packets.
    fn rules(&self) -> Vec<Rule> {
        let mut rules: Vec<(u32, Rule)> = Vec::new();
        for effect in &self.effects {
            let Effect::Rule { rest, removed: false } = effect else { continue };
            let words: Vec<&str> = rest.split_whitespace().collect();
            let narrowed = ["to", "iif", "oif", "tos", "uidrange", "ipproto", "sport", "dport"];
            let marked = words.contains(&"fwmark") && !words.contains(&"not");
            if marked || words.iter().any(|word| narrowed.contains(word)) {
                continue;
            }
            let table = after(&words, "table").or_else(|| after(&words, "lookup"));
            let Some(table) = table.and_then(table_number) else { continue };
            let from = after(&words, "from").filter(|from| *from != "all").and_then(network);
            let suppress = after(&words, "suppress_prefixlength").and_then(|length| length.parse().ok());
            let given = ["pref", "priority", "preference", "order"].iter().find_map(|key| after(&words, key));
            let lowest = rules.iter().map(|(priority, _)| *priority).min().unwrap_or(PRIORITY_MAIN);
            let priority = given.and_then(|text| text.parse().ok()).unwrap_or(lowest.saturating_sub(1));
            rules.push((priority, Rule { from, table, suppress }));
        }
        rules.sort_by_key(|(priority, _)| *priority);
        rules.into_iter().map(|(_, rule)| rule).collect()
    }
}

fn after<'w>(words: &[&'w str], key: &str) -> Option<&'w str> {
    let at = words.iter().position(|word| *word == key)?;
    words.get(at + 1).copied()
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}
