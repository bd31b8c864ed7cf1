//! Random hosts on their way from one plan to another: they arrive, wherever they are stopped, and nothing is taken away before
//! what replaces it is there.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use wayleave_core::file::load_with;
use wayleave_core::host::{Actual, Backend, Change, HostState, Resolved, diff, nothing, wanted};
use wayleave_core::keys::PublicKey;
use wayleave_core::network::{Host, Network, resolve::resolve};
use wayleave_core::plan::{Ledger, LinkStates, Plan, plan};

use crate::model::Kernel;
use crate::random::{Dice, network_text, random_network, random_states};

/// A key for everybody: the seed's, so that two plans of one network agree.
fn with_keys(mut network: Network) -> Arc<Network> {
    let key = |at: usize, kind: u8| PublicKey::from_bytes([at as u8 + 1, kind, 7].repeat(11)[..32].try_into().unwrap());
    for (at, node) in network.nodes.iter_mut().enumerate() {
        node.public_key = Some(key(at, 1));
    }
    for (at, client) in network.clients.iter_mut().enumerate() {
        client.public_key = Some(key(at, 2));
    }
    Arc::new(network)
}

fn state_of(plan: &Plan, at: usize) -> HostState {
    let member = plan.member_at(at % plan.members().count()).unwrap();
    let node_plan = plan.of(member);
    let endpoint = |endpoints: &[wayleave_core::network::Endpoint]| match endpoints.first()?.host {
        Host::Ip(address) => Some(SocketAddr::new(address, endpoints[0].port)),
        Host::Dns(_) => None,
    };
    let resolved: Resolved =
        node_plan.peers.iter().filter_map(|peer| Some((peer.name.clone(), endpoint(&peer.endpoints)?))).collect();
    wanted(&node_plan, Backend::Kernel, &resolved)
}

/// Two states of one host, by two states of the links; sometimes of another network of the same members.
fn two_states(seed: u64) -> (HostState, HostState) {
    let mut dice = Dice(seed ^ 0x5eed);
    let network = with_keys(Arc::unwrap_or_clone(random_network(seed)));
    let at = dice.roll(16) as usize;
    let planned = |network: &Arc<Network>, states: &LinkStates| {
        state_of(&plan(Arc::clone(network), &Ledger::default(), states).0, at)
    };
    let first = planned(&network, &random_states(&network, seed));
    let other = if dice.chance(30) {
        let text = network_text(seed).replace("hub = true", "hub = false").replace("172.16.", "172.18.");
        let text = text.replacen("[network]\n", "[network]\npolicy = \"deny\"\n", 1);
        let loaded = load_with("random.toml", |_| Ok(text.as_bytes().to_vec()));
        resolve(&loaded.file).network.map_or_else(|| Arc::clone(&network), with_keys)
    } else {
        Arc::clone(&network)
    };
    let second = planned(&other, &random_states(&other, seed ^ 1));
    (first, second)
}

/// Somebody else has been at work: some of it is missing, some is different.
fn disturb(state: &mut HostState, dice: &mut Dice) {
    state.routes.retain(|_, _| !dice.chance(10));
    state.rules.retain(|_| !dice.chance(20));
    state.firewalls.retain(|_, _| !dice.chance(20));
    for device in state.devices.values_mut() {
        let keys: Vec<_> = device.peers.keys().copied().collect();
        device.allowed.retain(|_, _| !dice.chance(10));
        for owner in device.allowed.values_mut() {
            if dice.chance(5) {
                *owner = keys[dice.roll(keys.len() as u64) as usize];
            }
        }
        if dice.chance(20) {
            device.mtu = 1300;
        }
        device.addresses.retain(|_| !dice.chance(10));
    }
}

/// The wanted state without what a kernel does not know.
fn nameless(state: &HostState) -> HostState {
    let mut state = state.clone();
    for device in state.devices.values_mut() {
        device.peers.values_mut().for_each(|peer| peer.name = None);
    }
    state
}

