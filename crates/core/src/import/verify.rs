//! Holds a plan against the hosts it was inferred from: what each would be told differently.
//!
//! The plan is rendered for the platform of each host and read again, so that rendering is compared too. The comparison is of meaning:
//! allowed prefixes by the addresses that go to each peer, absent ports and MTUs as whatever the host chooses. Hooks, DNS and preshared
//! keys are not compared; findings say where they stay behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use super::hosts::{Device, Peer};
use super::infer::{Table, Taken, atoms};
use super::rules::peer_label;
use super::sources::{File, Read, read};
use crate::check::Span;
use crate::keys::PublicKey;
use crate::names::Name;
use crate::plan::{Member, NodePlan, Plan, merge};
use crate::render::{self, KeySource};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// The member as a whole: it is not in the plan, or can't be rendered.
    Member,
    /// Its public key.
    Key,
    /// Its addresses.
    Addresses,
    /// Its UDP port.
    Port,
    /// Its MTU.
    Mtu,
    /// A peer that only one side has.
    Peer,
    /// Where a peer is dialled.
    Endpoint,
    /// The addresses that go to a peer.
    Allowed,
    /// Keepalives to a peer.
    Keepalive,
}

/// One thing that a host would be told differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The member.
    pub member: Name,
    /// Its peer, if it is about one.
    pub peer: Option<String>,
    /// What differs.
    pub aspect: Aspect,
    /// What was read; a dash for nothing.
    pub read: String,
    /// What would be rendered; a dash for nothing.
    pub rendered: String,
    /// Where it was read.
    pub place: Span,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Aspect::Member => "member",
            Aspect::Key => "public key",
            Aspect::Addresses => "addresses",
            Aspect::Port => "port",
            Aspect::Mtu => "mtu",
            Aspect::Peer => "peer",
            Aspect::Endpoint => "endpoint",
            Aspect::Allowed => "allowed ips",
            Aspect::Keepalive => "keepalive",
        })
    }
}

/// Compares every host that became a member with what the plan would render for it, in the order of `taken`.
pub fn verify(read: &Read, taken: &[Taken], plan: &Plan) -> Vec<Difference> {
    let mut differences = Vec::new();
    for one in taken {
        let Some(device) = read.hosts.get(one.host).and_then(|host| host.devices.get(one.device)) else { continue };
        let mut report = Report { member: &one.name, place: device.place, differences: &mut differences };
        let Some(member) = plan.find(&one.name) else {
            report.add(None, Aspect::Member, "-", "not in the plan");
            continue;
        };
        match rendered(plan, member) {
            Ok((told, rendered)) => compare(device, &told, &rendered, &mut report),
            Err(why) => report.add(None, Aspect::Member, "-", &why),
        }
    }
    differences
}

/// What a member's host is told, read again from its rendered file.
fn rendered(plan: &Plan, member: Member) -> Result<(NodePlan, Device), String> {
    let told = plan.of(member);
    let platform = told.platform;
    let key = KeySource::File(render::key_path(platform));
    let files = render::files(&told, platform, &key, None).map_err(|error| error.to_string())?;
    let file = |file: render::RenderedFile| File {
        path: format!("{}/{}", told.name, file.name),
        bytes: file.text.as_bytes().to_vec(),
        mode: None,
    };
    let hosts = read(files.into_iter().map(file).collect()).hosts;
    let device = hosts.into_iter().flat_map(|host| host.devices).next();
    let device = device.ok_or_else(|| format!("what is rendered for {} can't be read", platform.word()))?;
    Ok((told, device))
}

struct Report<'r> {
    member: &'r Name,
    place: Span,
    differences: &'r mut Vec<Difference>,
}

impl Report<'_> {
    fn add(&mut self, peer: Option<&str>, aspect: Aspect, read: &str, rendered: &str) {
        self.at(self.place, peer, aspect, read, rendered);
    }

    fn at(&mut self, place: Span, peer: Option<&str>, aspect: Aspect, read: &str, rendered: &str) {
        let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        self.differences.push(Difference {
            member: self.member.clone(),
            peer: peer.map(str::to_owned),
            aspect,
            read: shown(read),
            rendered: shown(rendered),
            place,
        });
    }
}

