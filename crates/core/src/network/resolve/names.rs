//! Who is called what: one sorted list per kind, one name space for nodes, regions and clients.
//!
//! Nodes, regions, clients, neighbours and groups share their names, since rules and round-trip times name any of them. A node and a site
//! share only where the node has prefixes, which make a site of its name.

use std::collections::BTreeMap;

use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::written::{ClientTable, NeighbourTable, NodeTable, RegionTable, ServiceTable, SiteTable};
use crate::file::{Named, NetworkFile, nearest};
use crate::limits::FINDINGS_MAX;
use crate::names::Name;
use crate::network::{NodeIx, Place, RegionIx};

/// The names of one file. Each list is sorted by name and has no name twice.
pub(super) struct Names<'f> {
    pub regions: Vec<&'f Named<RegionTable>>,
    pub nodes: Vec<&'f Named<NodeTable>>,
    pub sites: Vec<&'f Named<SiteTable>>,
    pub clients: Vec<&'f Named<ClientTable>>,
    pub services: Vec<&'f Named<ServiceTable>>,
    pub neighbours: Vec<&'f Named<NeighbourTable>>,
    places: BTreeMap<&'f Name, Place>,
}

impl<'f> Names<'f> {
    /// Collects the names and reports those given twice; the earlier one stays.
    pub fn collect(file: &'f NetworkFile, findings: &mut Findings) -> Names<'f> {
        let mut names = Names {
            regions: unique("region", &file.regions, findings),
            nodes: unique("node", &file.nodes, findings),
            sites: unique("site", &file.sites, findings),
            clients: unique("client", &file.clients, findings),
            services: unique("service", &file.services, findings),
            neighbours: unique("neighbour", &file.neighbours, findings),
            places: BTreeMap::new(),
        };
        let mut shared: BTreeMap<&Name, (&str, Span)> = BTreeMap::new();
        for (at, (name, _)) in names.nodes.iter().enumerate() {
            claim("node", name.span, &name.value, &mut shared, findings);
            names.places.entry(&name.value).or_insert(Place::Node(NodeIx(at as u32)));
        }
        for (at, (name, _)) in names.regions.iter().enumerate() {
            claim("region", name.span, &name.value, &mut shared, findings);
            names.places.entry(&name.value).or_insert(Place::Region(RegionIx(at as u32)));
        }
        for (at, (name, _)) in names.clients.iter().enumerate() {
            claim("client", name.span, &name.value, &mut shared, findings);
            names.places.entry(&name.value).or_insert(Place::Client(at as u32));
        }
        for (name, _) in &names.neighbours {
            claim("neighbour", name.span, &name.value, &mut shared, findings);
        }
        for (name, _) in unique("group", &file.groups, findings) {
            claim("group", name.span, &name.value, &mut shared, findings);
        }
        site_names(&names, findings);
        names
    }

    /// What a name stands for.
    pub fn find(&self, name: &Name) -> Option<Place> {
        self.places.get(name).copied()
    }

    /// The node with a name, or a finding.
    pub fn node(&self, name: &Name, place: Span, findings: &mut Findings) -> Option<NodeIx> {
        match self.nodes.binary_search_by_key(&name, |(name, _)| &name.value) {
            Ok(at) => Some(NodeIx(at as u32)),
            Err(_) => {
                let known = self.nodes.iter().map(|(name, _)| name.value.as_str());
                unknown("node", name, place, known, findings);
                None
            }
        }
    }

    /// The region with a name, or a finding.
    pub fn region(&self, name: &Name, place: Span, findings: &mut Findings) -> Option<RegionIx> {
        match self.regions.binary_search_by_key(&name, |(name, _)| &name.value) {
            Ok(at) => Some(RegionIx(at as u32)),
            Err(_) => {
                let known = self.regions.iter().map(|(name, _)| name.value.as_str());
                unknown("region", name, place, known, findings);
                None
            }
        }
    }

    /// What a name stands for, or a finding.
    pub fn place(&self, name: &Name, place: Span, findings: &mut Findings) -> Option<Place> {
        let found = self.find(name);
        if found.is_none() {
            unknown("node, region or client", name, place, self.places.keys().map(|name| name.as_str()), findings);
        }
        found
    }
}

/// A finding about a name that nothing has. Once there are more errors than anybody reads, suggestions are left out:
/// each costs a comparison with every name.
pub(in crate::network) fn unknown<'k>(
    what: &'static str,
    name: &Name,
    place: Span,
    known: impl Iterator<Item = &'k str>,
    findings: &mut Findings,
) {
    let near = if findings.errors() < FINDINGS_MAX { nearest(name.as_str(), known) } else { None };
    let finding = Finding::new(Meaning::UnknownName { what, name: name.to_string() }, place);
    findings.push(match near {
        Some(near) => finding.with_fix(format!("Did you mean {near:?}?")),
        None => finding.with_fix(format!("Add it, or name an existing {what}.")),
    });
}

fn unique<'f, T>(what: &str, entries: &'f [Named<T>], findings: &mut Findings) -> Vec<&'f Named<T>> {
    let mut sorted: Vec<&Named<T>> = entries.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| (&a.value, a.span).cmp(&(&b.value, b.span)));
    sorted.dedup_by(|(later, _), (first, _)| {
        let same = later.value == first.value;
        if same {
            push_twice((what, first.span), (what, later.span), &first.value, findings);
        }
        same
    });
    sorted
}

fn claim<'f>(
    what: &'f str,
    place: Span,
    name: &'f Name,
    shared: &mut BTreeMap<&'f Name, (&'f str, Span)>,
    findings: &mut Findings,
) {
    match shared.get(name) {
        Some(first) => push_twice(*first, (what, place), name, findings),
        None => {
            shared.insert(name, (what, place));
        }
    }
}

/// A node's own prefixes make a site of its name, which no other site may have.
fn site_names(names: &Names<'_>, findings: &mut Findings) {
    for (site, _) in &names.sites {
        let Some(Place::Node(node)) = names.find(&site.value) else { continue };
        if let Some(prefixes) = &names.nodes[node.at()].1.value.prefixes {
            push_twice(("the site of node", prefixes.span), ("site", site.span), &site.value, findings);
        }
    }
}

fn push_twice(first: (&str, Span), second: (&str, Span), name: &Name, findings: &mut Findings) {
    let kind = Meaning::NameTwice { first: format!("{} {name}", first.0), second: format!("{} {name}", second.0) };
    findings.push(
        Finding::new(kind, second.1).with_related(first.1, "also used here").with_fix("Give one of them another name."),
    );
}
