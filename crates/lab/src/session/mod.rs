//! A running lab: all members of a network, each in a namespace, joined by the wire.
//!
//! [`Lab::up`] builds it step by step and says so as it goes; [`Lab::apply`] carries a plan out, changing only what is
//! different; [`Lab::measure`] asks every pair. [`Lab::fail`] and [`Lab::heal`] cut and mend the underlay. Dropping the
//! lab ends it: engines stop, namespaces go with their descriptors, and nothing is left.

mod accelerator;
pub mod agents;
mod clients;
mod faults;
mod lans;
mod measure;
mod members;
mod moves;
mod neighbours;
mod sessions;
pub mod stock;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use wayleave_agent::control::{Health, MemberSnapshot};
use wayleave_core::keys::{KEY_BYTES, PrivateKey};
use wayleave_core::names::Name;
use wayleave_core::network::{Network, NodeIx};
use wayleave_core::plan::{self, Ledger, LinkStates, Member, NodePlan, Plan};

pub use accelerator::{Accelerator, AcceleratorError, HealthChecks};
pub use clients::{Agents as ClientAgents, ClientReport, MoveReport};
pub use faults::{Fault, FaultError, Target};
pub use lans::Lan;
pub use measure::{LinkReport, PairReport, Place};
pub use members::MemberHost;
pub use moves::MoveError;
pub use neighbours::{Far, NeighbourHost, Routers, group_path};
pub use sessions::SessionReport;

use agents::{AgentProcess, Briefing};
use moves::Traveller;

use crate::control::Entry;
use crate::host::{Namespace, NamespaceError, NetlinkError};
use crate::scenario::{self, NatChoice, Told, Underlay, UnderlayError};
use crate::state::{StateDirectory, StateError};
use crate::wire::{LinkModel, NatConfig, NatId, NatMapping, UnderlayId, Wire, WireError, WireOptions};

/// Members that one thread ends.
const MEMBERS_PER_ENDER: usize = 8;

/// How the emulated internet behaves, and what the lab is called.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// The lab's name.
    pub name: Name,
    /// Delay of each direction varies by this much either way.
    pub jitter: Duration,
    /// Probability of losing a packet, 0 to 1.
    pub loss: f64,
    /// Rate between any two members in bits per second.
    pub rate_bit_per_s: Option<u64>,
    /// Whether members without a public endpoint are behind NAT.
    pub nat: NatChoice,
    /// How these NATs give ports.
    pub nat_mapping: NatMapping,
    /// How long they remember a silent flow.
    pub nat_timeout: Duration,
    /// The real agent on members, instead of the lab's own hands.
    pub agents: Option<Agents>,
    /// What plays foreign routers; none: they are left out. It takes agents.
    pub routers: Option<Routers>,
    /// What foreign routers tell of instead of what the lab makes up, by their names.
    pub told: BTreeMap<Name, Vec<IpNet>>,
    /// What runs the WireGuard of clients without agent, started as `PROGRAM DEVICE`, instead of the embedded engine.
    pub client_program: Option<PathBuf>,
    /// This program: agents are run by its `lab agent DIRECTORY`, others by its `lab become DIRECTORY PROGRAM`.
    pub program: PathBuf,
}

/// What agents of members need.
#[derive(Debug, Clone)]
pub struct Agents {
    /// On clients, too. Whatever runs on them, agents on the nodes are enough for clients to roam.
    pub on_clients: bool,
    /// The network file.
    pub file: PathBuf,
    /// The folder of their recordings, if they are to record.
    pub recordings: Option<PathBuf>,
}

