//! Findings 4xx: what can be wrong or odd in other people's files, and what a network file can't say of them.
//!
//! They are made in [`crate::import`], by the readers, by small rules over the hosts that were read, and where a network is
//! inferred from them. Facts inside never hold a private key.

use ipnet::IpNet;

use super::rows::rows;

/// Something wrong or odd in files that were imported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Imported {
    /// A key that the format does not have.
    #[error("[{section}] has no key {key:?}; it is left out")]
    UnknownKey {
        /// The section.
        section: String,
        /// The key.
        key: String,
    },
    /// A section that the format does not have.
    #[error("there is no section {section:?} here; it is left out")]
    UnknownSection {
        /// The section.
        section: String,
    },
    /// A line that can't be understood.
    #[error("this line is not understood: {why}; it is left out")]
    UnknownLine {
        /// Why.
        why: String,
    },
    /// A value that the format does not allow.
    #[error("{key}: {why}")]
    BadValue {
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A private key that is none, such as a placeholder.
    #[error("the private key can't be read: {why}")]
    PrivateKeyUnreadable {
        /// What is wrong, without the text.
        why: String,
    },
    /// A file with a private key that everybody on the host can read.
    #[error("{file} holds a private key, and others can read it (mode {mode:04o})")]
    KeyExposed {
        /// The file.
        file: String,
        /// Its permissions.
        mode: u32,
    },
    /// An allowed prefix with bits set beyond its length.
    #[error("{text} has address bits set beyond its length; WireGuard takes it for {meant}")]
    AllowedHostBits {
        /// As written.
        text: IpNet,
        /// What it does.
        meant: IpNet,
    },
    /// One prefix at two peers of one device.
    #[error("{prefix} is allowed for {first} and for {second} of {device}: the last one has it alone")]
    AllowedTwice {
        /// The prefix.
        prefix: IpNet,
        /// The earlier peer.
        first: String,
        /// The later peer.
        second: String,
        /// The device, with its host.
        device: String,
    },
    /// One key on two hosts.
    #[error("{first} and {second} have the same key")]
    KeyOnTwoHosts {
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
    },
    /// A script that loses an endpoint.
    #[error(
        "the endpoint {endpoint} of {peer} is lost: the key holds a `/`, which ends the pattern of this sed command{}",
        what_ran(*.ran)
    )]
    EndpointLost {
        /// The peer.
        peer: String,
        /// Its endpoint.
        endpoint: String,
        /// Whether sed runs a part of the key.
        ran: bool,
    },
    /// Keepalives to a peer that can't be dialled.
    #[error("keepalives to {peer} of {device} do nothing: it has no endpoint there until it speaks first")]
    KeepaliveToNowhere {
        /// The peer.
        peer: String,
        /// The device, with its host.
        device: String,
    },
    /// A peer added by `wg set`, which makes no route.
    #[error("{peer} is added by `wg set`, which makes no route to {prefixes}")]
    PeerWithoutRoute {
        /// The peer.
        peer: String,
        /// Its prefixes.
        prefixes: String,
    },
    /// An endpoint inside a prefix that is sent into the tunnel.
    #[error("endpoint {endpoint} of {peer} is inside {prefix}, which goes into the tunnel itself")]
    EndpointInTunnel {
        /// The peer.
        peer: String,
        /// Its endpoint.
        endpoint: String,
        /// The prefix.
        prefix: IpNet,
    },
    /// A rule inserted at a fixed position.
    #[error("position {position} in {chain} is refused while the chain is shorter, and may be behind a REJECT")]
    FixedPosition {
        /// The number.
        position: u32,
        /// The chain.
        chain: String,
    },
    /// A file in no known format.
    #[error("{file} is in no format that is known; it is left out")]
    UnknownFormat {
        /// The file.
        file: String,
    },
    /// Something that a network file can't say.
    #[error("{what} can't be expressed: {why}")]
    Unexpressed {
        /// What it is.
        what: String,
        /// Why not.
        why: String,
    },
    /// Two files that say different things.
    #[error("{what} of {whom}: {first} in one place, {second} in another; the first is taken")]
    Contradiction {
        /// What they are about.
        what: &'static str,
        /// Whose it is.
        whom: String,
        /// What is taken.
        first: String,
        /// What is not.
        second: String,
    },
    /// Something understood that is not carried over.
    #[error("{what} of {whom} stays behind: {why}")]
    StaysBehind {
        /// What it is.
        what: String,
        /// Whose it is.
        whom: String,
        /// Why.
        why: &'static str,
    },
    /// Two hosts that can't reach each other as their files are.
    #[error("{a} and {b} can't reach each other as their files are; `isolate` keeps it so")]
    PairApart {
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// A value that is only known when a script runs.
    #[error("{what} is only known when the script runs: {variable}")]
    NotKnownYet {
        /// What it is.
        what: String,
        /// The variable.
        variable: String,
    },
    /// More than is read.
    #[error("{what}: more than {max}; the rest is left out")]
    TooMuch {
        /// What there is too much of.
        what: String,
        /// The limit.
        max: usize,
    },
    /// A peer with two sections.
    #[error("{peer} is written twice: what the first section allows it is lost")]
    PeerTwice {
        /// The peer.
        peer: String,
    },
    /// A key with two values where one counts.
    #[error("{key} is given twice; the last one counts")]
    ValueTwice {
        /// The key.
        key: String,
    },
    /// A second device in one file.
    #[error("a second [Interface] in one file is no second device: wg-quick adds its keys to the first")]
    InterfaceTwice,
    /// Hosts whose own files are missing, and that a script seems to have made.
    #[error("{} taken to run this script, since their own files were not named", whose(.hosts))]
    RunsScript {
        /// The hosts.
        hosts: Vec<String>,
    },
    /// Nothing that was read says whether a host that must forward does.
    #[error("{host} must pass on packets for {pairs} pairs, and nothing that was read switches forwarding on there")]
    ForwardingAssumed {
        /// The host.
        host: String,
        /// Pairs that are lost if it does not.
        pairs: usize,
    },
}

