//! Who may open connections to whom: the policy as meant, with its selectors resolved to parties.
//!
//! A party is what a rule can be about: a node (its own addresses), a client (with what is behind it), a site. The
//! question that all else comes from is [`Policy::permits`]: which ports may one party open at another. Firewalls are
//! planned from the same rules, and a proof compares what they do with this answer.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Network, NodeIx, Ports};
use crate::check::Span;
use crate::names::Name;

/// Something that rules are about, by the numbers of [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A node.
    Node(NodeIx),
    /// A client.
    Client(u32),
    /// A site.
    Site(u32),
}

/// How a host's firewall is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallForm {
    /// Not at all.
    #[default]
    None,
    /// By a table of our own.
    Nftables,
    /// By chains of our own.
    Iptables,
    /// By a table of our own, and by `ufw` commands for what is to be let in.
    Ufw,
}

/// What a node's firewall is to do besides the policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FirewallWish {
    /// How it is set; `None` where there is nothing to set or nobody to set it.
    pub form: FirewallForm,
    /// From where WireGuard's port can be reached besides peers' endpoints; none: from everywhere.
    pub wireguard_from: Option<Vec<IpNet>>,
    /// Whether all is refused from outside the overlay that is not named.
    pub closed: bool,
    /// Whether TCP that it passes on is told what size of segments fits through the tunnel.
    pub clamps_mss: bool,
    /// Whether neighbours are kept to what they may do.
    pub guards_neighbours: bool,
}

/// Some parties.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Parties {
    /// Whether it is everybody inside the overlay, addresses of nobody included.
    pub everybody: bool,
    /// The parties, sorted.
    pub list: Vec<Party>,
}

/// A rule that allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// What it is called where it is shown: "admins to db", "service gitlab".
    pub label: String,
    /// Who opens connections ...
    pub from: Parties,
    /// ... to whom ...
    pub to: Parties,
    /// ... and where.
    pub ports: Ports,
    /// Where the file says so; none for what is always allowed.
    pub place: Option<Span>,
}

/// A rule that keeps parties apart, both ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// One side ...
    pub one: Parties,
    /// ... and the other.
    pub other: Parties,
    /// Where the file says so.
    pub place: Span,
}

/// A service of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// The nodes it runs on, sorted.
    pub on: Vec<NodeIx>,
    /// Its ports.
    pub ports: Ports,
    /// Who inside the overlay may use it.
    pub from: Parties,
    /// Whether nobody else inside the overlay may.
    pub restricted: bool,
    /// Who outside the overlay may.
    pub outside: Vec<IpNet>,
    /// Paths that are public although the service is not; given, a web server decides and not the firewall.
    pub public_paths: Vec<String>,
    /// Where the file names it.
    pub place: Span,
}

/// Who may open connections to whom.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Whether nothing is allowed that no rule allows.
    pub denies_by_default: bool,
    /// What is allowed, sorted; services and what hosts do among themselves included.
    pub allowed: Vec<Permission>,
    /// Who is kept apart beyond [`Network::isolated`].
    pub denied: Vec<Denial>,
    /// Services sorted by name.
    pub services: Vec<Service>,
}

impl Parties {
    /// Whether a party is among them.
    pub fn has(&self, party: Party) -> bool {
        self.everybody || self.list.binary_search(&party).is_ok()
    }
}

impl Denial {
    /// Whether it keeps two parties apart.
    pub fn is_about(&self, a: Party, b: Party) -> bool {
        (self.one.has(a) && self.other.has(b)) || (self.one.has(b) && self.other.has(a))
    }
}

impl Service {
    /// Whether a web server and not the firewall decides who may use it.
    pub fn is_public(&self) -> bool {
        !self.public_paths.is_empty()
    }
}

impl Policy {
    /// Whether there is anything that a firewall would have to refuse inside the overlay.
    pub fn refuses(&self) -> bool {
        self.denies_by_default || !self.denied.is_empty() || self.services.iter().any(|service| service.restricted)
    }

    /// Ports of a node that only those may use whom a rule names.
    pub fn restricted(&self, to: Party) -> Ports {
        let Party::Node(node) = to else { return Ports::default() };
        let services = self.services.iter().filter(|service| service.restricted && !service.is_public());
        let here = services.filter(|service| service.on.binary_search(&node).is_ok());
        here.fold(Ports::default(), |ports, service| ports.or(&service.ports))
    }

    /// The ports that one party may open at another. Nodes that are isolated are not asked about here.
    pub fn permits(&self, from: Party, to: Party) -> Ports {
        self.permits_by(&self.rules_to(to), from, to)
    }

    /// The rules that allow something at a party, for [`Policy::permits_by`].
    pub fn rules_to(&self, to: Party) -> Vec<&Permission> {
        self.allowed.iter().filter(|rule| rule.to.has(to)).collect()
    }

    /// The same as [`Policy::permits`], where many ask about one party and its rules were looked up before.
    pub fn permits_by(&self, rules: &[&Permission], from: Party, to: Party) -> Ports {
        if self.denied.iter().any(|denial| denial.is_about(from, to)) {
            return Ports::default();
        }
        let unasked =
            if self.denies_by_default { Ports::default() } else { Ports::all().without(&self.restricted(to)) };
        rules.iter().filter(|rule| rule.from.has(from)).fold(unasked, |ports, rule| ports.or(&rule.ports))
    }
}

impl Party {
    /// What it is called.
    pub fn name(&self, network: &Network) -> String {
        match self {
            Party::Node(ix) => network.node(*ix).name.to_string(),
            Party::Client(at) => network.clients[*at as usize].name.to_string(),
            Party::Site(at) => format!("site {}", network.sites[*at as usize].name),
        }
    }
}

impl Network {
    /// All nodes, clients and sites.
    pub fn parties(&self) -> impl Iterator<Item = Party> + use<> {
        let nodes = self.node_numbers().map(Party::Node);
        let clients = (0..self.clients.len() as u32).map(Party::Client);
        nodes.chain(clients).chain((0..self.sites.len() as u32).map(Party::Site))
    }

    /// The nodes at which a party's packets enter and leave the overlay: itself, a client's nodes, a site's gateways.
    pub fn doors<'a>(&'a self, party: &'a Party) -> &'a [NodeIx] {
        match party {
            Party::Node(ix) => std::slice::from_ref(ix),
            Party::Client(at) => &self.clients[*at as usize].via,
            Party::Site(at) => &self.sites[*at as usize].gateways,
        }
    }

    /// Whether two parties are kept apart with the nodes by which they are in the overlay.
    pub fn are_apart(&self, from: Party, to: Party) -> bool {
        match (self.doors(&from).first(), self.doors(&to).first()) {
            (Some(a), Some(b)) => a != b && self.is_isolated(*a, *b),
            _ => false,
        }
    }

    /// The ports that one party may open at another, isolation of nodes included.
    pub fn permits(&self, from: Party, to: Party) -> Ports {
        if self.are_apart(from, to) { Ports::default() } else { self.policy.permits(from, to) }
    }
}
