//! Clients that move, prefix by prefix: against the plan made anew, and the difference of whole states.

use std::collections::BTreeMap;

use wayleave_core::host::{Actual, Backend, Change, HostState, Resolved, diff, expected, expected_of, follow, wanted};
use wayleave_core::keys::PublicKey;
use wayleave_core::names::Name;
use wayleave_core::network::NodeIx;
use wayleave_core::plan::{Claims, Ledger, LinkStates, Member, Moves, NodePlan, Plan, merge, plan};

use crate::random::{Dice, random_roaming, random_states};

/// One node that follows moves, and what it would be if it planned anew.
struct Follower {
    network: std::sync::Arc<wayleave_core::network::Network>,
    plan: Plan,
    states: LinkStates,
    claims: Claims,
    node: NodeIx,
    /// What is routed if all links work.
    intended: NodePlan,
    part: NodePlan,
    state: HostState,
    moves: Option<Moves>,
}

impl Follower {
    fn new(seed: u64, dice: &mut Dice) -> Option<Follower> {
        let network = random_roaming(seed)?;
        let mut ledger = plan(network.clone(), &Ledger::default(), &LinkStates::default()).1;
        let names =
            network.nodes.iter().map(|node| &node.name).chain(network.clients.iter().map(|client| &client.name));
        for (number, name) in names.enumerate() {
            ledger.public_keys.insert(name.clone(), PublicKey::from_bytes([number as u8 ^ 0x5a; 32]));
        }
        let states = random_states(&network, seed);
        let node = NodeIx(dice.roll(network.nodes.len() as u64) as u32);
        let plan = plan(network.clone(), &ledger, &LinkStates::default()).0;
        let intended = plan.part(&LinkStates::default(), &Claims::default(), Member::Node(node));
        let mut follower = Follower {
            part: intended.clone(),
            state: HostState::default(),
            moves: None,
            claims: Claims::default(),
            intended,
            network,
            plan,
            states,
            node,
        };
        follower.begin();
        Some(follower)
    }

    /// Plans anew, and follows from there.
    fn begin(&mut self) {
        self.part = self.planned();
        self.state = wanted(&self.part, Backend::Engine, &Resolved::default());
        let known = (&self.states, &self.claims);
        self.moves = Moves::new(&self.plan, known, &self.part, &self.intended.routes);
    }

    /// As an agent plans: what was routed once stays so.
    fn planned(&self) -> NodePlan {
        let member = Member::Node(self.node);
        let mut part = self.plan.part(&self.states, &self.claims, member);
        part.routes = merge(part.routes.iter().chain(&self.intended.routes).copied().collect());
        part
    }

    /// Some clients go somewhere. Says whether that could be followed.
    fn moves(&mut self, dice: &mut Dice) -> bool {
        let count = 1 + dice.roll(3);
        let mut changed: BTreeMap<Name, Option<Name>> = BTreeMap::new();
        for _ in 0..count {
            let client = &self.network.clients[dice.roll(self.network.clients.len() as u64) as usize].name;
            let node = &self.network.nodes[dice.roll(self.network.nodes.len() as u64) as usize].name;
            changed.insert(client.clone(), (!dice.chance(10)).then(|| node.clone()));
        }
        let changed: Vec<(Name, Option<Name>)> = changed.into_iter().collect();
        for (client, server) in &changed {
            self.claims.set(client, server.as_ref());
        }
        let (part, before) = (self.planned(), self.state.clone());
        let next = wanted(&part, Backend::Engine, &Resolved::default());
        let present = Actual { state: before.clone(), ..Actual::default() };
        let whole = diff(&present, &next, Some(&before)).unwrap();
        let Some(moved) = self.moves.as_mut().and_then(|moves| moves.follow(&mut self.part, &changed)) else {
            return false;
        };
        assert_eq!(self.part, part);
        let hubs = |name: &Name| self.network.find_node(name).is_some_and(|ix| self.network.node(ix).hub);
        let let_in = expected_of(&before, &self.part, &moved, hubs);
        let Some(changes) = follow(&mut self.state, &self.part, &moved) else { return false };
        assert_eq!(self.state, next);
        assert_eq!(changes, whole);
        // Whoever gets a prefix may send from it before. Of relays it is known that they may send all that moves.
        let peer_and_prefix = |change: &Change| match change {
            Change::ExpectPrefix { peer, prefix, .. } => (peer.key, *prefix),
            other => panic!("{other} lets nothing in"),
        };
        let let_in: Vec<_> = let_in.iter().map(peer_and_prefix).collect();
        for (key, prefix) in expected(&before, &next, &moved.prefixes, hubs).iter().map(peer_and_prefix) {
            let is_in = let_in.iter().any(|(peer, around)| *peer == key && around.contains(&prefix));
            assert!(is_in, "{prefix} of {key} is not let in");
        }
        true
    }
}

#[test]
fn following_a_move_is_planning_anew_and_comparing_prefix_by_prefix() {
    let (mut followed, mut anew, mut networks) = (0, 0, 0);
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let Some(mut follower) = Follower::new(seed, &mut dice) else { continue };
        networks += 1;
        for _ in 0..25 {
            if follower.moves(&mut dice) {
                followed += 1;
            } else {
                anew += 1;
                follower.begin();
            }
        }
    }
    assert!(networks > 50 && followed > 10 * anew, "{networks} networks, {followed} followed, {anew} planned anew");
}
