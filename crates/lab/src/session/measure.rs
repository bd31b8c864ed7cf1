//! Asking every pair: which path it should take, how long the round trip takes, what is lost.
//!
//! Members and the hosts on sites' LANs are the places between which it is measured, from real sockets over the real
//! devices. Links are first woken up by probing their link addresses, so that handshakes don't count as delay.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wayleave_core::network::{Exports, Neighbour, Party};
use wayleave_core::plan::Member;

use super::{Lab, LabError};
use crate::host::Namespace;
use crate::scenario::tunnel_rtt_us;
use wayleave_agent::ping::{PingOptions, PingResult, PingTarget, ping_many};

/// Probes a second that the machine carries without delaying them noticeably.
const PROBES_PER_S: f64 = 1_200.0;
/// Probes to the same target don't follow each other faster.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest round trip that is waited for beyond the planned ones.
const TIMEOUT_SLACK: Duration = Duration::from_millis(1_500);
/// Rounds of waking links up before the rest counts as down.
const WAKE_ROUNDS: usize = 4;

/// Where a measurement begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A member.
    Member(Member),
    /// The host on a LAN, by its position in [`Lab::lans`].
    Lan(usize),
    /// A foreign router, by its position in [`Lab::neighbours`].
    Neighbour(usize),
    /// The host behind a foreign router.
    Far(usize),
}

/// One pair, measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PairReport {
    /// Where from.
    pub from: String,
    /// Where to.
    pub to: String,
    /// All places on the planned path; empty if there is none.
    pub path: Vec<String>,
    /// Planned round-trip time in milliseconds.
    pub planned_rtt_ms: Option<f64>,
    /// Measured round-trip time in milliseconds, the median; none if everything was lost.
    pub rtt_ms: Option<f64>,
    /// The same with all traffic over one hub; none if there is no hub or no way over it.
    pub hub_rtt_ms: Option<f64>,
    /// Probes sent.
    pub sent: u32,
    /// Probes answered.
    pub received: u32,
}

/// One link of the overlay as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkReport {
    /// One end.
    pub a: String,
    /// The other end.
    pub b: String,
    /// Stated round-trip time in milliseconds.
    pub planned_rtt_ms: f64,
    /// Whether it carries traffic, or stands by.
    pub carries: bool,
    /// Whether a session exists.
    pub up: bool,
    /// Whether the underlay between the two is cut at present.
    pub cut: bool,
    /// Seconds since the last handshake.
    pub latest_handshake_s: Option<f64>,
    /// Bytes that `a` received from `b`.
    pub received_bytes: u64,
    /// Bytes that `a` sent to `b`.
    pub sent_bytes: u64,
}

impl Lab {
    /// All places: members, then LAN hosts, foreign routers and hosts behind these.
    pub fn places(&self) -> Vec<Place> {
        let lans = (0..self.lans.len()).map(Place::Lan);
        let foreign = self.neighbours().iter().enumerate();
        let foreign = foreign.flat_map(|(at, host)| {
            [Some(Place::Neighbour(at)), host.far.as_ref().map(|_| Place::Far(at))].into_iter().flatten()
        });
        self.members.keys().copied().map(Place::Member).chain(lans).chain(foreign).collect()
    }

    /// A place's name.
    pub fn place_name(&self, place: Place) -> String {
        match place {
            Place::Member(member) => self.plan.name(member).to_string(),
            Place::Lan(at) => self.lans[at].name.clone(),
            Place::Neighbour(at) => self.neighbours[at].name.to_string(),
            Place::Far(at) => self.neighbours[at].far.as_ref().map_or_else(String::new, |far| far.name.clone()),
        }
    }

    /// The place with a name.
    pub fn find_place(&self, name: &str) -> Option<Place> {
        self.places().into_iter().find(|place| self.place_name(*place) == name)
    }

    /// A place's namespace.
    pub fn namespace(&self, place: Place) -> Option<&Namespace> {
        match place {
            Place::Member(member) => self.members.get(&member).map(|host| &host.namespace),
            Place::Lan(at) => self.lans.get(at).map(|lan| &lan.namespace),
            Place::Neighbour(at) => self.neighbours.get(at).map(|host| &host.namespace),
            Place::Far(at) => self.neighbours.get(at)?.far.as_ref().map(|far| &far.namespace),
        }
    }

