//! What is let in before it is owned: against a slow search for each address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use wayleave_core::host::{Backend, Change, DeviceState, HostState, PeerState, expected};
use wayleave_core::keys::PublicKey;
use wayleave_core::names::{DeviceName, Name};

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn name(number: u8) -> Name {
    Name::new(&format!("n{number}")).unwrap()
}

fn nobody(_: &Name) -> bool {
    false
}

/// A host with one device, whose prefixes belong to peers 0 to 3.
fn host(backend: Backend, allowed: &[(IpNet, u8)]) -> HostState {
    let device = DeviceState {
        backend,
        network: Name::new("net").unwrap(),
        up: true,
        mtu: 1_420,
        public_key: None,
        port: 1,
        fwmark: 0,
        addresses: Default::default(),
        peers: (0..4)
            .map(|number| (key(number), PeerState { name: Some(name(number)), ..PeerState::default() }))
            .collect(),
        allowed: allowed.iter().map(|(prefix, number)| (*prefix, key(*number))).collect(),
    };
    HostState { devices: [(DeviceName::new("wl0").unwrap(), device)].into(), ..HostState::default() }
}

fn owner(allowed: &BTreeMap<IpNet, u8>, address: IpAddr) -> Option<(u8, u8)> {
    let covering = allowed.iter().filter(|(prefix, _)| prefix.contains(&address));
    covering.map(|(prefix, owner)| (prefix.prefix_len(), *owner)).max()
}

fn table() -> impl Strategy<Value = BTreeMap<IpNet, u8>> {
    let prefix = (24_u8..=32, 0_u8..32).prop_map(|(length, last)| {
        let wide = IpNet::new(Ipv4Addr::new(10, 0, 0, last * 8).into(), length).unwrap();
        wide.trunc()
    });
    proptest::collection::btree_map(prefix, 0_u8..4, 0..12)
}

proptest! {
    #[test]
    fn each_address_is_let_in_from_its_next_owner_and_no_other(before in table(), after in table()) {
        let list = |table: &BTreeMap<IpNet, u8>| table.iter().map(|(prefix, owner)| (*prefix, *owner)).collect::<Vec<_>>();
        let changes = expected(&host(Backend::Engine, &list(&before)), &host(Backend::Engine, &list(&after)), &[], nobody);
        let lent: Vec<(IpNet, PublicKey)> = changes.iter().map(|change| match change {
            Change::ExpectPrefix { peer, prefix, .. } => (*prefix, peer.key),
            other => panic!("{other}"),
        }).collect();
        for last in 0..=255 {
            let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
            let (was, will) = (owner(&before, address), owner(&after, address));
            let may = |number: u8| lent.iter().any(|(prefix, to)| *to == key(number) && prefix.contains(&address));
            if let Some((_, number)) = will {
                prop_assert!(may(number) || was.is_some_and(|(_, was)| was == number), "{address}: {was:?} {will:?} {lent:?}");
            }
            for number in 0..4 {
                // Who gains a wider prefix may send from exceptions inside it for that time.
                let gains = after.iter().any(|(prefix, owner)| *owner == number && prefix.contains(&address));
                prop_assert!(!may(number) || gains, "{address}: {number} {lent:?}");
            }
        }
    }
}

#[test]
fn the_kernel_can_let_nothing_in_before_its_time() {
    let prefix: IpNet = "10.0.0.0/24".parse().unwrap();
    let (before, after) = ([(prefix, 1)], [(prefix, 2)]);
    let changes = |backend| expected(&host(backend, &before), &host(backend, &after), &[prefix], |_| true).len();
    assert_eq!((changes(Backend::Engine), changes(Backend::Kernel)), (4, 0));
}

#[test]
fn relays_may_send_from_all_that_is_routed_and_others_from_what_they_gain() {
    let (wide, narrow): (IpNet, IpNet) = ("10.0.0.0/16".parse().unwrap(), "10.0.7.0/24".parse().unwrap());
    let (before, after) = ([(wide, 1), (narrow, 2)], [(wide, 1), (narrow, 3)]);
    let changes =
        expected(&host(Backend::Engine, &before), &host(Backend::Engine, &after), &[wide], |peer| *peer == name(1));
    let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["let 10.0.0.0/16 in from n1 over wl0 as well", "let 10.0.7.0/24 in from n3 over wl0 as well"]);
}
