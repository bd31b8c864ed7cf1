//! One address and UDP port for many: a sender's packets go to the nearest healthy member.
//!
//! As AWS Global Accelerator does it, and so as S0's clients meet it: the first packet of a flow (sender's endpoint; the other one
//! is always the same) chooses the nearest healthy member by the delay of the way there. From then on the flow is *pinned* to that
//! member, even when it has become unhealthy or another has become nearer, until nothing has gone either way for
//! [`AnycastConfig::idle`]: with a keepalive shorter than that, for ever. When no member is healthy all count as healthy
//! (fail-open). Members see the sender's own endpoint; what they answer within a flow leaves with the anycast address, whatever else
//! they send with their own. A member counts as healthy until somebody says otherwise.
//!
//! In: the time, endpoints, distances. Out: which member, and whether an answer is one. It reads no packet and knows no clock.

use crate::limits;
use crate::wire::route::PortId;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// An anycast address on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnycastId(pub u32);

/// What an anycast address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnycastConfig {
    /// The address, in the public underlay. Only UDP to [`AnycastConfig::port`] goes anywhere.
    pub address: IpAddr,
    /// The UDP port, the same at all members.
    pub port: u16,
    /// After so long without a packet in either direction a flow is forgotten.
    pub idle: Duration,
    /// Who answers; of equally near ones the first.
    pub members: Vec<AnycastMember>,
}

/// Somebody behind an anycast address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnycastMember {
    /// Where it is on the wire.
    pub port: PortId,
    /// Its own public address, of the same version.
    pub address: IpAddr,
}

/// A flow, for showing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnycastFlow {
    /// The sender, as members see it.
    pub client: SocketAddr,
    /// To whom it is pinned.
    pub member: PortId,
    /// How long nothing has gone either way.
    pub silent: Duration,
}

/// An anycast address with its flows.
#[derive(Debug, Clone)]
pub struct Anycast {
    config: AnycastConfig,
    unhealthy: BTreeSet<PortId>,
    flows: HashMap<SocketAddr, Flow>,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    member: AnycastMember,
    used_ns: u64,
}

impl Anycast {
    /// Without flows, and with healthy members.
    pub fn new(config: AnycastConfig) -> Self {
        Self { config, unhealthy: BTreeSet::new(), flows: HashMap::new() }
    }

    /// Its properties.
    pub fn config(&self) -> &AnycastConfig {
        &self.config
    }

    /// Says whether new flows may go to a member. Flows that are pinned to it stay.
    pub fn set_healthy(&mut self, member: PortId, healthy: bool) {
        if healthy {
            self.unhealthy.remove(&member);
        } else {
            self.unhealthy.insert(member);
        }
    }

    /// Whether new flows may go to a member.
    pub fn is_healthy(&self, member: PortId) -> bool {
        !self.unhealthy.contains(&member)
    }

    /// To whom a packet of this sender goes, `distance` being how far each member is from it. None if there are no members, or
    /// too many flows.
    pub fn handle_inbound(
        &mut self,
        now_ns: u64,
        client: SocketAddr,
        distance: impl Fn(PortId) -> Duration,
    ) -> Option<AnycastMember> {
        let idle_ns = self.idle_ns();
        if let Some(flow) = self.flows.get_mut(&client).filter(|flow| is_alive(flow, now_ns, idle_ns)) {
            flow.used_ns = now_ns;
            return Some(flow.member);
        }
        let member = self.nearest(distance)?;
        if self.flows.len() >= limits::ANYCAST_FLOWS_MAX {
            self.flows.retain(|_, flow| is_alive(flow, now_ns, idle_ns));
        }
        if self.flows.len() >= limits::ANYCAST_FLOWS_MAX {
            return None;
        }
        self.flows.insert(client, Flow { member, used_ns: now_ns });
        Some(member)
    }

    /// Whether a packet from this endpoint of a member to `client` is an answer within a flow, which then lives on.
    pub fn handle_outbound(&mut self, now_ns: u64, from: (PortId, SocketAddr), client: SocketAddr) -> bool {
        let (idle_ns, port) = (self.idle_ns(), self.config.port);
        let is_of = |flow: &&mut Flow| {
            let member = SocketAddr::new(flow.member.address, port);
            is_alive(flow, now_ns, idle_ns) && (flow.member.port, member) == from
        };
        let Some(flow) = self.flows.get_mut(&client).filter(is_of) else { return false };
        flow.used_ns = now_ns;
        true
    }

    /// The live flows, by their senders.
    pub fn flows(&self, now_ns: u64) -> Vec<AnycastFlow> {
        let alive = self.flows.iter().filter(|(_, flow)| is_alive(flow, now_ns, self.idle_ns()));
        let mut flows: Vec<AnycastFlow> = alive
            .map(|(client, flow)| AnycastFlow {
                client: *client,
                member: flow.member.port,
                silent: Duration::from_nanos(now_ns.saturating_sub(flow.used_ns)),
            })
            .collect();
        flows.sort_unstable_by_key(|flow| flow.client);
        flows
    }

    fn nearest(&self, distance: impl Fn(PortId) -> Duration) -> Option<AnycastMember> {
        let members = || self.config.members.iter().copied();
        let healthy = members().filter(|member| self.is_healthy(member.port));
        healthy
            .min_by_key(|member| distance(member.port))
            .or_else(|| members().min_by_key(|member| distance(member.port)))
    }

