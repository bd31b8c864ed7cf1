//! Where the clients are whose sessions this agent's engine has, kept for the next agent, which calls them.
//!
//! The engine's sessions end with the agent, and a client with a stock WireGuard notices after fifteen seconds. So the agent
//! writes down now and then where each client is, and once more when it ends. The one that is started after it looks which of them have
//! gone elsewhere since, by the claims that others tell it, and starts a handshake with those that have not: the key is the same, so to
//! them it is their server renewing the session. Read by root only; gone with the next boot, as all below `/run`.
//! With the kernel's WireGuard, whose sessions outlive agents, nothing is written.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use wayleave_core::host::Backend;
use wayleave_core::keys::PublicKey;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::plan::Claims;
use wayleave_engine::Tai64N;

use crate::limits::{RECALL_BYTES_MAX, RECALLED_AT_A_TIME_MAX};
use crate::node::agent::Agent;
use crate::node::peers::age;
use crate::node::report::SESSION;
use crate::node::{Weight, chain, log};

const FILE: &str = "clients.json";
const SCHEMA: &str = "wayleave.clients";
const VERSION: u32 = 1;
/// Between two times of writing.
const KEEP_INTERVAL: Duration = Duration::from_secs(10);
/// After somebody came. Who came since is not called after a crash, and notices by itself.
const KEEP_SOON: Duration = Duration::from_secs(1);
/// To ask the engine and to write may take this share of the time at most.
const KEEP_SHARE: u32 = 200;
/// Between some calls and the next.
pub(super) const CALL_INTERVAL: Duration = Duration::from_millis(50);

/// What is kept, and who is still to be called.
#[derive(Debug, Default)]
pub(super) struct Recall {
    waiting: Vec<Kept>,
    /// When what was read was written, by the wall clock: handshakes are to be later, whatever the clock says now.
    written: Duration,
    keep_at: Option<Instant>,
    keep_not_before: Option<Instant>,
    kept: Vec<Kept>,
}

/// A client with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    key: PublicKey,
    endpoint: SocketAddr,
    handshake_s: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Held {
    schema: String,
    version: u32,
    written_s: u64,
    clients: Vec<Kept>,
}

impl Recall {
    /// Takes up what an agent before has left. What can't be read is worth nothing: clients come by themselves.
    pub(super) fn begin(&mut self, place: &Path) {
        let Ok(held) = read(&place.join(FILE)) else { return };
        self.written = Duration::from_secs(held.written_s);
        let is_live = |kept: &Kept| age(Duration::from_secs(kept.handshake_s)) < SESSION;
        self.waiting = held.clients.into_iter().filter(is_live).collect();
    }

    /// Somebody has come.
    pub(super) fn keep_soon(&mut self) {
        let soon = Instant::now() + KEEP_SOON;
        let soon = self.keep_not_before.map_or(soon, |at| at.max(soon));
        self.keep_at = self.keep_at.map(|at| at.min(soon));
    }

    /// Whether some are still to be called.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Who is to be called next, and where: not who is with another server, or has come by itself.
    fn take(&mut self, who: impl Fn(&PublicKey) -> Option<Name>, claims: &Claims, own: &Name) -> Vec<Kept> {
        let is_ours = |kept: &Kept| {
            let name = who(&kept.key)?;
            claims.of(&name).is_none_or(|server| server == own).then_some(*kept)
        };
        let rest = self.waiting.split_off(self.waiting.len().saturating_sub(RECALLED_AT_A_TIME_MAX));
        rest.iter().filter_map(is_ours).collect()
    }

    fn keep(&mut self, place: &Path, kept: Vec<Kept>) {
        if kept == self.kept {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let held = Held { schema: SCHEMA.into(), version: VERSION, written_s: now.as_secs(), clients: kept.clone() };
        // Who is not written down is not called.
        if write(&place.join(FILE), &held).is_ok() {
            self.kept = kept;
        }
    }
}

fn read(path: &Path) -> io::Result<Held> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(RECALL_BYTES_MAX).read_to_end(&mut bytes)?;
    let held: Held = serde_json::from_slice(&bytes)?;
    let is_known = held.schema == SCHEMA && held.version == VERSION;
    is_known.then_some(held).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Writes a new file and gives it the old one's name, so that there is always a whole one.
fn write(path: &Path, held: &Held) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(held)?)?;
    fs::rename(&beside, path)
}

