//! Which parties the selectors of policy, isolation and assertions select: nodes, clients and sites.
//!
//! Wider than the selectors of link rules, which are about nodes alone: a name may be a client's or a group's, tags
//! select clients too, and `*` is everything.

use std::collections::BTreeMap;

use super::resolve::unknown_name;
use super::selection::Lookup;
use super::{Network, NodeIx, Parties, Party, Place};
use crate::check::{Finding, Findings, Meaning};
use crate::file::written::List;
use crate::file::{Named, Selector, Spanned, nearest};
use crate::names::Name;

/// Resolves selectors to parties.
pub(super) struct PartyCatalogue<'n> {
    network: &'n Network,
    lookup: &'n Lookup<'n>,
    groups: BTreeMap<Name, Vec<Party>>,
    by_tag: BTreeMap<&'n Name, Vec<Party>>,
}

impl<'n> PartyCatalogue<'n> {
    /// Resolves the groups, each of which names none of the others.
    pub fn new(
        network: &'n Network,
        lookup: &'n Lookup<'n>,
        groups: &[Named<List<Selector>>],
        findings: &mut Findings,
    ) -> PartyCatalogue<'n> {
        let mut by_tag: BTreeMap<&Name, Vec<Party>> = BTreeMap::new();
        let nodes = network.node_numbers().zip(&network.nodes).map(|(ix, node)| (Party::Node(ix), &node.tags));
        let clients = network.clients.iter().zip(0..).map(|(client, at)| (Party::Client(at), &client.tags));
        for (party, tags) in nodes.chain(clients) {
            tags.iter().for_each(|tag| by_tag.entry(tag).or_default().push(party));
        }
        let mut catalogue = PartyCatalogue { network, lookup, groups: BTreeMap::new(), by_tag };
        let read: BTreeMap<Name, Vec<Party>> = groups
            .iter()
            .map(|(name, selectors)| (name.value.clone(), catalogue.select(&selectors.value, findings).list))
            .collect();
        catalogue.groups = read;
        catalogue
    }

    /// The parties that a list selects.
    pub fn select(&self, selectors: &[Spanned<Selector>], findings: &mut Findings) -> Parties {
        let mut list = Vec::new();
        selectors.iter().for_each(|selector| list.extend(self.of(selector, findings)));
        list.sort_unstable();
        list.dedup();
        Parties { everybody: selectors.iter().any(|selector| selector.value == Selector::All), list }
    }

    fn nodes(&self, wanted: impl Fn(NodeIx) -> bool) -> Vec<Party> {
        self.network.node_numbers().filter(|ix| wanted(*ix)).map(Party::Node).collect()
    }

    fn of(&self, selector: &Spanned<Selector>, findings: &mut Findings) -> Vec<Party> {
        let network = self.network;
        let (found, what) = match &selector.value {
            Selector::All => return network.parties().collect(),
            Selector::Hubs => (self.nodes(|ix| network.node(ix).hub), "role:hub".to_owned()),
            Selector::Entries => (self.nodes(|ix| network.node(ix).entry), "role:entry".to_owned()),
            Selector::Clients => {
                ((0..network.clients.len() as u32).map(Party::Client).collect(), "role:client".to_owned())
            }
            Selector::Sites => ((0..network.sites.len() as u32).map(Party::Site).collect(), "role:site".to_owned()),
            Selector::Tag(tag) => (self.by_tag.get(tag).cloned().unwrap_or_default(), format!("tag:{tag}")),
            Selector::Site(name) => match network.sites.binary_search_by(|site| site.name.cmp(name)) {
                Ok(at) => return vec![Party::Site(at as u32)],
                Err(_) => {
                    let known = network.sites.iter().map(|site| site.name.as_str());
                    unknown_name("site", name, selector.span, known, findings);
                    return Vec::new();
                }
            },
            Selector::Named(name) => match ((self.lookup)(name), self.groups.get(name)) {
                (Some(Place::Node(ix)), _) => return vec![Party::Node(ix)],
                (Some(Place::Client(at)), _) => return vec![Party::Client(at)],
                (Some(Place::Region(region)), _) => {
                    (self.nodes(|ix| network.node(ix).region == Some(region)), format!("region {name}"))
                }
                (None, Some(group)) => (group.clone(), format!("group {name}")),
                (None, None) => {
                    self.unknown(name, selector, findings);
                    return Vec::new();
                }
            },
        };
        if found.is_empty() {
            self.nothing(selector, what, findings);
        }
        found
    }

    fn unknown(&self, name: &Name, selector: &Spanned<Selector>, findings: &mut Findings) {
        let network = self.network;
        let nodes = network.nodes.iter().map(|node| node.name.as_str());
        let clients = network.clients.iter().map(|client| client.name.as_str());
        let regions = network.regions.iter().map(|region| region.name.as_str());
        let known = nodes.chain(clients).chain(regions).chain(self.groups.keys().map(Name::as_str));
        unknown_name("node, client, region or group", name, selector.span, known, findings);
    }

    fn nothing(&self, selector: &Spanned<Selector>, what: String, findings: &mut Findings) {
        let near = match &selector.value {
            Selector::Tag(tag) => nearest(tag.as_str(), self.by_tag.keys().map(|tag| tag.as_str())),
            _ => None,
        };
        let finding = Finding::new(Meaning::SelectsNothing { what }, selector.span);
        findings.push(match near {
            Some(near) => finding.with_fix(format!("Did you mean \"tag:{near}\"?")),
            None => finding.with_fix("Remove it, or add what it selects."),
        });
    }
}