fn whose(hosts: &[String]) -> String {
    const NAMED: usize = 12;
    let named = hosts.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match hosts.len() {
        0 | 1 => format!("{named} is"),
        count if count > NAMED => format!("{named} and {} more are", count - NAMED),
        _ => format!("{named} are"),
    }
}

fn what_ran(ran: bool) -> &'static str {
    if ran { ", and sed runs a part of the key as a shell command" } else { "" }
}

impl Imported {
    rows! {
        self {
            Imported::UnknownKey { .. } => ("WL401", Warning),
            Imported::UnknownSection { .. } => ("WL402", Warning),
            Imported::UnknownLine { .. } => ("WL403", Warning),
            Imported::BadValue { .. } => ("WL404", Warning),
            Imported::PrivateKeyUnreadable { .. } => ("WL405", Warning),
            Imported::KeyExposed { .. } => ("WL406", Warning),
            Imported::AllowedHostBits { .. } => ("WL407", Warning),
            Imported::AllowedTwice { .. } => ("WL408", Warning),
            Imported::KeyOnTwoHosts { .. } => ("WL409", Warning),
            Imported::EndpointLost { .. } => ("WL410", Warning),
            Imported::KeepaliveToNowhere { .. } => ("WL411", Note),
            Imported::PeerWithoutRoute { .. } => ("WL412", Warning),
            Imported::EndpointInTunnel { .. } => ("WL413", Warning),
            Imported::FixedPosition { .. } => ("WL414", Warning),
            Imported::UnknownFormat { .. } => ("WL415", Warning),
            Imported::Unexpressed { .. } => ("WL416", Warning),
            Imported::Contradiction { .. } => ("WL417", Warning),
            Imported::StaysBehind { .. } => ("WL418", Note),
            Imported::PairApart { .. } => ("WL419", Warning),
            Imported::NotKnownYet { .. } => ("WL420", Note),
            Imported::TooMuch { .. } => ("WL421", Error),
            Imported::PeerTwice { .. } => ("WL422", Warning),
            Imported::ValueTwice { .. } => ("WL423", Warning),
            Imported::InterfaceTwice => ("WL424", Warning),
            Imported::RunsScript { .. } => ("WL430", Note),
            Imported::ForwardingAssumed { .. } => ("WL431", Warning),
        }
    }
}
