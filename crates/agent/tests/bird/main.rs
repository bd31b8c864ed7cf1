//! BIRD itself, several of it, in network namespaces of the tests' own: what its control socket says in every state of a session.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod hostile;
mod kept;
mod two;

use std::time::Duration;

use two::{Two, can_run, until};
use wayleave_agent::bird::protocols::Protocol;
use wayleave_agent::bird::routes::{self, why_not};
use wayleave_agent::bird::{Connection, SocketError};

const PATIENCE: Duration = Duration::from_secs(5);

fn named<'a>(protocols: &'a [Protocol], name: &str) -> &'a Protocol {
    protocols.iter().find(|protocol| protocol.name == name).unwrap_or_else(|| panic!("no {name}: {protocols:#?}"))
}

/// Our side of a session of each state.
const OURS: &str = r#"
protocol static st { ipv4; route 10.0.0.1/32 blackhole; }
protocol bgp good { description "a good one"; local 10.9.0.1 as 64512; neighbor 10.9.0.2 as 64513;
    ipv4 { import keep filtered; import where net != 172.20.5.0/24; export where source = RTS_STATIC; import limit 1000 action restart; }; }
protocol bgp limited { local 10.9.1.1 as 64512; neighbor 10.9.1.2 as 64514; error wait time 1, 2;
    ipv4 { import limit 3 action disable; import all; export none; }; }
protocol bgp wrong { local 10.9.2.1 as 64512; neighbor 10.9.2.2 as 64599; connect delay time 1; error wait time 1, 2;
    ipv4 { import all; export none; }; }
protocol bgp nobody { local 10.9.0.1 as 64512; neighbor 10.9.0.3 as 64599; connect delay time 1; connect retry time 2;
    ipv4 { import all; export none; }; }
protocol bgp waits { passive; local 10.9.0.1 as 64512; neighbor 10.9.0.9 as 64599; ipv4 { import all; export none; }; }
protocol bgp shut { disabled; local 10.9.0.1 as 64512; neighbor 10.9.0.10 as 64599; ipv4 { import all; export none; }; }
protocol bgp six { local fe80::1 as 64512; neighbor fe80::2%va as 64513; connect delay time 1;
    ipv4 { import all; export none; extended next hop; }; ipv6 { import all; export none; }; }
"#;

const THEIRS: &str = r#"
protocol static st { ipv4;
    route 172.20.1.0/24 blackhole { bgp_community.add((64511,1)); bgp_large_community.add((64511,1,2)); bgp_ext_community.add((rt,1,2)); };
    route 172.20.2.0/24 blackhole; route 172.20.3.0/24 blackhole; route 172.20.4.0/24 blackhole; route 172.20.5.0/24 blackhole; }
protocol static st6 { ipv6; route fd00:1::/48 blackhole; }
protocol bgp good { local 10.9.0.2 as 64513; neighbor 10.9.0.1 as 64512; ipv4 { import all; export all; }; }
protocol bgp second { local 10.9.1.2 as 64514; neighbor 10.9.1.1 as 64512; connect delay time 1; ipv4 { import all; export all; }; }
protocol bgp wrong { local 10.9.2.2 as 64515; neighbor 10.9.2.1 as 64512; connect delay time 1; ipv4 { import all; export all; }; }
protocol bgp six { local fe80::2 as 64513; neighbor fe80::1%vb as 64512; connect delay time 1;
    ipv4 { import all; export filter { bgp_path.prepend(65000); accept; }; extended next hop; }; ipv6 { import all; export all; }; }
"#;

