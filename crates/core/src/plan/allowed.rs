//! Who owns which prefix in each node's device: the allowed prefixes of every peer, as few as possible.
//!
//! A packet goes to the peer with the longest matching prefix, so a wide prefix may go to a relay while exceptions
//! inside it go elsewhere. Three widths are used, from wide to narrow:
//!
//! - the overlay prefixes, on nodes that relay for nobody, to the hub that carries most;
//! - a region's prefixes, to the hub on the way to the region's anchor (one node, the same for all readers);
//! - single addresses, client ranges and site prefixes.
//!
//! Addresses inside a wide prefix that belong to nobody must not circle: a relay only uses regions' prefixes, and
//! these always point along the best path to the anchor, so such a packet ends there. A node that is isolated from
//! somebody uses no wide prefix at all. What a class of nodes has in common is computed once and shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::addresses::Addresses;
use super::paths::{Cost, Hop, HubNo, Paths};
use super::prefixes::{host, merge};
use super::{LinkState, LinkStates};
use crate::network::{Network, NodeIx, RegionIx, Site};

/// A prefix that is not a node's own address, and the node behind which it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind {
    pub prefix: IpNet,
    pub owner: NodeIx,
}

/// Everything that can be a destination.
pub(super) struct Destinations<'a> {
    pub network: &'a Network,
    pub paths: &'a Paths,
    states: &'a LinkStates,
    /// Own addresses of each node.
    own: Vec<Vec<IpNet>>,
    /// Client addresses and ranges, prefixes behind clients, site prefixes.
    extras: Vec<Behind>,
    /// All that is behind each node, itself included: what a direct peer is allowed.
    all: Vec<Arc<[IpNet]>>,
    groups: Vec<Group>,
    regions: Vec<RegionBlock>,
}

/// Nodes of one class and one region: the same way leads to all of them, unless a direct link is better.
struct Group {
    class: u32,
    region: Option<RegionIx>,
    nodes: Vec<NodeIx>,
}

/// A region as a destination.
#[derive(Clone, Default)]
struct RegionBlock {
    anchor_class: Option<u32>,
    nodes: usize,
    groups: Vec<usize>,
}

/// The widest prefixes that a node may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Overlay,
    Region,
    Exact,
}

/// A prefix on its way to a hub.
#[derive(Debug, Clone, Copy)]
struct Entry {
    prefix: IpNet,
    what: What,
}

/// What a prefix stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Overlay,
    Region,
    /// Something at or behind a node.
    Owner(NodeIx),
}

impl What {
    fn owner(self) -> Option<NodeIx> {
        if let What::Owner(node) = self { Some(node) } else { None }
    }
}

/// What all nodes of a class have in common.
struct Shared {
    entries: BTreeMap<HubNo, Vec<Entry>>,
    merged: BTreeMap<HubNo, Arc<[IpNet]>>,
    /// Owners that stand in `entries`, so that most nodes can be seen to deviate in nothing.
    owners: BTreeSet<NodeIx>,
}

/// What makes single nodes differ from others of their class.
struct Peculiar {
    /// Whom each must not reach.
    isolated: BTreeMap<NodeIx, Vec<NodeIx>>,
    /// Nodes that clients connect to.
    carriers: BTreeSet<NodeIx>,
    /// Prefixes of the sites that each is a gateway of.
    local: BTreeMap<NodeIx, Vec<IpNet>>,
}

impl Peculiar {
    fn new(network: &Network, states: &LinkStates) -> Peculiar {
        let mut isolated: BTreeMap<NodeIx, Vec<NodeIx>> = BTreeMap::new();
        for (a, b) in &network.isolated {
            isolated.entry(*a).or_default().push(*b);
            isolated.entry(*b).or_default().push(*a);
        }
        let mut local: BTreeMap<NodeIx, Vec<IpNet>> = BTreeMap::new();
        for site in &network.sites {
            // Who does not get into a site next door sends packets for it to another gateway, as everybody does.
            for gateway in site.gateways.iter().filter(|gateway| enters(network, states, **gateway, site)) {
                local.entry(*gateway).or_default().extend(&site.prefixes);
            }
        }
        let carriers = network.clients.iter().flat_map(|client| client.via.iter().copied()).collect();
        Peculiar { isolated, carriers, local }
    }
}

/// The best way from a class to each class.
struct Ways(Vec<Option<(Cost, Hop)>>);

