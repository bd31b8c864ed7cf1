//! From the network as written to the network as meant: names become numbers, defaults are filled in, rules expanded.
//!
//! [`resolve`] runs one small pass per subject, in an order in which each finds what it needs, and collects what all
//! of them find. Only a file without any error becomes a [`Network`]. The order of entries in the file decides
//! nothing: everything is sorted by name first. Costs grow with the number of entries and links, times a logarithm.

mod addresses;
mod bgp;
mod clients;
mod endpoints;
mod names;
mod nodes;
mod policy;
mod prefixes;
mod ranges;
mod rtt;
mod sites;

use blake2::{Blake2s256, Digest};
use ipnet::{IpNet, Ipv6Net};

use super::parties::PartyCatalogue;
use super::{Network, Region, RegionIx, assertions, selection};
use crate::check::{Finding, Findings, Meaning, Reading};
use crate::file::written::NetworkTable;
use crate::file::{Condition, NetworkFile, Spanned};
use crate::limits::NODES_MAX;
use crate::names::Name;
use names::Names;
pub(super) use names::unknown as unknown_name;
use prefixes::Claims;
pub(crate) use ranges::{common_range, is_private};

/// What became of a network file.
#[derive(Debug)]
pub struct Resolution {
    /// The network, if the file and its meaning are free of errors.
    pub network: Option<Network>,
    /// What is wrong or odd about the meaning. Findings about the text are in [`crate::file::Loaded`].
    pub findings: Findings,
}

/// Everything a pass needs to look things up.
struct Context<'f> {
    file: &'f NetworkFile,
    table: &'f NetworkTable,
    names: Names<'f>,
    claims: Claims<'f>,
}

/// Resolves a network file. A file that could not be read in full gives no findings here: it would be judged by what
/// happens to be missing.
pub fn resolve(file: &NetworkFile) -> Resolution {
    let mut findings = Findings::default();
    if file.condition == Condition::Broken {
        return Resolution { network: None, findings };
    }
    let nothing = NetworkTable::default();
    let table = file.network.as_ref().map_or(&nothing, |spanned| &spanned.value);
    let count = file.nodes.len() + file.clients.len();
    if count > NODES_MAX {
        findings.push(Finding::new(Meaning::TooMany { what: "nodes and clients", count, max: NODES_MAX }, None));
        return Resolution { network: None, findings };
    }
    let names = Names::collect(file, &mut findings);
    let claims = Claims::collect(table, &names);
    let context = Context { file, table, names, claims };
    let network = build(&context, &mut findings);
    let sound = findings.errors() == 0 && file.condition == Condition::Whole;
    Resolution { network: network.filter(|_| sound), findings }
}

/// Runs all passes. `None` only when the file has no usable name, which the reader has reported.
fn build(context: &Context<'_>, findings: &mut Findings) -> Option<Network> {
    let table = context.table;
    prefixes::check(context, findings);
    let name = table.name.as_ref().map(|name| name.value.clone());
    let mut network = Network {
        link_prefix: link_prefix(table, name.as_ref()),
        name: name.or_else(|| Name::new("unnamed").ok())?,
        domain: table.domain.as_ref().map(|domain| domain.value.0.clone()),
        prefixes: sorted(table.prefixes.as_ref()),
        client_prefixes: sorted(table.client_prefixes.as_ref()),
        regions: regions(context),
        nodes: Vec::new(),
        clients: Vec::new(),
        entry: None,
        bgp: None,
        neighbours: Vec::new(),
        sites: Vec::new(),
        links: Vec::new(),
        isolated: Vec::new(),
        policy: super::Policy::default(),
        assertions: Vec::new(),
        rtt: super::RttTable::default(),
        fixed: Vec::new(),
    };
    if table.prefixes.as_ref().is_some_and(|prefixes| prefixes.value.is_empty()) {
        let place = table.prefixes.as_ref().map(|prefixes| prefixes.span);
        let finding = Finding::new(Reading::Missing { table: "network", key: "prefixes" }, place);
        findings.push(finding.with_fix("Name at least one overlay prefix, such as 10.50.0.0/16."));
    }
    network.nodes = nodes::resolve(context, findings);
    network.entry = clients::entry::resolve(context, &network.nodes, findings);
    network.clients = clients::resolve(context, &network, findings);
    network.sites = sites::resolve(context, findings);
    empty_regions(&network, findings);
    addresses::check(context, &network, findings);
    endpoints::check(context, &network, findings);
    bgp::resolve(context, &mut network, findings);
    network.rtt = rtt::resolve(context, findings);
    clients::entry::order(&mut network);
    let lookup = |name: &Name| context.names.find(name);
    selection::links(&mut network, &context.file.links, &lookup, findings);
    network.fixed = nodes::fixed::resolve(context, &network, findings);
    rules(context, &mut network, &lookup, findings);
    Some(network)
}

