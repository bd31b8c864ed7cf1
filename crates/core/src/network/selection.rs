//! Which pairs of nodes the rules of a file select: links, and pairs that must not reach each other.
//!
//! Pairs are counted before they are made, so that a rule can't ask for more than memory holds, and made only where
//! they are wanted: a rule within regions goes region by region instead of testing all pairs. The result is a sorted
//! list without repetition, so the order of rules decides nothing; rules that remove pairs come after all others.

use std::collections::BTreeMap;

use super::parties::PartyCatalogue;
use super::resolve::unknown_name;
use super::{Denial, Link, Network, NodeIx, Parties, Party, Place, RegionIx};
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::written::{IsolateRule, LinkRule, List};
use crate::file::{Selector, Spanned, nearest};
use crate::limits::LINKS_MAX;
use crate::names::Name;

/// Pairs that a finding names before it only counts.
const PAIRS_NAMED_MAX: usize = 6;
/// Pairs up to which a rule that removes them is written out; larger ones are asked pair by pair.
const REMOVED_PAIRS_LISTED_MAX: usize = 4096;

type Pair = (NodeIx, NodeIx);
/// What a name of the file stands for.
pub(super) type Lookup<'l> = dyn Fn(&Name) -> Option<Place> + 'l;

/// Expands the link rules into `network.links`.
pub(super) fn links(network: &mut Network, rules: &[Spanned<LinkRule>], lookup: &Lookup<'_>, findings: &mut Findings) {
    let catalogue = Catalogue::new(network, lookup);
    let read = |rule: &Spanned<LinkRule>, findings: &mut Findings| Rule::read(&catalogue, rule, findings);
    let mut rules: Vec<Rule> = if rules.is_empty() {
        vec![Rule::usual(&catalogue)]
    } else {
        rules.iter().filter_map(|rule| read(rule, findings)).collect()
    };
    let removing: Vec<Rule> = rules.extract_if(.., |rule| rule.remove).collect();
    let removed = Removed::new(&removing);
    let count: usize = rules.iter().map(Rule::count).fold(0, usize::saturating_add);
    if count > LINKS_MAX {
        let place = rules.iter().max_by_key(|rule| rule.count()).and_then(|rule| rule.place);
        let kind = Meaning::TooMany { what: "linked pairs", count, max: LINKS_MAX };
        findings.push(Finding::new(kind, place).with_fix("Link fewer pairs: through hubs, or within = \"region\"."));
        return;
    }
    let mut pairs = Vec::with_capacity(count);
    for rule in &rules {
        rule.pairs(network, &removed, &mut pairs, findings);
    }
    pairs.sort_unstable();
    pairs.dedup();
    if !removed.is_empty() {
        pairs.retain(|pair| !removed.contains(*pair));
    }
    network.links = pairs.into_iter().map(|(a, b)| Link { a, b }).collect();
}

