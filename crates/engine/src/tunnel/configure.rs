//! Changes to a tunnel, and its description.
//!
//! The order inside one change is the kernel's: device key, then removal of all peers, then peer by peer. The device's own key
//! is never a peer. Sessions of peers that a change does not name go on; a new device key ends all of them, since they belong to
//! another identity. Port and mark are the device's business and are ignored here.

use super::allowed_ips::Common;
use super::index::Numbering;
use super::peer::{Peer, retire};
use super::{Endpoint, PeerId, Tunnel};
use crate::config::{ConfigureDevice, ConfigurePeer, DeviceDescription, PeerDescription, PeerTraffic};
use crate::keys::{PrivateKey, PublicKey};
use crate::limits::{DEVICES_PER_KEY_MAX, PEERS_MAX};
use crate::noise::cookie::CookieChecker;
use crate::noise::handshake::Identity;
use crate::time::Now;

/// Why a change was refused. Nothing of it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// The device would have more peers than it may.
    #[error("more than {PEERS_MAX} peers in one device")]
    TooManyPeers,
}

impl Tunnel {
    /// Applies a change, all of it or nothing.
    pub fn configure(&mut self, now: Now, change: &ConfigureDevice) -> Result<(), ConfigureError> {
        let kept = if change.replace_peers { 0 } else { self.by_key.len() };
        if kept + change.peers.iter().filter(|peer| !peer.remove && !peer.update_only).count() > PEERS_MAX
            && self.count_after(change) > PEERS_MAX
        {
            return Err(ConfigureError::TooManyPeers);
        }
        if let Some(key) = &change.private_key {
            self.set_private_key(now, key);
        }
        if change.number.is_some() {
            self.number = change.number.filter(|number| *number < DEVICES_PER_KEY_MAX);
            self.number_indices();
        }
        if let Some(common) = &change.common {
            self.shared.common = Common::new(common);
        }
        if change.replace_peers {
            self.remove_all_peers();
        }
        for peer in &change.peers {
            self.configure_peer(now, peer);
        }
        Ok(())
    }

    /// The number of peers after a change, at most: the slow exact count for when the fast estimate is too high.
    fn count_after(&self, change: &ConfigureDevice) -> usize {
        let mut keys: std::collections::HashSet<&PublicKey> =
            if change.replace_peers { Default::default() } else { self.by_key.keys().collect() };
        let mut most = keys.len();
        for peer in &change.peers {
            if peer.remove {
                keys.remove(&peer.public_key);
            } else if !peer.update_only {
                keys.insert(&peer.public_key);
                most = most.max(keys.len());
            }
        }
        most
    }

    fn number_indices(&mut self) {
        let numbered = self.number.zip(self.shared.identity.as_ref());
        let numbering = numbered.map(|(number, identity)| Numbering::new(number, identity.private()));
        self.shared.indices.set_numbering(numbering);
    }

    fn set_private_key(&mut self, now: Now, key: &PrivateKey) {
        let old = self.shared.identity.as_ref().map(Identity::private);
        if old == Some(key) || (old.is_none() && key.is_zero()) {
            return;
        }
        let is_first = old.is_none();
        if key.is_zero() {
            self.shared.identity = None;
            self.checker = None;
        } else {
            let identity = Identity::new(key.clone());
            self.remove_peer(&identity.public());
            self.checker = Some(CookieChecker::new(&identity.public()));
            self.shared.identity = Some(identity);
        }
        self.number_indices();
        self.each_peer(|peer, shared| {
            peer.handle_identity_changed(shared);
            // What waits for a key need not wait any longer: packets, and keepalives of when the interface came up.
            if is_first {
                peer.send_staged(now, shared);
            }
        });
    }

    fn configure_peer(&mut self, now: Now, change: &ConfigurePeer) {
        if change.remove {
            return self.remove_peer(&change.public_key);
        }
        let id = match self.by_key.get(&change.public_key) {
            Some(&id) => id,
            None if change.update_only || self.is_own_key(&change.public_key) => return,
            None => self.add_peer(change.public_key),
        };
        self.change_allowed_ips(now, id, change);
        self.with_peer(id, |peer, shared| {
            if let Some(psk) = &change.preshared_key {
                peer.psk = psk.clone();
            }
            if let Some(remote) = change.endpoint {
                peer.endpoint = Some(Endpoint::from(remote));
            }
            if let Some(interval) = change.persistent_keepalive_s {
                let begins = std::mem::replace(&mut peer.persistent_keepalive_s, interval) == 0 && interval > 0;
                if begins && shared.up {
                    peer.send_keepalive(now, shared);
                }
            }
            peer.send_staged(now, shared);
        });
    }

    fn is_own_key(&self, key: &PublicKey) -> bool {
        self.shared.identity.as_ref().is_some_and(|identity| identity.public() == *key)
    }

