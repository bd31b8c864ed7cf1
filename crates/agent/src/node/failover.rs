//! Links that are tried all the time, and paths that follow what comes of it.
//!
//! [`wayleave_core::node::Node`] decides; here it is told what happened (messages, replies, the device's counters) and what it
//! wants done is done: messages and echo requests are sent, and new link states are planned with and carried out.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use wayleave_core::host::{Backend, expected};
use wayleave_core::names::Name;
use wayleave_core::node::recording::Line;
use wayleave_core::node::{EchoAddress, Event as NodeEvent, LinkReport, Node, Output, Time, is_site_reached};
use wayleave_core::plan::{LinkStates, MemberKind, NodePlan};
use wayleave_engine::PeerTraffic;

use super::agent::Agent;
use super::links::Links;
use super::peers::age;
use super::report::SESSION;
use super::{Reading, Weight, chain, log};
use crate::recording::Recording;

/// Between looks at the device's counters: what `core` asks for to notice within a fraction of a second that packets go out
/// and none come back.
const TRAFFIC_INTERVAL: Duration = Duration::from_millis(200);
/// The same with the kernel's WireGuard, which does not tell when packets go to somebody again.
const TRAFFIC_INTERVAL_KERNEL: Duration = Duration::from_millis(100);
/// The same at least, when the engine says that packets go to somebody again.
const TRAFFIC_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// A look may take this share of the time at most: with thousands of peers they are looked at less often.
const TRAFFIC_SHARE: u32 = 250;
/// Between looks at the interfaces that sites are on, if the kernel says nothing.
const SITES_INTERVAL: Duration = Duration::from_secs(60);
/// Between the kernel's news and a look: one event seldom comes alone.
const SITES_SETTLE: Duration = Duration::from_millis(50);

/// The links of a node, as far as it has any: clients have none.
pub(super) struct Failover {
    node: Option<Node>,
    recording: Option<Recording>,
    links: Option<Links>,
    traffic_at: Instant,
    /// Not before this, whatever happens.
    traffic_not_before: Instant,
    /// Whether this host gets into each site that it is a gateway of, as last told; and when that is looked at again.
    sites: BTreeMap<Name, bool>,
    sites_at: Instant,
    /// Whether there is a device to try links on.
    pub(super) is_device_there: bool,
}

impl Failover {
    /// Whether it has any links: clients have none.
    pub(super) fn has_links(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn new(reading: &Reading, name: &Name, recording: Option<Recording>) -> Failover {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Another number at each start is all that is asked for.
        let boot = (now.as_micros() as u16) ^ (std::process::id() as u16);
        let node = Node::new(reading.network.clone(), name, boot, Time::default()).ok();
        let mut failover = Failover {
            recording: recording.filter(|_| node.is_some()),
            node,
            links: None,
            traffic_at: Instant::now(),
            traffic_not_before: Instant::now(),
            sites: BTreeMap::new(),
            sites_at: Instant::now(),
            is_device_there: false,
        };
        failover.record(|| Line::began(name.clone(), boot, Time::default(), reading.texts.clone()));
        failover
    }

    /// Writes down what is done, if that is asked for.
    fn record(&mut self, line: impl FnOnce() -> Line) {
        let Some(recording) = &mut self.recording else { return };
        let written = recording.write(&line());
        if let Err(error) = &written {
            log(Weight::Warning, &format!("the recording ends here: {error}"));
        } else if recording.is_full() {
            log(Weight::Warning, "the recording is as large as it may be, and ends here");
        }
        self.recording.take_if(|recording| recording.is_full());
    }

    /// Packets go to somebody again: is anybody there?
    pub(super) fn look_at_traffic_soon(&mut self) {
        self.traffic_at = self.traffic_at.min(self.traffic_not_before);
    }

    /// The host's interfaces may be others, or in another state.
    pub(super) fn look_at_sites_soon(&mut self) {
        self.sites_at = self.sites_at.min(Instant::now() + SITES_SETTLE);
    }

    /// The device is made anew, or gone: sockets on it are of no use any more.
    pub(super) fn forget_sockets(&mut self) {
        self.links = None;
    }

    /// How many clients are with this node.
    pub(super) fn held(&self) -> usize {
        self.node.as_ref().map_or(0, Node::held)
    }

    /// Whether the others have told how the links are, or have been waited for long enough. Who has no links is.
    pub(super) fn is_in_step(&self) -> bool {
        self.node.as_ref().is_none_or(Node::is_in_step)
    }

    /// The other ends of own links that are down.
    pub(super) fn down(&self) -> HashSet<&Name> {
        self.node.iter().flat_map(Node::down).collect()
    }

    /// All own links by the other end's name.
    pub(super) fn reports(&self, now: Time) -> BTreeMap<Name, LinkReport> {
        let links = self.node.iter().flat_map(|node| node.links(now));
        links.map(|report| (report.peer.clone(), report)).collect()
    }
}

impl Agent {
    /// The time as `core` takes it.
    pub(super) fn time(&self) -> Time {
        Time::from_us(self.started.elapsed().as_micros() as u64)
    }

