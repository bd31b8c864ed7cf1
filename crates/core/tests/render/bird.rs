//! What BIRD is told, as one of ours and as a part of the administrator's; a foreign router inside the own AS.

use std::collections::BTreeSet;

use wayleave_core::network::Platform;
use wayleave_core::plan::{Member, NodePlan};
use wayleave_core::render::{KeySource, bird, bird_sessions, files};

use super::support::{network, planned};

/// Two reflectors and a node with neighbours of its own AS and of others; clients are told of by BGP.
fn text(of_node: &str, of_all: &str) -> String {
    format!(
        r#"
[network]
name = "n"
prefixes = ["10.50.0.0/24", "fd50::/64"]
platform = "agent"
[bgp]
asn = 64512
own = ["172.20.1.0/24", "fd00:1::/48"]
roa_v4 = "/etc/bird/roa4.conf"
rtr = ["127.0.0.1"]
{of_all}
[entry]
endpoint = "192.0.2.100"
[nodes.a]
endpoint = "192.0.2.1"
entry = true
service_addresses = ["172.20.1.1"]
{of_node}
[nodes.r1]
endpoint = "192.0.2.2"
bgp = true
[nodes.r2]
endpoint = "192.0.2.3"
bgp = true
[neighbours.home-router]
node = "a"
asn = 64512
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
endpoint = "198.51.100.1:51823"
port = 51823
own_addresses = ["10.132.0.1/30", "fe80::1/64"]
addresses = ["10.132.0.2", "fe80::2"]
accept = ["172.20.0.0/14"]
export = "all"
bfd = true
[neighbours.other]
node = "a"
asn = 64513
public_key = "LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM="
port = 51824
own_addresses = ["fe80::1/64"]
addresses = ["fe80::3"]
sessions = "extended-next-hop"
accept = ["172.20.0.0/14", "fd00::/8"]
"#
    )
}

fn plan_of(text: &str) -> NodePlan {
    let plan = planned(network(text));
    let node = plan.network.node_numbers().find(|ix| plan.network.node(*ix).name.as_str() == "a").unwrap();
    plan.of(Member::Node(node))
}

const THEIRS: &str = "bird = { configuration = \"/etc/bird/bird.conf\" }\ndevice = \"wg-1\"";

/// Names that a configuration gives: to protocols, tables and constants.
fn given(text: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["protocol", _, name, ..] | ["define", name, ..] | [_, "table", name] => Some((*name).to_owned()),
            _ => None,
        }
    };
    let outermost = text.lines().filter(|line| !line.starts_with(['\t', '#', ' ', '}']));
    outermost.filter_map(name).map(|name| name.trim_end_matches(';').to_owned()).collect()
}

#[test]
fn in_an_administrators_bird_every_name_and_table_is_ours_and_nothing_is_said_that_only_one_can_say() {
    let plan = plan_of(&text(THEIRS, "exchange = \"bgp\""));
    let part = bird(&plan).unwrap();
    assert_eq!(part.name, "wayleave-wg-1.conf");
    let names = given(&part.text);
    assert!(names.len() > 20, "{names:?}");
    for name in &names {
        assert!(name.starts_with("wayleave_wg_1_"), "{name}");
    }
    for line in part.text.lines().map(str::trim) {
        let only_once = [
            "log ",
            "timeformat",
            "router id 1",
            "graceful restart wait",
            "protocol device",
            "protocol bfd",
            "strict bind",
        ];
        assert!(!only_once.iter().any(|words| line.starts_with(words)) || line == "router id 172.20.1.1;", "{line}");
        assert!(!line.contains("master") && line != "ipv4;" && line != "ipv6;", "in their table: {line}");
    }
    // Every channel, of the protocols that have any, is in a table of ours.
    let channels = part.text.matches("\tipv4 {").count() + part.text.matches("\tipv6 {").count();
    let in_tables = part.text.matches("table wayleave_wg_1_").count();
    assert!(channels > 10 && in_tables >= channels, "{channels} {in_tables}");
    for words in
        ["#     include \"/etc/bird/wayleave-wg-1.con[f]\";", "#     protocol bfd { interface \"wgn-home-router\""]
    {
        assert!(part.text.contains(words), "{words}\n{}", *part.text);
    }
    let sessions = bird_sessions(&plan);
    assert!(sessions.iter().all(|session| names.contains(&session.protocol)), "{sessions:?}");
}

#[test]
fn both_say_the_same_but_for_names_and_tables() {
    let own = bird(&plan_of(&text("device = \"wg-1\"", "exchange = \"bgp\""))).unwrap();
    let part = bird(&plan_of(&text(THEIRS, "exchange = \"bgp\""))).unwrap();
    let filters = |text: &str| -> Vec<String> {
        let plain = text.replace("wayleave_wg_1_", "");
        let kept = plain.lines().map(str::trim).filter(|line| line.contains("then") || line.contains("kernel table"));
        kept.map(str::to_owned).collect()
    };
    assert_eq!(filters(&own.text), filters(&part.text));
    assert!(filters(&own.text).len() > 20);
}

#[test]
fn a_foreign_router_of_the_own_as_is_a_client_of_its_node_where_there_is_anybody_to_tell_it_of() {
    let clients = |text: &str| {
        let plan = plan_of(text);
        let text = bird(&plan).unwrap().text.clone();
        let of = |name: &str| {
            let begin = text.find(&format!("protocol bgp {name} ")).unwrap_or_else(|| panic!("{name}: {}", *text));
            let end = text[begin..].find("\n}\n").unwrap();
            text[begin..begin + end].contains("rr client;")
        };
        [of("n_home_router_v4"), of("n_home_router_v6"), of("n_other")]
    };
    let with_reflectors = text("", "reflectors = [\"r1\", \"r2\"]");
    assert_eq!(clients(&with_reflectors), [true, true, false]);
    // Alone with one there is nobody to tell it of; with two of them these are.
    let alone = text("", "").replace("bgp = true", "");
    assert_eq!(clients(&alone), [false, false, false]);
    let two = format!(
        "{alone}\n{}",
        alone[alone.find("[neighbours.home-router]").unwrap()..alone.find("[neighbours.other]").unwrap()]
            .replace("home-router", "second")
            .replace("51823", "51825")
            .replace("P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=")
    );
    assert_eq!(clients(&two), [true, true, false]);
}

#[test]
fn without_the_agent_the_part_is_rendered_with_the_line_that_includes_it() {
    let plan = plan_of(
        &text(THEIRS, "")
            .replace("platform = \"agent\"", "platform = \"wg-quick\"")
            .replace("entry = true", "")
            .replace("[entry]\nendpoint = \"192.0.2.100\"\n", ""),
    );
    let rendered = files(&plan, Platform::WgQuick, &KeySource::File("/etc/wireguard/%i.key"), None).unwrap();
    let part = rendered.iter().find(|file| file.name == "wayleave-wg-1.conf").unwrap();
    assert!(part.text.contains("which includes it by this line:"), "{}", *part.text);
}

#[test]
fn a_long_name_is_cut_to_what_bird_takes_and_stays_its_own() {
    let name = "a".repeat(60);
    let plan = plan_of(&text(THEIRS, "").replace("home-router", &name));
    let protocols: Vec<String> = bird_sessions(&plan).into_iter().map(|session| session.protocol).collect();
    assert!(protocols.iter().all(|protocol| protocol.len() <= 63), "{protocols:?}");
    assert_eq!(protocols.iter().collect::<BTreeSet<_>>().len(), protocols.len());
}
