//! Findings 3xx: what a proof shows about packets, and what the network file asserts and does not hold.
//!
//! They are made in [`crate::prove`]. Each names a pair of ends as an example, and how many pairs it concerns.

use ipnet::IpNet;

use super::rows::rows;

/// What packets do that they should not, or don't and should.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Proven {
    /// Nothing carries packets away from their source.
    #[error("{} {why}", alike("can't reach", .from, .to, *.pairs))]
    NoWay {
        /// The sending end of the example.
        from: String,
        /// The receiving end.
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
        /// Where and why it is dropped.
        why: String,
    },
    /// Packets are carried somewhere that drops them.
    #[error("{} {why}", alike("loses what it sends to", .from, .to, *.pairs))]
    BlackHole {
        /// The sending end of the example.
        from: String,
        /// The receiving end.
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
        /// Where and why it is dropped.
        why: String,
    },
    /// Packets arrive but answers don't.
    #[error("{} answers are lost: {why}", alike("reaches", .from, .to, *.pairs))]
    OneWay {
        /// The sending end of the example.
        from: String,
        /// The receiving end.
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
        /// Where and why answers are dropped.
        why: String,
    },
    /// Answers come back another way.
    #[error("{} there over {there}, back over {back}", alike("and answers take different ways:", .from, .to, *.pairs))]
    Asymmetric {
        /// One end of the example.
        from: String,
        /// The other.
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
        /// The hosts on the way there.
        there: String,
        /// The hosts on the way back.
        back: String,
    },
    /// Packets are sent in a circle.
    #[error("{} {path}", alike("sends in a circle what is for", .from, .to, *.pairs))]
    Circles {
        /// The sending end of the example.
        from: String,
        /// The receiving end, or "addresses of nobody".
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
        /// The hosts of the circle.
        path: String,
    },
    /// A host takes packets that are for somebody else.
    #[error("{} {taker} takes it for its own", alike("can't reach", .from, .to, *.pairs))]
    Elsewhere {
        /// The sending end of the example.
        from: String,
        /// The receiving end.
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
        /// The host that takes them.
        taker: String,
    },
    /// A longer prefix takes packets from a peer that would have delivered them.
    #[error("on {host}, {prefix} of {taker} takes from {wider} of {other} what {other} would deliver to {to}")]
    Hijacked {
        /// The host.
        host: String,
        /// The longer prefix.
        prefix: IpNet,
        /// Its peer.
        taker: String,
        /// The shorter prefix.
        wider: IpNet,
        /// Its peer.
        other: String,
        /// The receiving end.
        to: String,
    },
    /// A peer may use source addresses that are not behind it.
    #[error("{peer} could send to {host} as {}, which {} not behind it", list(.prefixes), if .prefixes.len() == 1 { "is" } else { "are" })]
    Spoofable {
        /// The host that would believe it.
        host: String,
        /// The peer.
        peer: String,
        /// The sources, merged.
        prefixes: Vec<IpNet>,
    },
    /// Ends that must not reach each other do.
    #[error("{} they are isolated from each other", alike("reaches", .from, .to, *.pairs))]
    NotApart {
        /// One end of the example.
        from: String,
        /// The other.
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
    },
    /// Something gets through that the policy refuses.
    #[error("{} the policy refuses {ports}", alike("gets through to", .from, .to, *.pairs))]
    NotDenied {
        /// The sending end of the example.
        from: String,
        /// The receiving end.
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
        /// The ports that should be refused.
        ports: String,
    },
    /// Something is refused that the policy allows.
    #[error("{} firewalls on the way refuse {ports}", alike("is cut off in part from", .from, .to, *.pairs))]
    Curtailed {
        /// The sending end of the example.
        from: String,
        /// The receiving end.
        to: String,
        /// How many pairs it concerns.
        pairs: usize,
        /// The ports that should get through.
        ports: String,
    },
    /// An assertion does not hold.
    #[error("asserted, but not so: {}{}", .broken.join(", "), more(*.count, .broken.len()))]
    Refuted {
        /// Pairs and failures that break it, ready to be shown.
        broken: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// Too many failures to examine all of an assertion.
    #[error("only {examined} failures were examined for this assertion")]
    Unexamined {
        /// How many were.
        examined: usize,
    },
}

impl Proven {
    rows! {
        self {
            Proven::NoWay { .. } => ("WL301", Error),
            Proven::BlackHole { .. } => ("WL302", Error),
            Proven::OneWay { .. } => ("WL303", Error),
            Proven::Asymmetric { .. } => ("WL304", Warning),
            Proven::Circles { .. } => ("WL305", Error),
            Proven::Elsewhere { .. } => ("WL306", Error),
            Proven::Hijacked { .. } => ("WL307", Error),
            Proven::Spoofable { .. } => ("WL308", Warning),
            Proven::NotApart { .. } => ("WL309", Warning),
            Proven::NotDenied { .. } => ("WL320", Error),
            Proven::Curtailed { .. } => ("WL321", Error),
            Proven::Refuted { .. } => ("WL310", Error),
            Proven::Unexamined { .. } => ("WL311", Warning),
        }
    }
}

fn alike(verb: &str, from: &str, to: &str, pairs: usize) -> String {
    match pairs {
        0 | 1 => format!("{from} {verb} {to}:"),
        2 => format!("{from} {verb} {to}, and another pair alike:"),
        _ => format!("{from} {verb} {to}, and {} pairs alike:", pairs - 1),
    }
}

fn list(prefixes: &[IpNet]) -> String {
    const NAMED: usize = 4;
    let named: Vec<String> = prefixes.iter().take(NAMED).map(ToString::to_string).collect();
    format!("{}{}", named.join(", "), more(prefixes.len(), NAMED))
}

fn more(count: usize, named: usize) -> String {
    let more = count.saturating_sub(named);
    if more > 0 { format!(" and {more} more") } else { String::new() }
}