    /// When something is to be done for the links, if nothing happens before.
    pub(super) fn links_wake(&self) -> Option<Instant> {
        let node = self.failover.node.as_ref().filter(|_| self.failover.links.is_some())?;
        let wake = node.next_wake();
        let wake = (wake != Time::NEVER).then(|| self.started + Duration::from_micros(wake.us()));
        let own = self.failover.traffic_at.min(self.failover.sites_at);
        Some(wake.map_or(own, |wake| wake.min(own)))
    }

    /// A control message has come.
    pub(super) fn handle_message(&mut self, from: IpAddr, bytes: Vec<u8>) {
        let Some(at) = self.peers.at_link_address(from) else { return };
        self.tell(NodeEvent::Received { from: self.part.peers[at].name.clone(), bytes });
    }

    /// An echo reply has come.
    pub(super) fn handle_echo(&mut self, tag: u32) {
        let Some(peer) = self.part.peers.get(tag as usize) else { return };
        self.tell(NodeEvent::EchoReply { from: peer.name.clone() });
    }

    /// Does what is due for the links.
    pub(super) fn tend_links(&mut self) {
        if !self.failover.has_links() || !self.failover.is_device_there {
            return;
        }
        if self.failover.links.is_none() && !self.open_links() {
            return;
        }
        if Instant::now() >= self.failover.traffic_at {
            self.tell_traffic();
        }
        if Instant::now() >= self.failover.sites_at {
            self.tell_sites();
        }
        self.poll_node().into_iter().for_each(|output| self.carry(output));
    }

    /// Peers are told that the agent ends and the device stays.
    pub(super) fn leave_links(&mut self) {
        self.tell(NodeEvent::Leaving);
        self.send_last();
    }

    /// Sends what waits, and does nothing else any more.
    pub(super) fn send_last(&mut self) {
        let is_last = |output: &Output| {
            matches!(output, Output::Send { .. } | Output::Originate { .. } | Output::OriginateSite { .. })
        };
        let messages = self.poll_node().into_iter().filter(is_last);
        messages.for_each(|message| self.carry(message));
    }

    /// Goes over to another version of the network file.
    pub(super) fn adopt_links(&mut self) {
        let (now, network, texts) = (self.time(), self.reading.network.clone(), &self.reading.texts);
        self.failover.record(|| Line::Adopted { at_us: now.us(), texts: texts.clone() });
        if let Some(node) = &mut self.failover.node {
            // A node that has become a client keeps what it had; its links are gone from the plan.
            let _ = node.adopt(network, now);
            self.states = node.states().clone();
        }
        self.failover.look_at_sites_soon();
    }