/// Expands the isolation rules: pairs of nodes into `network.isolated`, whatever else is kept apart into denials.
pub(super) fn isolated(
    network: &Network,
    rules: &[Spanned<IsolateRule>],
    catalogue: &PartyCatalogue<'_>,
    findings: &mut Findings,
) -> (Vec<Pair>, Vec<Denial>) {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut denied = Vec::new();
    for rule in rules {
        let Some(between) = &rule.value.between else { continue };
        let [one, other] = between.value.as_slice() else {
            let kind = Meaning::RuleIncomplete { why: "between takes two lists of selectors" };
            findings.push(Finding::new(kind, between.span).with_fix("Write between = [[...], [...]]."));
            continue;
        };
        let mut side = |list: &Spanned<List<Selector>>| {
            let mut parties = catalogue.select(&list.value, findings);
            // All nodes bring all that is behind them, so they stand for everything.
            parties.list.retain(|party| !parties.everybody || matches!(party, Party::Node(_)));
            parties.everybody = false;
            parties
        };
        let (one, other) = (side(one), side(other));
        let nodes = |parties: &Parties| -> Vec<NodeIx> {
            let node = |party: &Party| if let Party::Node(ix) = party { Some(*ix) } else { None };
            parties.list.iter().filter_map(node).collect()
        };
        let (from, to) = (nodes(&one), nodes(&other));
        let count = pairs.len().saturating_add(from.len().saturating_mul(to.len()));
        if count > LINKS_MAX {
            let kind = Meaning::TooMany { what: "isolated pairs", count, max: LINKS_MAX };
            findings.push(Finding::new(kind, between.span).with_fix("Isolate fewer nodes from each other."));
            continue;
        }
        let crossed = from.iter().flat_map(|a| to.iter().map(move |b| ordered(*a, *b)));
        pairs.extend(crossed.filter(|(a, b)| a != b));
        if from.len() < one.list.len() || to.len() < other.list.len() {
            let (one, other) = (with_behind(network, one), with_behind(network, other));
            denied.push(Denial { one, other, place: rule.span });
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    (pairs, denied)
}

/// Parties with all that is behind the nodes among them.
fn with_behind(network: &Network, parties: Parties) -> Parties {
    let has = |door: &NodeIx| parties.list.binary_search(&Party::Node(*door)).is_ok();
    let behind = network.parties().filter(|party| network.doors(party).first().is_some_and(has));
    let mut list: Vec<Party> = parties.list.iter().copied().chain(behind).collect();
    list.sort_unstable();
    list.dedup();
    Parties { everybody: false, list }
}

fn ordered(a: NodeIx, b: NodeIx) -> Pair {
    (a.min(b), a.max(b))
}

/// Nodes by what selectors can ask for.
pub(super) struct Catalogue<'n> {
    all: Vec<NodeIx>,
    region_of: Vec<Option<RegionIx>>,
    by_region: Vec<Vec<NodeIx>>,
    by_tag: BTreeMap<Name, Vec<NodeIx>>,
    hubs: Vec<NodeIx>,
    entries: Vec<NodeIx>,
    names: Vec<Name>,
    lookup: &'n Lookup<'n>,
}

/// Selected nodes, sorted, and those among them that were selected by their own name.
#[derive(Default)]
pub(super) struct Selection {
    pub nodes: Vec<NodeIx>,
    by_name: Vec<NodeIx>,
}

impl<'n> Catalogue<'n> {
    pub(super) fn new(network: &Network, lookup: &'n Lookup<'n>) -> Catalogue<'n> {
        let mut catalogue = Catalogue {
            all: network.node_numbers().collect(),
            region_of: network.nodes.iter().map(|node| node.region).collect(),
            by_region: vec![Vec::new(); network.regions.len()],
            by_tag: BTreeMap::new(),
            hubs: Vec::new(),
            entries: Vec::new(),
            names: network
                .nodes
                .iter()
                .map(|n| n.name.clone())
                .chain(network.regions.iter().map(|r| r.name.clone()))
                .collect(),
            lookup,
        };
        for (ix, node) in network.node_numbers().zip(&network.nodes) {
            node.region.into_iter().for_each(|region| catalogue.by_region[region.at()].push(ix));
            node.hub.then(|| catalogue.hubs.push(ix));
            node.entry.then(|| catalogue.entries.push(ix));
            for tag in &node.tags {
                catalogue.by_tag.entry(tag.clone()).or_default().push(ix);
            }
        }
        catalogue
    }

    pub(super) fn select(&self, selectors: &[Spanned<Selector>], findings: &mut Findings) -> Selection {
        let mut selection = Selection::default();
        for selector in selectors {
            let found = self.nodes_of(selector, &mut selection.by_name, findings);
            selection.nodes.extend(found);
        }
        selection.nodes.sort_unstable();
        selection.nodes.dedup();
        selection.by_name.sort_unstable();
        selection
    }

    fn nodes_of(
        &self,
        selector: &Spanned<Selector>,
        by_name: &mut Vec<NodeIx>,
        findings: &mut Findings,
    ) -> Vec<NodeIx> {
        let (nodes, what): (&[NodeIx], String) = match &selector.value {
            Selector::All => return self.all.clone(),
            Selector::Hubs => (&self.hubs, "role:hub".into()),
            Selector::Entries => (&self.entries, "role:entry".into()),
            Selector::Tag(tag) => (self.by_tag.get(tag).map_or(&[], Vec::as_slice), format!("tag:{tag}")),
            Selector::Clients | Selector::Sites | Selector::Site(_) => {
                let kind = Meaning::UnknownName { what: "node or region", name: selector.value.to_string() };
                findings.push(Finding::new(kind, selector.span).with_fix("Name nodes; links are between nodes."));
                return Vec::new();
            }
            Selector::Named(name) => match (self.lookup)(name) {
                Some(Place::Node(node)) => {
                    by_name.push(node);
                    return vec![node];
                }
                Some(Place::Region(region)) => (&self.by_region[region.at()], format!("region {name}")),
                Some(Place::Client(_)) => {
                    let kind = Meaning::UnknownName { what: "node or region", name: name.to_string() };
                    let finding = Finding::new(kind, selector.span);
                    findings.push(finding.with_fix("Name clients' nodes in their via; rules are for nodes."));
                    return Vec::new();
                }
                None => {
                    let known = self.names.iter().map(Name::as_str);
                    unknown_name("node or region", name, selector.span, known, findings);
                    return Vec::new();
                }
            },
        };
        if nodes.is_empty() {
            let finding = Finding::new(Meaning::SelectsNothing { what }, selector.span);
            let near = match &selector.value {
                Selector::Tag(tag) => nearest(tag.as_str(), self.by_tag.keys().map(Name::as_str)),
                _ => None,
            };
            findings.push(match near {
                Some(near) => finding.with_fix(format!("Did you mean \"tag:{near}\"?")),
                None => finding.with_fix("Remove it, or give nodes what it selects."),
            });
        }
        nodes.to_vec()
    }

    /// Selected nodes as groups whose pairs count: all in one, or one group per region.
    fn groups(&self, nodes: Vec<NodeIx>, by_region: bool) -> BTreeMap<Option<RegionIx>, Vec<NodeIx>> {
        if !by_region {
            return BTreeMap::from([(None, nodes)]);
        }
        let mut groups: BTreeMap<Option<RegionIx>, Vec<NodeIx>> = BTreeMap::new();
        for node in nodes {
            if let Some(region) = self.region_of[node.at()] {
                groups.entry(Some(region)).or_default().push(node);
            }
        }
        groups
    }
}

