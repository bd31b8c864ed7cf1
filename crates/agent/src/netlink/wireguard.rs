//! The kernel's WireGuard: reading and changing a device by generic netlink (`linux/wireguard.h`).
//!
//! A change is the engine's [`ConfigureDevice`], so that both back ends are told the same; [`set_device`] makes messages of it, a
//! pure function that tests hold against bytes. What does not fit into one message goes in several: the kernel applies each
//! at once, and a prefix that several messages move has one owner at each moment.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::NLM_F_ACK;
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAllowedIpFlags, WireguardAttribute,
    WireguardCmd, WireguardDeviceFlags, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use wayleave_engine::{
    ConfigureDevice, ConfigurePeer, DeviceDescription, PeerDescription, PeerTraffic, PresharedKey, PrivateKey,
    PublicKey,
};

use super::traffic::Traffic;
use super::{Attempt, Connection, NLM_F_DUMP, NetlinkError};
use crate::limits::WIREGUARD_PREFIXES_PER_MESSAGE;

/// A connection to the kernel's WireGuard in one namespace.
#[derive(Debug)]
pub struct WireGuard {
    connection: Connection,
    family: u16,
}

impl WireGuard {
    /// Opens one in the namespace of the calling thread. None: this kernel has no WireGuard, or has not loaded it.
    pub fn open() -> Result<Option<Self>, NetlinkError> {
        let mut connection = Connection::open(NETLINK_GENERIC)?;
        let attributes = vec![GenlCtrlAttrs::FamilyName("wireguard".into())];
        let mut question = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: attributes });
        question.finalize();
        let mut family = None;
        let attempt = Attempt::new("ask for the kernel's WireGuard");
        let answer = connection.exchange(&attempt, question, NLM_F_ACK, |reply: GenlMessage<GenlCtrl>| {
            family = reply.payload.nlas.iter().find_map(|attribute| match attribute {
                GenlCtrlAttrs::FamilyId(id) => Some(*id),
                _ => None,
            });
        });
        match (answer, family) {
            (Ok(()), Some(family)) => Ok(Some(Self { connection, family })),
            (Err(error), _) if error.errno() != Some(libc::ENOENT) => Err(error),
            _ => Ok(None),
        }
    }

    /// Everything there is to know about a device. The kernel counts no packets, so the counters are zero.
    pub fn describe(&mut self, device: &str) -> Result<DeviceDescription, NetlinkError> {
        let attributes = vec![WireguardAttribute::IfName(device.into())];
        let question = WireguardMessage { cmd: WireguardCmd::GetDevice, attributes };
        let mut description = DeviceDescription { name: device.into(), ..DeviceDescription::default() };
        let mut peers = BTreeMap::new();
        self.exchange(&Attempt::on(device, "read WireGuard"), question, NLM_F_DUMP, |message| {
            for attribute in message.attributes {
                read_device(attribute, &mut description, &mut peers);
            }
        })?;
        description.peers = peers.into_values().collect();
        Ok(description)
    }

    /// Counters and handshakes of all peers of a device.
    pub fn traffic(&mut self, device: &str) -> Result<Vec<PeerTraffic>, NetlinkError> {
        let (attempt, mut all) = (Attempt::on(device, "read WireGuard's counters"), Vec::new());
        self.connection.exchange(&attempt, Traffic::of(device, self.family), NLM_F_DUMP, |answer| {
            all.extend(answer.peers.into_iter().map(|(traffic, _)| traffic));
        })?;
        Ok(all)
    }

    /// Where all peers of a device are that were ever heard or are to be dialled.
    pub fn places(&mut self, device: &str) -> Result<HashMap<PublicKey, SocketAddr>, NetlinkError> {
        let (attempt, mut all) = (Attempt::on(device, "read where WireGuard's peers are"), HashMap::new());
        self.connection.exchange(&attempt, Traffic::of(device, self.family), NLM_F_DUMP, |answer| {
            all.extend(answer.peers.iter().filter_map(|(traffic, place)| Some((traffic.public_key, (*place)?))));
        })?;
        Ok(all)
    }

    /// Changes a device.
    pub fn configure(&mut self, device: &str, change: &ConfigureDevice) -> Result<(), NetlinkError> {
        for message in set_device(device, change) {
            self.exchange(&Attempt::on(device, "configure WireGuard"), message, NLM_F_ACK, drop)?;
        }
        Ok(())
    }

    fn exchange(
        &mut self,
        attempt: &Attempt,
        message: WireguardMessage,
        flags: u16,
        mut each: impl FnMut(WireguardMessage),
    ) -> Result<(), NetlinkError> {
        let mut message = GenlMessage::from_payload(message);
        message.set_resolved_family_id(self.family);
        message.finalize();
        self.connection.exchange(attempt, message, flags, |reply: GenlMessage<WireguardMessage>| each(reply.payload))
    }
}