fn compare(read: &Device, told: &NodePlan, rendered: &Device, report: &mut Report<'_>) {
    if let (Some(key), Some(planned)) = (read.key(), told.public_key)
        && key != planned
    {
        report.add(None, Aspect::Key, &key.to_string(), &planned.to_string());
    }
    let addresses = |device: &Device| -> BTreeSet<String> {
        device.addresses.iter().map(|address| address.value.addr().to_string()).collect()
    };
    let (before, after) = (addresses(read), addresses(rendered));
    // A dump does not hold addresses.
    if before != after && !before.is_empty() {
        report.add(None, Aspect::Addresses, &joined(&before), &joined(&after));
    }
    let number = |value: Option<u16>| value.map(|value| value.to_string()).unwrap_or_default();
    let port = |device: &Device| device.port.as_ref().map(|port| port.value);
    if port(read).is_some_and(|before| port(rendered) != Some(before)) {
        report.add(None, Aspect::Port, &number(port(read)), &number(port(rendered)));
    }
    let mtu = |device: &Device| device.mtu.as_ref().map(|mtu| mtu.value);
    if mtu(read).is_some_and(|before| mtu(rendered) != Some(before)) {
        report.add(None, Aspect::Mtu, &number(mtu(read)), &number(mtu(rendered)));
    }
    peers(read, rendered, report);
}

fn joined(list: &BTreeSet<String>) -> String {
    list.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn by_key(device: &Device) -> BTreeMap<PublicKey, &Peer> {
    device.peers.iter().filter_map(|peer| Some((peer.key()?, peer))).collect()
}

fn peers(read: &Device, rendered: &Device, report: &mut Report<'_>) {
    let (before, after) = (by_key(read), by_key(rendered));
    let owners = [owners(read), owners(rendered)];
    let [reaches, will_reach] = addresses(&owners[0], &owners[1]);
    let given = |side: usize, key: &PublicKey| {
        let all = owners[side].iter().filter(|(_, owner)| *owner == key);
        all.map(|(prefix, _)| prefix.to_string()).collect::<Vec<_>>().join(", ")
    };
    for (key, peer) in &before {
        let label = peer_label(after.get(key).copied().unwrap_or(peer));
        let Some(planned) = after.get(key) else {
            report.at(peer.place, Some(&label), Aspect::Peer, "there", "-");
            continue;
        };
        let dial = |peer: &Peer| peer.endpoint.as_ref().map(|endpoint| endpoint.value.to_string()).unwrap_or_default();
        let (dialled, dials) = (dial(peer), dial(planned));
        if dialled != dials && !(peer.endpoint_is_learnt && dials.is_empty()) {
            report.at(peer.place, Some(&label), Aspect::Endpoint, &dialled, &dials);
        }
        if reaches.get(key) != will_reach.get(key) {
            report.at(peer.place, Some(&label), Aspect::Allowed, &given(0, key), &given(1, key));
        }
        let seconds =
            |peer: &Peer| peer.keepalive_s.as_ref().map(|seconds| seconds.value.to_string()).unwrap_or_default();
        if seconds(peer) != seconds(planned) {
            report.at(peer.place, Some(&label), Aspect::Keepalive, &seconds(peer), &seconds(planned));
        }
    }
    for (_, planned) in after.iter().filter(|(key, _)| !before.contains_key(key)) {
        report.add(Some(&peer_label(planned)), Aspect::Peer, "-", "there");
    }
}

/// Who owns each prefix in the end: one given to two peers is the last one's.
fn owners(device: &Device) -> BTreeMap<IpNet, PublicKey> {
    let of_peer = |peer: &Peer| {
        let key = peer.key()?;
        Some(peer.allowed.iter().map(move |prefix| (prefix.value.trunc(), key)).collect::<Vec<_>>())
    };
    device.peers.iter().filter_map(of_peer).flatten().collect()
}

/// The addresses that go to each peer of two devices, by the longest prefix; nothing where both have the same prefixes.
fn addresses(before: &BTreeMap<IpNet, PublicKey>, after: &BTreeMap<IpNet, PublicKey>) -> [Addresses; 2] {
    if before == after {
        return Default::default();
    }
    let atoms = atoms(&before.keys().chain(after.keys()).copied().collect());
    [before, after].map(|owners| {
        let keys: Vec<PublicKey> = owners.values().copied().collect();
        let table = Table::new(owners.keys().copied().zip(0..));
        let mut all = Addresses::new();
        for atom in &atoms {
            if let Some(owner) = table.owner(atom.addr()) {
                all.entry(keys[owner]).or_default().push(*atom);
            }
        }
        all.into_iter().map(|(key, atoms)| (key, merge(atoms))).collect()
    })
}

/// Prefixes by peer.
type Addresses = BTreeMap<PublicKey, Vec<IpNet>>;