    /// Whether the policy lets one place ping another.
    fn answers(&self, from: Place, to: Place) -> bool {
        let party = |place| match place {
            Place::Member(Member::Node(ix)) => Some(Party::Node(ix)),
            Place::Member(Member::Client(at)) => Some(Party::Client(at)),
            Place::Lan(at) => Some(self.lans[at].party),
            Place::Neighbour(_) | Place::Far(_) => None,
        };
        party(from).zip(party(to)).is_some_and(|(from, to)| self.plan.network.permits(from, to).icmp)
    }

    /// Names of the places on the planned path between two, and its planned round-trip time in microseconds; none if
    /// there is no path, or the policy lets neither ping the other.
    pub fn planned_path(&self, from: Place, to: Place) -> Option<(Vec<String>, u64)> {
        if is_foreign(from) || is_foreign(to) {
            return self.foreign_path(from, to);
        }
        let member = |place| match place {
            Place::Member(member) => Some(member),
            Place::Lan(at) => self.lans.get(at)?.gateways.first().copied(),
            Place::Neighbour(_) | Place::Far(_) => None,
        };
        if !self.answers(from, to) && !self.answers(to, from) {
            return None;
        }
        let path = self.plan.path(member(from)?, member(to)?)?;
        let rtt_us = path.windows(2).map(|step| self.rtt_us(step[0], step[1])).sum();
        let mut names: Vec<String> = path.iter().map(|step| self.plan.name(*step).to_string()).collect();
        if let Place::Lan(_) = from {
            names.insert(0, self.place_name(from));
        }
        if let Place::Lan(_) = to {
            names.push(self.place_name(to));
        }
        Some((names, rtt_us))
    }

    /// Wakes all links up: those who can dial probe their peers' link addresses until they answer. Returns how many
    /// links work and how many there are; `say` is told in between.
    ///
    /// # Errors
    /// If a namespace can't be probed from at all.
    pub fn wake_links(&self, say: &mut dyn FnMut(usize, usize)) -> Result<(usize, usize), LabError> {
        let mut waiting: BTreeSet<(Member, Member)> = BTreeSet::new();
        for member in self.members.keys() {
            for peer in self.plan.of(*member).peers.iter().filter(|peer| !peer.endpoints.is_empty()) {
                let Some(other) = self.plan.find(&peer.name) else { continue };
                // Where both can dial, one of them does: crossing handshakes would only take longer.
                if !waiting.contains(&(other, *member)) {
                    waiting.insert((*member, other));
                }
            }
        }
        let total = waiting.len();
        for _ in 0..WAKE_ROUNDS {
            say(total - waiting.len(), total);
            if waiting.is_empty() {
                break;
            }
            let mut jobs: BTreeMap<Place, Vec<(Member, IpAddr)>> = BTreeMap::new();
            for (from, to) in &waiting {
                if let Some(address) = self.plan.link_address(*to) {
                    jobs.entry(Place::Member(*from)).or_default().push((*to, address));
                }
            }
            let slowest = waiting.iter().map(|(a, b)| self.rtt_us(*a, *b)).max().unwrap_or(0);
            let options = pace(waiting.len(), 3, slowest);
            for (from, results) in self.ask_all(&jobs, &options)? {
                let Place::Member(from) = from else { continue };
                for (to, result) in results {
                    if result.received > 0 {
                        waiting.remove(&(from, to));
                    }
                }
            }
        }
        say(total - waiting.len(), total);
        Ok((total - waiting.len(), total))
    }

    /// Measures every pair with `count` probes. `hub_rtt_ms` is left empty.
    ///
    /// # Errors
    /// If a namespace can't be probed from at all.
    pub fn measure(&self, count: u32) -> Result<Vec<PairReport>, LabError> {
        let places = self.places();
        let pairs = places.iter().enumerate().flat_map(|(at, from)| places[at + 1..].iter().map(|to| (*from, *to)));
        let pairs = pairs.filter(|(from, to)| self.is_asked(*from, *to));
        // Each pair from the side that may begin.
        let pairs = pairs.map(|(a, b)| if self.answers(a, b) || !self.answers(b, a) { (a, b) } else { (b, a) });
        self.measure_pairs(&pairs.collect::<Vec<_>>(), count)
    }