/// The messages that carry out a change.
pub fn set_device(device: &str, change: &ConfigureDevice) -> Vec<WireguardMessage> {
    let message = |attributes: Vec<WireguardAttribute>| {
        let name = WireguardAttribute::IfName(device.into());
        let attributes = std::iter::once(name).chain(attributes).collect();
        WireguardMessage { cmd: WireguardCmd::SetDevice, attributes }
    };
    let mut first = Vec::new();
    first.extend(change.private_key.as_ref().map(|key| WireguardAttribute::PrivateKey(*key.expose())));
    first.extend(change.listen_port.map(WireguardAttribute::ListenPort));
    first.extend(change.fwmark.map(WireguardAttribute::Fwmark));
    if change.replace_peers {
        first.push(WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers));
    }
    let mut messages = Vec::new();
    let (mut peers, mut weight) = (Vec::new(), 0);
    for part in change.peers.iter().flat_map(parts) {
        let own = 1 + part.allowed_ips.len() + part.remove_allowed_ips.len();
        if weight + own > WIREGUARD_PREFIXES_PER_MESSAGE && !peers.is_empty() {
            let mut attributes = std::mem::take(&mut first);
            attributes.push(WireguardAttribute::Peers(std::mem::take(&mut peers)));
            messages.push(message(attributes));
            weight = 0;
        }
        peers.push(peer(&part));
        weight += own;
    }
    if !peers.is_empty() {
        first.push(WireguardAttribute::Peers(peers));
    }
    if !first.is_empty() {
        messages.push(message(first));
    }
    messages
}

/// A change of a peer, cut where it has more prefixes than a message takes; what is not about prefixes is in the first part.
fn parts(change: &ConfigurePeer) -> Vec<ConfigurePeer> {
    let most = WIREGUARD_PREFIXES_PER_MESSAGE / 2;
    let mut parts = vec![ConfigurePeer {
        allowed_ips: change.allowed_ips.iter().take(most).copied().collect(),
        remove_allowed_ips: change.remove_allowed_ips.iter().take(most).copied().collect(),
        ..change.clone()
    }];
    let rest = |prefixes: &[IpNet]| -> Vec<Vec<IpNet>> {
        prefixes.get(most..).unwrap_or_default().chunks(most).map(<[IpNet]>::to_vec).collect()
    };
    let bare = || ConfigurePeer { update_only: true, ..ConfigurePeer::new(change.public_key) };
    let removed = rest(&change.remove_allowed_ips).into_iter();
    parts.extend(removed.map(|remove_allowed_ips| ConfigurePeer { remove_allowed_ips, ..bare() }));
    let added = rest(&change.allowed_ips).into_iter();
    parts.extend(added.map(|allowed_ips| ConfigurePeer { allowed_ips, ..bare() }));
    parts
}

