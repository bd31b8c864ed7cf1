//! Rules over what hangs on one machine: hubs whose loss splits the others, and replacements that fail together.
//!
//! Only hubs relay. Without a hub, the others fall into groups; a node belongs to the groups of the hubs it is linked
//! with, and reaches those it shares a group or a link with. Costs grow with hubs times links of hubs.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use crate::check::{Finding, Findings, Hazard, Span};
use crate::network::{Network, Node, NodeIx};

/// Names in a finding before it only counts.
const NAMED_MAX: usize = 6;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let hung = Hung::new(view.network);
    for hub in view.network.node_numbers().filter(|ix| view.network.node(*ix).hub) {
        let lost = hung.without(view.network, hub);
        if !lost.is_empty() {
            single_hub(view.network, hub, &lost, findings);
        }
    }
    let hubs: Vec<&Node> = view.network.nodes.iter().filter(|node| node.hub).collect();
    let entries: Vec<&Node> = view.network.nodes.iter().filter(|node| node.entry).collect();
    same_machine("hubs", &hubs, None, findings);
    if entries.iter().any(|node| !node.hub) {
        same_machine("entry nodes", &entries, None, findings);
    }
    for client in view.network.clients.iter().filter(|client| client.via.len() > 1 && entries.is_empty()) {
        let via: Vec<&Node> = client.via.iter().map(|via| view.network.node(*via)).collect();
        if via.iter().any(|node| !node.hub) {
            same_machine(&format!("nodes of client {}", client.name), &via, Some(client.place), findings);
        }
    }
}

fn single_hub(network: &Network, hub: NodeIx, lost: &[NodeIx], findings: &mut Findings) {
    let name = |ix: &NodeIx| network.node(*ix).name.to_string();
    let kind = Hazard::SingleHub {
        hub: name(&hub),
        names: lost.iter().take(NAMED_MAX).map(name).collect(),
        count: lost.len(),
    };
    findings.push(
        Finding::new(kind, network.node(hub).place)
            .with_fix("Make another node a hub, or accept it: accept = [\"WL535\"] in [network]."),
    );
}

/// Hubs' numbers by which groups are called, sorted.
type Groups = Vec<usize>;

/// Who hangs on which hubs.
struct Hung {
    hubs: Vec<NodeIx>,
    /// For each node the hubs it is linked with.
    on: Vec<Vec<NodeIx>>,
    /// For each node that is no hub, the others it is linked with.
    direct: Vec<Vec<NodeIx>>,
    /// For each node the groups it is in while all hubs are there.
    whole: Vec<Groups>,
}

/// Nodes that are in the same groups, with and without the hub.
struct Class<'h> {
    whole: &'h Groups,
    rest: Groups,
    members: Vec<NodeIx>,
}

impl Hung {
    fn new(network: &Network) -> Hung {
        let is_hub = |ix: NodeIx| network.node(ix).hub;
        let hubs: Vec<NodeIx> = network.node_numbers().filter(|ix| is_hub(*ix)).collect();
        let mut on = vec![Vec::new(); network.nodes.len()];
        let mut direct = vec![Vec::new(); network.nodes.len()];
        for link in &network.links {
            for (one, other) in [(link.a, link.b), (link.b, link.a)] {
                if is_hub(other) {
                    on[one.at()].push(other);
                } else if !is_hub(one) {
                    direct[one.at()].push(other);
                }
            }
        }
        let mut hung = Hung { hubs, on, direct, whole: Vec::new() };
        let group = hung.groups(None);
        hung.whole = network.node_numbers().map(|ix| hung.of(ix, &group)).collect();
        hung
    }