    fn idle_ns(&self) -> u64 {
        u64::try_from(self.config.idle.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn is_alive(flow: &Flow, now_ns: u64, idle_ns: u64) -> bool {
    now_ns.saturating_sub(flow.used_ns) < idle_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const NEAR: u32 = 1;
    const MIDDLE: u32 = 2;
    const FAR: u32 = 3;

    /// What happens at a second, and which member a packet of the client goes to.
    enum Step {
        Send(u16, u32),
        Answer(u32, bool),
        Healthy(u32, bool),
        /// The client moves: a member becomes the nearest.
        Beside(u32),
    }
    use Step::{Answer, Beside, Healthy, Send};

    fn address(member: u32) -> IpAddr {
        IpAddr::from([192, 0, 2, member as u8])
    }

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 9], port))
    }

    fn anycast() -> Anycast {
        let member = |at| AnycastMember { port: PortId(at), address: address(at) };
        Anycast::new(AnycastConfig {
            address: "198.51.100.1".parse().unwrap(),
            port: 51821,
            idle: Duration::from_secs(30),
            members: [FAR, NEAR, MIDDLE].map(member).to_vec(),
        })
    }

    fn check(steps: &[(u64, Step)]) {
        let mut anycast = anycast();
        let mut beside = None;
        for (at, (second, step)) in steps.iter().enumerate() {
            let now_ns = second * S;
            match *step {
                Send(port, expected) => {
                    let distance = |member: PortId| {
                        Duration::from_millis(if beside == Some(member.0) { 0 } else { u64::from(member.0) * 10 })
                    };
                    let member = anycast.handle_inbound(now_ns, client(port), distance).map(|member| member.port.0);
                    assert_eq!(member, Some(expected), "step {at}");
                }
                Answer(member, expected) => {
                    let from = (PortId(member), SocketAddr::new(address(member), 51821));
                    assert_eq!(anycast.handle_outbound(now_ns, from, client(1)), expected, "step {at}");
                }
                Healthy(member, healthy) => anycast.set_healthy(PortId(member), healthy),
                Beside(member) => beside = Some(member),
            }
        }
    }

    #[test]
    fn a_new_flow_goes_to_the_nearest_healthy_member() {
        check(&[
            (0, Send(1, NEAR)),
            (0, Healthy(NEAR, false)),
            (0, Send(2, MIDDLE)),
            (0, Healthy(MIDDLE, false)),
            (0, Send(3, FAR)),
            (0, Healthy(NEAR, true)),
            (0, Send(4, NEAR)),
        ]);
    }

    #[test]
    fn a_flow_stays_pinned_to_a_dead_member_as_long_as_anything_is_sent() {
        check(&[
            (0, Send(1, NEAR)),
            (1, Healthy(NEAR, false)),
            (25, Send(1, NEAR)),
            (50, Send(1, NEAR)),
            (79, Send(1, NEAR)),
            (109, Send(1, MIDDLE)),
        ]);
    }

    #[test]
    fn answers_keep_a_flow_alive_too() {
        check(&[
            (0, Send(1, NEAR)),
            (0, Healthy(NEAR, false)),
            (29, Answer(NEAR, true)),
            (58, Send(1, NEAR)),
            (88, Answer(NEAR, false)),
            (88, Send(1, MIDDLE)),
        ]);
    }

    #[test]
    fn another_source_port_is_another_flow() {
        check(&[(0, Send(1, NEAR)), (1, Healthy(NEAR, false)), (2, Send(1, NEAR)), (2, Send(2, MIDDLE))]);
    }

    #[test]
    fn who_moves_stays_pinned_until_it_is_silent_or_takes_another_port() {
        check(&[(0, Send(1, NEAR)), (10, Beside(FAR)), (20, Send(1, NEAR)), (20, Send(2, FAR)), (50, Send(1, FAR))]);
    }

    #[test]
    fn without_a_healthy_member_the_nearest_of_all_is_taken() {
        let all = [NEAR, MIDDLE, FAR].map(|member| (0, Healthy(member, false)));
        let steps: Vec<(u64, Step)> = all.into_iter().chain([(0, Send(1, NEAR))]).collect();
        check(&steps);
    }

    #[test]
    fn only_the_flows_member_answers_with_the_anycast_address() {
        check(&[(0, Answer(NEAR, false)), (0, Send(1, NEAR)), (0, Answer(MIDDLE, false)), (0, Answer(NEAR, true))]);
        let mut anycast = anycast();
        anycast.handle_inbound(0, client(1), |member| Duration::from_millis(u64::from(member.0)));
        let other_port = (PortId(NEAR), SocketAddr::new(address(NEAR), 51820));
        assert!(!anycast.handle_outbound(0, other_port, client(1)), "another device of the same member");
    }

    #[test]
    fn flows_are_bounded_and_silent_ones_make_room() {
        let mut anycast = anycast();
        let sender = |n: usize| SocketAddr::from(([203, 0, (n >> 16) as u8, 9], n as u16));
        let send = |anycast: &mut Anycast, now_ns, n| anycast.handle_inbound(now_ns, sender(n), |_| Duration::ZERO);
        for n in 0..limits::ANYCAST_FLOWS_MAX {
            assert!(send(&mut anycast, 0, n).is_some());
        }
        let next = limits::ANYCAST_FLOWS_MAX;
        assert!(send(&mut anycast, 29 * S, next).is_none());
        assert!(send(&mut anycast, 29 * S, 0).is_some(), "those who are known go on");
        assert!(send(&mut anycast, 30 * S, next).is_some());
        assert_eq!(anycast.flows(30 * S).len(), 2);
    }
}
