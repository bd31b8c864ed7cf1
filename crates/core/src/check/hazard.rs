//! Findings 5xx: what is sound as written, and hurts in use. Each has hit real users; the stories say whom.
//!
//! They are made by [`super::rules`], over a planned network or over hosts that were imported. Which of the two a kind
//! can be about stands in its story.

use std::net::IpAddr;

use ipnet::IpNet;

use super::rows::rows;

/// Something that hurts in use.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Hazard {
    /// A prefix inside a wider one of another peer.
    #[error(
        "on {device}, {prefix} of {peer} is inside {wider} of {other}: {peer} alone gets that part, also while it is down"
    )]
    AllowedNested {
        /// The device, with its host.
        device: String,
        /// The longer prefix.
        prefix: IpNet,
        /// Its peer.
        peer: String,
        /// The shorter prefix.
        wider: IpNet,
        /// Its peer.
        other: String,
    },
    /// A longer prefix of a peer that can't be reached takes packets from a peer that could carry them.
    #[error(
        "on {device}, {prefix} of {peer} takes packets from {wider} of {other}, and {peer} can't be reached: {why}"
    )]
    DeadDetour {
        /// The device, with its host.
        device: String,
        /// The longer prefix.
        prefix: IpNet,
        /// Its peer.
        peer: String,
        /// The shorter prefix.
        wider: IpNet,
        /// Its peer.
        other: String,
        /// Why it can't be reached.
        why: &'static str,
    },
    /// A peer that does not know this side.
    #[error("{device} has {peer} as a peer, but {peer} has no entry for it")]
    OneSided {
        /// The device, with its host.
        device: String,
        /// The host that does not know it.
        peer: String,
    },
    /// A peer that drops what this side sends, because of its source.
    #[error("{peer} drops what {device} sends from {address}: it is not allowed for it there")]
    SourceRefused {
        /// The sending device, with its host.
        device: String,
        /// The host that drops it.
        peer: String,
        /// The source.
        address: IpAddr,
    },
    /// Hosts of one network that have no way to each other.
    #[error("no way {}", named(.pairs, *.count))]
    PairsWithoutWay {
        /// Some of the pairs, ready to be shown.
        pairs: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// Two hosts that are peers, and neither can dial the other.
    #[error("{a} and {b} are peers, and neither has an endpoint of the other")]
    NobodyDials {
        /// One device, with its host.
        a: String,
        /// The other.
        b: String,
    },
    /// A prefix sent into the tunnel that the host has at home.
    #[error("{prefix} of {owner} overlaps {network} of {interface} on {host}")]
    LocalNetworkRouted {
        /// The prefix of the tunnel.
        prefix: IpNet,
        /// Whose it is.
        owner: String,
        /// The host's own network.
        network: IpNet,
        /// Its interface.
        interface: String,
        /// The host.
        host: String,
    },
    /// Two hosts with overlapping networks behind them.
    #[error("{a_prefix} behind {a} overlaps {b_prefix} behind {b}")]
    SitesOverlap {
        /// One host.
        a: String,
        /// Its network.
        a_prefix: IpNet,
        /// The other host.
        b: String,
        /// Its network.
        b_prefix: IpNet,
    },
    /// An endpoint that is only valid in some private network.
    #[error("endpoint {endpoint} of {owner} is {what}: nobody outside that network can dial it")]
    NotDialable {
        /// Whose it is.
        owner: String,
        /// The endpoint.
        endpoint: String,
        /// What kind of address it is.
        what: &'static str,
    },
    /// A device that is dialled and has no fixed port.
    #[error("{device} is dialled on port {port}, and listens on whatever port it gets: it has no ListenPort")]
    NoListenPort {
        /// The device that is dialled, with its host.
        device: String,
        /// The port at which it is dialled.
        port: u16,
    },
    /// A device that is dialled on another port than it listens on.
    #[error("{device} is dialled on port {dialled} and listens on {port}")]
    OtherPort {
        /// The device that is dialled, with its host.
        device: String,
        /// The port at which it is dialled.
        dialled: u16,
        /// The port on which it listens.
        port: u16,
    },
    /// Strict reverse path filtering where answers come another way.
    #[error(
        "{host} drops packets whose answer would leave by another device: rp_filter of {device} is strict ({key}), and {why}"
    )]
    ReversePath {
        /// The host.
        host: String,
        /// The device.
        device: String,
        /// The setting that counts.
        key: String,
        /// Why ways differ.
        why: String,
    },
    /// A host that is to pass packets on, with forwarding off.
    #[error("{host} is to pass on {family} packets for {whom}, and {key} is 0")]
    ForwardingOff {
        /// The host.
        host: String,
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// For whom.
        whom: String,
        /// The setting.
        key: String,
    },
    /// A host that is to pass packets on, with a firewall that refuses.
    #[error("{host} is to pass packets on, and its firewall refuses them: {why}")]
    ForwardRefused {
        /// The host.
        host: String,
        /// What refuses, and why nothing accepts before.
        why: String,
    },
    /// A site that sees the members' own addresses and may not know the way back.
    #[error("{site} sees packets from {from} with their own sources, and needs a route back through {gateway}")]
    NoReturnRoute {
        /// The site.
        site: String,
        /// The sources.
        from: String,
        /// The gateway.
        gateway: String,
    },
    /// A cloud instance in front of a site, with the cloud's check of sources on.
    #[error(
        "{node} passes packets on for {site}, and its cloud drops packets with sources or destinations that are not its own"
    )]
    SourceCheck {
        /// The node.
        node: String,
        /// The site.
        site: String,
    },
    /// An MTU that does not fit the underlay.
    #[error(
        "MTU {mtu} of {owner} is above {max}: {underlay} of {carrier} less {overhead} bytes of WireGuard over {family}"
    )]
    MtuTooLarge {
        /// Whose it is.
        owner: String,
        /// The MTU.
        mtu: u16,
        /// The largest that fits.
        max: u16,
        /// The underlay's MTU.
        underlay: u16,
        /// The underlay.
        carrier: String,
        /// Bytes of headers.
        overhead: u16,
        /// "IPv4" or "IPv6".
        family: &'static str,
    },
    /// A tunnel inside another with an MTU that does not leave room.
    #[error("{inner} runs inside {outer} on {host}: its MTU {mtu} is above {max}")]
    NestedTunnel {
        /// The inner device.
        inner: String,
        /// The outer device.
        outer: String,
        /// The host.
        host: String,
        /// The inner MTU.
        mtu: u16,
        /// The largest that fits.
        max: u16,
    },
    /// Forwarded TCP without an adapted segment size.
    #[error("TCP between {lan} and the tunnel of {host} (MTU {mtu}) keeps its segment size (MSS)")]
    NoMssClamp {
        /// The host.
        host: String,
        /// The networks behind it.
        lan: String,
        /// The tunnel's MTU.
        mtu: u16,
    },
    /// All IPv4 traffic in the tunnel, and IPv6 beside it.
    #[error("{device} sends all IPv4 traffic into the tunnel and IPv6 past it")]
    V6Leak {
        /// The device, with its host.
        device: String,
    },
    /// IPv6 sent into a tunnel that has no IPv6 address.
    #[error("{device} sends {prefix} into a tunnel that has no IPv6 address")]
    V6WithoutAddress {
        /// The device, with its host.
        device: String,
        /// The prefix.
        prefix: IpNet,
    },
    /// Public addresses used inside a tunnel.
    #[error("{prefix} of {owner} is public address space")]
    PublicRange {
        /// Whose it is.
        owner: String,
        /// The prefix.
        prefix: IpNet,
    },
    /// Members that are to replace each other, and fail together.
    #[error("{what} {names} are all at {at}, and fail together")]
    SameMachine {
        /// What they are: "gateways of site x".
        what: String,
        /// Their names.
        names: String,
        /// What they share.
        at: String,
    },
    /// A peer or device that is switched off.
    #[error("{what} of {device} is disabled: what it should carry goes nowhere")]
    PeerDisabled {
        /// The peer, or "the device".
        what: String,
        /// The device, with its host.
        device: String,
    },
    /// A named endpoint on a host whose resolver is inside the tunnel.
    #[error("{device} dials {endpoint} by name, and its resolver {resolver} is reached through the tunnel itself")]
    ResolverInTunnel {
        /// The device, with its host.
        device: String,
        /// The endpoint.
        endpoint: String,
        /// The resolver.
        resolver: IpAddr,
    },
    /// A host whose clock is not set from outside.
    #[error("the clock of {host} is not synchronised: {why}")]
    ClockUnset {
        /// The host.
        host: String,
        /// What says so.
        why: &'static str,
    },
    /// A key older than the network allows.
    #[error("the key of {owner} is {days} days old, more than {max}")]
    KeyOld {
        /// Whose it is.
        owner: String,
        /// Its age.
        days: u32,
        /// The limit.
        max: u32,
    },
    /// A member whose time is over or nearly so.
    #[error("{owner} {}", due(*.days))]
    Expires {
        /// Who.
        owner: String,
        /// Days left; negative: days since.
        days: i32,
    },
    /// Nodes behind one NAT with the same port.
    #[error("{first} and {second} are both behind NAT {nat} and listen on port {port}")]
    PortBehindNat {
        /// One node.
        first: String,
        /// The other.
        second: String,
        /// The NAT's name.
        nat: String,
        /// The port.
        port: u16,
    },
    /// Two devices of one host with the same port.
    #[error("{first} and {second} of {host} both listen on port {port}: the second can't come up")]
    PortClash {
        /// The host.
        host: String,
        /// One device.
        first: String,
        /// The other.
        second: String,
        /// The port.
        port: u16,
    },
    /// A name that breaks the labels of metrics.
    #[error("the name {name:?} holds {what}, which breaks the labels of metrics")]
    LabelBreaks {
        /// The name.
        name: String,
        /// What it holds.
        what: &'static str,
    },
    /// A device name that wg-quick or the kernel refuse.
    #[error("{name:?} can't be a device's name: {why}")]
    DeviceNameRefused {
        /// The name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// An EdgeRouter with hardware NAT.
    #[error("{host} has hwnat on: its offloading breaks what goes through WireGuard")]
    Hwnat {
        /// The router.
        host: String,
    },
    /// A private key under version control.
    #[error("{file} holds a private key and is in the git repository {repository}")]
    KeyInRepository {
        /// The file.
        file: String,
        /// The repository's folder.
        repository: String,
    },
    /// A hub whose loss splits others.
    #[error("without {hub}, {} can't reach all others", named(.names, *.count))]
    SingleHub {
        /// The hub.
        hub: String,
        /// Some of them.
        names: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// A BGP session whose next hops the other family's routes can't use.
    #[error("session {session} of {host} runs over IPv6 and carries IPv4 routes without extended next hops")]
    NextHopFamily {
        /// The router.
        host: String,
        /// The session.
        session: String,
    },
    /// An iBGP session that passes on next hops which its neighbour can't reach.
    #[error("iBGP session {session} of {host} has no next-hop-self, and {host} has eBGP neighbours")]
    NextHopSelf {
        /// The router.
        host: String,
        /// The session.
        session: String,
    },
    /// A file about a host that can't be told which.
    #[error("{file} is about a host, and {}; it is left out", which(*.count))]
    FactsOfNobody {
        /// The file.
        file: String,
        /// How many hosts are in its folder.
        count: usize,
    },
    /// Something that can't be accepted.
    #[error("{code} {why}, so it can't be accepted")]
    NotAcceptable {
        /// The code.
        code: String,
        /// Why not.
        why: &'static str,
    },
    /// So many hosts that packets between them are not walked in passing.
    #[error("{hosts} hosts are more than {max}: packets between them were not walked")]
    NotWalked {
        /// How many hosts there are.
        hosts: usize,
        /// Up to how many they are.
        max: usize,
    },
    /// Somebody nearer would do.
    #[error("client {client} connects to {via} ({via_ms} ms), and {nearer} is nearer ({nearer_ms} ms)")]
    NearerNode {
        /// The client.
        client: String,
        /// The node it prefers.
        via: String,
        /// Milliseconds to it.
        via_ms: u64,
        /// The nearer node.
        nearer: String,
        /// Milliseconds to that.
        nearer_ms: u64,
    },
    /// Everything is routed into a device over which BGP is spoken.
    #[error("{device} routes {prefix} into the tunnel itself, and BGP is to say what goes there")]
    RoutedBesideBgp {
        /// The device, with its host.
        device: String,
        /// The prefix.
        prefix: IpNet,
    },
    /// A file that could not be read.
    #[error("{file} is left out: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        why: String,
    },
}

