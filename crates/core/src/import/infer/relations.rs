//! What members are to each other: who is a client, who relays, what is behind whom, who dials whom and where.
//!
//! Each question is one function that reads the world and fills its part of the draft. Later ones use what earlier ones
//! found out: clients, overlay prefixes, endpoints, sites, links, hubs, times between keepalives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::draft::{Draft, Draftee};
use super::members::World;
use super::walk::Tables;
use crate::check::{Finding, Findings, Imported};
use crate::import::hosts::{Dial, Format};
use crate::names::{DeviceName, Name};
use crate::network::{Host as Dialled, Platform};
use crate::plan::merge;

/// Prefixes at least this wide stand for the internet.
const DEFAULT_ROUTE_BITS: u8 = 3;

/// Fills a draft with everything that can be told without trying.
pub(in crate::import) fn draft(world: &World<'_>, tables: &Tables, name: &Name, findings: &mut Findings) -> Draft {
    let members = world.members.iter().enumerate().map(|(at, member)| {
        let device = world.device(at);
        let valid_name = |name: &str| {
            DeviceName::new(name).is_ok() && name != "wg0" && Name::suggest(name).as_ref() != Some(&member.name)
        };
        Draftee {
            name: member.name.clone(),
            key: member.key,
            addresses: member.addresses.clone(),
            endpoints: BTreeMap::new(),
            hub: false,
            via: None,
            prefixes: Vec::new(),
            allowed: Vec::new(),
            port: device.and_then(|device| device.port.as_ref()).map(|port| port.value).filter(|port| *port > 0),
            mtu: device.and_then(|device| device.mtu.as_ref()).map(|mtu| mtu.value),
            keepalive_s: None,
            device: device.map(|device| device.name.clone()).filter(|name| valid_name(name)),
            platform: device.map_or(Platform::WgQuick, |device| device.platform),
            from: member.station.map(|(h, d)| {
                let (host, device) = (&world.hosts[h], &world.hosts[h].devices[d]);
                format!("{} ({})", host.name, device.format).replace(|c: char| c.is_control(), " ")
            }),
        }
    });
    let mut draft = Draft {
        name: name.clone(),
        prefixes: Vec::new(),
        client_prefixes: BTreeSet::new(),
        public: false,
        regions: BTreeMap::new(),
        members: members.collect(),
        sites: Vec::new(),
        links: BTreeSet::new(),
        isolated: BTreeSet::new(),
        rtt_ms: BTreeMap::new(),
    };
    mtus(&mut draft, findings);
    overlay(world, &mut draft, findings);
    clients(world, &mut draft);
    let routed = routed(tables, &draft, findings, world);
    endpoints(world, &routed, &mut draft, findings);
    links(world, &mut draft, findings);
    hubs(world, tables, &mut draft);
    behind(world, tables, &routed, &mut draft);
    client_prefixes(world, tables, &mut draft);
    keepalives(world, &mut draft);
    draft.public = draft
        .prefixes
        .iter()
        .chain(draft.members.iter().flat_map(|member| &member.prefixes))
        .chain(draft.sites.iter().flat_map(|(_, prefixes, _)| prefixes))
        .any(|prefix| !crate::network::resolve::is_private(*prefix));
    draft
}

fn mtus(draft: &mut Draft, findings: &mut Findings) {
    for member in &mut draft.members {
        let Some(mtu) = member.mtu.filter(|mtu| !(crate::limits::MTU_MIN..=crate::limits::MTU_MAX).contains(mtu))
        else {
            continue;
        };
        let what = format!("MTU {mtu} of {}", member.name);
        let why = format!("an MTU is from {} to {}", crate::limits::MTU_MIN, crate::limits::MTU_MAX);
        findings.push(Finding::new(Imported::Unexpressed { what, why }, None));
        member.mtu = None;
    }
}