impl Agent {
    /// Calls some of those who were here before this agent started, once it is known who has gone elsewhere since.
    pub(super) fn recall_clients(&mut self, device: &DeviceName) {
        if !self.failover.is_in_step() || !self.clients.recall.is_waiting() {
            return;
        }
        let (by_key, counted) = (&self.clients.by_key, &self.clients.counted);
        let has_session = |key: &PublicKey| counted.get(key).is_some_and(|traffic| traffic.last_handshake.is_some());
        let who = |key: &PublicKey| by_key.get(key).filter(|_| !has_session(key)).cloned();
        let called = self.clients.recall.take(who, &self.claims, &self.part.name);
        let seen = Tai64N::from_unix(self.clients.recall.written);
        for Kept { key, endpoint, .. } in &called {
            let peer = wayleave_engine::PublicKey(*key.as_bytes());
            if let Err(error) = self.reconciler.host().call(device.as_str(), peer, *endpoint, Some(seen)) {
                log(Weight::Info, &chain(&error));
            }
        }
        if !called.is_empty() {
            log(Weight::Notice, &format!("calls {} clients that were here before", called.len()));
        }
    }

    /// Writes down where the clients are that are here, if it is time to, or if this is the last time.
    pub(super) fn keep_clients(&mut self, device: &DeviceName, now: Instant, is_last: bool) {
        let is_due = self.clients.recall.keep_at.is_none_or(|at| at <= now);
        // As long as there are some to be called, what is written is still of use.
        if self.reconciler.backend() == Backend::Kernel || !(is_due || is_last) || self.clients.recall.is_waiting() {
            return;
        }
        let begin = Instant::now();
        if let Ok(description) = self.reconciler.host().describe(device.as_str()) {
            // Before others have told what they know, nobody is known to be here.
            let is_here = |key: &PublicKey| {
                let name = self.clients.by_key.get(key);
                name.is_some_and(|name| self.claims.of(name).is_none_or(|server| *server == self.part.name))
            };
            // Who comes through another server is that one's to lead here again.
            let relay = self.clients.relay.as_ref();
            let is_led = |at: &SocketAddr| relay.is_some_and(|relay| relay.is_servers(at.ip()));
            let kept = description.peers.iter().filter_map(|peer| {
                let key = PublicKey::from_bytes(peer.public_key.0);
                let handshake = peer.last_handshake.filter(|at| age(*at) < SESSION && is_here(&key))?;
                Some(Kept { key, endpoint: peer.endpoint.filter(|at| !is_led(at))?, handshake_s: handshake.as_secs() })
            });
            let kept = kept.collect();
            self.clients.recall.keep(self.reconciler.place(), kept);
        }
        let took = begin.elapsed() * KEEP_SHARE;
        self.clients.recall.keep_at = Some(now + KEEP_INTERVAL.max(took));
        self.clients.recall.keep_not_before = Some(now + took);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn kept(key: u8, age_s: u64) -> Kept {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let endpoint = SocketAddr::from(([192, 0, 2, key], 51820));
        Kept { key: PublicKey::from_bytes([key; 32]), endpoint, handshake_s: now - age_s }
    }

    #[test]
    fn only_clients_with_a_live_session_that_have_not_gone_elsewhere_are_called_each_once() {
        let place = std::env::temp_dir().join(format!("wayleave-recall-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let all = vec![kept(1, 5), kept(2, 5), kept(3, 5), kept(4, 500), kept(5, 5)];
        Recall::default().keep(&place, all.clone());
        let mode = fs::metadata(place.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut recall = Recall::default();
        recall.begin(&place);
        let name = |text: &str| Name::new(text).unwrap();
        let claims: Claims =
            [("c1", "own"), ("c2", "other")].map(|(client, server)| (name(client), name(server))).into_iter().collect();
        // The fifth is in the file no more.
        let who = |key: &PublicKey| (key.as_bytes()[0] < 5).then(|| name(&format!("c{}", key.as_bytes()[0])));
        assert_eq!(recall.take(who, &claims, &name("own")), vec![all[0], all[2]], "with nobody is as good as here");
        assert!(!recall.is_waiting());
        fs::write(place.join(FILE), b"{\"schema\":\"wayleave.clients\",\"version\":2}").unwrap();
        recall.begin(&place);
        assert!(!recall.is_waiting());
        fs::remove_dir_all(&place).unwrap();
    }
}
