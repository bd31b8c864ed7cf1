//! The network as WRITTEN: what the operator's files say and where they say it, before it is judged as a network.
//!
//! A [`Loader`] asks for sources by name and is handed their bytes; it follows `include`, reads TOML, YAML and JSON
//! into one tree, and that into the typed tables of [`written`]. Whatever is wrong becomes a finding with a place, all
//! of it at once. The result, a [`NetworkFile`], goes to [`crate::network::resolve::resolve`].
//!
//! [`schema`] and [`reference_markdown`] describe the format from the same declarations that read it.

mod decode;
mod document;
mod edit;
mod json;
mod loader;
mod record;
mod scalars;
mod toml;
mod tree;
pub mod written;
mod yaml;

pub use decode::{Map, OneOrMore};
pub use document::{reference_markdown, schema};
pub use edit::{with_table, without_table};
pub use loader::{Loaded, Loader, load_with};
pub use scalars::{
    Asn, Cloud, Code, Date, Days, Domain, EndpointText, Family, Hops, HostPath, InterfaceAddress, Megabits,
    Milliseconds, Mtu, OutsideText, PathPrefix, PolicyText, Port, Routes, Seconds, Selector, ServerText, SourcePath,
    Survives, TableNumber, Within, read_ports,
};
pub use tree::Spanned;
pub(crate) use tree::{Value, ValueKind};
pub(crate) use yaml::parse as yaml;

pub use decode::nearest;

use crate::names::Name;
use written::{
    AllowRule, AssertRule, BgpTable, ClientTable, EntryTable, IsolateRule, LinkRule, List, NeighbourTable,
    NetworkTable, NodeTable, RegionTable, ServiceTable, SiteTable,
};

/// How much of the sources could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Condition {
    /// Everything.
    #[default]
    Whole,
    /// All tables, but some of their values are wrong.
    Faulty,
    /// A source is unreadable or not in its syntax, so that anything may be missing.
    Broken,
}

/// A named table of the file.
pub type Named<T> = (Spanned<Name>, Spanned<T>);

/// All sources of a network file together, in their order.
#[derive(Debug, Clone, Default)]
pub struct NetworkFile {
    /// How much could be read.
    pub condition: Condition,
    /// The network as a whole.
    pub network: Option<Spanned<NetworkTable>>,
    /// Regions.
    pub regions: Vec<Named<RegionTable>>,
    /// Nodes.
    pub nodes: Vec<Named<NodeTable>>,
    /// Sites.
    pub sites: Vec<Named<SiteTable>>,
    /// Clients.
    pub clients: Vec<Named<ClientTable>>,
    /// What all entry nodes have in common.
    pub entry: Option<Spanned<EntryTable>>,
    /// The network's part in BGP.
    pub bgp: Option<Spanned<BgpTable>>,
    /// Foreign routers.
    pub neighbours: Vec<Named<NeighbourTable>>,
    /// Link rules; none at all means the default rule.
    pub links: Vec<Spanned<LinkRule>>,
    /// Groups of parties.
    pub groups: Vec<Named<List<Selector>>>,
    /// Rules of who may open connections to whom.
    pub allow: Vec<Spanned<AllowRule>>,
    /// Services.
    pub services: Vec<Named<ServiceTable>>,
    /// Isolation rules.
    pub isolate: Vec<Spanned<IsolateRule>>,
    /// Assertions.
    pub asserts: Vec<Spanned<AssertRule>>,
    /// Round-trip times.
    pub rtt_ms: Vec<Named<Map<Milliseconds>>>,
}
