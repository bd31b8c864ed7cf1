//! Messages as bytes: what is written is read again, nothing makes a node panic or grow, strangers are not listened to.

use proptest::prelude::*;
use wayleave_core::limits::{EXCHANGE_GENERATION_MAX, EXCHANGE_MESSAGE_BYTES_MAX, EXCHANGE_STRANGERS_MAX};
use wayleave_core::names::Name;
use wayleave_core::node::exchange::record::{Claim, Record, View};
use wayleave_core::node::exchange::wire::{Header, Part, WireError, decode, encode};
use wayleave_core::node::handover::{Offer, Place};
use wayleave_core::node::{Event, Node, Output, Time};

use crate::traffic::mesh;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn record(origin: &str, other: &str, generation: u32, view: View) -> Record {
    Record::Link { origin: name(origin), other: name(other), generation, view }
}

fn claim(client: &str, server: &str, epoch: u32, held: bool) -> Record {
    Record::Client { client: name(client), epoch, claim: Claim { held, server: name(server) } }
}

fn view() -> impl Strategy<Value = View> {
    prop_oneof![Just(View::AsStated), any::<u32>().prop_map(|us| View::Takes { us }), Just(View::Down)]
}

fn any_record() -> impl Strategy<Value = Record> {
    let any_name = "[a-z]([a-z0-9-]{0,20}[a-z0-9])?";
    (any_name, any_name, any::<u32>(), view(), any::<Option<bool>>()).prop_map(|(a, b, generation, view, held)| {
        held.map_or_else(|| record(&a, &b, generation, view), |held| claim(&a, &b, generation, held))
    })
}

fn offer() -> impl Strategy<Value = Offer> {
    let place = prop_oneof![
        any::<u16>().prop_map(Place::Port),
        any::<([u8; 4], u16)>().prop_map(|place| Place::At(place.into())),
        any::<([u8; 16], u16)>().prop_map(|place| Place::At(place.into())),
    ];
    ("[a-z]([a-z0-9-]{0,20}[a-z0-9])?", place, any::<Option<[u8; 12]>>()).prop_map(|(client, place, seen)| Offer {
        client: name(&client),
        place,
        seen,
    })
}

fn part() -> impl Strategy<Value = Part> {
    let digests = proptest::collection::vec(any::<u32>(), 64);
    let digests = digests.prop_map(|digests| Box::new(digests.try_into().unwrap()));
    prop_oneof![
        proptest::collection::vec(any_record(), 0..8).prop_map(Part::Records),
        proptest::collection::vec(any::<u16>(), 0..16).prop_map(Part::Receipts),
        (any::<bool>(), digests).prop_map(|(reply, digests)| Part::Summary { reply, digests }),
        offer().prop_map(Part::Offer),
    ]
}