    /// All that is to be done at this time.
    fn poll_node(&mut self) -> Vec<Output> {
        let now = self.time();
        // Nothing happens in a node before it is due, and what did not happen need not be written down.
        let Some(node) = self.failover.node.as_mut().filter(|node| node.next_wake() <= now) else { return Vec::new() };
        let outputs: Vec<Output> = std::iter::from_fn(|| node.poll(now)).collect();
        self.failover.record(|| Line::Polled { at_us: now.us(), outputs: outputs.clone() });
        outputs
    }

    pub(super) fn tell(&mut self, event: NodeEvent) {
        let now = self.time();
        self.failover.record(|| Line::Happened { at_us: now.us(), event: event.clone() });
        if let Some(node) = &mut self.failover.node {
            node.handle(event, now);
        }
    }

    fn open_links(&mut self) -> bool {
        let Some(own) = self.part.link_address else { return false };
        let device = self.part.device.as_str();
        let news = self.reconciler.host().events(device);
        let opened = Links::open(own, device, news, &self.events);
        let problem =
            opened.as_ref().err().map(|error| format!("links can't be tried, so nothing fails over: {error}"));
        self.failover.links = opened.ok();
        self.set_problem("links", problem);
        self.failover.links.is_some()
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Send { to, bytes } => {
                let address = self.peers.named(&to).and_then(|at| self.part.peers[at].link_address);
                if let (Some(links), Some(address)) = (&self.failover.links, address) {
                    links.send(address, &bytes);
                }
            }
            Output::SendEcho { to, at } => self.send_echo(&to, at),
            Output::Expect { states } => self.expect(&states),
            Output::States { states, reasons } => {
                reasons.iter().for_each(|reason| log(Weight::Notice, reason));
                self.take_states(states);
            }
            Output::Claims { changed } => self.move_clients(changed),
            Output::Originate { client, epoch } => self.originate(&client, epoch),
            Output::OriginateSite { site, preference } => self.originate_site(&site, preference),
            Output::HandOver { client, to, way } => self.hand_over(client, to, way),
            Output::Call { from, offer } => self.call_offered(&from, &offer),
            Output::Log(line) => log(Weight::Info, &line),
        }
    }

    /// To its overlay address only where that is reached over the link at present: an echo that comes round another way says
    /// nothing of the link.
    fn send_echo(&mut self, to: &Name, at: EchoAddress) {
        let Some(tag) = self.peers.named(to) else { return };
        let peer = &self.part.peers[tag];
        let member = self.plan.find(to);
        let overlay = member.and_then(|member| self.plan.overlay_addresses(member).first().copied());
        let address = match at {
            EchoAddress::Link => peer.link_address,
            EchoAddress::Overlay => overlay.filter(|address| self.part.next_hop(*address) == Some(to)),
        };
        if let (Some(links), Some(address)) = (&self.failover.links, address) {
            links.echo(address, tag as u32);
        }
    }

    /// Lets in what comes by the paths of other states as well, for a while.
    fn expect(&mut self, states: &LinkStates) {
        if self.is_planned_with(states) {
            return;
        }
        if let Some(part) = self.part_with(states) {
            self.let_in(&part);
        }
    }

    /// Lets in what another part lets in, and what may come over relays while nodes change theirs one after the other.
    pub(super) fn let_in(&mut self, part: &NodePlan) {
        let next = self.wanted_of(part);
        let network = &self.reading.network;
        let is_relay = |name: &Name| network.find_node(name).is_some_and(|node| network.node(node).hub);
        let changes = expected(&self.wanted, &next, &part.routes, is_relay);
        // What is not let in is dropped once, when paths change.
        if let Err(error) = self.reconciler.expect(&changes) {
            log(Weight::Info, &chain(&error));
        }
    }