/// What a kernel has, where what is wanted has an opinion.
fn comparable(kernel: &HostState, wanted: &HostState) -> HostState {
    let mut state = nameless(kernel);
    for (name, device) in &mut state.devices {
        if wanted.devices.get(name).is_some_and(|wanted| wanted.port == 0) {
            device.port = 0;
        }
    }
    state
}

fn changes(actual: &Actual, wanted: &HostState) -> Vec<Change> {
    diff(actual, wanted, None).expect("nothing foreign is there")
}

/// Whatever was sent to somebody and still is to be, is sent to the one or the other at each moment.
fn check_nothing_is_interrupted(before: &HostState, present: &HostState, wanted: &HostState, change: &Change) {
    for (name, device) in &wanted.devices {
        let (Some(old), Some(now)) = (before.devices.get(name), present.devices.get(name)) else { continue };
        for (prefix, new_owner) in &device.allowed {
            let Some(old_owner) = old.allowed.get(prefix) else { continue };
            let owner = now.allowed.get(prefix);
            assert!(owner == Some(old_owner) || owner == Some(new_owner), "{prefix} of {owner:?} after: {change}");
        }
    }
    for device in wanted.firewalls.keys().filter(|device| before.firewalls.contains_key(*device)) {
        assert!(present.firewalls.contains_key(device), "no firewall at {device} after: {change}");
    }
    for (place, route) in wanted.routes.iter().filter(|(place, _)| before.routes.contains_key(*place)) {
        let found = present.routes.get(place);
        assert!(found == Some(route) || found == before.routes.get(place), "{place:?} after: {change}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_host_arrives_and_then_there_is_nothing_to_do(seed in any::<u64>()) {
        let (first, second) = two_states(seed);
        let mut kernel = Kernel::default();
        for change in changes(&kernel.look(), &first) {
            kernel.apply(&change).unwrap();
        }
        prop_assert_eq!(comparable(&kernel.0, &first), nameless(&first));
        disturb(&mut kernel.0, &mut Dice(seed));
        let before = kernel.0.clone();
        for change in changes(&kernel.look(), &second) {
            kernel.apply(&change).unwrap();
            check_nothing_is_interrupted(&before, &kernel.0, &second, &change);
        }
        let mut arrived = comparable(&kernel.0, &second);
        // Settings of the first plan that the second has no opinion of stay: whoever set them puts them back at the end.
        arrived.sysctls.retain(|name, _| second.sysctls.contains_key(name));
        prop_assert_eq!(arrived, nameless(&second));
        prop_assert_eq!(changes(&kernel.look(), &second), vec![]);
    }

    #[test]
    fn whoever_stops_anywhere_and_looks_again_arrives_too(seed in any::<u64>()) {
        let (first, second) = two_states(seed);
        let mut kernel = Kernel(first);
        let mut dice = Dice(seed);
        for _ in 0..50 {
            let todo = changes(&kernel.look(), &second);
            if todo.is_empty() {
                break;
            }
            let some = 1 + dice.roll(todo.len() as u64 + 1) as usize;
            todo.iter().take(some).for_each(|change| kernel.apply(change).unwrap());
        }
        prop_assert_eq!(changes(&kernel.look(), &second), vec![]);
    }

    #[test]
    fn additions_come_before_removals(seed in any::<u64>()) {
        let (first, second) = two_states(seed);
        let todo = changes(&Kernel(first).look(), &second);
        prop_assert!(todo.is_sorted_by_key(Change::rank));
    }

    #[test]
    fn in_the_end_nothing_is_left(seed in any::<u64>()) {
        let (first, _) = two_states(seed);
        let originals = first.sysctls.keys().map(|name| (name.clone(), "0".to_owned())).collect();
        let mut kernel = Kernel(first);
        for change in changes(&kernel.look(), &nothing(&originals)) {
            kernel.apply(&change).unwrap();
        }
        prop_assert_eq!(kernel.0, nothing(&originals));
    }
}
