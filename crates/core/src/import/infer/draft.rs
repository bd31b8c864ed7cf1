//! The network that is being inferred, and the text that says it.
//!
//! The text is what people will keep and edit: one table per member in order of name, a remark where something is worth
//! one, and no key that only repeats a default. The same draft gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::keys::PublicKey;
use crate::limits::{KEEPALIVE_S_DEFAULT, MTU_DEFAULT, PORT_DEFAULT};
use crate::names::Name;
use crate::network::Platform;

/// A node or a client.
#[derive(Debug, Clone)]
pub(in crate::import) struct Draftee {
    pub name: Name,
    pub key: Option<PublicKey>,
    pub addresses: Vec<IpAddr>,
    /// Endpoints by the name of their network; none is everywhere.
    pub endpoints: BTreeMap<Option<String>, Vec<String>>,
    pub hub: bool,
    /// Set for clients: the nodes they connect to.
    pub via: Option<Vec<usize>>,
    pub prefixes: Vec<IpNet>,
    /// Prefixes of peers that are not to be planned.
    pub allowed: Vec<(usize, Vec<IpNet>)>,
    pub port: Option<u16>,
    pub mtu: Option<u16>,
    pub keepalive_s: Option<u16>,
    pub device: Option<String>,
    pub platform: Platform,
    /// What was read, for a remark: files.
    pub from: Option<String>,
}

/// A network. Members are numbered as in the world.
#[derive(Debug, Clone)]
pub(in crate::import) struct Draft {
    pub name: Name,
    pub prefixes: Vec<IpNet>,
    pub client_prefixes: BTreeSet<IpNet>,
    pub public: bool,
    /// Regions by name: prefixes and members.
    pub regions: BTreeMap<Name, (Vec<IpNet>, Vec<usize>)>,
    pub members: Vec<Draftee>,
    /// Prefixes with more than one gateway.
    pub sites: Vec<(Name, Vec<IpNet>, Vec<usize>)>,
    pub links: BTreeSet<(usize, usize)>,
    pub isolated: BTreeSet<(usize, usize)>,
    /// Times of links in milliseconds.
    pub rtt_ms: BTreeMap<(usize, usize), u32>,
}