/// Isolation, policy, what firewalls are to do, and assertions: all that selects parties.
fn rules(
    context: &Context<'_>,
    network: &mut Network,
    lookup: &dyn Fn(&Name) -> Option<super::Place>,
    findings: &mut Findings,
) {
    let catalogue = PartyCatalogue::new(network, lookup, &context.file.groups, findings);
    let (isolated, denied) = selection::isolated(network, &context.file.isolate, &catalogue, findings);
    let found = policy::resolve(context, network, &catalogue, denied, findings);
    let asserted = assertions::resolve(network, &context.file.asserts, &catalogue, findings);
    (network.isolated, network.policy, network.assertions) = (isolated, found, asserted);
    let wishes = policy::firewalls(context, network, findings);
    network.nodes.iter_mut().zip(wishes).for_each(|(node, wish)| node.firewall = wish);
    clients::entry::check_firewalls(network, findings);
    bgp::check_firewalls(network, findings);
    network.isolated.extend(policy::silent_pairs(network));
    network.isolated.sort_unstable();
    network.isolated.dedup();
    policy::unknown_callers(network, findings);
    policy::unenforced(network, findings);
    policy::shut_out(network, findings);
}

fn regions(context: &Context<'_>) -> Vec<Region> {
    let made = context.names.regions.iter().map(|(name, table)| {
        let mut prefixes: Vec<IpNet> =
            prefixes::of_region(&table.value).into_iter().map(|prefix| prefix.value).collect();
        prefixes.sort();
        Region { name: name.value.clone(), prefixes, place: name.span }
    });
    made.collect()
}

fn empty_regions(network: &Network, findings: &mut Findings) {
    let mut used = vec![false; network.regions.len()];
    let of_nodes = network.nodes.iter().filter_map(|node| node.region);
    let of_clients = network.clients.iter().filter_map(|client| client.region);
    of_nodes.chain(of_clients).for_each(|RegionIx(at)| used[at as usize] = true);
    for (region, _) in network.regions.iter().zip(used).filter(|(_, used)| !used) {
        findings.push(Finding::new(Meaning::EmptyRegion { region: region.name.to_string() }, region.place));
    }
}

fn sorted(list: Option<&Spanned<Vec<Spanned<IpNet>>>>) -> Vec<IpNet> {
    let mut prefixes: Vec<IpNet> = list.into_iter().flat_map(|list| &list.value).map(|prefix| prefix.value).collect();
    prefixes.sort();
    prefixes
}

/// The range of link addresses: as given, or a unique local prefix (RFC 4193) whose global ID is made from the name,
/// so that it needs no randomness and two networks hardly ever share it.
fn link_prefix(table: &NetworkTable, name: Option<&Name>) -> IpNet {
    if let Some(given) = &table.link_prefix {
        return given.value;
    }
    let text = name.map_or("", Name::as_str);
    let hash = Blake2s256::digest(format!("wayleave link prefix {text}"));
    let words = [
        u16::from_be_bytes([0xfd, hash[0]]),
        u16::from_be_bytes([hash[1], hash[2]]),
        u16::from_be_bytes([hash[3], hash[4]]),
        0xffff,
    ];
    let address = std::net::Ipv6Addr::new(words[0], words[1], words[2], words[3], 0, 0, 0, 0);
    IpNet::V6(Ipv6Net::new_assert(address, 64))
}