    /// Whether the present part is what these states lead to: measured times of many links change at a time, and seldom a path.
    fn is_planned_with(&self, states: &LinkStates) -> bool {
        let node = self.plan.network.find_node(&self.part.name).filter(|_| self.clients.is_planned());
        node.is_some_and(|node| self.plan.is_alike(node, &self.states, states)) && !self.wanted.devices.is_empty()
    }

    /// Plans with what is known of all links, and brings the host to it.
    fn take_states(&mut self, states: LinkStates) {
        let is_alike = self.is_planned_with(&states);
        self.states = states;
        if is_alike {
            self.is_plan_old = true;
            return;
        }
        let before = self.part.clone();
        self.plan_anew();
        self.let_in(&self.part.clone());
        // At the start the device may not have been looked at yet.
        if self.part != before || self.wanted.devices.is_empty() {
            self.reconcile();
        }
    }

    /// Tells how much has gone over each link, and how old its session is.
    fn tell_traffic(&mut self) {
        let begin = Instant::now();
        self.count();
        let took = begin.elapsed() * TRAFFIC_SHARE;
        let interval = match self.reconciler.backend() {
            Backend::Kernel => TRAFFIC_INTERVAL_KERNEL,
            Backend::Engine => TRAFFIC_INTERVAL,
        };
        self.failover.traffic_at = begin + interval.max(took);
        self.failover.traffic_not_before = begin + TRAFFIC_INTERVAL_MIN.max(took);
    }

    /// Tells whether this host gets into the sites that it is a gateway of, if that is news.
    fn tell_sites(&mut self) {
        self.failover.sites_at = Instant::now() + SITES_INTERVAL;
        // A kernel that does not say what there is says nothing of sites.
        let Ok(interfaces) = self.reconciler.host().interfaces() else { return };
        let network = &self.reading.network;
        let own = network.find_node(&self.options.node);
        let sites = network.sites.iter().filter(|site| own.is_some_and(|own| site.gateways.contains(&own)));
        let sites: BTreeMap<Name, bool> =
            sites.map(|site| (site.name.clone(), is_site_reached(&site.prefixes, &interfaces))).collect();
        let cut: Vec<&str> = sites.iter().filter(|(_, works)| !**works).map(|(site, _)| site.as_str()).collect();
        let problem = format!("no interface that is up and connected leads into {}", cut.join(", "));
        self.set_problem("sites", (!cut.is_empty()).then_some(problem));
        let before = std::mem::replace(&mut self.failover.sites, sites.clone());
        for (site, works) in sites {
            if before.get(&site) != Some(&works) {
                self.tell(NodeEvent::Site { site, works });
            }
        }
    }

    /// Asks the device what has gone to and from whom since it was last asked.
    pub(super) fn count(&mut self) {
        let Ok(news) = self.reconciler.host().traffic_news(self.part.device.as_str()) else { return };
        for (at, PeerTraffic { last_handshake, rx_bytes, tx_bytes, .. }) in self.peers.count(news) {
            let with = || self.part.peers[at].name.clone();
            let handshake = NodeEvent::Handshake { with: with(), age: last_handshake.map(age) };
            let traffic = NodeEvent::Traffic { with: with(), sent_bytes: tx_bytes, received_bytes: rx_bytes };
            self.tell(handshake);
            self.tell(traffic);
        }
    }

    /// Handshakes grow old without any traffic: what is older than a session's life is told again and again.
    pub(super) fn tell_old_handshakes(&mut self) {
        if !self.failover.has_links() {
            return;
        }
        let nodes = self.part.peers.iter().filter(|peer| peer.kind == MemberKind::Node);
        let ages = nodes.map(|peer| (&peer.name, self.peers.handshake_age(peer)));
        let old = ages.filter(|(_, age)| age.is_none_or(|age| age >= SESSION));
        let old: Vec<(Name, Option<Duration>)> = old.map(|(name, age)| (name.clone(), age)).collect();
        for (with, age) in old {
            self.tell(NodeEvent::Handshake { with, age });
        }
    }
}