/// The overlay prefixes: for each family the narrowest one that somebody names and that holds all addresses, or else the
/// narrowest there is.
fn overlay(world: &World<'_>, draft: &mut Draft, findings: &mut Findings) {
    let stations: Vec<_> = world.stations().map(|(_, device)| device).collect();
    let named = stations.iter().flat_map(|device| {
        let own = device.addresses.iter().map(|address| address.value.trunc());
        own.chain(device.peers.iter().flat_map(|peer| &peer.allowed).map(|prefix| prefix.value.trunc()))
    });
    let named: BTreeSet<IpNet> = named.collect();
    for v4 in [true, false] {
        let of_family = |address: &IpAddr| address.is_ipv4() == v4;
        let mut addresses: Vec<IpAddr> =
            draft.members.iter().flat_map(|m| &m.addresses).copied().filter(of_family).collect();
        addresses.sort();
        let Some(mut cover) = supernet(&addresses) else { continue };
        let widest = if v4 { 8 } else { 16 };
        if cover.prefix_len() < widest {
            let group = largest_group(&addresses, if v4 { 16 } else { 48 });
            draft.members.iter_mut().for_each(|member| {
                for address in member.addresses.iter().filter(|a| of_family(a) && !group.contains(*a)) {
                    let what = format!("address {address} of {}", member.name);
                    let why = "the others' addresses are far away; one network has one range of each family".to_owned();
                    findings.push(Finding::new(Imported::Unexpressed { what, why }, None));
                }
                member.addresses.retain(|address| !of_family(address) || group.contains(address));
            });
            addresses.retain(|address| group.contains(address));
            cover = supernet(&addresses).unwrap_or(group);
        }
        let fits =
            |prefix: &&IpNet| prefix.addr().is_ipv4() == v4 && prefix.prefix_len() >= widest && prefix.contains(&cover);
        let missing = draft.members.len() - addresses.len();
        let has_room = |prefix: &IpNet| {
            let bits = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
            let reserved =
                |address: &IpAddr| bits > 1 && (*address == prefix.network() || (v4 && *address == prefix.broadcast()));
            !addresses.iter().any(reserved)
                && (bits > 20 || 1_usize << bits >= addresses.len() + missing + if missing > 0 { 2 } else { 0 })
        };
        let mut best = named
            .iter()
            .filter(fits)
            .filter(|prefix| has_room(prefix))
            .max_by_key(|prefix| prefix.prefix_len())
            .copied();
        while best.is_none() {
            if has_room(&cover) || cover.prefix_len() <= widest {
                best = Some(cover);
            } else {
                cover = cover.supernet().map_or(cover, |wider| wider.trunc());
            }
        }
        draft.prefixes.extend(best);
    }
    if draft.prefixes.is_empty() {
        draft.prefixes.extend("10.210.0.0/16".parse::<IpNet>());
    }
}

fn supernet(addresses: &[IpAddr]) -> Option<IpNet> {
    let (first, last) = (addresses.first()?, addresses.last()?);
    let mut prefix = IpNet::from(*first);
    while !prefix.contains(last) {
        prefix = prefix.supernet()?.trunc();
    }
    Some(prefix)
}

fn largest_group(addresses: &[IpAddr], length: u8) -> IpNet {
    let mut groups: BTreeMap<IpNet, usize> = BTreeMap::new();
    for address in addresses {
        let group = IpNet::new(*address, length).map_or(IpNet::from(*address), |group| group.trunc());
        *groups.entry(group).or_default() += 1;
    }
    let largest = groups.into_iter().max_by_key(|(group, count)| (*count, std::cmp::Reverse(*group)));
    largest.map_or(IpNet::from(IpAddr::from([0, 0, 0, 0])), |(group, _)| group)
}