impl Draft {
    /// Whether a member is a node.
    pub fn is_node(&self, member: usize) -> bool {
        self.members[member].via.is_none()
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.members.len()).filter(|at| self.is_node(*at))
    }

    /// The text of the network file.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(512 + 256 * self.members.len());
        self.head(&mut out);
        for (name, (prefixes, _)) in &self.regions {
            let _ = writeln!(out, "\n[regions.{name}]\nprefixes = {}", list(prefixes));
        }
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|at| (!self.is_node(*at), &self.members[*at].name));
        let common = self.common();
        for at in &order {
            self.member(*at, &common, &mut out);
        }
        for (name, prefixes, gateways) in &self.sites {
            let gateways = self.names(gateways);
            let _ = writeln!(out, "\n[sites.{name}]\nprefixes = {}\ngateways = {gateways}", list(prefixes));
        }
        self.rules(&mut out);
        self.times(&mut out);
        out
    }

    fn names(&self, members: &[usize]) -> String {
        list(&members.iter().map(|at| &self.members[*at].name).collect::<Vec<_>>())
    }

    /// Port, MTU and keepalive that most nodes have: defaults of the network.
    fn common(&self) -> (u16, u16, u16) {
        let most = |value: &dyn Fn(&Draftee) -> Option<u16>, default: u16| {
            let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
            self.members.iter().filter_map(value).for_each(|value| *counts.entry(value).or_default() += 1);
            let most = counts.into_iter().max_by_key(|(value, count)| (*count, *value == default, *value));
            most.map_or(default, |(value, _)| value)
        };
        (
            most(&|member| member.port, PORT_DEFAULT),
            most(&|member| member.mtu, MTU_DEFAULT),
            most(&|member| member.keepalive_s, KEEPALIVE_S_DEFAULT),
        )
    }

    fn head(&self, out: &mut String) {
        let (nodes, all) = (self.nodes().count(), self.members.len());
        let _ = writeln!(
            out,
            "# Imported by `wayleave import`: {nodes} nodes, {} clients. Names, regions and round-trip times",
            all - nodes
        );
        out.push_str("# are worth a look; `wayleave import --verify` says what hosts would be told differently.\n\n");
        let _ = writeln!(out, "[network]\nname = \"{}\"\nprefixes = {}", self.name, list(&self.prefixes));
        if !self.client_prefixes.is_empty() {
            let _ = writeln!(out, "client_prefixes = {}", list(&self.client_prefixes.iter().collect::<Vec<_>>()));
        }
        let (port, mtu, keepalive_s) = self.common();
        for (key, value, default) in
            [("port", port, PORT_DEFAULT), ("mtu", mtu, MTU_DEFAULT), ("keepalive_s", keepalive_s, KEEPALIVE_S_DEFAULT)]
        {
            if value != default {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
        if self.public {
            out.push_str("# Some prefixes here are of public addresses: they are taken away from the internet.\nallow_public_prefixes = true\n");
        }
    }

    fn member(&self, at: usize, (port, mtu, keepalive_s): &(u16, u16, u16), out: &mut String) {
        let member = &self.members[at];
        let table = if member.via.is_some() { "clients" } else { "nodes" };
        let _ = writeln!(out, "\n[{table}.{}]", member.name);
        if let Some(from) = &member.from {
            let _ = writeln!(out, "# read from {from}");
        } else {
            out.push_str("# only known from what others say of it\n");
        }
        if let Some((name, _)) = self.regions.iter().find(|(_, (_, members))| members.contains(&at)) {
            let _ = writeln!(out, "region = \"{name}\"");
        }
        if let Some(via) = &member.via {
            let _ = writeln!(out, "via = {}", self.names(via));
        }
        if member.hub {
            out.push_str("hub = true\n");
        }
        // So that the next client need not name it.
        if self.members.iter().filter_map(|other| other.via.as_ref()).any(|via| via.contains(&at)) {
            out.push_str("entry = true\n");
        }
        match (member.endpoints.len(), member.endpoints.get(&None)) {
            (0, _) => {}
            (1, Some(only)) if only.len() == 1 => {
                let _ = writeln!(out, "endpoint = {:?}", only[0]);
            }
            _ => {
                let entry = |(network, list): (&Option<String>, &Vec<String>)| {
                    format!("{} = {list:?}", network.as_deref().unwrap_or("public"))
                };
                let entries: Vec<String> = member.endpoints.iter().map(entry).collect();
                let _ = writeln!(out, "endpoints = {{ {} }}", entries.join(", "));
            }
        }
        if !member.addresses.is_empty() {
            let _ = writeln!(out, "addresses = {}", list(&member.addresses));
        }
        if !member.prefixes.is_empty() {
            let _ = writeln!(out, "prefixes = {}", list(&member.prefixes));
        }
        if !member.allowed.is_empty() {
            let entry =
                |(peer, prefixes): &(usize, Vec<IpNet>)| format!("{} = {}", self.members[*peer].name, list(prefixes));
            let entries: Vec<String> = member.allowed.iter().map(entry).collect();
            out.push_str("# As read; without this line the plan decides, and packets still arrive.\n");
            let _ = writeln!(out, "allowed = {{ {} }}", entries.join(", "));
        }
        if let Some(key) = member.key {
            let _ = writeln!(out, "public_key = \"{key}\"");
        }
        let is_node = member.via.is_none();
        for (key, value, usual) in [
            ("port", member.port.filter(|_| is_node), port),
            ("mtu", member.mtu, mtu),
            ("keepalive_s", member.keepalive_s, keepalive_s),
        ] {
            if let Some(value) = value.filter(|value| value != usual) {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
        if let Some(device) = &member.device {
            let _ = writeln!(out, "device = \"{device}\"");
        }
        if member.platform != Platform::WgQuick {
            let _ = writeln!(out, "platform = \"{}\"", member.platform.word());
        }
    }

    fn rules(&self, out: &mut String) {
        let nodes: Vec<usize> = self.nodes().collect();
        let pairs = nodes.len() * nodes.len().saturating_sub(1) / 2;
        if nodes.len() > 1 && self.links.is_empty() {
            out.push_str("\n[[links]]\nmesh = [\"*\"]\nremove = true\n");
        } else if self.links.len() == pairs && nodes.len() > 1 {
            out.push_str("\n[[links]]\nmesh = [\"*\"]\n");
        } else {
            for (to, from) in stars(&self.links, self.members.len()) {
                let is_all = from.len() + 1 == nodes.len();
                let from = if is_all { "[\"*\"]".to_owned() } else { self.names(&from) };
                let _ = writeln!(out, "\n[[links]]\nfrom = {from}\nto = {}", self.names(&[to]));
            }
        }
        for (a, from) in stars(&self.isolated, self.members.len()) {
            let _ = writeln!(out, "\n[[isolate]]\nbetween = [{}, {}]", self.names(&[a]), self.names(&from));
        }
    }

    fn times(&self, out: &mut String) {
        if self.rtt_ms.is_empty() {
            return;
        }
        out.push_str(
            "\n# Not measured: chosen so that paths are those of the files. Replace them by round-trip times in milliseconds.\n\n[rtt_ms]\n",
        );
        let mut rows: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
        for ((a, b), ms) in &self.rtt_ms {
            rows.entry(&self.members[*a].name).or_default().push(format!("{} = {ms}", self.members[*b].name));
        }
        for (name, row) in rows {
            let _ = writeln!(out, "{name} = {{ {} }}", row.join(", "));
        }
    }
}

/// Pairs as stars, the one with most pairs first: few rules for networks with hubs.
fn stars(pairs: &BTreeSet<(usize, usize)>, members: usize) -> Vec<(usize, Vec<usize>)> {
    let mut near: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); members];
    for (a, b) in pairs {
        near[*a].insert(*b);
        near[*b].insert(*a);
    }
    let mut order: Vec<usize> = (0..members).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(near[*at].len()), *at));
    let mut stars = Vec::new();
    for at in order {
        let others: Vec<usize> = std::mem::take(&mut near[at]).into_iter().collect();
        for other in &others {
            near[*other].remove(&at);
        }
        if !others.is_empty() {
            stars.push((at, others));
        }
    }
    stars
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
