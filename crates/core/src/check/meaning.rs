//! Findings 1xx: what can be wrong with a network whose text is in order.
//!
//! They are made in [`crate::network::resolve`], each by a small rule of its own. Owners are named by what they are and
//! what they are called, such as "node hkg" or "site dublin", so that both sides of a conflict can be found.

use std::net::IpAddr;

use ipnet::IpNet;

use super::rows::rows;

/// Something wrong or odd about what a network file means. Owners are shown as "node hkg", "site dublin".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Meaning {
    /// Two things have one name.
    #[error("{}", name_twice(.first, .second))]
    NameTwice {
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
    },
    /// Something is named that does not exist.
    #[error("there is no {what} {name:?}")]
    UnknownName {
        /// What was looked for: "region", "node", "node or region".
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Prefixes for somebody who is no peer.
    #[error("{owner} gives prefixes to {peer}, which is no peer of it")]
    FixedStranger {
        /// Whose `allowed` it is.
        owner: String,
        /// The name there.
        peer: String,
    },
    /// One prefix for two peers.
    #[error("{owner} gives {prefix} to {first} and to {second}; in a device a prefix belongs to one peer")]
    FixedTwice {
        /// Whose `allowed` it is.
        owner: String,
        /// The prefix.
        prefix: IpNet,
        /// The peer named first.
        first: String,
        /// The other, or the same again.
        second: String,
    },
    /// Two prefixes overlap.
    #[error("{a_prefix} of {a} overlaps {b_prefix} of {b}")]
    Overlap {
        /// The owner of the inner or later prefix.
        a: String,
        /// Its prefix.
        a_prefix: IpNet,
        /// The owner of the other.
        b: String,
        /// Its prefix.
        b_prefix: IpNet,
    },
    /// A prefix that belongs inside the overlay prefixes is outside.
    #[error("{prefix} of {owner} is outside the network's prefixes")]
    OutsideOverlay {
        /// Whose it is.
        owner: String,
        /// The prefix.
        prefix: IpNet,
    },
    /// Two nodes or clients have one key.
    #[error("{first} and {second} have the same public key")]
    KeyReused {
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
    },
    /// Two nodes or clients have one address.
    #[error("{first} and {second} have the same address {address}")]
    AddressReused {
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
        /// The address.
        address: IpAddr,
    },
    /// An address outside the range it has to come from.
    #[error("address {address} of {owner} is outside {range}")]
    AddressOutside {
        /// Whose it is.
        owner: String,
        /// The address.
        address: IpAddr,
        /// The range, with whose it is.
        range: String,
    },
    /// A network's own or broadcast address given to a node.
    #[error("address {address} of {owner} is the {role} of {prefix}")]
    AddressReserved {
        /// Whose it is.
        owner: String,
        /// The address.
        address: IpAddr,
        /// "network address", "broadcast address".
        role: &'static str,
        /// The prefix.
        prefix: IpNet,
    },
    /// Two prefixes or addresses of one family where one is allowed.
    #[error("{owner} has two {family} {what}")]
    FamilyTwice {
        /// Whose they are.
        owner: String,
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// "prefixes" or "addresses".
        what: &'static str,
    },
    /// A public endpoint inside a prefix that the overlay carries: packets to it would loop.
    #[error("endpoint {endpoint} of {node} is inside {prefix} of {owner}, which is reached through the overlay itself")]
    EndpointRouted {
        /// The node.
        node: String,
        /// The endpoint.
        endpoint: String,
        /// The prefix.
        prefix: IpNet,
        /// Whose prefix.
        owner: String,
    },
    /// Two nodes are dialled at one place: only one of them can answer there.
    #[error("{first} and {second} have the same endpoint {endpoint}")]
    EndpointReused {
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
        /// The endpoint.
        endpoint: String,
    },
    /// A link between two named nodes neither of which can be dialled by the other.
    #[error("{a} and {b} can't be linked: neither has an endpoint that the other can dial")]
    NoEndpoint {
        /// One node.
        a: String,
        /// The other.
        b: String,
    },
    /// Pairs that a rule selects but that can't be linked.
    #[error("{}", no_endpoint_among(.pairs, *.count))]
    NoEndpointAmong {
        /// Some of the pairs, ready to be shown.
        pairs: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// A site without gateways or without prefixes.
    #[error("site {site} has no {what}")]
    EmptySite {
        /// The site.
        site: String,
        /// "gateway" or "prefix".
        what: &'static str,
    },
    /// The same node twice where different ones are meant.
    #[error("{list} of {owner} has {name} twice")]
    ListedTwice {
        /// The key of the list.
        list: &'static str,
        /// Whose list.
        owner: String,
        /// What is there twice.
        name: String,
    },
    /// A client is told to connect to a node that can't be dialled from everywhere.
    #[error("client {client} can't connect to {node}, which has no public endpoint")]
    ViaNotPublic {
        /// The client.
        client: String,
        /// The node.
        node: String,
    },
    /// A client has nowhere to connect to.
    #[error("client {client} has no node to connect to: no entry node and no hub has a public endpoint")]
    NoEntry {
        /// The client.
        client: String,
    },
    /// `[entry]` without entry nodes.
    #[error("[entry] is for nodes with entry = true, and there is none")]
    EntryNowhere,
    /// An entry node that can't have the clients' device.
    #[error("entry node {node} can't take clients that roam: {problem}")]
    EntryUnfit {
        /// The node.
        node: String,
        /// Why not.
        problem: String,
    },
    /// Something about BGP without `[bgp]`.
    #[error("{owner} takes part in BGP, and the network has no [bgp]")]
    BgpMissing {
        /// The node or neighbour.
        owner: String,
    },
    /// An AS number that nobody has.
    #[error("AS number {asn} of {owner} {why}")]
    AsnReserved {
        /// Whose it is.
        owner: String,
        /// The number.
        asn: u32,
        /// What it is for.
        why: &'static str,
    },
    /// A neighbour whose table does not fit together.
    #[error("{neighbour} can't be joined: {problem}")]
    NeighbourUnfit {
        /// The neighbour.
        neighbour: String,
        /// Why not.
        problem: String,
    },
    /// Two devices of a node have one port or name.
    #[error("{first} and {second} have the same {what} at node {node}")]
    TwiceAtNode {
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
        /// The node.
        node: String,
        /// "port 21869", "device wgn-x".
        what: String,
    },
    /// A platform on which BIRD is not run.
    #[error("node {node} speaks BGP, which can't be set up on {platform}")]
    SpeakerPlatform {
        /// The node.
        node: String,
        /// Its platform.
        platform: &'static str,
    },
    /// A node with `bgp = false` that BGP needs.
    #[error("node {node} {task}, and is said not to speak BGP")]
    SilentSpeaker {
        /// The node.
        node: String,
        /// What it has to do with it.
        task: &'static str,
    },
    /// A router id that is none.
    #[error("router id {address} of node {node} is no IPv4 address")]
    RouterId {
        /// The node.
        node: String,
        /// What is there.
        address: IpAddr,
    },
    /// Nothing is let in from a neighbour.
    #[error("nothing that neighbour {neighbour} announces is accepted")]
    AcceptsNothing {
        /// The neighbour.
        neighbour: String,
    },
    /// Nothing is announced.
    #[error("nothing is announced to neighbours: [bgp] has no prefixes of the network's own")]
    AnnouncesNothing,
    /// A prefix that the profile's network refuses.
    #[error("nobody in DN42 accepts {prefix}")]
    OwnRefused {
        /// The prefix.
        prefix: IpNet,
    },
    /// Two nodes that may have ways to the same prefixes.
    #[error("{first} and {second} may both tell ways to {prefix}, at different nodes")]
    TwoOrigins {
        /// One neighbour, or a node with a service address.
        first: String,
        /// The other.
        second: String,
        /// Ways to what.
        prefix: IpNet,
    },
    /// Public addresses used as a private range.
    #[error("{prefix} of {owner} is public address space")]
    PublicPrefix {
        /// Whose it is.
        owner: String,
        /// The prefix.
        prefix: IpNet,
    },
    /// A prefix that many a client's own LAN has too.
    #[error("{prefix} of {owner} is also what {habit} use")]
    CommonLan {
        /// Whose it is.
        owner: String,
        /// The prefix.
        prefix: IpNet,
        /// Who uses it.
        habit: &'static str,
    },
    /// More than the product is made for.
    #[error("{count} {what} are more than {max}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// Two keys that exclude each other.
    #[error("{owner} has both {a:?} and {b:?}")]
    Both {
        /// Whose they are.
        owner: String,
        /// One key.
        a: &'static str,
        /// The other.
        b: &'static str,
    },
    /// A link or isolation rule that is not complete.
    #[error("this rule is not complete: {why}")]
    RuleIncomplete {
        /// What is missing.
        why: &'static str,
    },
    /// A selector or a rule that selects nothing.
    #[error("{what} selects nothing")]
    SelectsNothing {
        /// The selector or "this rule".
        what: String,
    },
    /// Two different round-trip times for one pair.
    #[error("the round-trip time of {a} and {b} is given twice: {first_ms} and {second_ms} ms")]
    RttTwice {
        /// One end.
        a: String,
        /// The other.
        b: String,
        /// The earlier value.
        first_ms: f64,
        /// The later value.
        second_ms: f64,
    },
    /// A round-trip time of a node with itself.
    #[error("{name} has no round-trip time with itself")]
    RttSelf {
        /// The node or client.
        name: String,
    },
    /// A private network with one node: a slip of the pen, or of no use.
    #[error("{node} is the only one on private network {underlay}")]
    LonelyUnderlay {
        /// The node.
        node: String,
        /// The private network.
        underlay: String,
    },
    /// A region without nodes or clients.
    #[error("region {region} has no nodes")]
    EmptyRegion {
        /// The region.
        region: String,
    },
    /// An allow rule where everything is allowed.
    #[error("this rule allows nothing new: the network's policy is open")]
    PolicyIdle,
    /// An address in a LAN that is not behind the node.
    #[error("{key} of node {node} names {address}, which is in no prefix behind it")]
    LanAddressOutside {
        /// The node.
        node: String,
        /// The key: "lan_addresses" or "lan_routers".
        key: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// A firewall on a host that can't have one.
    #[error("node {node} can't have a firewall of ours: its platform takes none")]
    FirewallImpossible {
        /// The node.
        node: String,
    },
    /// Something that takes a firewall on a node that is to have none.
    #[error("node {node} {task}, which takes a firewall, and has none")]
    FirewallNeeded {
        /// The node.
        node: String,
        /// What it does: "masquerades".
        task: &'static str,
    },
    /// Callers from addresses that a closed WireGuard port does not know.
    #[error("{node} lets only its peers' endpoints to its WireGuard port, but {} from addresses that nobody knows", dialling(.callers, *.count))]
    CallersUnknown {
        /// The node.
        node: String,
        /// Some of those who dial it.
        callers: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// Nothing enforces the policy between some parties.
    #[error("the policy can't be enforced at {}: {from} is one of those who could get in, and no host on the way has a firewall", named(.parties, *.count))]
    PolicyUnenforced {
        /// Some of the parties that are exposed.
        parties: Vec<String>,
        /// How many there are.
        count: usize,
        /// Somebody who could get at the first.
        from: String,
    },
    /// A closed node that nobody can log in to.
    #[error("nobody could log in to {node} by SSH: it is closed from outside, and nobody inside may use tcp/22")]
    ShutOut {
        /// The node.
        node: String,
    },
    /// A service on something that is no node.
    #[error("service {service} can't be on {on}: services are on nodes")]
    ServiceElsewhere {
        /// The service.
        service: String,
        /// What it is said to be on.
        on: String,
    },
}

impl Meaning {
    rows! {
        self {
            Meaning::NameTwice { .. } => ("WL101", Error),
            Meaning::UnknownName { .. } => ("WL102", Error),
            Meaning::Overlap { .. } => ("WL103", Error),
            Meaning::OutsideOverlay { .. } => ("WL104", Error),
            Meaning::KeyReused { .. } => ("WL105", Error),
            Meaning::AddressReused { .. } => ("WL106", Error),
            Meaning::AddressOutside { .. } => ("WL107", Error),
            Meaning::AddressReserved { .. } => ("WL108", Error),
            Meaning::FamilyTwice { .. } => ("WL109", Error),
            Meaning::EndpointRouted { .. } => ("WL110", Error),
            Meaning::NoEndpoint { .. } => ("WL112", Error),
            Meaning::NoEndpointAmong { .. } => ("WL113", Note),
            Meaning::EmptySite { .. } => ("WL114", Error),
            Meaning::ListedTwice { .. } => ("WL115", Error),
            Meaning::ViaNotPublic { .. } => ("WL116", Error),
            Meaning::NoEntry { .. } => ("WL117", Error),
            Meaning::PublicPrefix { .. } => ("WL118", Error),
            Meaning::CommonLan { .. } => ("WL119", Warning),
            Meaning::TooMany { .. } => ("WL120", Error),
            Meaning::Both { .. } => ("WL121", Error),
            Meaning::RuleIncomplete { .. } => ("WL122", Error),
            Meaning::SelectsNothing { .. } => ("WL123", Warning),
            Meaning::RttTwice { .. } => ("WL124", Error),
            Meaning::RttSelf { .. } => ("WL125", Error),
            Meaning::EmptyRegion { .. } => ("WL126", Note),
            Meaning::EndpointReused { .. } => ("WL127", Warning),
            Meaning::LonelyUnderlay { .. } => ("WL128", Warning),
            Meaning::LanAddressOutside { .. } => ("WL129", Warning),
            Meaning::PolicyIdle => ("WL140", Warning),
            Meaning::FirewallImpossible { .. } => ("WL141", Error),
            Meaning::FirewallNeeded { .. } => ("WL142", Error),
            Meaning::CallersUnknown { .. } => ("WL143", Warning),
            Meaning::PolicyUnenforced { .. } => ("WL144", Warning),
            Meaning::ShutOut { .. } => ("WL145", Warning),
            Meaning::ServiceElsewhere { .. } => ("WL146", Error),
            Meaning::FixedStranger { .. } => ("WL147", Error),
            Meaning::FixedTwice { .. } => ("WL148", Error),
            Meaning::EntryNowhere => ("WL149", Error),
            Meaning::EntryUnfit { .. } => ("WL150", Error),
            Meaning::BgpMissing { .. } => ("WL151", Error),
            Meaning::AsnReserved { .. } => ("WL152", Error),
            Meaning::NeighbourUnfit { .. } => ("WL153", Error),
            Meaning::TwiceAtNode { .. } => ("WL154", Error),
            Meaning::SpeakerPlatform { .. } => ("WL155", Error),
            Meaning::SilentSpeaker { .. } => ("WL156", Error),
            Meaning::RouterId { .. } => ("WL157", Error),
            Meaning::AcceptsNothing { .. } => ("WL158", Warning),
            Meaning::AnnouncesNothing => ("WL159", Note),
            Meaning::OwnRefused { .. } => ("WL160", Warning),
            Meaning::TwoOrigins { .. } => ("WL161", Note),
        }
    }
}

fn name_twice(first: &str, second: &str) -> String {
    if first == second { format!("{first} is given twice") } else { format!("{first} and {second} have the same name") }
}

fn no_endpoint_among(pairs: &[String], count: usize) -> String {
    let more = count.saturating_sub(pairs.len());
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("not linked directly, since neither side has an endpoint: {}{tail}", pairs.join(", "))
}

fn named(parties: &[String], count: usize) -> String {
    let more = count.saturating_sub(parties.len());
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", parties.join(", "))
}

fn dialling(callers: &[String], count: usize) -> String {
    format!("{} {} in", named(callers, count), if count == 1 { "dials" } else { "dial" })
}