/// Clients: never dialled, without a port of their own, sending everything to one peer; or known to one host alone, with
/// an address in that host's own network.
fn clients(world: &World<'_>, draft: &mut Draft) {
    let mut dialled = BTreeSet::new();
    let mut known_to: BTreeMap<usize, Vec<(usize, bool)>> = BTreeMap::new();
    for (at, device) in world.stations() {
        for (member, peer) in world.peers(device) {
            if peer.endpoint.as_ref().is_some_and(|_| !peer.endpoint_is_learnt) {
                dialled.insert(member);
            }
            let near = |prefix: &IpNet| {
                device.addresses.iter().any(|net| net.value.trunc() != *prefix && net.value.contains(prefix))
            };
            let singles = peer
                .allowed
                .iter()
                .map(|prefix| prefix.value.trunc())
                .filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len());
            let is_near = singles.clone().count() > 0 && singles.into_iter().any(|prefix| near(&prefix));
            known_to.entry(member).or_default().push((at, is_near));
        }
    }
    let mut all: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in (0..world.members.len()).filter(|at| !dialled.contains(at)) {
        match world.device(at) {
            Some(device) => {
                let dials_all = device.peers.iter().all(|peer| peer.endpoint.is_some()) && !device.peers.is_empty();
                let mut peers: Vec<(bool, usize)> =
                    world.peers(device).map(|(member, peer)| (peer.allowed.is_empty(), member)).collect();
                peers.sort();
                let used = peers.iter().filter(|(is_standby, _)| !is_standby).count();
                let has_port = device.port.is_some() && device.format != Format::Dump;
                if dials_all && used == 1 && !has_port {
                    all.insert(at, peers.into_iter().map(|(_, member)| member).collect());
                }
            }
            None => {
                if let Some([(via, true)]) = known_to.get(&at).map(Vec::as_slice) {
                    all.insert(at, vec![*via]);
                }
            }
        }
    }
    // A client of a client is none.
    let names: BTreeSet<usize> = all.keys().copied().collect();
    for (at, via) in all {
        if via.iter().all(|via| !names.contains(via)) {
            draft.members[at].via = Some(via);
        }
    }
}

/// All prefixes outside the overlay that somebody is sent, default routes left out.
fn routed(tables: &Tables, draft: &Draft, findings: &mut Findings, world: &World<'_>) -> BTreeSet<IpNet> {
    let mut routed = BTreeSet::new();
    for at in 0..world.members.len() {
        let Some(table) = tables.of(at) else { continue };
        for (prefix, owner) in table.prefixes() {
            let inside = draft.prefixes.iter().any(|overlay| overlay.contains(&prefix));
            let is_own = draft.members[owner].addresses.iter().any(|address| IpNet::from(*address) == prefix);
            if inside || is_own || !super::members::is_usable(prefix.addr()) && prefix.prefix_len() > DEFAULT_ROUTE_BITS
            {
                continue;
            }
            if draft.prefixes.iter().any(|overlay| prefix.contains(overlay))
                || prefix.prefix_len() <= DEFAULT_ROUTE_BITS
            {
                let what =
                    format!("{prefix}, which {} sends to {},", draft.members[at].name, draft.members[owner].name);
                let why = "a network file has no default routes, and none wider than the overlay".to_owned();
                findings.push(Finding::new(
                    Imported::Unexpressed { what, why },
                    world.device(at).map(|device| device.place),
                ));
                continue;
            }
            routed.insert(prefix);
        }
    }
    routed
}

