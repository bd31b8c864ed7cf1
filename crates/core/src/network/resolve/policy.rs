//! Policy, services and firewalls: rules with their parties, what each node's firewall is to do, and what can't be.
//!
//! A policy that denies by default also keeps nodes apart by addresses alone, where neither they nor anything behind
//! them may talk: such pairs join [`Network::isolated`]. All else is for firewalls. What no firewall can enforce, since
//! neither the host that is to be protected nor the one that lets packets in has one, becomes a finding.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::Context;
use super::nodes::first;
use crate::check::{Finding, Findings, Meaning};
use crate::file::written::{AllowRule, NodeTable, ServiceTable};
use crate::file::{OutsideText, PolicyText, Selector, Spanned};
use crate::limits::{LINKS_MAX, PORT_CLASSES_MAX};
use crate::names::Name;
use crate::network::parties::PartyCatalogue;
use crate::network::{
    Denial, FirewallForm, FirewallWish, Host, Network, NodeIx, Parties, Party, Permission, Platform, Policy,
    PortClasses, Ports, Service,
};

/// Bytes of a rule's name where it is shown: firewalls take comments of 127.
const LABEL_BYTES_MAX: usize = 90;
/// Parties that a finding names before it only counts.
const PARTIES_NAMED_MAX: usize = 6;

/// Resolves the policy but for what is kept apart, which is handed in.
pub(super) fn resolve(
    context: &Context<'_>,
    network: &Network,
    catalogue: &PartyCatalogue<'_>,
    denied: Vec<Denial>,
    findings: &mut Findings,
) -> Policy {
    let denies_by_default = context.table.policy.is_some_and(|policy| policy.value == PolicyText::Deny);
    let services: Vec<Service> = context
        .names
        .services
        .iter()
        .map(|(name, table)| service(network, catalogue, name, &table.value, findings))
        .collect();
    let rules = &context.file.allow;
    let mut allowed: Vec<Permission> = rules.iter().filter_map(|rule| permission(catalogue, rule, findings)).collect();
    allowed.extend(services.iter().map(usage));
    let mut policy = Policy { denies_by_default, allowed, denied, services };
    if policy.refuses() {
        policy.allowed.extend(local(network));
    }
    policy.allowed.sort();
    let classes = PortClasses::new(policy.allowed.iter().map(|rule| &rule.ports)).count();
    if classes > PORT_CLASSES_MAX {
        let kind =
            Meaning::TooMany { what: "kinds of traffic that rules tell apart", count: classes, max: PORT_CLASSES_MAX };
        let place = policy.allowed.iter().find_map(|rule| rule.place);
        findings.push(Finding::new(kind, place).with_fix("Use the same lists of ports in more rules."));
    }
    idle_rules(&policy, findings);
    policy
}

fn permission(
    catalogue: &PartyCatalogue<'_>,
    rule: &Spanned<AllowRule>,
    findings: &mut Findings,
) -> Option<Permission> {
    let table = &rule.value;
    let (Some(from), Some(to)) = (&table.from, &table.to) else { return None };
    let label = label(&format!("{} to {}", words(&from.value), words(&to.value)));
    let (from, to) = (catalogue.select(&from.value, findings), catalogue.select(&to.value, findings));
    let ports = table.ports.as_ref().map_or_else(Ports::all, |list| joined(&list.value));
    Some(Permission { label, from, to, ports, place: Some(rule.span) })
}

/// Selectors in an order of their own, so that a rule's name does not depend on the order in the file.
fn words(selectors: &[Spanned<Selector>]) -> String {
    let mut words: Vec<String> = selectors.iter().map(|selector| selector.value.to_string()).collect();
    words.sort();
    words.dedup();
    words.join(", ")
}