/// Groups of nodes to pair up.
enum Shape {
    /// Every pair within a group.
    Mesh(Vec<Vec<NodeIx>>),
    /// Every node of the first with every node of the second.
    Cross(Vec<(Vec<NodeIx>, Vec<NodeIx>)>),
}

/// A link rule with its selectors resolved.
struct Rule {
    shape: Shape,
    /// Nodes that were selected by their own name, on either side.
    by_name: (Vec<NodeIx>, Vec<NodeIx>),
    except_pairs: Vec<Pair>,
    remove: bool,
    place: Option<Span>,
}

impl Rule {
    /// What holds when the file has no rules: all with all hubs, or without hubs all with all.
    fn usual(catalogue: &Catalogue<'_>) -> Rule {
        let all = catalogue.all.clone();
        let shape = if catalogue.hubs.is_empty() {
            Shape::Mesh(vec![all])
        } else {
            Shape::Cross(vec![(all, catalogue.hubs.clone())])
        };
        Rule { shape, by_name: Default::default(), except_pairs: Vec::new(), remove: false, place: None }
    }

    fn read(catalogue: &Catalogue<'_>, rule: &Spanned<LinkRule>, findings: &mut Findings) -> Option<Rule> {
        let table = &rule.value;
        let except = table.except.as_ref().map(|list| catalogue.select(&list.value, findings)).unwrap_or_default();
        let by_region = table.within.is_some();
        let mut select = |list: &List<Selector>| {
            let mut selection = catalogue.select(list, findings);
            selection.nodes.retain(|node| except.nodes.binary_search(node).is_err());
            (catalogue.groups(selection.nodes, by_region), selection.by_name)
        };
        let (shape, by_name) = match (&table.mesh, &table.from, &table.to) {
            (Some(mesh), None, None) => {
                let (groups, by_name) = select(&mesh.value);
                (Shape::Mesh(groups.into_values().collect()), (by_name.clone(), by_name))
            }
            (None, Some(from), Some(to)) => {
                let ((from, by_name_from), (mut to, by_name_to)) = (select(&from.value), select(&to.value));
                let both = from.into_iter().filter_map(|(region, from)| Some((from, to.remove(&region)?)));
                (Shape::Cross(both.collect()), (by_name_from, by_name_to))
            }
            (mesh, from, to) => {
                let why = match (mesh, from, to) {
                    (Some(_), ..) => "mesh stands alone, without from and to",
                    (None, None, None) => "it has neither mesh nor from and to",
                    (None, None, _) => "to needs from",
                    (None, ..) => "from needs to",
                };
                let finding = Finding::new(Meaning::RuleIncomplete { why }, rule.span);
                findings.push(finding.with_fix("Write mesh = [...], or from = [...] and to = [...]."));
                return None;
            }
        };
        let except_pairs = except_pairs(catalogue, table, findings);
        let remove = table.remove.as_ref().is_some_and(|remove| remove.value);
        Some(Rule { shape, by_name, except_pairs, remove, place: Some(rule.span) })
    }