/// Allowed prefixes per peer of one node, and the nodes it can't reach.
pub(super) struct Owned {
    pub node: NodeIx,
    /// Sorted by peer; peers that carry nothing are missing.
    pub peers: Vec<(NodeIx, Arc<[IpNet]>)>,
    /// Nodes without a path from here, themselves not counted, isolated ones included.
    pub unreachable: usize,
}

/// Over which peers one node reaches what is behind the others.
pub(super) struct Carriers {
    /// By node; none: itself, or nobody does.
    pub over: Vec<Option<NodeIx>>,
    /// The hub that has the overlay prefixes as a whole.
    pub widest: Option<NodeIx>,
}

impl<'a> Destinations<'a> {
    /// Collects them.
    pub fn new(
        network: &'a Network,
        (paths, states): (&'a Paths, &'a LinkStates),
        addresses: &Addresses,
        homes: &[Option<NodeIx>],
    ) -> Destinations<'a> {
        let own: Vec<Vec<IpNet>> =
            addresses.nodes.iter().map(|list| list.iter().copied().map(host).collect()).collect();
        let mut extras = client_extras(network, addresses, homes);
        for site in &network.sites {
            let Some(owner) = active_gateway(network, (paths, states), site) else { continue };
            extras.extend(site.prefixes.iter().map(|prefix| Behind { prefix: *prefix, owner }));
        }
        extras.sort_by_key(|behind| (behind.prefix, behind.owner));
        let mut all = own.clone();
        for extra in &extras {
            all[extra.owner.at()].push(extra.prefix);
        }
        let all = all.into_iter().map(|list| merge(list).into()).collect();
        let (groups, regions) = group(network, paths);
        Destinations { network, paths, states, own, extras, all, groups, regions }
    }

    /// All that is behind a node, itself included.
    pub fn behind(&self, node: NodeIx) -> &Arc<[IpNet]> {
        &self.all[node.at()]
    }

    /// Everything outside the overlay prefixes: what a client must be told besides them.
    pub fn outside_overlay(&self) -> impl Iterator<Item = &Behind> {
        self.extras.iter().filter(|extra| !self.network.prefixes.iter().any(|p| p.contains(&extra.prefix)))
    }

    /// The owners in every node's device, class by class.
    pub fn owned(&self) -> Vec<Owned> {
        let mut by_class: Vec<Vec<NodeIx>> = vec![Vec::new(); self.paths.classes.len()];
        for node in self.network.node_numbers() {
            by_class[self.paths.class_of[node.at()] as usize].push(node);
        }
        let peculiar = Peculiar::new(self.network, self.states);
        let classes = by_class.iter().enumerate();
        let mut owned: Vec<Owned> =
            classes.flat_map(|(class, members)| self.owned_in(class, members, &peculiar)).collect();
        owned.sort_by_key(|owned| owned.node);
        owned
    }

    /// The owners in one node's device.
    pub fn owned_at(&self, node: NodeIx) -> Vec<Owned> {
        self.owned_in(self.paths.class_of[node.at()] as usize, &[node], &Peculiar::new(self.network, self.states))
    }

    /// The owners in the devices of some nodes of a class.
    fn owned_in(&self, class: usize, members: &[NodeIx], peculiar: &Peculiar) -> Vec<Owned> {
        let ways = self.ways(class);
        let mut shared: BTreeMap<Width, Shared> = BTreeMap::new();
        let of_node = |node: &NodeIx| {
            let (isolated, width) = (self.kept_from(*node, peculiar), self.width(*node, peculiar));
            let shared = shared.entry(width).or_insert_with(|| self.shared(&ways, width));
            let local = peculiar.local.get(node).map_or(&[][..], Vec::as_slice);
            self.owned_by(*node, &ways, shared, isolated, local)
        };
        members.iter().map(of_node).collect()
    }

    /// Over which peers a node reaches what is behind the others: the same decisions as in [`Destinations::owned_at`].
    pub fn carriers(&self, node: NodeIx) -> Carriers {
        let (class, peculiar) = (self.paths.class_of[node.at()] as usize, Peculiar::new(self.network, self.states));
        let ways = self.ways(class);
        let direct = self.direct(node, &ways);
        let isolated = self.kept_from(node, &peculiar);
        let widest = if self.width(node, &peculiar) == Width::Overlay { self.busiest_hub(&ways) } else { None };
        let over = |to: NodeIx| {
            if to == node || isolated.contains(&to) {
                return None;
            }
            if direct.binary_search(&to).is_ok() {
                return Some(to);
            }
            match ways.hop(self.paths.class_of[to.at()])? {
                Hop::Hub(hub) => Some(self.paths.hubs[hub as usize]),
                Hop::Direct => None,
            }
        };
        let over = self.network.node_numbers().map(over).collect();
        Carriers { over, widest: widest.map(|hub| self.paths.hubs[hub as usize]) }
    }

    /// Whom a node must not reach. A hub relays for those it must not talk to, which addresses alone can't tell apart.
    fn kept_from<'b>(&self, node: NodeIx, peculiar: &'b Peculiar) -> &'b [NodeIx] {
        let is_hub = self.paths.classes[self.paths.class_of[node.at()] as usize].hub.is_some();
        peculiar.isolated.get(&node).filter(|_| !is_hub).map_or(&[], Vec::as_slice)
    }

    /// The widest prefixes that a node may use.
    fn width(&self, node: NodeIx, peculiar: &Peculiar) -> Width {
        let is_hub = self.paths.classes[self.paths.class_of[node.at()] as usize].hub.is_some();
        match (self.kept_from(node, peculiar).is_empty(), is_hub || peculiar.carriers.contains(&node)) {
            (false, _) => Width::Exact,
            (true, true) => Width::Region,
            (true, false) => Width::Overlay,
        }
    }

    fn ways(&self, class: usize) -> Ways {
        let reach = self.paths.reach(class);
        let way = |to| {
            let (cost, entry, exit) = self.paths.best_to(&reach, to)?;
            Some((cost, self.paths.hop(class, entry, exit)))
        };
        Ways((0..self.paths.classes.len()).map(way).collect())
    }

    /// What every node of a class sends to each hub, as if it had no direct links.
    fn shared(&self, ways: &Ways, width: Width) -> Shared {
        let mut entries: BTreeMap<HubNo, Vec<Entry>> = BTreeMap::new();
        let mut put = |hub: HubNo, prefix: IpNet, what| entries.entry(hub).or_default().push(Entry { prefix, what });
        let widest = if width == Width::Overlay { self.busiest_hub(ways) } else { None };
        if let Some(hub) = widest {
            self.network.prefixes.iter().for_each(|prefix| put(hub, *prefix, What::Overlay));
        }
        let mut region_hub: Vec<Option<HubNo>> = vec![None; self.regions.len()];
        for (at, block) in self.regions.iter().enumerate() {
            let hub = if width == Width::Exact { None } else { self.region_hub(ways, block) };
            region_hub[at] = hub.or(widest);
            if let Some(hub) = hub.filter(|hub| Some(*hub) != widest) {
                self.network.regions[at].prefixes.iter().for_each(|prefix| put(hub, *prefix, What::Region));
            }
        }
        for group in &self.groups {
            let Some(Hop::Hub(hub)) = ways.hop(group.class) else { continue };
            let covered_by = group.region.map_or(widest, |region| region_hub[region.at()]);
            for node in group.nodes.iter().filter(|_| covered_by != Some(hub)) {
                self.own[node.at()].iter().for_each(|prefix| put(hub, *prefix, What::Owner(*node)));
            }
        }
        for extra in &self.extras {
            let Some(Hop::Hub(hub)) = ways.hop(self.paths.class_of[extra.owner.at()]) else { continue };
            let inside = self.network.prefixes.iter().any(|prefix| prefix.contains(&extra.prefix));
            if !inside || widest != Some(hub) {
                put(hub, extra.prefix, What::Owner(extra.owner));
            }
        }
        let merged = entries.iter().map(|(hub, list)| (*hub, merge_entries(list, |_| true))).collect();
        let owners = entries.values().flatten().filter_map(|entry| entry.what.owner()).collect();
        Shared { entries, merged, owners }
    }

    /// The hub that carries most nodes, if every node can be reached over hubs at all.
    fn busiest_hub(&self, ways: &Ways) -> Option<HubNo> {
        let mut carried: BTreeMap<HubNo, usize> = BTreeMap::new();
        for group in &self.groups {
            if let Some(Hop::Hub(hub)) = ways.hop(group.class) {
                *carried.entry(hub).or_default() += group.nodes.len();
            }
        }
        carried.into_iter().max_by_key(|(hub, nodes)| (*nodes, std::cmp::Reverse(*hub))).map(|(hub, _)| hub)
    }

    /// The hub towards a region's anchor, if it carries more than half of the region.
    fn region_hub(&self, ways: &Ways, block: &RegionBlock) -> Option<HubNo> {
        let Hop::Hub(hub) = ways.hop(block.anchor_class?)? else { return None };
        let carried = block.groups.iter().map(|at| &self.groups[*at]);
        let carried: usize =
            carried.filter(|group| ways.hop(group.class) == Some(Hop::Hub(hub))).map(|group| group.nodes.len()).sum();
        (carried * 2 > block.nodes).then_some(hub)
    }

    /// One node's owners: what its class shares, less what it does differently.
    fn owned_by(&self, node: NodeIx, ways: &Ways, shared: &Shared, isolated: &[NodeIx], local: &[IpNet]) -> Owned {
        let direct = self.direct(node, ways);
        let mut apart: Vec<NodeIx> = direct.iter().chain(isolated).copied().collect();
        apart.push(node);
        apart.sort_unstable();
        let keeps = |entry: &Entry| {
            entry.what.owner().is_none_or(|owner| apart.binary_search(&owner).is_err())
                && !local.contains(&entry.prefix)
        };
        let deviates = !local.is_empty() || apart.iter().any(|owner| shared.owners.contains(owner));
        let mut peers: Vec<(NodeIx, Arc<[IpNet]>)> = Vec::with_capacity(direct.len() + shared.merged.len());
        for (hub, list) in &shared.entries {
            let allowed = if deviates { merge_entries(list, keeps) } else { shared.merged[hub].clone() };
            if !allowed.is_empty() {
                peers.push((self.paths.hubs[*hub as usize], allowed));
            }
        }
        for other in direct.iter().filter(|other| isolated.binary_search(other).is_err()) {
            let all = &self.all[other.at()];
            let overlaps = all.iter().any(|prefix| local.contains(prefix));
            let allowed = if overlaps {
                all.iter().copied().filter(|prefix| !local.contains(prefix)).collect()
            } else {
                all.clone()
            };
            peers.push((*other, allowed));
        }
        peers.sort_by_key(|(peer, _)| *peer);
        let mut unreachable: usize =
            self.groups.iter().filter(|g| ways.hop(g.class).is_none()).map(|g| g.nodes.len()).sum();
        let class_of = |node: &NodeIx| self.paths.class_of[node.at()];
        unreachable -= direct.iter().filter(|other| ways.hop(class_of(other)).is_none()).count();
        unreachable -= usize::from(ways.hop(class_of(&node)).is_none());
        Owned { node, peers, unreachable }
    }

    /// The nodes that this one reaches straight over its own link, hubs not counted.
    fn direct(&self, node: NodeIx, ways: &Ways) -> Vec<NodeIx> {
        if self.paths.classes[self.paths.class_of[node.at()] as usize].hub.is_some() {
            let reached = |group: &&Group| ways.hop(group.class) == Some(Hop::Direct);
            let mut nodes: Vec<NodeIx> =
                self.groups.iter().filter(reached).flat_map(|group| group.nodes.iter().copied()).collect();
            nodes.retain(|other| *other != node);
            nodes.sort_unstable();
            return nodes;
        }
        let better = |(other, rtt_us): &(NodeIx, u64)| {
            let over_hubs = ways.0[self.paths.class_of[other.at()] as usize];
            over_hubs.is_none_or(|(cost, _)| (*rtt_us, 1) < (cost.rtt_us, cost.links))
        };
        self.paths.leaf_links[node.at()].iter().filter(|link| better(link)).map(|(other, _)| *other).collect()
    }
}