impl Hazard {
    rows! {
        self {
            Hazard::AllowedNested { .. } => ("WL501", Note),
            Hazard::DeadDetour { .. } => ("WL502", Warning),
            Hazard::OneSided { .. } => ("WL503", Warning),
            Hazard::SourceRefused { .. } => ("WL504", Warning),
            Hazard::PairsWithoutWay { .. } => ("WL505", Warning),
            Hazard::NobodyDials { .. } => ("WL506", Warning),
            Hazard::LocalNetworkRouted { .. } => ("WL507", Warning),
            Hazard::SitesOverlap { .. } => ("WL508", Warning),
            Hazard::NotDialable { .. } => ("WL509", Warning),
            Hazard::NoListenPort { .. } => ("WL510", Warning),
            Hazard::OtherPort { .. } => ("WL511", Note),
            Hazard::ReversePath { .. } => ("WL512", Warning),
            Hazard::ForwardingOff { .. } => ("WL513", Warning),
            Hazard::ForwardRefused { .. } => ("WL514", Warning),
            Hazard::NoReturnRoute { .. } => ("WL515", Note),
            Hazard::SourceCheck { .. } => ("WL516", Warning),
            Hazard::MtuTooLarge { .. } => ("WL517", Warning),
            Hazard::NestedTunnel { .. } => ("WL518", Warning),
            Hazard::NoMssClamp { .. } => ("WL519", Note),
            Hazard::V6Leak { .. } => ("WL520", Warning),
            Hazard::V6WithoutAddress { .. } => ("WL521", Warning),
            Hazard::PublicRange { .. } => ("WL522", Warning),
            Hazard::SameMachine { .. } => ("WL523", Warning),
            Hazard::PeerDisabled { .. } => ("WL524", Warning),
            Hazard::ResolverInTunnel { .. } => ("WL525", Note),
            Hazard::ClockUnset { .. } => ("WL526", Warning),
            Hazard::KeyOld { .. } => ("WL527", Warning),
            Hazard::Expires { .. } => ("WL528", Warning),
            Hazard::PortBehindNat { .. } => ("WL529", Warning),
            Hazard::PortClash { .. } => ("WL530", Error),
            Hazard::LabelBreaks { .. } => ("WL531", Warning),
            Hazard::DeviceNameRefused { .. } => ("WL532", Error),
            Hazard::Hwnat { .. } => ("WL533", Warning),
            Hazard::KeyInRepository { .. } => ("WL534", Warning),
            Hazard::SingleHub { .. } => ("WL535", Warning),
            Hazard::NextHopFamily { .. } => ("WL536", Warning),
            Hazard::NextHopSelf { .. } => ("WL537", Warning),
            Hazard::FactsOfNobody { .. } => ("WL538", Note),
            Hazard::NotAcceptable { .. } => ("WL539", Error),
            Hazard::Unreadable { .. } => ("WL540", Warning),
            Hazard::NotWalked { .. } => ("WL541", Note),
            Hazard::NearerNode { .. } => ("WL542", Warning),
            Hazard::RoutedBesideBgp { .. } => ("WL543", Warning),
        }
    }
}

fn named(names: &[String], count: usize) -> String {
    let more = count.saturating_sub(names.len());
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", names.join(", "))
}

fn which(count: usize) -> String {
    match count {
        0 => "no files of a host are beside it".into(),
        _ => format!("it can't be told about which of {count}"),
    }
}

fn due(days: i32) -> String {
    match days {
        ..0 if days == -1 => "expired yesterday".into(),
        ..0 => format!("expired {} days ago", days.unsigned_abs()),
        0 => "expires today".into(),
        1 => "expires tomorrow".into(),
        _ => format!("expires in {days} days"),
    }
}
