//! Clients that travel: `lab move`.
//!
//! A client that goes to another region has the round-trip times of anybody there, and, as a laptop that travels, another public
//! address: the NAT it is behind is another one. To a load balancer it is a new flow, for which a node is chosen anew. If it is to keep its address, only the times
//! change, as when the internet's routes do; then its flow stays pinned where it is. Who is behind no NAT keeps its address always:
//! it is the client's own. Back home it has its own times again.

use std::net::Ipv4Addr;

use wayleave_core::file::nearest;
use wayleave_core::names::Name;
use wayleave_core::network::RegionIx;
use wayleave_core::plan::Member;

use super::{FaultError, Lab, LabError};
use crate::limits::MOVED_ADDRESSES_MAX;

/// First address of clients that have travelled: beyond those that the lab makes up, before those of load balancers.
const TRAVELLER_FIRST: u32 = 0xC612_FE01;

/// Why a client can't be moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// No such client, and the name that is nearest.
    #[error("{name} is no client of this network{hint}", name = .0, hint = hint(.1.as_deref()))]
    NoClient(String, Option<String>),
    /// A node, or a host in a site.
    #[error("{0} is a node, and nodes stay where they are: name a client")]
    IsNode(String),
    /// No such region, and the name that is nearest.
    #[error("{name} is no region of this network{hint}", name = .0, hint = hint(.1.as_deref()))]
    NoRegion(String, Option<String>),
    /// It is there already.
    #[error("{0} is in {1} already")]
    IsThere(String, String),
    /// No address is left for it.
    #[error(
        "the lab has addresses for {MOVED_ADDRESSES_MAX} clients that travel at the same time: let this one keep its own"
    )]
    NoAddress,
    /// The lab itself.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// What is cut between it and others can't be kept cut.
    #[error(transparent)]
    Fault(#[from] FaultError),
}

fn hint(meant: Option<&str>) -> String {
    meant.map_or_else(String::new, |word| format!("; did you mean {word}?"))
}

/// Where a client is that has travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traveller {
    pub(super) region: RegionIx,
    /// Its public address, if that is not the first one.
    address: Option<Ipv4Addr>,
}

impl Lab {
    /// Moves a client to a region. Says its new public address, if it has one.
    ///
    /// # Errors
    /// If there is no such client or region, or nothing would change.
    pub fn move_client(
        &mut self,
        client: &str,
        region: &str,
        keep_address: bool,
    ) -> Result<Option<Ipv4Addr>, MoveError> {
        let at = self.find_client(client)?;
        let to = self.find_region(region)?;
        let present = self.travellers.get(&at);
        let home = self.network.clients[at as usize].region;
        if present.map(|traveller| traveller.region).or(home) == Some(to) {
            return Err(MoveError::IsThere(client.to_owned(), region.to_owned()));
        }
        let old = present.and_then(|traveller| traveller.address);
        let nat = self.underlay.homes[&Member::Client(at)].nat.filter(|_| !keep_address);
        let address = nat.map(|_| self.free_address()).transpose()?;
        self.travellers.insert(at, Traveller { region: to, address: address.or(old) });
        self.reshape(Member::Client(at))?;
        if let Some(nat) = nat {
            self.wire.rebind_nat(self.nats[nat], address).map_err(LabError::Wire)?;
        }
        Ok(address)
    }

    /// The region in which a client is at present.
    pub(super) fn region_of(&self, client: u32) -> Option<String> {
        let home = self.network.clients[client as usize].region;
        let region = self.travellers.get(&client).map(|traveller| traveller.region).or(home)?;
        Some(self.network.regions[region.at()].name.to_string())
    }

    fn find_client(&self, name: &str) -> Result<u32, MoveError> {
        match Name::new(name).ok().and_then(|name| self.plan.find(&name)) {
            Some(Member::Client(at)) => Ok(at),
            Some(Member::Node(_)) => Err(MoveError::IsNode(name.to_owned())),
            None => {
                let clients = self.network.clients.iter().map(|client| client.name.as_str());
                Err(MoveError::NoClient(name.to_owned(), nearest(name, clients).map(str::to_owned)))
            }
        }
    }

    fn find_region(&self, name: &str) -> Result<RegionIx, MoveError> {
        let regions = || self.network.regions.iter().map(|region| region.name.as_str());
        let at = regions().position(|region| region == name);
        let unknown = || MoveError::NoRegion(name.to_owned(), nearest(name, regions()).map(str::to_owned));
        at.map(|at| RegionIx(at as u32)).ok_or_else(unknown)
    }

    /// A public address that no traveller has.
    fn free_address(&mut self) -> Result<Ipv4Addr, MoveError> {
        let is_free = |address: &Ipv4Addr| !self.travellers.values().any(|other| other.address == Some(*address));
        // In turn, so that the address that somebody has just left is not somebody else's at once.
        let all = (0..MOVED_ADDRESSES_MAX).map(|step| (self.addresses_given + step) % MOVED_ADDRESSES_MAX);
        let mut free = all.map(|at| Ipv4Addr::from(TRAVELLER_FIRST + at)).filter(is_free);
        let address = free.next().ok_or(MoveError::NoAddress)?;
        self.addresses_given = u32::from(address) - TRAVELLER_FIRST + 1;
        Ok(address)
    }
}