impl Ways {
    fn hop(&self, class: u32) -> Option<Hop> {
        self.0[class as usize].map(|(_, hop)| hop)
    }
}

/// Merges a hub's entries. An overlay prefix must not absorb others: it may lie around another hub's region prefix that
/// in turn lies around them.
fn merge_entries(entries: &[Entry], keep: impl Fn(&Entry) -> bool) -> Arc<[IpNet]> {
    let kept = entries.iter().filter(|entry| keep(entry));
    let (overlay, rest): (Vec<&Entry>, Vec<&Entry>) = kept.partition(|entry| entry.what == What::Overlay);
    let mut merged = merge(rest.into_iter().map(|entry| entry.prefix).collect());
    if !overlay.is_empty() {
        merged.extend(overlay.into_iter().map(|entry| entry.prefix));
        merged.sort();
    }
    merged.into()
}

/// Client addresses and what is behind them, each behind the client's node. A client range whose clients all have one node
/// and stay there goes there as a whole, so that the next client there changes nothing elsewhere.
fn client_extras(network: &Network, addresses: &Addresses, homes: &[Option<NodeIx>]) -> Vec<Behind> {
    let owner = |at: usize| homes[at];
    let inside = |range: &IpNet, at: usize| addresses.clients[at].iter().any(|address| range.contains(address));
    let mut whole: Vec<Behind> = Vec::new();
    for range in &network.client_prefixes {
        let inside = || (0..network.clients.len()).filter(|at| inside(range, *at));
        let mut owners = inside().filter_map(owner);
        if !inside().any(|at| network.clients[at].roams)
            && let Some(first) = owners.next()
            && owners.all(|other| other == first)
        {
            whole.push(Behind { prefix: *range, owner: first });
        }
    }
    let mut extras = whole.clone();
    for (at, client) in network.clients.iter().enumerate() {
        let Some(owner) = owner(at) else { continue };
        let own = addresses.clients[at].iter().filter(|a| !whole.iter().any(|range| range.prefix.contains(*a)));
        let prefixes = own.copied().map(host).chain(client.prefixes.iter().copied());
        extras.extend(prefixes.map(|prefix| Behind { prefix, owner }));
    }
    extras
}

