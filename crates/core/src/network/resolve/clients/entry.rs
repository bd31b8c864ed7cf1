//! `[entry]`: the device that is the same on all entry nodes, and what these nodes must be like to have it.
//!
//! Clients are followed by the agent, so an entry node that runs anything else would send packets where a client was once.

use super::super::Context;
use super::super::nodes::{device, first, made};
use crate::check::{Finding, Findings, Meaning, Span};
use crate::limits::{CLIENTS_DEVICE_DEFAULT, CLIENTS_PORT_DEFAULT, MTU_DEFAULT, READY_PORT_DEFAULT};
use crate::names::{DeviceName, Name};
use crate::network::{ENTRY_NAME, Endpoint, Entry, FirewallForm, Network, Node, Platform};

/// Resolves the table, if there is one.
pub(in crate::network::resolve) fn resolve(
    context: &Context<'_>,
    nodes: &[Node],
    findings: &mut Findings,
) -> Option<Entry> {
    let table = context.file.entry.as_ref()?;
    let (place, table) = (table.span, &table.value);
    let port = first([&table.port]).map_or(CLIENTS_PORT_DEFAULT, |port| port.0);
    let written = table.endpoint.iter().flat_map(|list| &list.value.0);
    let endpoints: Vec<Endpoint> = written.map(|endpoint| made(None, &endpoint.value, port)).collect();
    let entry = Entry {
        name: Name::new(ENTRY_NAME).ok()?,
        endpoints,
        public_key: table.public_key.as_ref().map(|key| key.value),
        port,
        device: device(Some(first([&table.device]).or_else(|| DeviceName::new(CLIENTS_DEVICE_DEFAULT).ok())?)),
        addresses: super::super::addresses::given(&table.address, &table.addresses, &|| "entry".to_owned(), findings),
        mtu: first([&table.mtu, &context.table.mtu]).map_or(MTU_DEFAULT, |mtu| mtu.0),
        ready_port: first([&table.ready_port]).map_or(READY_PORT_DEFAULT, |port| port.0),
        place,
    };
    if !nodes.iter().any(|node| node.entry) {
        let finding = Finding::new(Meaning::EntryNowhere, place);
        findings.push(finding.with_fix("Give entry = true to the nodes that clients may be with."));
    }
    nodes.iter().filter(|node| node.entry).for_each(|node| check(&entry, node, findings));
    name_taken(context, &entry.name, findings);
    Some(entry)
}

/// Puts the nodes of each roaming client in order, the nearest first.
pub(in crate::network::resolve) fn order(network: &mut Network) {
    for at in 0..network.clients.len() {
        if network.clients[at].roams {
            let mut via = std::mem::take(&mut network.clients[at].via);
            via.sort_by_key(|node| (network.client_rtt_us(at, *node), *node));
            network.clients[at].via = via;
        }
    }
}

fn check(entry: &Entry, node: &Node, findings: &mut Findings) {
    let mut clash = |problem: String, fix: &'static str, place: Span| {
        let kind = Meaning::EntryUnfit { node: node.name.to_string(), problem };
        findings.push(Finding::new(kind, place).with_related(entry.place, "the clients' device").with_fix(fix));
    };
    if node.platform != Platform::Agent {
        let problem = format!("its platform is {}, which can't follow clients that roam", node.platform.word());
        clash(problem, "Give it platform = \"agent\", or clients their nodes in via.", node.place);
    }
    if node.device == entry.device {
        clash(format!("its own device is called {} as well", node.device), "Name one of them differently.", node.place);
    }
    if node.port == entry.port {
        clash(format!("its own device listens on port {} as well", node.port), "Give one another port.", node.place);
    }
}

/// Refuses firewalls that stand at one device only.
pub(in crate::network::resolve) fn check_firewalls(network: &Network, findings: &mut Findings) {
    let Some(entry) = &network.entry else { return };
    for node in network.entries().map(|ix| network.node(ix)).filter(|n| n.firewall.form == FirewallForm::Iptables) {
        let problem = "its firewall is set with iptables, which would not cover their device".to_owned();
        let kind = Meaning::EntryUnfit { node: node.name.to_string(), problem };
        let finding = Finding::new(kind, node.place).with_related(entry.place, "the clients' device");
        findings.push(finding.with_fix("Give it firewall = \"nftables\"."));
    }
}

/// Ledger and key files know the device by a name, which nobody else may have.
fn name_taken(context: &Context<'_>, name: &Name, findings: &mut Findings) {
    let nodes = context.names.nodes.iter().map(|(node, _)| node);
    let clients = context.names.clients.iter().map(|(client, _)| client);
    if let Some(member) = nodes.chain(clients).find(|member| member.value == *name) {
        let kind = Meaning::NameTwice { first: "[entry]".to_owned(), second: format!("member {name}") };
        findings.push(Finding::new(kind, member.span).with_fix("Give it another name."));
    }
}