    /// How many pairs it selects, or a little more: a node on both sides counts with itself.
    fn count(&self) -> usize {
        match &self.shape {
            Shape::Mesh(groups) => groups.iter().map(|group| group.len() * group.len().saturating_sub(1) / 2).sum(),
            Shape::Cross(groups) => groups.iter().map(|(from, to)| from.len() * to.len()).sum(),
        }
    }

    fn each(&self, mut take: impl FnMut(Pair)) {
        let mut visit = |a: NodeIx, b: NodeIx| {
            let pair = ordered(a, b);
            if a != b && (self.except_pairs.is_empty() || self.except_pairs.binary_search(&pair).is_err()) {
                take(pair);
            }
        };
        match &self.shape {
            Shape::Mesh(groups) => groups.iter().for_each(|group| {
                for (at, a) in group.iter().enumerate() {
                    group[at + 1..].iter().for_each(|b| visit(*a, *b));
                }
            }),
            Shape::Cross(groups) => groups.iter().for_each(|(from, to)| {
                for a in from {
                    to.iter().for_each(|b| visit(*a, *b));
                }
            }),
        }
    }

    /// Whether it selects a pair, asked without making all pairs.
    fn selects(&self, (a, b): Pair) -> bool {
        let has = |group: &[NodeIx], node: NodeIx| group.binary_search(&node).is_ok();
        let selected = match &self.shape {
            Shape::Mesh(groups) => groups.iter().any(|group| has(group, a) && has(group, b)),
            Shape::Cross(groups) => {
                groups.iter().any(|(from, to)| (has(from, a) && has(to, b)) || (has(from, b) && has(to, a)))
            }
        };
        selected && self.except_pairs.binary_search(&(a, b)).is_err()
    }

