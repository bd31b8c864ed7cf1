//! Rules over imported hosts: their WireGuard files, and what else is known of them.
//!
//! A [`View`] says whose device a peer is: by its public key, or, where a device's own key is not in its file, by its
//! address. Rules about pairs of hosts use it; the others look at one host. Costs grow with the number of peers, times a
//! logarithm.

mod bgp;
mod carry;
mod endpoints;
mod kernel;
mod names;
mod pairs;
mod prefixes;
mod ways;

pub(super) use endpoints::not_dialable;

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::check::{Finding, Findings, Hazard, Sources, Span};
use crate::import::hosts::{Device, Host, Peer};
use crate::import::labels::device_label;
use crate::import::{Read, proved};
use crate::keys::PublicKey;
use crate::limits::CHECK_WALKED_HOSTS_MAX;
use crate::network::Host as Dialled;

/// Runs all rules over what was read.
pub fn hosts(read: &Read) -> Findings {
    let view = View::new(read);
    let mut findings = Findings::default();
    pairs::check(&view, &mut findings);
    ways::check(&view, &mut findings);
    prefixes::check(&view, &mut findings);
    endpoints::check(&view, &mut findings);
    names::check(&view, &mut findings);
    carry::check(&view, &mut findings);
    kernel::check(&view, &mut findings);
    bgp::check(&view, &mut findings);
    findings
}

/// What becomes of packets between hosts, beyond what [`hosts`] says of them and their peers. Of a great many hosts it is
/// left to who asks for it.
pub fn walked(read: &Read) -> Findings {
    if read.hosts.len() > CHECK_WALKED_HOSTS_MAX {
        let kind = Hazard::NotWalked { hosts: read.hosts.len(), max: CHECK_WALKED_HOSTS_MAX };
        let mut findings = Findings::default();
        findings.push(Finding::new(kind, None).with_fix("Run `wayleave prove` on the same folders."));
        return findings;
    }
    let (proof, made) = proved(read);
    proof.beyond_pairs(&made)
}

/// A device by its host's position and its own.
pub(super) type DeviceAt = (usize, usize);

/// Hosts with what is needed to look things up.
pub(super) struct View<'r> {
    pub hosts: &'r [Host],
    pub sources: &'r Sources,
    /// The device that has a key, unless several have.
    by_key: BTreeMap<PublicKey, Option<DeviceAt>>,
    /// Devices whose key is not known, by their address and by its network; none where several have it.
    by_address: BTreeMap<IpNet, Option<DeviceAt>>,
    /// What others send to a device, each prefix with the first place that says so.
    sent: BTreeMap<DeviceAt, BTreeMap<IpNet, Span>>,
    /// Where others dial a device.
    dialled: BTreeMap<DeviceAt, Vec<(&'r Dialled, Span)>>,
}

impl<'r> View<'r> {
    fn new(read: &'r Read) -> View<'r> {
        let mut view = View {
            hosts: &read.hosts,
            sources: &read.sources,
            by_key: BTreeMap::new(),
            by_address: BTreeMap::new(),
            sent: BTreeMap::new(),
            dialled: BTreeMap::new(),
        };
        for (at, _, device) in view.devices() {
            if let Some(key) = device.key() {
                view.by_key.entry(key).and_modify(|owner| *owner = None).or_insert(Some(at));
                continue;
            }
            for address in &device.addresses {
                let own = [IpNet::from(address.value.addr()), address.value.trunc()];
                for prefix in &own[..if own[0] == own[1] { 1 } else { 2 }] {
                    view.by_address.entry(*prefix).and_modify(|owner| *owner = None).or_insert(Some(at));
                }
            }
        }
        view.collect_entries();
        view
    }

    fn collect_entries(&mut self) {
        for (at, _, device) in self.devices() {
            for peer in &device.peers {
                let Some(other) = self.other_end(peer).filter(|other| *other != at) else { continue };
                let sent = self.sent.entry(other).or_default();
                for prefix in &peer.allowed {
                    sent.entry(prefix.value.trunc()).or_insert(prefix.span);
                }
                if let Some(endpoint) = &peer.endpoint
                    && let Some(host) = &endpoint.value.host
                {
                    self.dialled.entry(other).or_default().push((host, endpoint.span));
                }
            }
        }
    }

    /// What others send to a device.
    pub fn sent_to(&self, at: DeviceAt) -> impl Iterator<Item = (IpNet, Span)> {
        self.sent.get(&at).into_iter().flatten().map(|(prefix, place)| (*prefix, *place))
    }

    /// Where others dial a device.
    pub fn dialled_at(&self, at: DeviceAt) -> impl Iterator<Item = (&'r Dialled, Span)> {
        self.dialled.get(&at).into_iter().flatten().copied()
    }

    /// All devices, with where they are.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceAt, &'r Host, &'r Device)> + use<'r> {
        let hosts = self.hosts.iter().enumerate();
        hosts.flat_map(|(at, host)| {
            host.devices.iter().enumerate().map(move |(number, device)| ((at, number), host, device))
        })
    }

    /// The device at a place.
    pub fn device(&self, at: DeviceAt) -> &'r Device {
        &self.hosts[at.0].devices[at.1]
    }

    /// A device as people are told of it.
    pub fn label(&self, at: DeviceAt) -> String {
        device_label(&self.hosts[at.0], self.device(at))
    }

    /// The device at the other end, if its file was read too.
    pub fn other_end(&self, peer: &Peer) -> Option<DeviceAt> {
        if let Some(owner) = peer.key().and_then(|key| self.by_key.get(&key)) {
            return *owner;
        }
        let owners = peer.allowed.iter().filter_map(|prefix| *self.by_address.get(&prefix.value.trunc())?);
        owners.min()
    }

    /// The entries of a device for another.
    pub fn entry(&self, of: DeviceAt, about: DeviceAt) -> Option<&'r Peer> {
        self.device(of).peers.iter().find(|peer| self.other_end(peer) == Some(about))
    }
}