    fn add_peer(&mut self, public_key: PublicKey) -> PeerId {
        let id = self.free.pop().unwrap_or(PeerId(self.peers.len() as u32));
        let peer = Some(Box::new(Peer::new(id, public_key, self.shared.sequence.next())));
        match self.peers.get_mut(id.0 as usize) {
            Some(slot) => *slot = peer,
            None => self.peers.push(peer),
        }
        self.by_key.insert(public_key, id);
        self.shared.news.insert(id);
        id
    }

    fn change_allowed_ips(&mut self, now: Now, id: PeerId, change: &ConfigurePeer) {
        let grace = self.shared.timing.source_grace;
        let Some(Some(peer)) = self.peers.get_mut(id.0 as usize) else { return };
        if change.replace_allowed_ips {
            for (prefix, _) in std::mem::take(&mut peer.allowed_ips) {
                self.shared.allowed_ips.remove(prefix);
                self.shared.lent.leave(prefix, id, now.monotonic, grace);
            }
        }
        for prefix in change.remove_allowed_ips.iter().map(ipnet::IpNet::trunc) {
            if peer.allowed_ips.remove(&prefix).is_some() {
                self.shared.allowed_ips.remove(prefix);
                self.shared.lent.leave(prefix, id, now.monotonic, grace);
            }
        }
        for prefix in change.expected_ips.iter().map(ipnet::IpNet::trunc) {
            self.shared.lent.expect(prefix, id, now.monotonic, grace);
        }
        for prefix in change.allowed_ips.iter().map(ipnet::IpNet::trunc) {
            if let Some(owner) = self.shared.allowed_ips.covering(prefix).filter(|owner| *owner != id) {
                self.shared.lent.leave(prefix, owner, now.monotonic, grace);
            }
            let old = self.shared.allowed_ips.insert(prefix, id);
            if let Some(Some(loser)) = old.and_then(|old| self.peers.get_mut(old.0 as usize)) {
                loser.allowed_ips.remove(&prefix);
            }
            if let Some(Some(peer)) = self.peers.get_mut(id.0 as usize) {
                peer.allowed_ips.insert(prefix, self.shared.sequence.next());
            }
        }
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        let Some(id) = self.by_key.remove(key) else { return };
        let Some(mut peer) = self.peers.get_mut(id.0 as usize).and_then(Option::take) else { return };
        for prefix in peer.allowed_ips.keys() {
            self.shared.allowed_ips.remove(*prefix);
        }
        self.shared.lent.forget_peer(id);
        self.shared.news.remove(id);
        self.shared.deadlines.disarm(id, &mut peer.timers);
        peer.clear_pending(&mut self.shared);
        let retired = peer.sessions.clear();
        retire(retired, &mut self.shared);
        self.free.push(id);
    }

    fn remove_all_peers(&mut self) {
        let keys: Vec<PublicKey> = self.by_key.keys().copied().collect();
        for key in keys {
            self.remove_peer(&key);
        }
    }

    /// Everything that `get` reports, except for the device's own name, port and mark.
    pub fn describe(&self) -> DeviceDescription {
        let mut peers: Vec<&Peer> = self.peers.iter().flatten().map(|peer| &**peer).collect();
        peers.sort_unstable_by_key(|peer| peer.added);
        DeviceDescription {
            private_key: self.shared.identity.as_ref().map(|identity| identity.private().clone()),
            public_key: self.shared.identity.as_ref().map(Identity::public),
            peers: peers.into_iter().map(describe_peer).collect(),
            counters: self.shared.out.counters,
            ..DeviceDescription::default()
        }
    }

    /// The peers whose counters or handshakes have changed since this was last asked; new ones are among them.
    pub fn traffic_news(&mut self) -> Vec<PeerTraffic> {
        let changed = self.shared.news.drain().filter_map(|id| self.peers.get(id.0 as usize)?.as_deref());
        let traffic = |peer: &Peer| PeerTraffic {
            public_key: peer.public_key,
            last_handshake: peer.last_handshake,
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
        };
        changed.map(traffic).collect()
    }
}

fn describe_peer(peer: &Peer) -> PeerDescription {
    let mut allowed_ips: Vec<_> = peer.allowed_ips.iter().collect();
    allowed_ips.sort_unstable_by_key(|(_, added)| **added);
    PeerDescription {
        public_key: peer.public_key,
        preshared_key: peer.psk.clone(),
        endpoint: peer.endpoint.map(|endpoint| endpoint.remote),
        persistent_keepalive_s: peer.persistent_keepalive_s,
        last_handshake: peer.last_handshake,
        rx_bytes: peer.rx_bytes,
        tx_bytes: peer.tx_bytes,
        allowed_ips: allowed_ips.into_iter().map(|(prefix, _)| *prefix).collect(),
    }
}
