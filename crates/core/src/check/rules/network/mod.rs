//! Rules over a network file that is sound: what no single table shows to be wrong.
//!
//! Most of what a network file could have is refused or planned away before; these are about the world around it: lines,
//! clouds, time, and what hangs on one machine. Keys that only rules use are read from the file as written, with the
//! place to show. The day is an argument.

mod ages;
mod hubs;
mod lines;
mod near;
mod sites;

use crate::check::{Findings, Span};
use crate::file::written::{ClientTable, NetworkTable, NodeTable, RegionTable};
use crate::file::{Code, Date, NetworkFile, Spanned};
use crate::names::Name;
use crate::network::{Client, Network, Node};

/// Runs all rules over a network file and the network that it means.
pub fn network(file: &NetworkFile, network: &Network, today: Date) -> Findings {
    let mut findings = Findings::default();
    let nothing = NetworkTable::default();
    let view = View {
        network,
        table: file.network.as_ref().map_or(&nothing, |table| &table.value),
        nodes: sorted(&file.nodes),
        clients: sorted(&file.clients),
        regions: sorted(&file.regions),
    };
    lines::check(&view, &mut findings);
    sites::check(&view, &mut findings);
    hubs::check(&view, &mut findings);
    near::check(&view, &mut findings);
    ages::check(&view, today, &mut findings);
    findings
}

/// The codes that a network file accepts.
pub fn accepted(file: &NetworkFile) -> Vec<&'static str> {
    let lists = file.network.iter().filter_map(|table| table.value.accept.as_ref());
    lists.flat_map(|list| &list.value).map(|code: &Spanned<Code>| code.value.0).collect()
}

/// A network with the tables it was made from.
pub(super) struct View<'v> {
    pub network: &'v Network,
    pub table: &'v NetworkTable,
    nodes: Vec<(&'v Name, &'v NodeTable)>,
    clients: Vec<(&'v Name, &'v ClientTable)>,
    regions: Vec<(&'v Name, &'v RegionTable)>,
}

fn sorted<T>(tables: &[(Spanned<Name>, Spanned<T>)]) -> Vec<(&Name, &T)> {
    let mut tables: Vec<(&Name, &T)> = tables.iter().map(|(name, table)| (&name.value, &table.value)).collect();
    tables.sort_by_key(|(name, _)| *name);
    tables
}

fn find<'t, T>(tables: &[(&Name, &'t T)], name: &Name) -> Option<&'t T> {
    tables.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|at| tables[at].1)
}

impl<'v> View<'v> {
    /// Nodes with their tables.
    pub fn nodes(&self) -> impl Iterator<Item = (&'v Node, &'v NodeTable)> {
        self.network.nodes.iter().filter_map(|node| Some((node, find(&self.nodes, &node.name)?)))
    }

    /// Clients with their tables.
    pub fn clients(&self) -> impl Iterator<Item = (&'v Client, &'v ClientTable)> {
        self.network.clients.iter().filter_map(|client| Some((client, find(&self.clients, &client.name)?)))
    }

    /// Where a client's file names the nodes it connects to, if it does.
    pub fn via_place(&self, client: &Client) -> Option<Span> {
        find(&self.clients, &client.name)?.via.as_ref().map(|via| via.span)
    }

    /// A node's table.
    pub fn node_table(&self, node: &Node) -> Option<&'v NodeTable> {
        find(&self.nodes, &node.name)
    }

    /// The table of a node's region.
    pub fn region_table(&self, node: &Node) -> Option<&'v RegionTable> {
        find(&self.regions, &self.network.regions[node.region?.at()].name)
    }
}

/// The first value given, with its place.
pub(super) fn first<T: Copy, const N: usize>(choices: [Option<&Spanned<T>>; N]) -> Option<(T, Span)> {
    choices.into_iter().flatten().next().map(|spanned| (spanned.value, spanned.span))
}