/// Where nodes are dialled. Private addresses that only some use, or that lie in routed prefixes, make a private network
/// of those who use them.
fn endpoints(world: &World<'_>, routed: &BTreeSet<IpNet>, draft: &mut Draft, findings: &mut Findings) {
    let mut dials: BTreeMap<usize, BTreeMap<String, (Dial, BTreeSet<usize>)>> = BTreeMap::new();
    for (member, peer) in world.templates.iter().flat_map(|device| world.peers(device)) {
        if let Some(endpoint) = peer.endpoint.as_ref().filter(|endpoint| endpoint.value.host.is_some()) {
            let of = dials.entry(member).or_default();
            of.entry(endpoint.value.to_string()).or_insert_with(|| (endpoint.value.clone(), BTreeSet::new()));
        }
    }
    for learnt in [false, true] {
        for (at, device) in world.stations() {
            for (member, peer) in world.peers(device).filter(|(_, peer)| peer.endpoint_is_learnt == learnt) {
                let Some(endpoint) = &peer.endpoint else { continue };
                if learnt && (dials.contains_key(&member) || draft.members[member].via.is_some()) {
                    continue;
                }
                if endpoint.value.host.is_none() {
                    let what = format!("endpoint {} of {}", endpoint.value, draft.members[member].name);
                    let why = "it is no address or name that others could dial".to_owned();
                    findings.push(Finding::new(Imported::Unexpressed { what, why }, endpoint.span));
                    continue;
                }
                let of = dials.entry(member).or_default();
                let entry =
                    of.entry(endpoint.value.to_string()).or_insert_with(|| (endpoint.value.clone(), BTreeSet::new()));
                entry.1.insert(at);
            }
        }
    }
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    let mut private: Vec<(usize, String, BTreeSet<usize>)> = Vec::new();
    for (member, all) in &dials {
        let mut ranked: Vec<_> = all.iter().collect();
        ranked.sort_by_key(|(text, (_, dialers))| (std::cmp::Reverse(dialers.len()), *text));
        let mut public = Vec::new();
        for (text, (dial, dialers)) in ranked {
            if EndpointKind::of(dial).is_err() {
                let what = format!("endpoint {text} of {}", draft.members[*member].name);
                findings
                    .push(Finding::new(Imported::Unexpressed { what, why: "nobody else can dial it".into() }, None));
            } else if let Some(first) = owners.insert(text.clone(), *member) {
                owners.insert(text.clone(), first);
                let what = format!("endpoint {text} of {}", draft.members[*member].name);
                let why = format!("{} has the same", draft.members[first].name);
                findings.push(Finding::new(Imported::Unexpressed { what, why }, None));
            } else if is_private(dial, routed) && (all.len() > 1 || in_routed(dial, routed)) {
                private.push((*member, text.clone(), dialers.clone()));
            } else {
                public.push(text.clone());
            }
        }
        if let [first, second, ..] = public.as_slice() {
            let whom = draft.members[*member].name.to_string();
            let kind =
                Imported::Contradiction { what: "the endpoint", whom, first: first.clone(), second: second.clone() };
            findings.push(Finding::new(kind, None));
        }
        let port = all.values().next().map(|(dial, _)| dial.port);
        draft.members[*member].port = draft.members[*member].port.or(port);
        if !public.is_empty() {
            draft.members[*member].endpoints.insert(None, public);
        }
    }
    underlays(&private, draft);
}

struct EndpointKind;

impl EndpointKind {
    fn of(dial: &Dial) -> Result<(), String> {
        crate::file::EndpointText::parse(&dial.to_string()).map(|_| ())
    }
}

