//! The world outside: which neighbours may lead to an address that nobody of the network has, by what the file says of them.
//!
//! Whether one does is BGP's to say while all runs; here is only what would be believed of it, and whether it is told where answers go.

use std::net::IpAddr;

use super::{Bgp, Exports, Neighbour, Network, PrefixRange, Speaker};

/// Why a neighbour leads nowhere near an address, whatever it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The address is in the own prefixes, of which nobody outside is believed anything.
    Own,
    /// No session carries routes of its family.
    Family,
    /// It is in nothing that the neighbour may tell of.
    Elsewhere,
}

impl Network {
    /// All neighbours, with what each may tell of that has an address in it, or why it may not. Without BGP none.
    pub fn outlets(&self, address: IpAddr) -> Vec<(&Neighbour, Result<Vec<PrefixRange>, Refusal>)> {
        let Some(bgp) = &self.bgp else { return Vec::new() };
        self.neighbours.iter().map(|neighbour| (neighbour, outlet(bgp, neighbour, address))).collect()
    }
}

fn outlet(bgp: &Bgp, neighbour: &Neighbour, address: IpAddr) -> Result<Vec<PrefixRange>, Refusal> {
    if !neighbour.sessions.carry(address.is_ipv4()) {
        return Err(Refusal::Family);
    }
    let own = bgp.own.iter().find(|own| own.contains(&address));
    match own {
        Some(own) if neighbour.asn == bgp.asn => return Ok(vec![PrefixRange::within(*own)]),
        Some(_) => return Err(Refusal::Own),
        None => {}
    }
    let holding: Vec<PrefixRange> =
        neighbour.accept.iter().filter(|range| range.prefix.contains(&address)).copied().collect();
    if holding.is_empty() { Err(Refusal::Elsewhere) } else { Ok(holding) }
}

impl Bgp {
    /// From where a node speaks to what it learns of: a service address, else an overlay address that others are told of.
    pub fn source(&self, speaker: &Speaker, overlay: &[IpAddr], is_v4: bool) -> Option<IpAddr> {
        let family = move |address: &&IpAddr| address.is_ipv4() == is_v4;
        let service = speaker.service_addresses.iter().find(family);
        service.or_else(|| overlay.iter().filter(family).find(|address| self.has(**address))).copied()
    }

    /// Whether a neighbour is told where an address is, so that answers find the way back.
    pub fn tells(&self, neighbour: &Neighbour, address: IpAddr) -> bool {
        neighbour.export != Exports::Nothing && self.has(address)
    }

    fn has(&self, address: IpAddr) -> bool {
        self.own.iter().any(|own| own.contains(&address))
    }
}