prop_compose! {
    fn header()(
        flags in any::<[bool; 4]>(), loss: u8, number: u16, heard: Option<(u16, u16)>, digest: u32, boot: u16,
    ) -> Header {
        let [poll, fast, deaf, leaving] = flags;
        Header { poll, fast, deaf, leaving, loss, number, heard, digest, boot }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again_and_nothing_shorter_or_longer(
        header in header(), parts in proptest::collection::vec(part(), 0..3), extra: u8,
    ) {
        let bytes = encode(&header, &parts);
        prop_assume!(bytes.len() < EXCHANGE_MESSAGE_BYTES_MAX);
        let message = decode(&bytes).unwrap();
        prop_assert_eq!((message.header, &message.parts, message.skipped), (header, &parts, 0));
        for length in 0..bytes.len() {
            // A cut between two parts leaves a message with fewer of them.
            if let Ok(shorter) = decode(&bytes[..length]) {
                prop_assert!(shorter.parts.len() < parts.len());
                prop_assert_eq!(encode(&shorter.header, &shorter.parts), &bytes[..length]);
            }
        }
        prop_assert!(decode(&[&bytes[..], &[extra]].concat()).is_err());
    }

    #[test]
    fn arbitrary_and_damaged_bytes_never_panic(
        header in header(), parts in proptest::collection::vec(part(), 0..3),
        noise in proptest::collection::vec(any::<u8>(), 0..1_500), damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let _ = decode(&noise);
        let _ = decode(&[&[1], &noise[..]].concat());
        let mut bytes = encode(&header, &parts);
        for (at, value) in damage {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        let _ = decode(&bytes);
        let mut node = Node::new(mesh(6, 2, 1), &name("n0"), 1, Time::default()).unwrap();
        for bytes in [noise, bytes] {
            node.handle(Event::Received { from: name("n1"), bytes }, Time::from_us(1_000));
            drain(&mut node, Time::from_us(1_000));
        }
    }
}

fn drain(node: &mut Node, now: Time) -> Vec<Output> {
    std::iter::from_fn(|| node.poll(now)).collect()
}

/// A node of a mesh of six that is sent parts by a neighbour, one message each.
fn told(parts: Vec<Part>) -> Node {
    let mut node = Node::new(mesh(6, 2, 1), &name("n0"), 1, Time::default()).unwrap();
    for (number, part) in (0..).zip(parts) {
        let now = Time::from_us(1_000 * (1 + u64::from(number)));
        let bytes = encode(&Header { number, boot: 9, ..Header::default() }, &[part]);
        node.handle(Event::Received { from: name("n1"), bytes }, now);
        drain(&mut node, now);
    }
    node
}

fn state(node: &Node, a: &str, b: &str) -> Option<wayleave_core::plan::LinkState> {
    node.states().of(&name(a), &name(b))
}

#[test]
fn an_older_generation_never_replaces_a_newer_one() {
    let newer = Part::Records(vec![record("n2", "n3", 7, View::Down)]);
    let older = Part::Records(vec![record("n2", "n3", 6, View::AsStated)]);
    let node = told(vec![newer.clone(), older.clone()]);
    assert_eq!(state(&node, "n2", "n3"), Some(wayleave_core::plan::LinkState::Down));
    let newest = Part::Records(vec![record("n2", "n3", 8, View::AsStated)]);
    assert_eq!(state(&told(vec![newer, newest, older]), "n2", "n3"), None);
}

#[test]
fn a_generation_beyond_all_bounds_is_refused_and_counted() {
    let node = told(vec![Part::Records(vec![record("n2", "n3", EXCHANGE_GENERATION_MAX + 1, View::Down)])]);
    assert_eq!((state(&node, "n2", "n3"), node.counters().refused), (None, 1));
}

#[test]
fn who_has_no_link_with_a_node_is_not_listened_to() {
    let mut node = told(Vec::new());
    let bytes = encode(&Header::default(), &[Part::Records(vec![record("n2", "n3", 1, View::Down)])]);
    for from in ["somebody", "n0"] {
        node.handle(Event::Received { from: name(from), bytes: bytes.clone() }, Time::from_us(5));
    }
    assert_eq!((state(&node, "n2", "n3"), node.counters().strange, node.counters().received), (None, 2, 0));
}

#[test]
fn other_versions_and_unknown_kinds_are_passed_over_and_counted() {
    let mut bytes = encode(&Header { number: 3, ..Header::default() }, &[]);
    let future = [&bytes[..], &[77, 0, 3, 1, 2, 3]].concat();
    // A record of another kind before one that is known.
    let known = encode(&Header::default(), &[Part::Records(vec![record("n2", "n3", 1, View::Down)])])[18..].to_vec();
    let body = [&[200, 2, 9, 9], &known[..]].concat();
    let mixed = [&bytes[..], &[1, 0, body.len() as u8], &body[..]].concat();
    let mut node = told(Vec::new());
    for message in [&future, &mixed] {
        node.handle(Event::Received { from: name("n1"), bytes: message.clone() }, Time::from_us(5));
    }
    assert_eq!((node.counters().skipped, node.counters().received), (2, 2));
    assert_eq!(state(&node, "n2", "n3"), Some(wayleave_core::plan::LinkState::Down));
    bytes[0] = 2;
    assert_eq!(decode(&bytes), Err(WireError::Version(2)));
    node.handle(Event::Received { from: name("n1"), bytes }, Time::from_us(6));
    assert_eq!((node.counters().unknown_version, node.counters().malformed), (1, 0));
}

#[test]
fn a_flood_of_records_of_unknown_links_fills_no_memory() {
    let flood = |from: u32| {
        let all = (from..from + 20).map(|at| record(&format!("x{at}"), "y", 1, View::Down));
        Part::Records(all.collect())
    };
    let node = told((0..500).map(|at| flood(at * 20)).collect());
    assert_eq!(node.counters().received, 500);
    assert_eq!(node.counters().refused, 10_000 - EXCHANGE_STRANGERS_MAX as u64);
    assert_eq!(node.states().iter().count(), 0);
}

#[test]
fn a_node_that_starts_anew_takes_up_its_own_generations_where_they_were() {
    // What others remember of it stands until it has tried the link itself.
    let memory = Part::Records(vec![record("n0", "n1", 41, View::Down)]);
    let mut node = told(vec![memory]);
    assert_eq!(node.counters().remembered, 1);
    let later = Time::from_us(2_000_000);
    let bytes = encode(&Header { number: 9, boot: 9, ..Header::default() }, &[]);
    node.handle(Event::Received { from: name("n1"), bytes }, later);
    let sent = drain(&mut node, later).into_iter().filter_map(|output| match output {
        Output::Send { to, bytes } if to == name("n1") => Some(decode(&bytes).unwrap()),
        _ => None,
    });
    let records = sent.flat_map(|message| message.parts).find_map(|part| match part {
        Part::Records(records) => Some(records),
        Part::Receipts(_) | Part::Summary { .. } | Part::Offer(_) => None,
    });
    assert_eq!(records, Some(vec![record("n0", "n1", 42, View::AsStated)]));
}