/// What can go wrong with a lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Its directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The underlay can't be laid out.
    #[error(transparent)]
    Underlay(#[from] UnderlayError),
    /// The wire.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A namespace.
    #[error("building {member}")]
    Namespace {
        /// Whose.
        member: String,
        /// Why.
        #[source]
        source: NamespaceError,
    },
    /// Addresses, routes and devices.
    #[error("building {member}")]
    Netlink {
        /// Whose.
        member: String,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A TUN device.
    #[error("building {member}")]
    Tun {
        /// Whose.
        member: String,
        /// Why.
        #[source]
        source: crate::host::tun::TunError,
    },
    /// An engine.
    #[error("running the engine of {member}")]
    Engine {
        /// Whose.
        member: String,
        /// Why.
        #[source]
        source: wayleave_engine::DeviceError,
    },
    /// Somebody else's WireGuard.
    #[error("running the WireGuard of {member}")]
    Stock {
        /// Whose.
        member: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A firewall.
    #[error("setting the firewall of {member}")]
    Firewall {
        /// Whose.
        member: String,
        /// Why.
        #[source]
        source: crate::host::firewall::FirewallError,
    },
    /// Measuring.
    #[error("measuring from {member}")]
    Ping {
        /// From where.
        member: String,
        /// Why.
        #[source]
        source: wayleave_agent::ping::PingError,
    },
    /// What clients that roam dial.
    #[error("building the load balancer in front of the entry nodes")]
    Accelerator(#[from] AcceleratorError),
    /// An agent.
    #[error("starting the agent of {member}")]
    Agent {
        /// Whose.
        member: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What plays a foreign router.
    #[error("running the router that plays {neighbour}")]
    Router {
        /// Whose place it takes.
        neighbour: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The lab's own route origins.
    #[error("writing down route origins")]
    Origins(#[source] io::Error),
    /// No random bytes for keys.
    #[error("asking the kernel for random bytes")]
    Random(#[source] io::Error),
}

/// A running lab.
pub struct Lab {
    /// The plan in force.
    pub plan: Plan,
    members: BTreeMap<Member, MemberHost>,
    lans: Vec<Lan>,
    /// Foreign routers, and what each tells of.
    neighbours: Vec<NeighbourHost>,
    told: Told,
    /// In front of the entry nodes, one for each address that clients dial.
    accelerators: Vec<Accelerator>,
    wire: Wire,
    underlay: Underlay,
    keys: BTreeMap<Member, PrivateKey>,
    /// What all entry nodes share.
    entry_key: Option<PrivateKey>,
    network: Arc<Network>,
    ledger: Ledger,
    faults: Vec<Fault>,
    /// Clients that have gone to another region.
    travellers: BTreeMap<u32, Traveller>,
    /// Where to look for the next traveller's address.
    addresses_given: u32,
    nats: Vec<NatId>,
    options: LabOptions,
    // Last, so that the directory is there as long as anything that uses it.
    state: StateDirectory,
}

impl Lab {
    /// Builds everything but does not configure the engines yet: that is [`Lab::apply`]. `say` is told each step.
    ///
    /// # Errors
    /// What the kernel refuses; everything built so far is then gone again.
    pub fn up(
        network: &Network,
        ledger: &Ledger,
        options: &LabOptions,
        say: &mut dyn FnMut(&str),
    ) -> Result<Lab, LabError> {
        let state = StateDirectory::create(&options.name)?;
        let all: Vec<Member> = members_of(network).collect();
        let mut keys = BTreeMap::new();
        for member in &all {
            keys.insert(*member, new_key().map_err(LabError::Random)?);
        }
        let entry_key = network.entry.is_some().then(new_key).transpose().map_err(LabError::Random)?;
        let foreign = if options.routers.is_some() { network.neighbours.len() } else { 0 };
        let foreign: Vec<PrivateKey> =
            (0..foreign).map(|_| new_key()).collect::<Result<_, _>>().map_err(LabError::Random)?;
        let foreign_keys: Vec<_> = foreign.iter().map(PrivateKey::public_key).collect();
        let mut network = scenario::with_keys(network, |member| keys[&member].public_key(), &foreign_keys);
        let network = {
            let shared = network.entry.iter_mut().zip(&entry_key);
            shared.for_each(|(entry, key)| entry.public_key = Some(key.public_key()));
            network.bgp.iter_mut().for_each(|bgp| scenario::keep_apart(bgp, state.path()));
            Arc::new(network)
        };
        let told = Told::new(&network, |neighbour| options.told.get(&neighbour.name).cloned());
        let (plan, ledger, _) = plan::plan(network.clone(), ledger, &LinkStates::default());
        let underlay = Underlay::new(&network, options.nat)?;
        let wire = Wire::start(WireOptions::default())?;
        let nats = add_nats(&wire, &underlay, options)?;
        let mut lab = Lab {
            plan,
            members: BTreeMap::new(),
            lans: Vec::new(),
            neighbours: Vec::new(),
            told,
            accelerators: Vec::new(),
            wire,
            underlay,
            keys,
            entry_key,
            network,
            ledger,
            faults: Vec::new(),
            travellers: BTreeMap::new(),
            addresses_given: 0,
            nats,
            options: options.clone(),
            state,
        };
        lab.write_origins()?;
        for (at, member) in all.iter().enumerate() {
            say(&format!("building hosts {}/{}", at + 1, all.len()));
            let host = MemberHost::build(&lab, *member)?;
            lab.members.insert(*member, host);
        }
        lab.add_routes_between_neighbours()?;
        lab.neighbours = neighbours::build(&lab, &foreign)?;
        lab.shape_links()?;
        lab.lans = lans::build(&lab)?;
        lab.accelerators = accelerator::build(&lab)?;
        Ok(lab)
    }

    /// Carries a plan of the same network out on all members, changing only what differs.
    ///
    /// # Errors
    /// What an engine or the kernel refuses.
    pub fn apply(&mut self, states: &LinkStates) -> Result<(), LabError> {
        self.apply_changed(states, &mut |_, _| {})
    }

    /// The same, but each member is told what `change` makes of its part: mistakes on single hosts, which the plan does not
    /// know of. Peers that are gone from a part are gone from its device.
    ///
    /// # Errors
    /// What an engine or the kernel refuses.
    pub fn apply_changed(
        &mut self,
        states: &LinkStates,
        change: &mut dyn FnMut(Member, &mut NodePlan),
    ) -> Result<(), LabError> {
        let (plan, ..) = plan::plan(self.network.clone(), &self.ledger, states);
        let new: Vec<Member> =
            self.members.iter().filter(|(_, host)| host.is_new()).map(|(member, _)| *member).collect();
        let mut told: BTreeMap<Member, NodePlan> = BTreeMap::new();
        for (member, host) in &mut self.members {
            let mut part = plan.of(*member);
            change(*member, &mut part);
            host.apply(&part, &self.keys[member], &self.underlay)?;
            host.set_firewall(&part)?;
            told.insert(*member, part);
        }
        for member in new {
            self.members[&member].start_keepalives(&told[&member])?;
        }
        self.plan = plan;
        Ok(())
    }

    fn start_agent(
        &self,
        agents: &Agents,
        member: Member,
        namespace: &Namespace,
        directory: &Path,
    ) -> Result<AgentProcess, LabError> {
        let name = self.plan.name(member);
        let entry = own_entry(namespace, directory);
        let briefing = Briefing {
            file: agents.file.clone(),
            member: name.clone(),
            entry,
            behind_nat: self.options.nat == NatChoice::Nat,
            recording: agents.recordings.as_ref().map(|folder| folder.join(format!("{name}.jsonl"))),
            public_keys: self.plan.keys().filter_map(|(name, key)| Some((name.clone(), key?))).collect(),
            neighbours: self.network.neighbours.iter().map(|neighbour| neighbour.public_key).collect(),
            origins: self.state.path().to_owned(),
        };
        let is_entry = matches!(member, Member::Node(ix) if self.network.node(ix).entry);
        let keys = (&self.keys[&member], self.entry_key.as_ref().filter(|_| is_entry));
        let network = self.network.name.clone();
        AgentProcess::start(&self.options.program, directory, &briefing, network, keys)
            .map_err(|source| LabError::Agent { member: name.to_string(), source })
    }

    /// A member's host.
    pub fn host(&self, member: Member) -> Option<&MemberHost> {
        self.members.get(&member)
    }

    /// Whether members are run by agents.
    pub fn has_agents(&self) -> bool {
        self.options.agents.is_some()
    }

    /// How many members' agents find every node as it should be, of how many. A client that roams and is with no entry node yet
    /// is none of them.
    pub fn agents_ready(&self) -> (usize, usize) {
        let is_well = |member: &MemberSnapshot| member.kind != "node" || member.health > Health::Degraded;
        let snapshots: Vec<_> = self.members.values().filter_map(MemberHost::snapshot).collect();
        let well = snapshots.iter().filter(|snapshot| snapshot.members.iter().all(is_well)).count();
        let roaming = self.network.clients.iter().filter(|client| client.roams).count();
        let landed: usize = snapshots.iter().filter_map(|snapshot| Some(snapshot.ready.as_ref()?.clients)).sum();
        let all = self.members.keys().filter(|member| self.agents_of(**member).is_some()).count();
        (well.saturating_sub(roaming.saturating_sub(landed)), all)
    }

    /// What a member's agent needs; none if it has none.
    fn agents_of(&self, member: Member) -> Option<&Agents> {
        let agents = self.options.agents.as_ref()?;
        (agents.on_clients || matches!(member, Member::Node(_))).then_some(agents)
    }

    /// The LANs of the sites that have hosts of their own.
    pub fn lans(&self) -> &[Lan] {
        &self.lans
    }

    /// The emulated internet.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What removes the lab's directory, for a process that must end at once: all else goes with the process.
    pub fn last_words(&self) -> impl FnOnce() + Send + use<> {
        let path = self.state.path().to_owned();
        move || drop(std::fs::remove_dir_all(path))
    }

    /// Where the control socket belongs.
    pub fn socket(&self) -> std::path::PathBuf {
        self.state.socket()
    }

    /// Directory of a member's UAPI sockets.
    pub fn uapi_directory(&self, member: Member) -> Option<std::path::PathBuf> {
        self.members.get(&member).map(|host| self.state.member_path(&host.name))
    }

    /// The hub to compare with, if there is one.
    pub fn main_hub(&self) -> Option<NodeIx> {
        scenario::main_hub(&self.network)
    }

    /// States in which only one hub's links work.
    pub fn only_over(&self, hub: NodeIx) -> LinkStates {
        scenario::only_over(&self.network, hub)
    }

    /// The round-trip time that the underlay gives a pair of linked members, in microseconds.
    fn rtt_us(&self, a: Member, b: Member) -> u64 {
        match (a, b) {
            (Member::Client(client), Member::Node(node)) | (Member::Node(node), Member::Client(client)) => {
                let home = self.network.clients[client as usize].region;
                let travels = self.travellers.get(&client).filter(|traveller| Some(traveller.region) != home);
                match travels {
                    Some(traveller) => self.network.visitor_rtt_us(traveller.region, node),
                    None => self.plan.path_rtt_us(&[a, b]),
                }
            }
            _ => self.plan.path_rtt_us(&[a, b]),
        }
    }

    /// How the underlay between two members behaves, given its round-trip time in microseconds.
    fn shape(&self, rtt_us: u64) -> LinkModel {
        LinkModel {
            delay: Duration::from_micros(rtt_us / 2),
            jitter: self.options.jitter,
            loss: self.options.loss,
            rate_bit_per_s: self.options.rate_bit_per_s,
            ..LinkModel::default()
        }
    }

    /// Gives the path of every link its delay.
    fn shape_links(&self) -> Result<(), LabError> {
        for (member, host) in &self.members {
            for peer in self.plan.peers(*member).iter().filter(|peer| peer.who > *member) {
                let Some(other) = self.members.get(&peer.who) else { continue };
                let model = self.shape(self.rtt_us(*member, peer.who));
                self.wire.set_links_between(host.port, other.port, &model)?;
            }
        }
        for (node, neighbour, rtt_us) in self.tunnels() {
            self.wire.set_links_between(node, neighbour, &self.shape(rtt_us))?;
        }
        Ok(())
    }

    /// Members of one private network send to each other from their addresses in it.
    fn add_routes_between_neighbours(&self) -> Result<(), LabError> {
        let mut private: BTreeMap<u16, Vec<(Member, std::net::IpAddr)>> = BTreeMap::new();
        for (member, home) in &self.underlay.homes {
            for (address, number) in home.addresses.iter().filter(|(_, number)| *number != 0) {
                private.entry(*number).or_default().push((*member, *address));
            }
        }
        for group in private.values() {
            for (member, own) in group {
                let others: Vec<_> = group
                    .iter()
                    .filter(|(other, address)| other != member && address.is_ipv4() == own.is_ipv4())
                    .map(|(_, address)| *address)
                    .collect();
                if let Some(host) = self.members.get(member) {
                    host.route_to_neighbours(*own, &others)?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    /// Ends all members at once: each waits for its engine and for the kernel to let go of its devices.
    fn drop(&mut self) {
        let mut members: Vec<MemberHost> = std::mem::take(&mut self.members).into_values().collect();
        std::thread::scope(|scope| {
            while !members.is_empty() {
                let some = members.split_off(members.len().saturating_sub(MEMBERS_PER_ENDER));
                scope.spawn(move || drop(some));
            }
        });
    }
}

/// How a program that this process has started gets into a member: this process may do what that one needs already.
fn own_entry(namespace: &Namespace, directory: &Path) -> Entry {
    Entry {
        pid: std::process::id(),
        network_fd: namespace.as_fd().as_raw_fd(),
        in_user_namespace: false,
        uapi: Some(directory.display().to_string()),
    }
}

/// All nodes, then all clients.
fn members_of(network: &Network) -> impl Iterator<Item = Member> + use<> {
    network.node_numbers().map(Member::Node).chain((0..network.clients.len() as u32).map(Member::Client))
}

fn add_nats(wire: &Wire, underlay: &Underlay, options: &LabOptions) -> Result<Vec<NatId>, LabError> {
    let mut ids = Vec::with_capacity(underlay.nats.len());
    for nat in &underlay.nats {
        let base = match options.nat_mapping {
            NatMapping::EndpointIndependent => NatConfig::home_router(nat.outside),
            NatMapping::Symmetric => NatConfig::symmetric(nat.outside),
        };
        let forward = |(outside_port, inside): &(u16, std::net::SocketAddrV4)| crate::wire::PortForward {
            protocol: libc::IPPROTO_UDP as u8,
            outside_port: *outside_port,
            inside: *inside,
        };
        let forwards = nat.forwards.iter().map(forward).collect();
        let config = NatConfig { udp_timeout: options.nat_timeout, forwards, ..base };
        ids.push(wire.add_nat(config, UnderlayId(nat.inside))?);
    }
    Ok(ids)
}

/// A throw-away key from the kernel's random numbers.
fn new_key() -> io::Result<PrivateKey> {
    let mut bytes = [0; KEY_BYTES];
    // SAFETY: the buffer is as long as said; requests up to 256 bytes are never cut short (getrandom(2)).
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != KEY_BYTES as isize {
        return Err(io::Error::last_os_error());
    }
    Ok(PrivateKey::from_random(bytes))
}