    /// Adds its pairs that can be linked and reports those that can't.
    fn pairs(&self, network: &Network, removed: &Removed<'_>, pairs: &mut Vec<Pair>, findings: &mut Findings) {
        let public: Vec<bool> = network.nodes.iter().map(super::Node::is_public).collect();
        let mut undialable: Vec<Pair> = Vec::new();
        self.each(|(a, b)| {
            if public[a.at()] || public[b.at()] || shares_underlay(network, a, b) {
                pairs.push((a, b));
            } else if !removed.contains((a, b)) {
                undialable.push((a, b));
            }
        });
        undialable.sort_unstable();
        undialable.dedup();
        let by_name = |(a, b): &Pair| self.named((*a, *b));
        let (wanted, relayed): (Vec<Pair>, Vec<Pair>) = undialable.into_iter().partition(by_name);
        for pair in &wanted {
            self.push_no_endpoint(network, *pair, findings);
        }
        if !relayed.is_empty() {
            let named = relayed
                .iter()
                .take(PAIRS_NAMED_MAX)
                .map(|(a, b)| format!("{} and {}", network.node(*a).name, network.node(*b).name));
            let kind = Meaning::NoEndpointAmong { pairs: named.collect(), count: relayed.len() };
            findings
                .push(Finding::new(kind, self.place).with_fix(
                    "Leave it so if a hub relays between them; otherwise give one of each pair an endpoint.",
                ));
        }
    }

    /// Whether the rule names both nodes of a pair themselves.
    fn named(&self, (a, b): Pair) -> bool {
        let has = |list: &[NodeIx], node: NodeIx| list.binary_search(&node).is_ok();
        let (from, to) = &self.by_name;
        (has(from, a) && has(to, b)) || (has(from, b) && has(to, a))
    }

    fn push_no_endpoint(&self, network: &Network, (a, b): Pair, findings: &mut Findings) {
        let (a, b) = (network.node(a), network.node(b));
        let kind = Meaning::NoEndpoint { a: format!("node {}", a.name), b: format!("node {}", b.name) };
        findings.push(
            Finding::new(kind, self.place)
                .with_related(a.place, "no endpoint here")
                .with_related(b.place, "nor here")
                .with_fix("Give one of them an endpoint, or leave the pair out and let a hub relay."),
        );
    }
}

fn except_pairs(catalogue: &Catalogue<'_>, table: &LinkRule, findings: &mut Findings) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for written in table.except_pairs.iter().flat_map(|list| &list.value) {
        let [a, b] = written.value.as_slice() else {
            let kind = Meaning::RuleIncomplete { why: "except_pairs takes pairs of nodes" };
            findings.push(Finding::new(kind, written.span).with_fix("Write except_pairs = [[\"a\", \"b\"], ...]."));
            continue;
        };
        let mut node = |name: &Spanned<Name>| match (catalogue.lookup)(&name.value) {
            Some(Place::Node(node)) => Some(node),
            _ => {
                unknown_name("node", &name.value, name.span, catalogue.names.iter().map(Name::as_str), findings);
                None
            }
        };
        if let (Some(a), Some(b)) = (node(a), node(b)) {
            pairs.push(ordered(a, b));
        }
    }
    pairs.sort_unstable();
    pairs
}

/// Pairs that rules take away.
struct Removed<'r> {
    listed: Vec<Pair>,
    rules: Vec<&'r Rule>,
}

impl<'r> Removed<'r> {
    fn new(rules: &'r [Rule]) -> Removed<'r> {
        let mut removed = Removed { listed: Vec::new(), rules: Vec::new() };
        for rule in rules {
            if rule.count() <= REMOVED_PAIRS_LISTED_MAX {
                rule.each(|pair| removed.listed.push(pair));
            } else {
                removed.rules.push(rule);
            }
        }
        removed.listed.sort_unstable();
        removed
    }

    fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.rules.is_empty()
    }

    fn contains(&self, pair: Pair) -> bool {
        self.listed.binary_search(&pair).is_ok() || self.rules.iter().any(|rule| rule.selects(pair))
    }
}

/// Whether one of two nodes has an endpoint in a private network that the other is on.
fn shares_underlay(network: &Network, a: NodeIx, b: NodeIx) -> bool {
    network.dialable(a, b).next().is_some() || network.dialable(b, a).next().is_some()
}