#[test]
fn every_state_of_a_session_is_told_by_its_control_socket() {
    if !can_run("every_state_of_a_session") {
        return;
    }
    let birds = Two::start("states", OURS, THEIRS);
    let mut connection = Connection::open(&birds.socket(), PATIENCE).unwrap();
    assert!(connection.welcome().starts_with("BIRD "), "{}", connection.welcome());
    let status = connection.status().unwrap();
    assert_eq!(status.router_id, "10.0.0.1");
    assert!(status.is_settled() && status.now.is_some() && status.version.starts_with(['2', '3']), "{status:?}");
    let settled = |all: &[Protocol]| {
        let errs = |name: &str| named(all, name).bgp.as_ref().unwrap().last_error.is_some();
        named(all, "good").words == "Established"
            && named(all, "six").words == "Established"
            && errs("limited")
            && errs("wrong")
            && named(all, "good").channels[0].imported == Some(4)
    };
    let all = until(|| connection.protocols().ok().filter(|all| settled(all)));
    let bgp = |name: &str| named(&all, name).bgp.as_ref().unwrap();
    assert_eq!(named(&all, "st").kind, "Static");
    let good = named(&all, "good");
    assert_eq!((good.state.as_str(), good.description.as_deref()), ("up", Some("a good one")));
    assert_eq!(
        (bgp("good").neighbour.as_str(), bgp("good").neighbour_asn, bgp("good").local_asn),
        ("10.9.0.2", 64_513, 64_512)
    );
    assert!(!bgp("good").is_internal() && bgp("good").hold_s.is_some_and(|(left, all)| left <= all && all == 240.0));
    let channel = &good.channels[0];
    assert_eq!((channel.imported, channel.filtered, channel.exported), (Some(4), Some(1), Some(1)), "{good:#?}");
    assert_eq!(channel.limit.as_ref().map(|limit| (limit.routes, limit.is_hit)), Some((1_000, false)));
    let limited = named(&all, "limited");
    assert_eq!(
        (limited.state.as_str(), bgp("limited").last_error.as_deref()),
        ("down", Some("Automatic shutdown: Route limit exceeded"))
    );
    assert!(
        limited.channels[0].limit.as_ref().is_some_and(|limit| limit.is_hit && limit.action == "disable"),
        "{limited:#?}"
    );
    let wrong = bgp("wrong").last_error.as_deref().unwrap();
    assert!(wrong.contains("Bad peer AS") || wrong.starts_with("Socket:"), "{wrong}");
    assert!(["Active", "Connect", "Idle", "OpenSent"].contains(&bgp("nobody").state.as_str()), "{:?}", bgp("nobody"));
    assert!(["Passive", "Idle"].contains(&bgp("waits").state.as_str()), "{:?}", bgp("waits"));
    assert_eq!((named(&all, "shut").state.as_str(), bgp("shut").state.as_str()), ("down", "Down"));
    assert_eq!((bgp("six").neighbour.as_str(), named(&all, "six").channels.len()), ("fe80::2%va", 2));

    let routes = connection.routes([172, 20, 1, 7].into(), None).unwrap();
    let [best, other] = routes.as_slice() else { panic!("{routes:#?}") };
    assert_eq!((best.protocol.as_str(), best.prefix.as_str(), best.is_best), ("good", "172.20.1.0/24", true));
    let attributes = best.bgp.as_ref().unwrap();
    assert_eq!(
        (attributes.path.as_slice(), attributes.communities.as_slice()),
        (&["64513".to_owned()][..], &["(64511,1)".to_owned()][..])
    );
    assert_eq!((attributes.large_communities.len(), attributes.extended_communities.len()), (1, 1));
    assert_eq!((best.next_hops[0].via.as_deref(), best.next_hops[0].device.as_str()), (Some("10.9.0.2"), "va"));
    assert_eq!(other.next_hops[0].via.as_deref(), Some("fe80::2"));
    assert_eq!(why_not(best, other, |_| false), "its AS path has 2 ASNs, the best one 1");
    assert!(connection.routes([9, 9, 9, 9].into(), None).unwrap().is_empty());
    assert_eq!(connection.routes([10, 0, 0, 1].into(), Some("master4")).unwrap()[0].kind, "blackhole");
    assert_eq!(connection.routes("fd00:1::7".parse().unwrap(), None).unwrap()[0].table, "master6");
    let counts = connection.counts().unwrap();
    assert!(counts.contains(&routes::Count { table: "master6".into(), routes: 1, prefixes: 1 }), "{counts:?}");
}

#[test]
fn what_is_refused_says_why_and_the_connection_goes_on() {
    if !can_run("what_is_refused_says_why") {
        return;
    }
    let birds = Two::start("refused", OURS, THEIRS);
    let mut connection = Connection::open(&birds.socket(), PATIENCE).unwrap();
    let error = connection.ask("show nothing at all").unwrap_err().to_string();
    assert!(error.starts_with("BIRD refuses `show nothing at all`: syntax error"), "{error}");
    assert!(matches!(connection.ask("show status\ndown"), Err(SocketError::Command(_))), "one line, one command");
    connection.restrict().unwrap();
    let error = connection.ask("disable good").unwrap_err().to_string();
    assert!(error.ends_with("Access denied"), "{error}");
    assert!(connection.status().unwrap().is_settled());
}