fn peer(change: &ConfigurePeer) -> WireguardPeer {
    let mut flags = WireguardPeerFlags::empty();
    flags.set(WireguardPeerFlags::RemoveMe, change.remove);
    flags.set(WireguardPeerFlags::UpdateOnly, change.update_only);
    flags.set(WireguardPeerFlags::ReplaceAllowedIps, change.replace_allowed_ips);
    let mut attributes = vec![WireguardPeerAttribute::PublicKey(change.public_key.0)];
    if !flags.is_empty() {
        attributes.push(WireguardPeerAttribute::Flags(flags));
    }
    attributes.extend(change.preshared_key.as_ref().map(|key| WireguardPeerAttribute::PresharedKey(*key.expose())));
    attributes.extend(change.endpoint.map(WireguardPeerAttribute::Endpoint));
    attributes.extend(change.persistent_keepalive_s.map(WireguardPeerAttribute::PersistentKeepalive));
    let removed = change.remove_allowed_ips.iter().map(|prefix| allowed(*prefix, true));
    let prefixes: Vec<_> = removed.chain(change.allowed_ips.iter().map(|prefix| allowed(*prefix, false))).collect();
    if !prefixes.is_empty() {
        attributes.push(WireguardPeerAttribute::AllowedIps(prefixes));
    }
    WireguardPeer(attributes)
}

fn allowed(prefix: IpNet, remove: bool) -> WireguardAllowedIp {
    let family = if prefix.addr().is_ipv4() { WireguardAddressFamily::Ipv4 } else { WireguardAddressFamily::Ipv6 };
    let mut attributes = vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(prefix.addr()),
        WireguardAllowedIpAttr::Cidr(prefix.prefix_len()),
    ];
    if remove {
        attributes.push(WireguardAllowedIpAttr::Flags(WireguardAllowedIpFlags::RemoveMe));
    }
    WireguardAllowedIp(attributes)
}

fn read_device(
    attribute: WireguardAttribute,
    description: &mut DeviceDescription,
    peers: &mut BTreeMap<[u8; 32], PeerDescription>,
) {
    match attribute {
        WireguardAttribute::PrivateKey(key) => description.private_key = Some(PrivateKey::new(key)),
        WireguardAttribute::PublicKey(key) => description.public_key = Some(PublicKey(key)),
        WireguardAttribute::ListenPort(port) => description.listen_port = port,
        WireguardAttribute::Fwmark(mark) => description.fwmark = mark,
        WireguardAttribute::Peers(some) => some.iter().for_each(|peer| read_peer(peer, peers)),
        _ => {}
    }
}

/// A peer whose prefixes did not fit into one message comes again in the next, with the others.
fn read_peer(peer: &WireguardPeer, peers: &mut BTreeMap<[u8; 32], PeerDescription>) {
    let key = peer.0.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(*key),
        _ => None,
    });
    let Some(key) = key else { return };
    let seen = peers.entry(key).or_insert_with(|| PeerDescription {
        public_key: PublicKey(key),
        preshared_key: PresharedKey::default(),
        endpoint: None,
        persistent_keepalive_s: 0,
        last_handshake: None,
        rx_bytes: 0,
        tx_bytes: 0,
        allowed_ips: Vec::new(),
    });
    for attribute in &peer.0 {
        match attribute {
            WireguardPeerAttribute::PresharedKey(key) => seen.preshared_key = PresharedKey::new(*key),
            WireguardPeerAttribute::Endpoint(endpoint) => seen.endpoint = Some(unmapped(*endpoint)),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => seen.persistent_keepalive_s = *seconds,
            WireguardPeerAttribute::LastHandshake(at) => {
                let at = Duration::new(at.seconds.try_into().unwrap_or(0), at.nano_seconds.try_into().unwrap_or(0));
                seen.last_handshake = (!at.is_zero()).then_some(at);
            }
            WireguardPeerAttribute::RxBytes(bytes) => seen.rx_bytes = *bytes,
            WireguardPeerAttribute::TxBytes(bytes) => seen.tx_bytes = *bytes,
            WireguardPeerAttribute::AllowedIps(prefixes) => {
                seen.allowed_ips.extend(prefixes.iter().filter_map(read_allowed));
            }
            _ => {}
        }
    }
    seen.allowed_ips.sort();
}

fn read_allowed(prefix: &WireguardAllowedIp) -> Option<IpNet> {
    let (mut address, mut length) = (None, None);
    for attribute in &prefix.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(found) => address = Some(*found),
            WireguardAllowedIpAttr::Cidr(found) => length = Some(*found),
            _ => {}
        }
    }
    IpNet::new(address?, length?).ok()
}

fn unmapped(endpoint: SocketAddr) -> SocketAddr {
    SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port())
}