fn is_private(dial: &Dial, routed: &BTreeSet<IpNet>) -> bool {
    let Some(Dialled::Ip(address)) = dial.host else { return false };
    let local = match address {
        IpAddr::V4(v4) => {
            v4.is_private() || v4.is_link_local() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    local || in_routed(dial, routed)
}

fn in_routed(dial: &Dial, routed: &BTreeSet<IpNet>) -> bool {
    matches!(dial.host, Some(Dialled::Ip(address)) if routed.iter().any(|prefix| prefix.contains(&address)))
}

/// Groups who dials whom at private addresses; each group is a private network.
fn underlays(private: &[(usize, String, BTreeSet<usize>)], draft: &mut Draft) {
    let mut group: BTreeMap<usize, usize> = BTreeMap::new();
    for (member, _, dialers) in private {
        let all: Vec<usize> = dialers.iter().copied().chain([*member]).filter(|at| draft.is_node(*at)).collect();
        let ids: BTreeSet<usize> = all.iter().filter_map(|at| group.get(at).copied()).collect();
        let id = ids.first().copied().unwrap_or(*member);
        group.values_mut().filter(|other| ids.contains(other)).for_each(|other| *other = id);
        group.extend(all.into_iter().map(|at| (at, id)));
    }
    let mut ids: Vec<usize> = group.values().copied().collect();
    ids.sort_unstable();
    ids.dedup();
    for (member, text, _) in private {
        let Some(at) = group.get(member).and_then(|id| ids.iter().position(|other| other == id)) else { continue };
        let name = if ids.len() == 1 { "private".to_owned() } else { format!("private-{}", at + 1) };
        draft.members[*member].endpoints.entry(Some(name)).or_default().push(text.clone());
    }
}

/// Links: every pair of nodes of which one has the other as a peer, and one can dial the other.
fn links(world: &World<'_>, draft: &mut Draft, findings: &mut Findings) {
    let mut wanted: BTreeMap<(usize, usize), crate::check::Span> = BTreeMap::new();
    for (at, device) in world.stations() {
        for (member, peer) in world.peers(device) {
            if member != at && draft.is_node(at) && draft.is_node(member) {
                wanted.entry((at.min(member), at.max(member))).or_insert(peer.place);
            }
        }
    }
    // A client's nodes must be dialled from anywhere.
    let is_public = |draft: &Draft, at: usize| draft.members[at].endpoints.contains_key(&None);
    for at in 0..draft.members.len() {
        let Some(via) = draft.members[at].via.clone() else { continue };
        let kept: Vec<usize> = via.iter().copied().filter(|via| is_public(draft, *via)).collect();
        if kept.is_empty() {
            // It stays a node that is linked, if that can be.
            draft.members[at].via = None;
            let place =
                world.device(at).or_else(|| world.device(via[0])).map(|device| device.place).unwrap_or_default();
            for via in via {
                wanted.entry((at.min(via), at.max(via))).or_insert(place);
            }
        } else {
            draft.members[at].via = Some(kept);
        }
    }
    for ((a, b), place) in wanted {
        let networks = |at: usize| draft.members[at].endpoints.keys().cloned().collect::<BTreeSet<_>>();
        let (of_a, of_b) = (networks(a), networks(b));
        let shared = of_a.iter().flatten().any(|network| of_b.contains(&Some(network.clone())));
        if is_public(draft, a) || is_public(draft, b) || shared {
            draft.links.insert((a, b));
            continue;
        }
        let what = format!("the link of {} and {}", draft.members[a].name, draft.members[b].name);
        let why = "neither has an endpoint in what was read".to_owned();
        findings.push(
            Finding::new(Imported::Unexpressed { what, why }, place)
                .with_fix("Give one of them an endpoint in the network file, and link them."),
        );
    }
}

/// Hubs: nodes that others send what belongs to a third, itself no client of theirs.
fn hubs(world: &World<'_>, tables: &Tables, draft: &mut Draft) {
    let mut hubs = BTreeSet::new();
    for (from, _) in world.stations().filter(|(at, _)| draft.is_node(*at)) {
        let Some(table) = tables.of(from) else { continue };
        for to in (0..draft.members.len()).filter(|to| *to != from) {
            for address in &draft.members[to].addresses {
                let Some(relay) = table.owner(*address).filter(|relay| *relay != to && draft.is_node(*relay)) else {
                    continue;
                };
                let prefers = draft.members[to].via.as_ref().and_then(|via| via.first());
                // Whether the relay has a way to it is for `prove` to say.
                if prefers != Some(&relay) {
                    hubs.insert(relay);
                }
            }
        }
    }
    hubs.into_iter().for_each(|hub| draft.members[hub].hub = true);
}

/// Sites: each part of a routed prefix belongs to whoever sends it nowhere else.
fn behind(world: &World<'_>, tables: &Tables, routed: &BTreeSet<IpNet>, draft: &mut Draft) {
    let mut owned: BTreeMap<Vec<usize>, Vec<IpNet>> = BTreeMap::new();
    for atom in atoms(routed) {
        let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
        let mut by_clients: BTreeSet<usize> = BTreeSet::new();
        let all = tables.ends(atom.network());
        for (from, _) in world.stations() {
            let Some(end) = all[from].filter(|end| *end != from) else { continue };
            if draft.is_node(from) {
                *ends.entry(end).or_default() += 1;
            } else {
                by_clients.insert(end);
            }
        }
        // A client sends everything to its node, whether that knows the way or not.
        if ends.is_empty() {
            let alone = stranger(world, draft).filter(|_| !by_clients.is_empty());
            ends.extend(alone.or(by_clients.first().copied()).map(|at| (at, 1)));
        }
        let mut ends: Vec<(usize, usize)> = ends.into_iter().collect();
        ends.sort_by_key(|(member, count)| (std::cmp::Reverse(*count), *member));
        let ends: Vec<usize> = ends.into_iter().map(|(member, _)| member).collect();
        if !ends.is_empty() {
            owned.entry(ends).or_default().push(atom);
        }
    }
    let mut names: BTreeSet<Name> = draft.members.iter().map(|member| member.name.clone()).collect();
    for (mut gateways, prefixes) in owned {
        let prefixes = merge(prefixes);
        if gateways.len() > 1 {
            gateways.retain(|at| draft.is_node(*at));
        }
        match gateways.as_slice() {
            [only] => draft.members[*only].prefixes = merge([draft.members[*only].prefixes.clone(), prefixes].concat()),
            [first, ..] => {
                let name = (1..).filter_map(|n| Name::suggest(&format!("site-{}-{n}", draft.members[*first].name)));
                let name = name.into_iter().find(|name| !names.contains(name)).expect("there is always another number");
                names.insert(name.clone());
                draft.sites.push((name, prefixes, gateways));
            }
            [] => {}
        }
    }
}

/// A node that nobody knows: what everybody's clients ask for and no node sends anywhere may be behind it.
fn stranger(world: &World<'_>, draft: &Draft) -> Option<usize> {
    let known: BTreeSet<usize> =
        world.stations().flat_map(|(_, device)| world.peers(device).map(|(member, _)| member)).collect();
    let alone = |(at, device): &(usize, &crate::import::hosts::Device)| {
        draft.is_node(*at) && device.peers.is_empty() && !known.contains(at)
    };
    world.stations().find(alone).map(|(at, _)| at)
}

/// The parts into which nested prefixes cut each other.
pub(in crate::import) fn atoms(prefixes: &BTreeSet<IpNet>) -> Vec<IpNet> {
    let all: Vec<IpNet> = prefixes.iter().copied().collect();
    let mut atoms = Vec::new();
    for (at, prefix) in all.iter().enumerate() {
        let inner: Vec<IpNet> = all[at + 1..].iter().take_while(|other| prefix.contains(*other)).copied().collect();
        remainder(*prefix, &inner, &mut atoms);
    }
    atoms
}

fn remainder(prefix: IpNet, inner: &[IpNet], out: &mut Vec<IpNet>) {
    if inner.is_empty() {
        out.push(prefix);
        return;
    }
    if inner.iter().any(|other| other.contains(&prefix)) {
        return;
    }
    for half in prefix.subnets(prefix.prefix_len() + 1).into_iter().flatten() {
        let within: Vec<IpNet> =
            inner.iter().copied().filter(|other| half.contains(other) || other.contains(&half)).collect();
        remainder(half, &within, out);
    }
}

/// Prefixes inside the overlay that hold clients alone.
fn client_prefixes(world: &World<'_>, tables: &Tables, draft: &mut Draft) {
    let holds = |prefix: &IpNet, client: bool| {
        let of_kind = draft.members.iter().filter(|member| member.via.is_some() == client);
        of_kind.flat_map(|member| &member.addresses).any(|address| prefix.contains(address))
    };
    let mut found: BTreeSet<IpNet> = BTreeSet::new();
    for (at, _) in world.stations() {
        for (prefix, _) in tables.of(at).into_iter().flat_map(|table| table.prefixes()) {
            let inside = draft.prefixes.iter().any(|overlay| overlay.contains(&prefix) && *overlay != prefix);
            let is_range = prefix.max_prefix_len() - prefix.prefix_len() > 1;
            if inside && is_range && holds(&prefix, true) && !holds(&prefix, false) {
                found.insert(prefix);
            }
        }
    }
    let narrowest: Vec<IpNet> = found.iter().copied().collect();
    found.retain(|prefix| !narrowest.iter().any(|other| other != prefix && other.contains(prefix)));
    draft.client_prefixes = found;
}

/// Seconds between keepalives, from links that only one side can dial.
fn keepalives(world: &World<'_>, draft: &mut Draft) {
    for (at, device) in world.stations() {
        let is_client = !draft.is_node(at);
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for (member, peer) in world.peers(device) {
            let is_dialled = draft.members[at].endpoints.contains_key(&None);
            let only_we_dial = peer.endpoint.is_some() && !draft.members[member].endpoints.is_empty() && !is_dialled;
            if is_client || only_we_dial {
                *counts.entry(peer.keepalive_s.as_ref().map_or(0, |seconds| seconds.value)).or_default() += 1;
            }
        }
        let most = counts.into_iter().max_by_key(|(seconds, count)| (*count, *seconds));
        draft.members[at].keepalive_s = most.map(|(seconds, _)| seconds);
    }
}
