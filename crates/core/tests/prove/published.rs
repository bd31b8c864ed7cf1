//! The published set-up of a proxy on five continents, as its text prints it: what it calls a full mesh is none.

use std::sync::Arc;

use wayleave_core::prove::{Device, Host, Hosts, Peer, Proof, TABLE_MAIN, Verdict, reachability};

const FAR: [(&str, &str); 7] = [
    ("gru", "10.50.1.1"),
    ("iad", "10.50.2.1"),
    ("ord", "10.50.2.2"),
    ("lax", "10.50.2.3"),
    ("lhr", "10.50.3.1"),
    ("fra", "10.50.3.2"),
    ("cdg", "10.50.3.3"),
];
const APAC: [(&str, &str); 3] = [("nrt", "10.50.4.1"), ("sin", "10.50.4.2"), ("syd", "10.50.4.3")];
const BY_HUB: &str = "10.50.0.0/24 10.50.1.0/24 10.50.2.0/24 10.50.3.0/24";

/// A host by name, address, and peers by number, whether it dials them, and their AllowedIPs.
fn host(name: &str, address: &str, forwards: bool, peers: &[(u32, bool, String)]) -> Host {
    let peer = |(to, dials, allowed): &(u32, bool, String)| Peer {
        to: Some((*to, 0)),
        dials: *dials,
        allowed: allowed.split(' ').map(|prefix| prefix.parse().expect("it is a prefix")).collect::<Vec<_>>().into(),
        written: None,
    };
    Host {
        name: name.into(),
        addresses: vec![address.parse().expect("it is an address")],
        devices: vec![Device {
            name: "wg0".into(),
            routed_in: Some(TABLE_MAIN),
            peers: peers.iter().map(peer).collect(),
            ..Device::default()
        }],
        forwards_v4: forwards,
        ..Host::default()
    }
}

/// 0 is the hub in Ireland, 1 Hong Kong, then the ten others.
fn printed() -> Hosts {
    let all = || FAR.iter().chain(&APAC).zip(2..);
    let own = |address: &str| format!("{address}/32");
    let mut of_hub: Vec<_> = all().map(|((_, address), at)| (at, false, own(address))).collect();
    of_hub.push((1, false, "10.50.5.0/24".into()));
    let mut of_hkg = vec![(0, true, "10.50.0.1/32 10.50.1.0/24 10.50.2.0/24 10.50.3.0/24".to_owned())];
    of_hkg.extend(all().skip(FAR.len()).map(|((_, address), at)| (at, false, own(address))));
    let mut hosts = vec![host("ireland", "10.50.0.1", true, &of_hub), host("hkg", "10.50.5.1", true, &of_hkg)];
    let hub = (0, true, BY_HUB.to_owned());
    let hkg = (1, true, "10.50.5.0/24".to_owned());
    hosts.extend(FAR.iter().map(|(name, address)| host(name, address, false, std::slice::from_ref(&hub))));
    hosts.extend(APAC.iter().map(|(name, address)| host(name, address, false, &[hub.clone(), hkg.clone()])));
    let mut hosts = Hosts { hosts, ..Hosts::default() };
    hosts.name_ends();
    hosts
}

fn found(proof: &Proof) -> Vec<String> {
    proof.findings().sorted().iter().map(|finding| format!("{} {}", finding.kind.code(), finding.kind)).collect()
}

fn end(proof: &Proof, name: &str) -> usize {
    proof.hosts.ends.iter().position(|end| end.name == name).expect("the end exists")
}

#[test]
fn siblings_in_asia_cannot_reach_each_other_nor_anybody_else_asia() {
    let proof = reachability(printed());
    let verdict = |from, to| proof.verdict(end(&proof, from), end(&proof, to));
    for (a, _) in APAC {
        assert_eq!(verdict(a, "hkg"), Verdict::Fine);
        for (b, _) in APAC.iter().filter(|(b, _)| *b != a) {
            assert_eq!(verdict(a, b), Verdict::Dropped, "{a} to {b}");
        }
        for (b, _) in FAR {
            assert_eq!(verdict(b, a), Verdict::Dropped, "{b} to {a}");
        }
    }
    for (a, _) in FAR {
        assert_eq!((verdict(a, "ireland"), verdict(a, "gru").is_good()), (Verdict::Fine, true), "{a}");
        assert_eq!(verdict(a, "hkg"), Verdict::Dropped);
    }
    let found = found(&proof);
    let says = |text: &str| assert!(found.iter().any(|line| line.contains(text)), "{text} in {found:#?}");
    says("WL301 nrt can't reach sin, and another pair alike: nrt has no route to 10.50.4.2");
    says("WL301 gru can't reach nrt, and 3 pairs alike: gru has no route to 10.50.4.1");
    says(
        "WL302 nrt loses what it sends to gru, and 3 pairs alike: gru does not allow 10.50.4.1 for peer ireland in wg0, but for nobody",
    );
}

#[test]
fn a_half_configured_direct_peer_takes_what_the_hub_would_deliver() {
    let mut hosts = printed();
    let to_hub = &mut hosts.hosts[9].devices[0].peers[0];
    to_hub.allowed = Arc::from(["10.50.0.0/16".parse().unwrap()]);
    let other = &mut hosts.hosts[2].devices[0].peers[0];
    other.allowed = Arc::from(["10.50.0.0/16".parse().unwrap()]);
    let clean = reachability(hosts.clone());
    assert_eq!(clean.verdict(end(&clean, "nrt"), end(&clean, "gru")), Verdict::Fine);
    // nrt gets a direct entry for gru, which has none for nrt.
    let direct =
        Peer { to: Some((2, 0)), dials: true, allowed: Arc::from(["10.50.1.1/32".parse().unwrap()]), written: None };
    hosts.hosts[9].devices[0].peers.push(direct);
    let found = found(&reachability(hosts));
    let hijack =
        "WL307 on nrt, 10.50.1.1/32 of gru takes from 10.50.0.0/16 of ireland what ireland would deliver to gru";
    assert!(found.iter().any(|line| line == hijack), "{found:#?}");
    assert!(found.iter().any(|line| line.contains("nrt sends 10.50.1.1 to gru, where nrt is no peer")), "{found:#?}");
}

#[test]
fn a_leaf_that_is_allowed_more_than_it_has_could_speak_for_others() {
    let mut hosts = printed();
    hosts.hosts[0].devices[0].peers[0].allowed = Arc::from(["10.50.1.0/30".parse().unwrap()]);
    let found = found(&reachability(hosts));
    let spoof = "gru could send to ireland as 10.50.1.0/32, 10.50.1.2/31, which are not behind it";
    assert!(found.iter().any(|line| line.contains(spoof)), "{found:#?}");
}