    /// Measures some pairs.
    ///
    /// # Errors
    /// If a namespace can't be probed from at all.
    pub fn measure_pairs(&self, pairs: &[(Place, Place)], count: u32) -> Result<Vec<PairReport>, LabError> {
        let mut jobs: BTreeMap<Place, Vec<(Place, IpAddr)>> = BTreeMap::new();
        let mut slowest = 0;
        for (from, to) in pairs {
            slowest = slowest.max(self.planned_path(*from, *to).map_or(0, |(_, rtt_us)| rtt_us));
            if let Some(address) = self.common_address(*from, *to) {
                jobs.entry(*from).or_default().push((*to, address));
            }
        }
        let results = self.ask_all(&jobs, &pace(pairs.len(), count, slowest))?;
        let mut found: BTreeMap<(Place, Place), PingResult> = BTreeMap::new();
        for (from, list) in results {
            found.extend(list.into_iter().map(|(to, result)| ((from, to), result)));
        }
        Ok(pairs.iter().map(|(from, to)| self.report(*from, *to, found.get(&(*from, *to)), count)).collect())
    }

    fn report(&self, from: Place, to: Place, result: Option<&PingResult>, count: u32) -> PairReport {
        let planned = self.planned_path(from, to);
        let milliseconds = |rtt: Duration| rtt.as_secs_f64() * 1_000.0;
        PairReport {
            from: self.place_name(from),
            to: self.place_name(to),
            planned_rtt_ms: planned.as_ref().map(|(_, rtt_us)| *rtt_us as f64 / 1_000.0),
            path: planned.map_or_else(Vec::new, |(path, _)| path),
            rtt_ms: result.and_then(PingResult::median).map(milliseconds),
            hub_rtt_ms: None,
            sent: result.map_or(count, |result| result.sent),
            received: result.map_or(0, |result| result.received),
        }
    }

    /// An address of `to` in a family that `from` has too.
    fn common_address(&self, from: Place, to: Place) -> Option<IpAddr> {
        match (from, to) {
            (Place::Member(node), Place::Far(at)) => return self.far_way(node, at).map(|(_, there)| there),
            (Place::Far(at), Place::Member(node)) => return self.far_way(node, at).map(|(own, _)| own),
            _ => {}
        }
        let (own, theirs) = (self.addresses(from), self.addresses(to));
        theirs.into_iter().find(|address| own.iter().any(|other| other.is_ipv4() == address.is_ipv4()))
    }

    fn addresses(&self, place: Place) -> Vec<IpAddr> {
        match place {
            Place::Member(member) => self.plan.overlay_addresses(member).to_vec(),
            Place::Lan(at) => self.lans[at].addresses.clone(),
            Place::Neighbour(at) => tunnel_addresses(&self.network.neighbours[at]).collect(),
            Place::Far(at) => {
                let far = self.neighbours[at].far.as_ref();
                far.map_or_else(Vec::new, |far| far.addresses.iter().map(|(_, address)| *address).collect())
            }
        }
    }

    /// Probes from many namespaces at once, each in a thread of its own.
    #[expect(clippy::type_complexity, reason = "a name for this type would say no more than the type")]
    fn ask_all<T: Copy + Send + Sync>(
        &self,
        jobs: &BTreeMap<Place, Vec<(T, IpAddr)>>,
        options: &PingOptions,
    ) -> Result<Vec<(Place, Vec<(T, PingResult)>)>, LabError> {
        std::thread::scope(|scope| {
            let ask = |(from, targets): (&Place, &Vec<(T, IpAddr)>)| {
                let namespace = self.namespace(*from)?;
                let probes: Vec<PingTarget> = targets
                    .iter()
                    .map(|(_, destination)| PingTarget { source: None, destination: *destination })
                    .collect();
                Some((*from, scope.spawn(move || namespace.run(|| ping_many(&probes, options)))))
            };
            let threads: Vec<_> = jobs.iter().filter_map(ask).collect();
            let mut all = Vec::with_capacity(threads.len());
            for (from, thread) in threads {
                let name = self.place_name(from);
                let outcome =
                    thread.join().map_err(|_| crate::host::NamespaceError::Panicked).and_then(|outcome| outcome);
                let outcome = outcome.map_err(|source| LabError::Namespace { member: name.clone(), source })?;
                let results = outcome.map_err(|source| LabError::Ping { member: name, source })?;
                all.push((from, jobs[&from].iter().map(|(target, _)| *target).zip(results).collect()));
            }
            Ok(all)
        })
    }

