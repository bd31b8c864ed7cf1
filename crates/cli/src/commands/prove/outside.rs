//! `wayleave explain` where one of the two is outside: an address that nobody of the network has, or a neighbour.
//!
//! What a neighbour leads to is nothing that a file proves. It says who would be believed, how a member gets to the node that the
//! neighbour is joined to, and whether answers find the way back; the rest is told by `wayleave route` on that node.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use wayleave_core::network::{Bgp, Neighbour, Network, PrefixRange, Refusal};
use wayleave_core::prove::Proof;

use super::subject::Subject;

/// One that is no member: an address, and the neighbour that has it, if it is one's own.
#[derive(Debug, Clone, Copy)]
pub struct Outside<'n> {
    /// The address.
    pub address: IpAddr,
    neighbour: Option<&'n Neighbour>,
}

/// Reads a neighbour's name or an address; none where the network has no neighbours, or it is neither.
pub fn find<'n>(network: &'n Network, text: &str) -> Option<Outside<'n>> {
    if network.neighbours.is_empty() {
        return None;
    }
    let named = network.neighbours.iter().find(|neighbour| neighbour.name.as_str() == text);
    let address: IpAddr = match named {
        Some(neighbour) => *neighbour.addresses.first()?,
        None => text.parse().ok()?,
    };
    let own = |neighbour: &&Neighbour| neighbour.addresses.contains(&address);
    Some(Outside { address, neighbour: named.or_else(|| network.neighbours.iter().find(own)) })
}

/// What there is to say, and whether packets may get there and answers back.
pub struct Told {
    lines: Vec<String>,
    may: bool,
    outlets: Vec<Value>,
}

/// Works out the way between a member and the outside.
pub fn tell(subject: &Subject, network: &Network, member: usize, outside: Outside<'_>) -> Option<Told> {
    let bgp = network.bgp.as_ref()?;
    let mut told = Told { lines: Vec::new(), may: false, outlets: Vec::new() };
    match outside.neighbour {
        Some(neighbour) => told.neighbour(&subject.proof, network, member, neighbour),
        None => {
            for (neighbour, outlet) in network.outlets(outside.address) {
                told.outlet(&subject.proof, (network, bgp), (member, outside.address), (neighbour, outlet));
            }
            if told.may {
                told.lines
                    .push(format!("which of them does is BGP's to say: `wayleave route {}` there", outside.address));
            }
        }
    }
    Some(told)
}

impl Told {
    /// Whether packets may get there, and answers back.
    pub fn may(&self) -> bool {
        self.may
    }

    /// All of it, without an end of line.
    pub fn text(&self) -> String {
        let wrapped =
            self.lines.iter().map(|line| crate::table::wrapped(line, super::explain::COLUMNS - 4).join("\n    "));
        wrapped.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }

    /// The same as data.
    pub fn json(&self) -> Value {
        json!({ "may_arrive": self.may, "neighbours": self.outlets, "lines": self.lines })
    }

    /// The foreign router itself: only the node that it is joined to has a route to it.
    fn neighbour(&mut self, proof: &Proof, network: &Network, member: usize, neighbour: &Neighbour) {
        let (node, is_at) = (network.node(neighbour.node).name.as_str(), neighbour.node.at() == member);
        let name = &proof.hosts.ends[member].name;
        self.lines.push(format!(
            "{} (AS {}) is a foreign router, joined to {node} by {}; only {node} has a way to its address there",
            neighbour.name, neighbour.asn, neighbour.device
        ));
        self.lines.push(match is_at {
            true => format!("{name}: goes into {} to it, and answers come back by it", neighbour.device),
            false => format!("{name}: has no route to it; ask for an address behind it"),
        });
        self.may = is_at;
    }

    fn outlet(
        &mut self,
        proof: &Proof,
        (network, bgp): (&Network, &Bgp),
        (member, address): (usize, IpAddr),
        (neighbour, outlet): (&Neighbour, Result<Vec<PrefixRange>, Refusal>),
    ) {
        let who = format!("{} (AS {}, at {})", neighbour.name, neighbour.asn, network.node(neighbour.node).name);
        let refused = match &outlet {
            Ok(_) => None,
            Err(Refusal::Own) => Some(format!("is not believed: {address} is in the own prefixes")),
            Err(Refusal::Family) => Some("has no session for addresses of this family".to_owned()),
            Err(Refusal::Elsewhere) => Some(format!("is not believed: {address} is in nothing that it may tell of")),
        };
        let way = self::way(proof, (network, bgp), member, neighbour, address);
        let may = refused.is_none() && way.is_ok();
        self.may |= may;
        self.outlets.push(json!({
            "neighbour": neighbour.name, "asn": neighbour.asn, "node": network.node(neighbour.node).name,
            "device": neighbour.device, "may_carry": may,
            "why_not": refused.as_ref().or(way.as_ref().err()), "hosts": way.as_ref().map_or(&[][..], |(hosts, _)| hosts),
        }));
        if let Some(why) = refused {
            return self.lines.push(format!("{who} {why}"));
        }
        if let Ok(ranges) = outlet {
            let origin = match bgp.roa.covers(address.is_ipv4()) && neighbour.asn != bgp.asn {
                true => ", if its origin is authorised",
                false => "",
            };
            let ranges: Vec<String> = ranges.into_iter().map(in_words).collect();
            let ranges = ranges.join(" and ");
            self.lines.push(format!("{who} may lead there: of {ranges} it is believed what it tells{origin}"));
        }
        self.lines.push(match way {
            Ok((hosts, told)) => format!("    {}; {told}", hosts.join(" > ")),
            Err(why) => format!("    but {why}"),
        });
    }
}

/// The hosts on the way to a neighbour, and from where answers know the way; or what is in it.
fn way(
    proof: &Proof,
    (network, bgp): (&Network, &Bgp),
    member: usize,
    neighbour: &Neighbour,
    address: IpAddr,
) -> Result<(Vec<String>, String), String> {
    let (end, node) = (&proof.hosts.ends[member], neighbour.node.at());
    let speaker = bgp.speakers.iter().find(|speaker| speaker.node.at() == member && member < network.nodes.len());
    let Some(speaker) = speaker else {
        return Err(format!("{} speaks no BGP and learns no such route: `bgp = true` for nodes", end.name));
    };
    let overlay: Vec<IpAddr> = end.prefixes.iter().filter(is_host).map(IpNet::addr).collect();
    let source = bgp.source(speaker, &overlay, address.is_ipv4());
    let source = source.filter(|source| bgp.tells(neighbour, *source));
    let Some(source) = source else {
        return Err(format!("{} is told of no address of {}: answers find no way back", neighbour.name, end.name));
    };
    let mut hosts = vec![end.name.clone()];
    if member != node {
        if !proof.verdict(member, node).arrives() || !proof.verdict(node, member).arrives() {
            return Err(format!("{} and {} don't reach each other", end.name, network.node(neighbour.node).name));
        }
        let visited = proof.path(member, node);
        hosts = visited.iter().map(|host| proof.hosts.hosts[*host as usize].name.clone()).collect();
    }
    hosts.push(neighbour.name.to_string());
    Ok((hosts, format!("answers come back to {source}, of which it is told")))
}

fn is_host(prefix: &&IpNet) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

fn in_words(range: PrefixRange) -> String {
    let PrefixRange { prefix, min, max } = range;
    if min == max {
        return format!("{prefix} ({min} bits)");
    }
    format!("{prefix} ({min} to {max} bits)")
}