fn label(text: &str) -> String {
    match text.char_indices().nth(LABEL_BYTES_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

fn joined(list: &[Spanned<Ports>]) -> Ports {
    Ports::of_all(list.iter().map(|one| &one.value))
}

fn service(
    network: &Network,
    catalogue: &PartyCatalogue<'_>,
    name: &Spanned<Name>,
    table: &ServiceTable,
    findings: &mut Findings,
) -> Service {
    let on = table.on.as_ref().map(|list| catalogue.select(&list.value, findings)).unwrap_or_default();
    let mut nodes = Vec::new();
    for party in on.list.iter().filter(|_| !on.everybody) {
        match party {
            Party::Node(ix) => nodes.push(*ix),
            other => {
                let kind = Meaning::ServiceElsewhere { service: name.value.to_string(), on: other.name(network) };
                let place = table.on.as_ref().map_or(name.span, |list| list.span);
                findings.push(Finding::new(kind, place).with_fix("Name nodes in on."));
            }
        }
    }
    if on.everybody {
        nodes = network.node_numbers().collect();
    }
    let everybody = || Parties { everybody: true, list: network.parties().collect() };
    let from = table.from.as_ref().map(|list| catalogue.select(&list.value, findings));
    let mut outside: Vec<IpNet> = table.outside.iter().flat_map(|list| &list.value).map(|one| one.value).collect();
    outside.sort();
    let paths = table.public_paths.iter().flat_map(|list| &list.value);
    let mut public_paths: Vec<String> = paths.map(|path| path.value.0.clone()).collect();
    public_paths.sort();
    public_paths.dedup();
    Service {
        name: name.value.clone(),
        on: nodes,
        ports: table.ports.as_ref().map(|list| joined(&list.value)).unwrap_or_default(),
        restricted: from.as_ref().is_some_and(|from| !from.everybody),
        from: from.unwrap_or_else(everybody),
        outside,
        public_paths,
        place: name.span,
    }
}

/// The rule that a service is. Where a web server decides, the firewall lets everybody to it.
fn usage(service: &Service) -> Permission {
    let everybody = Parties { everybody: true, list: Vec::new() };
    Permission {
        label: format!("service {}", service.name),
        from: if service.is_public() { everybody } else { service.from.clone() },
        to: Parties { everybody: false, list: service.on.iter().copied().map(Party::Node).collect() },
        ports: service.ports.clone(),
        place: Some(service.place),
    }
}

/// A site, its gateways and the gateways' other sites reach each other without the overlay.
fn local(network: &Network) -> Vec<Permission> {
    let mut behind: BTreeMap<NodeIx, Vec<Party>> = BTreeMap::new();
    for (site, at) in network.sites.iter().zip(0..) {
        site.gateways.iter().for_each(|gateway| behind.entry(*gateway).or_default().push(Party::Site(at)));
    }
    let mut rules = Vec::new();
    for (at, site) in network.sites.iter().enumerate() {
        let gateways: Vec<Party> = site.gateways.iter().copied().map(Party::Node).collect();
        let mut near = gateways.clone();
        near.extend(
            site.gateways.iter().flat_map(|gateway| &behind[gateway]).filter(|party| **party != Party::Site(at as u32)),
        );
        let rule = |from: Vec<Party>, to: Vec<Party>| {
            let parties = |mut list: Vec<Party>| {
                list.sort_unstable();
                list.dedup();
                Parties { everybody: false, list }
            };
            let label = format!("at site {}", site.name);
            Permission { label, from: parties(from), to: parties(to), ports: Ports::all(), place: None }
        };
        let own = vec![Party::Site(at as u32)];
        rules.push(rule(near, own.clone()));
        rules.push(rule(own, gateways));
    }
    rules
}

/// Rules that allow what is allowed anyway.
fn idle_rules(policy: &Policy, findings: &mut Findings) {
    if policy.denies_by_default {
        return;
    }
    let served: BTreeSet<Party> =
        policy.services.iter().flat_map(|service| &service.on).copied().map(Party::Node).collect();
    let restricted: BTreeMap<Party, Ports> =
        served.into_iter().map(|party| (party, policy.restricted(party))).collect();
    let needed = |rule: &Permission| {
        let overrides =
            |to: &Party| restricted.get(to).is_some_and(|restricted| !restricted.and(&rule.ports).is_empty());
        // What names nothing has a finding of its own.
        rule.to.list.is_empty() || rule.from.list.is_empty() || rule.to.list.iter().any(overrides)
    };
    let rules = policy.allowed.iter().filter(|rule| !rule.label.starts_with("service ") && !needed(rule));
    for place in rules.filter_map(|rule| rule.place) {
        let finding = Finding::new(Meaning::PolicyIdle, place);
        findings.push(finding.with_fix("Set policy = \"deny\" in [network], or remove the rule."));
    }
}

/// What each node's firewall is to do, by what is written and by what there is to enforce.
pub(super) fn firewalls(context: &Context<'_>, network: &Network, findings: &mut Findings) -> Vec<FirewallWish> {
    let refuses = network.policy.refuses();
    let mut masquerades = vec![false; network.nodes.len()];
    for site in network.sites.iter().filter(|site| site.masquerade != [false; 2]) {
        site.gateways.iter().for_each(|gateway| masquerades[gateway.at()] = true);
    }
    let mut is_gateway = vec![false; network.nodes.len()];
    network.sites.iter().flat_map(|site| &site.gateways).for_each(|gateway| is_gateway[gateway.at()] = true);
    let mut serves = vec![false; network.nodes.len()];
    network.policy.services.iter().flat_map(|service| &service.on).for_each(|node| serves[node.at()] = true);
    let guards = hub_guards(network);
    let wish = |(ix, (_, table)): (NodeIx, &&crate::file::Named<NodeTable>)| {
        let node = network.node(ix);
        let table = &table.value;
        let region = node.region.map(|region| &context.names.regions[region.at()].1.value);
        let of_region = region.and_then(|region| region.firewall);
        let given = [&table.firewall, &of_region, &context.table.firewall];
        let closed = table.outside.is_some_and(|outside| outside.value == OutsideText::Closed);
        let tasks = [
            (masquerades[ix.at()], "masquerades"),
            (table.wireguard_from.is_some(), "has wireguard_from"),
            (closed, "is closed from outside"),
        ];
        let task = tasks.into_iter().find(|(there, _)| *there).map(|(_, what)| what);
        let capable = takes_firewall(node.platform);
        let wanted = refuses || serves[ix.at()] || guards[ix.at()] || task.is_some();
        let form = match first(given) {
            Some(form) if capable => form,
            None if wanted && capable => FirewallForm::Nftables,
            _ => FirewallForm::None,
        };
        let named = table.firewall.as_ref().filter(|form| form.value != FirewallForm::None);
        if let Some(named) = named.filter(|_| !capable) {
            let kind = Meaning::FirewallImpossible { node: node.name.to_string() };
            findings.push(Finding::new(kind, named.span).with_fix("Remove it, or set another platform."));
        } else if let (FirewallForm::None, Some(task)) = (form, task) {
            let kind = Meaning::FirewallNeeded { node: node.name.to_string(), task };
            findings.push(Finding::new(kind, node.place).with_fix("Set firewall = \"nftables\", or remove the key."));
        }
        let mut addresses: Option<Vec<IpNet>> =
            table.wireguard_from.as_ref().map(|list| list.value.iter().map(|prefix| prefix.value).collect());
        addresses.iter_mut().for_each(|list| list.sort());
        // The apps have no such thing; routers have, without a firewall of ours.
        let clamps_mss =
            is_gateway[ix.at()] && node.platform != Platform::App && first(given) != Some(FirewallForm::None);
        // With a table of ours beside whatever else there is; only who wants no firewall at all gets none.
        let guards_neighbours = capable && first(given) != Some(FirewallForm::None);
        FirewallWish { form, wireguard_from: addresses, closed, clamps_mss, guards_neighbours }
    };
    network.node_numbers().zip(&context.names.nodes).map(wish).collect()
}

/// Whether hosts of a platform can have a firewall of ours.
fn takes_firewall(platform: Platform) -> bool {
    ![Platform::App, Platform::Edgeos, Platform::Vyos, Platform::Routeros].contains(&platform)
}

/// Hubs whose firewall keeps them apart from other hubs: both relay for others, so addresses can't.
fn hub_guards(network: &Network) -> Vec<bool> {
    let mut guards = vec![false; network.nodes.len()];
    for (a, b) in network.isolated.iter().filter(|(a, b)| network.node(*a).hub && network.node(*b).hub) {
        [a, b].into_iter().for_each(|ix| guards[ix.at()] = true);
    }
    guards
}

/// Nodes that dial another from addresses which its firewall can't know.
pub(super) fn unknown_callers(network: &Network, findings: &mut Findings) {
    for (ix, node) in network.node_numbers().zip(&network.nodes) {
        if node.firewall.wireguard_from.as_ref().is_none_or(|list| !list.is_empty()) {
            continue;
        }
        let known = |other: NodeIx| network.node(other).endpoints.iter().any(|e| matches!(e.host, Host::Ip(_)));
        let mut callers: Vec<String> = Vec::new();
        for link in network.links.iter().filter(|link| link.a == ix || link.b == ix) {
            let other = if link.a == ix { link.b } else { link.a };
            if !known(other) && network.dialable(other, ix).next().is_some() {
                callers.push(network.node(other).name.to_string());
            }
        }
        let clients = network.clients.iter().filter(|client| client.via.contains(&ix));
        callers.extend(clients.map(|client| client.name.to_string()));
        if !callers.is_empty() {
            let (count, node_name) = (callers.len(), node.name.to_string());
            callers.truncate(PARTIES_NAMED_MAX);
            let kind = Meaning::CallersUnknown { node: node_name, callers, count };
            findings.push(
                Finding::new(kind, node.place).with_fix(
                    "Name the addresses they come from in wireguard_from, or leave it out to let everybody in.",
                ),
            );
        }
    }
}

/// Pairs of nodes that a policy which denies by default keeps apart altogether. Hubs relay, so they are in no pair.
pub(super) fn silent_pairs(network: &Network) -> Vec<(NodeIx, NodeIx)> {
    if !network.policy.denies_by_default {
        return Vec::new();
    }
    let count = network.nodes.len();
    let words = count.div_ceil(64);
    let mut talks = vec![0_u64; count * words];
    let doors = |parties: &Parties| -> Vec<NodeIx> {
        if parties.everybody {
            return network.node_numbers().collect();
        }
        let mut doors: Vec<NodeIx> = parties.list.iter().flat_map(|party| network.doors(party)).copied().collect();
        doors.sort_unstable();
        doors.dedup();
        doors
    };
    for rule in network.policy.allowed.iter().filter(|rule| !rule.ports.is_empty()) {
        let (from, to) = (doors(&rule.from), doors(&rule.to));
        for (one, other) in [(&from, &to), (&to, &from)] {
            let mut mask = vec![0_u64; words];
            other.iter().for_each(|node| mask[node.at() / 64] |= 1 << (node.at() % 64));
            for node in one {
                let row = &mut talks[node.at() * words..][..words];
                row.iter_mut().zip(&mask).for_each(|(word, more)| *word |= more);
            }
        }
    }
    let silent = |a: &NodeIx, b: &NodeIx| talks[a.at() * words + b.at() / 64] >> (b.at() % 64) & 1 == 0;
    let leaves: Vec<NodeIx> = network.node_numbers().filter(|ix| !network.node(*ix).hub).collect();
    let pairs = leaves.iter().enumerate().flat_map(|(at, a)| leaves[at + 1..].iter().map(move |b| (*a, *b)));
    let found: Vec<(NodeIx, NodeIx)> = pairs.filter(|(a, b)| silent(a, b)).take(LINKS_MAX + 1).collect();
    // More pairs than that cost more than they are worth; firewalls refuse them all the same.
    if found.len() > LINKS_MAX { Vec::new() } else { found }
}

/// Parties at which nothing enforces what the policy refuses to others at which nothing does either.
pub(super) fn unenforced(network: &Network, findings: &mut Findings) {
    if !network.policy.refuses() {
        return;
    }
    let has = |node: &NodeIx| network.node(*node).firewall.form != FirewallForm::None;
    let bare: Vec<Party> = network.parties().filter(|party| !network.doors(party).iter().all(has)).collect();
    let mut exposed: Vec<(Party, Party)> = Vec::new();
    for to in &bare {
        let rules = network.policy.rules_to(*to);
        let open = |from: &&Party| {
            **from != *to && !network.are_apart(**from, *to) && !network.policy.permits_by(&rules, **from, *to).is_all()
        };
        exposed.extend(bare.iter().find(open).map(|from| (*to, *from)));
    }
    let Some((to, from)) = exposed.first() else { return };
    let place = match to {
        Party::Node(ix) => network.node(*ix).place,
        Party::Client(at) => network.clients[*at as usize].place,
        Party::Site(at) => network.sites[*at as usize].place,
    };
    let names = exposed.iter().take(PARTIES_NAMED_MAX).map(|(to, _)| to.name(network)).collect();
    let kind = Meaning::PolicyUnenforced { parties: names, count: exposed.len(), from: from.name(network) };
    let doors: Vec<&str> =
        network.doors(to).iter().filter(|door| !has(door)).map(|door| network.node(*door).name.as_str()).collect();
    findings.push(Finding::new(kind, place).with_fix(format!("Give {} a firewall.", doors.join(" and "))));
}

/// Closed nodes that nobody could log in to.
pub(super) fn shut_out(network: &Network, findings: &mut Findings) {
    let ssh = Ports { tcp: vec![(22, 22)], ..Ports::default() };
    for (ix, node) in network.node_numbers().zip(&network.nodes).filter(|(_, node)| node.firewall.closed) {
        let here = network.policy.services.iter().filter(|service| service.on.binary_search(&ix).is_ok());
        let from_outside = here.into_iter().any(|service| service.ports.contains(&ssh) && !service.outside.is_empty());
        let own = Party::Node(ix);
        let rules = network.policy.rules_to(own);
        let enters = |other: Party| {
            other != own
                && !network.are_apart(other, own)
                && network.policy.permits_by(&rules, other, own).contains(&ssh)
        };
        if !from_outside && !network.parties().any(enters) {
            let kind = Meaning::ShutOut { node: node.name.to_string() };
            findings.push(Finding::new(kind, node.place).with_fix(
                "Add a service with tcp/22 and the addresses that may use it in outside, or allow it inside.",
            ));
        }
    }
}