    /// Every link as it is.
    ///
    /// # Errors
    /// If an engine has stopped.
    pub fn links(&self) -> Result<Vec<LinkReport>, LabError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut links = Vec::new();
        for (member, host) in &self.members {
            let description = host.describe()?;
            for peer in self.plan.peers(*member).iter().filter(|peer| peer.who > *member) {
                let Some(key) = self.plan.public_key(peer.who) else { continue };
                let Some(state) = description.peers.iter().find(|state| state.public_key.0 == *key.as_bytes()) else {
                    continue;
                };
                let age = state.last_handshake.map(|at| now.saturating_sub(at));
                let back = self.plan.peers(peer.who).iter().find(|back| back.who == *member);
                let carries = !peer.allowed.is_empty() || back.is_some_and(|back| !back.allowed.is_empty());
                // A client that roams has one link, with the entry node that it is with.
                if !carries && self.roams(peer.who) {
                    continue;
                }
                links.push(LinkReport {
                    a: host.name.to_string(),
                    b: self.plan.name(peer.who).to_string(),
                    planned_rtt_ms: self.rtt_us(*member, peer.who) as f64 / 1_000.0,
                    carries,
                    // A session is refused after 180 s (WireGuard whitepaper, section 6.2).
                    up: age.is_some_and(|age| age < Duration::from_secs(180)),
                    cut: self.is_cut(*member, peer.who),
                    latest_handshake_s: age.map(|age| age.as_secs_f64()),
                    received_bytes: state.rx_bytes,
                    sent_bytes: state.tx_bytes,
                });
            }
        }
        Ok(links)
    }
}

/// Whether nobody of the network's own is there.
fn is_foreign(place: Place) -> bool {
    matches!(place, Place::Neighbour(_) | Place::Far(_))
}

/// A foreign router's addresses that mean the same everywhere.
fn tunnel_addresses(neighbour: &Neighbour) -> impl Iterator<Item = IpAddr> {
    let is_local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    neighbour.addresses.iter().copied().filter(move |address| !is_local(address))
}

impl Lab {
    /// The path between a node and what is at the other end of a tunnel of its own, or of what is behind two tunnels of one node that
    /// tells each of the other.
    fn foreign_path(&self, from: Place, to: Place) -> Option<(Vec<String>, u64)> {
        let rtt_us = |at: usize| tunnel_rtt_us(&self.network.neighbours[at]);
        let name = |place| self.place_name(place);
        let router = |at: usize| self.place_name(Place::Neighbour(at));
        match (from, to) {
            (Place::Member(node), Place::Neighbour(at)) => {
                let neighbour = &self.network.neighbours[at];
                let is_its = Member::Node(neighbour.node) == node && tunnel_addresses(neighbour).next().is_some();
                is_its.then(|| (vec![name(from), name(to)], rtt_us(at)))
            }
            (Place::Member(node), Place::Far(at)) => {
                self.far_way(node, at)?;
                let joined = Member::Node(self.network.neighbours[at].node);
                let way = if node == joined { vec![node] } else { self.plan.path(node, joined)? };
                let names = way.iter().map(|member| self.plan.name(*member).to_string());
                let names = names.chain([router(at), name(to)]).collect();
                Some((names, self.plan.path_rtt_us(&way) + rtt_us(at)))
            }
            (Place::Far(_) | Place::Neighbour(_), Place::Member(_)) => {
                let (mut names, rtt_us) = self.foreign_path(to, from)?;
                names.reverse();
                Some((names, rtt_us))
            }
            (Place::Far(a), Place::Far(b)) if a != b => {
                let [one, other] = [a, b].map(|at| &self.network.neighbours[at]);
                let node = Place::Member(Member::Node(one.node));
                let are_told = [one, other].iter().all(|neighbour| neighbour.export == Exports::All);
                self.far_way(Member::Node(other.node), a)?;
                self.far_way(Member::Node(one.node), b)?;
                let names = vec![name(from), router(a), name(node), router(b), name(to)];
                (are_told && one.node == other.node).then(|| (names, rtt_us(a) + rtt_us(b)))
            }
            _ => None,
        }
    }

    /// Whether a pair is measured when all are: of foreign places only those that can be reached, and what a node's own neighbour tells of.
    fn is_asked(&self, from: Place, to: Place) -> bool {
        let neighbour = |at: usize| Member::Node(self.network.neighbours[at].node);
        match (from, to) {
            (Place::Member(node), Place::Far(at)) => neighbour(at) == node,
            _ if is_foreign(from) || is_foreign(to) => self.planned_path(from, to).is_some(),
            _ => true,
        }
    }

    fn roams(&self, member: Member) -> bool {
        matches!(member, Member::Client(at) if self.network.clients[at as usize].roams)
    }
}

/// Options that spread `pairs` probes so that the machine keeps up.
fn pace(pairs: usize, count: u32, slowest_us: u64) -> PingOptions {
    let interval = Duration::from_secs_f64(pairs as f64 / PROBES_PER_S).max(INTERVAL_MIN);
    PingOptions { count, interval, timeout: Duration::from_micros(slowest_us) + TIMEOUT_SLACK }
}
