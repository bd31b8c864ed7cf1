//! Datagrams between all places of a lab, and what the proof says of each: request and answer, one by one.
//!
//! Every address of a member or of a LAN's host has a socket in its own namespace. A question that arrives is answered from
//! where it arrived; both arrivals are written down. What is missing is asked again before it counts as lost, since
//! sessions begin with the first packet.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use wayleave_core::prove::{Hosts, Outcome, reachability};
use wayleave_lab::session::{Lab, Place};

const PORT: u16 = 4_789;
/// Longest wait for what is still missing after each of the tries.
const WAITS: [Duration; 3] = [Duration::from_millis(400), Duration::from_millis(600), Duration::from_millis(1_500)];
/// How long is waited for what should not come.
const SILENCE: Duration = Duration::from_millis(350);

/// One address of one place, with a socket there.
struct Spot {
    name: String,
    address: IpAddr,
    /// The host at which its packets enter the model.
    host: u32,
    socket: UdpSocket,
}

/// All addresses between which is sent.
pub struct Places(Vec<Spot>);

impl Places {
    /// Opens sockets everywhere. A device that is down has no address to open one at.
    pub fn of(lab: &Lab, hosts: &Hosts) -> Places {
        let members: Vec<_> = lab.plan.members().collect();
        let mut spots = Vec::new();
        for place in lab.places() {
            let (host, addresses) = match place {
                Place::Member(member) => (member, lab.plan.overlay_addresses(member).to_vec()),
                Place::Lan(at) => (lab.lans()[at].gateways[0], lab.lans()[at].addresses.clone()),
                Place::Neighbour(_) | Place::Far(_) => panic!("nobody plays foreign routers here"),
            };
            let host = members.iter().position(|member| *member == host).unwrap();
            if matches!(place, Place::Member(_)) && hosts.hosts[host].addresses.is_empty() {
                continue;
            }
            for address in addresses {
                let namespace = lab.namespace(place).unwrap();
                let socket = namespace.run(|| UdpSocket::bind(SocketAddr::new(address, PORT))).unwrap().unwrap();
                socket.set_nonblocking(true).unwrap();
                spots.push(Spot { name: lab.place_name(place), address, host: host as u32, socket });
            }
        }
        Places(spots)
    }

    fn find(&self, address: IpAddr) -> Option<usize> {
        self.0.iter().position(|spot| spot.address == address)
    }

    /// Takes in everything that has come, and answers questions.
    fn collect(&self, asked: &mut BTreeSet<(usize, usize)>, answered: &mut BTreeSet<(usize, usize)>) {
        let mut buffer = [0; 16];
        for (at, spot) in self.0.iter().enumerate() {
            while let Ok((1, from)) = spot.socket.recv_from(&mut buffer) {
                let Some(sender) = self.find(from.ip()) else { continue };
                if buffer[0] == b'?' {
                    asked.insert((sender, at));
                    let _ = spot.socket.send_to(b"!", from);
                } else {
                    answered.insert((at, sender));
                }
            }
        }
    }
}

/// What the proof expects of a pair: whether the question arrives, and whether the answer does.
fn expected(hosts: Hosts, places: &Places) -> Vec<((usize, usize), (bool, bool))> {
    let proof = reachability(hosts);
    let arrives = |from: &Spot, to: &Spot| {
        let (outcome, visited) = proof.fate(from.host, from.address, to.address);
        outcome == Outcome::Delivered && visited.last() == Some(&to.host)
    };
    let mut all = Vec::new();
    for (a, from) in places.0.iter().enumerate() {
        for (b, to) in places.0.iter().enumerate() {
            if from.name != to.name && from.address.is_ipv4() == to.address.is_ipv4() {
                let there = arrives(from, to);
                all.push(((a, b), (there, there && arrives(to, from))));
            }
        }
    }
    all
}

/// What was compared: ways, those of them that are lost, and those whose answer alone is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub ways: usize,
    pub lost: usize,
    pub one_way: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.ways += other.ways;
        self.lost += other.lost;
        self.one_way += other.one_way;
    }
}

/// Sends between all pairs. Returns how many there are, and each that is not as proved.
pub fn compare(places: &Places, hosts: Hosts) -> (Count, Vec<String>) {
    let expected = expected(hosts, places);
    let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for (turn, wait) in WAITS.into_iter().enumerate() {
        let begin = Instant::now();
        let is_missing =
            |pair: &(usize, usize), (there, back): &(bool, bool), asked: &BTreeSet<_>, answered: &BTreeSet<_>| {
                (*there && !asked.contains(pair)) || (*back && !answered.contains(pair))
            };
        for ((from, to), fate) in &expected {
            if turn == 0 || is_missing(&(*from, *to), fate, &asked, &answered) {
                let (from, to) = (&places.0[*from], &places.0[*to]);
                // A refusal by the sender's own kernel is a loss like any other.
                let _ = from.socket.send_to(b"?", SocketAddr::new(to.address, PORT));
            }
        }
        loop {
            places.collect(&mut asked, &mut answered);
            let missing = expected.iter().any(|(pair, fate)| is_missing(pair, fate, &asked, &answered));
            let waited = begin.elapsed();
            if (!missing && (turn > 0 || waited > SILENCE)) || waited > wait {
                break;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    let name = |at: usize| format!("{} ({})", places.0[at].name, places.0[at].address);
    let sentence = |arrives: bool| if arrives { "arrives" } else { "is lost" };
    let wrong = expected.iter().filter_map(|(pair, fate)| {
        let seen = (asked.contains(pair), answered.contains(pair));
        (seen != *fate).then(|| {
            let told = format!("proved: {}, its answer {}", sentence(fate.0), sentence(fate.1));
            let (from, to) = (name(pair.0), name(pair.1));
            format!("{from} to {to}: {told}; seen: {}, its answer {}", sentence(seen.0), sentence(seen.1))
        })
    });
    let count = Count {
        ways: expected.len(),
        lost: expected.iter().filter(|(_, (there, _))| !there).count(),
        one_way: expected.iter().filter(|(_, (there, back))| *there && !back).count(),
    };
    (count, wrong.collect())
}