/// The preferred gateway that has a working link and gets into the site; or else the preferred one of those that have a link;
/// or else the preferred one.
fn active_gateway(network: &Network, (paths, states): (&Paths, &LinkStates), site: &Site) -> Option<NodeIx> {
    if let [only] = site.gateways.as_slice() {
        return Some(*only);
    }
    let linked = || site.gateways.iter().copied().filter(|node| paths.is_linked(*node));
    let enters = |node: &NodeIx| enters(network, states, *node, site);
    linked().find(enters).or_else(|| linked().next()).or(site.gateways.first().copied())
}

/// For each site the gateway that everybody uses, and all that get into it.
pub(super) fn gateways(
    network: &Network,
    (paths, states): (&Paths, &LinkStates),
) -> Vec<(Option<NodeIx>, Vec<NodeIx>)> {
    let enters = |site: &Site| -> Vec<NodeIx> {
        site.gateways.iter().copied().filter(|gateway| enters(network, states, *gateway, site)).collect()
    };
    network.sites.iter().map(|site| (active_gateway(network, (paths, states), site), enters(site))).collect()
}

/// Whether a gateway gets into a site, as far as it has said. The only gateway is not asked.
fn enters(network: &Network, states: &LinkStates, gateway: NodeIx, site: &Site) -> bool {
    site.gateways.len() == 1 || states.of(&network.node(gateway).name, &site.name) != Some(LinkState::Down)
}

/// Groups nodes by class and region, and finds each region's anchor: its first hub, or else its first node.
fn group(network: &Network, paths: &Paths) -> (Vec<Group>, Vec<RegionBlock>) {
    let mut by_key: BTreeMap<(u32, Option<RegionIx>), Vec<NodeIx>> = BTreeMap::new();
    for ix in network.node_numbers() {
        by_key.entry((paths.class_of[ix.at()], network.node(ix).region)).or_default().push(ix);
    }
    let groups: Vec<Group> =
        by_key.into_iter().map(|((class, region), nodes)| Group { class, region, nodes }).collect();
    let mut regions = vec![RegionBlock::default(); network.regions.len()];
    for (at, group) in groups.iter().enumerate() {
        let Some(region) = group.region.filter(|region| !network.regions[region.at()].prefixes.is_empty()) else {
            continue;
        };
        regions[region.at()].groups.push(at);
        regions[region.at()].nodes += group.nodes.len();
    }
    for block in &mut regions {
        let members = block.groups.iter().flat_map(|at| &groups[*at].nodes);
        let anchor = members.min_by_key(|node| (!network.node(**node).hub, **node));
        block.anchor_class = anchor.map(|node| paths.class_of[node.at()]);
    }
    (groups, regions)
}