    /// Nodes that lose somebody without a hub, those that lose most first.
    fn without(&self, network: &Network, gone: NodeIx) -> Vec<NodeIx> {
        let group = self.groups(Some(gone));
        let mut classes: BTreeMap<(&Groups, Groups), Vec<NodeIx>> = BTreeMap::new();
        for ix in network.node_numbers().filter(|ix| *ix != gone) {
            classes.entry((&self.whole[ix.at()], self.of(ix, &group))).or_default().push(ix);
        }
        let classes: Vec<Class<'_>> =
            classes.into_iter().map(|((whole, rest), members)| Class { whole, rest, members }).collect();
        let mut class_of = vec![usize::MAX; network.nodes.len()];
        for (no, class) in classes.iter().enumerate() {
            class.members.iter().for_each(|ix| class_of[ix.at()] = no);
        }
        let mut lost: Vec<(usize, NodeIx)> = Vec::new();
        for (no, class) in classes.iter().enumerate() {
            let torn = |other: &Class<'_>| shares(class.whole, other.whole) && !shares(&class.rest, &other.rest);
            let torn: Vec<bool> = classes.iter().map(torn).collect();
            let partners: usize =
                classes.iter().zip(&torn).filter(|(_, torn)| **torn).map(|(other, _)| other.members.len()).sum();
            // A class may be torn in itself, and nobody loses oneself.
            let partners = partners - usize::from(torn[no]);
            if partners == 0 {
                continue;
            }
            for ix in &class.members {
                let kept = self.direct[ix.at()].iter().filter(|other| torn[class_of[other.at()]]).count();
                if partners > kept {
                    lost.push((partners - kept, *ix));
                }
            }
        }
        lost.sort_unstable_by_key(|(count, ix)| (std::cmp::Reverse(*count), *ix));
        lost.into_iter().map(|(_, ix)| ix).collect()
    }

    /// The groups that a node is in: a hub its own, others those of their hubs.
    fn of(&self, ix: NodeIx, group: &BTreeMap<NodeIx, usize>) -> Groups {
        if let Some(own) = group.get(&ix) {
            return vec![*own];
        }
        let mut groups: Groups = self.on[ix.at()].iter().filter_map(|hub| group.get(hub).copied()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Hubs that reach each other, without one of them, by the smallest number in each group.
    fn groups(&self, gone: Option<NodeIx>) -> BTreeMap<NodeIx, usize> {
        let mut group: BTreeMap<NodeIx, usize> = BTreeMap::new();
        for (number, start) in self.hubs.iter().enumerate() {
            let mut open = vec![*start];
            while let Some(hub) = open.pop() {
                if Some(hub) == gone || group.contains_key(&hub) {
                    continue;
                }
                group.insert(hub, number);
                open.extend(self.on[hub.at()].iter().filter(|next| !group.contains_key(next)));
            }
        }
        group
    }
}

fn shares(a: &Groups, b: &Groups) -> bool {
    a.iter().any(|group| b.contains(group))
}

/// Whether all that are to replace each other are dialled at one address.
fn same_machine(what: &str, nodes: &[&Node], place: Option<Span>, findings: &mut Findings) {
    let [first, _, ..] = nodes else { return };
    let hosts = |node: &Node| -> BTreeSet<String> {
        node.endpoints.iter().filter(|e| e.underlay.is_none()).map(|e| format!("{:?}", e.host)).collect()
    };
    let Some(endpoint) = first.endpoints.iter().find(|endpoint| endpoint.underlay.is_none()) else { return };
    let own = hosts(first);
    if !nodes.iter().all(|node| hosts(node) == own) {
        return;
    }
    let names: Vec<String> = nodes.iter().take(NAMED_MAX).map(|node| node.name.to_string()).collect();
    let at = endpoint.to_string();
    let at = at.rsplit_once(':').map_or(at.as_str(), |(host, _)| host).to_owned();
    let kind = Hazard::SameMachine { what: what.to_owned(), names: names.join(", "), at };
    findings.push(
        Finding::new(kind, place.unwrap_or(nodes[1].place))
            .with_related(first.place, "the first of them")
            .with_fix("Put one of them on another machine and line."),
    );
}
