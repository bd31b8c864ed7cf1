//! Plans of small networks, told as text: what each host is given, and what is found wrong.
//!
//! `peers` checks a member's peers as `name: prefixes [keepalive]`; `found` checks the findings of the plan alone. The
//! traps of published set-ups (siblings that can't reach each other, keepalives that do nothing) stand here for good.

use std::collections::BTreeSet;
use std::sync::Arc;

use wayleave_core::check::Findings;
use wayleave_core::file::load_with;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{
    Claims, Ledger, LinkState, LinkStates, OWN_TABLES, Plan, PlanFile, Side, diff, own_table, plan, plan_now,
};

const HEAD: &str = "[network]\nname = \"t\"\nprefixes = [\"10.50.0.0/16\"]\n";

fn planned(text: &str, ledger: &Ledger, states: &LinkStates) -> (Plan, Ledger, Findings) {
    let text = format!("{HEAD}{text}");
    let loaded = load_with("t.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let trouble = format!("{:?} {:?}", loaded.findings.sorted(), resolution.findings.sorted());
    let network = resolution.network.unwrap_or_else(|| panic!("{trouble}"));
    plan(Arc::new(network), ledger, states)
}

fn simply(text: &str) -> Plan {
    planned(text, &Ledger::default(), &LinkStates::default()).0
}

fn name(text: &str) -> Name {
    Name::new(text).expect("tests use good names")
}

/// A member's peers, one a line.
fn peers(plan: &Plan, member: &str) -> String {
    let own = plan.of(plan.find(&name(member)).expect("the member exists"));
    let line = |peer: &wayleave_core::plan::PeerPlan| {
        let allowed: Vec<String> = peer.allowed.iter().map(ToString::to_string).collect();
        let keepalive = peer.keepalive_s.map_or(String::new(), |s| format!(" [{s} s]"));
        let dials = if peer.endpoints.is_empty() { "" } else { " dials" };
        format!("{}: {}{keepalive}{dials}", peer.name, if allowed.is_empty() { "-".into() } else { allowed.join(" ") })
    };
    own.peers.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn path(plan: &Plan, from: &str, to: &str) -> String {
    let find = |text| plan.find(&name(text)).expect("the member exists");
    let path = plan.path(find(from), find(to));
    let names = path.map(|path| path.into_iter().map(|step| plan.name(step).to_string()).collect::<Vec<_>>());
    names.map_or("none".into(), |names| names.join(" > "))
}

/// The plan's own findings, missing keys left out.
fn found(text: &str) -> Vec<String> {
    let (.., findings) = planned(text, &Ledger::default(), &LinkStates::default());
    let sentence = |f: &&wayleave_core::check::Finding| format!("{} {}", f.kind.code(), f.kind);
    findings.sorted().iter().map(sentence).filter(|text| !text.starts_with("WL201")).collect()
}

/// The network of the published text, shortened: a hub, a regional relay, siblings behind NAT, a spoke elsewhere.
const APAC: &str = "
[regions.central]\nprefix = \"10.50.0.0/24\"
[regions.europe]\nprefix = \"10.50.3.0/24\"
[regions.asia]\nprefix = \"10.50.4.0/24\"
[regions.hong-kong]\nprefix = \"10.50.5.0/24\"
[nodes.ireland]\nregion = \"central\"\nhub = true\nendpoint = \"54.171.48.207\"
[nodes.hkg]\nregion = \"hong-kong\"\nhub = true\nendpoint = \"35.241.112.61\"
[nodes.lhr]\nregion = \"europe\"
[nodes.nrt]\nregion = \"asia\"
[nodes.sin]\nregion = \"asia\"
[[links]]\nfrom = [\"*\"]\nto = [\"ireland\"]
[[links]]\nfrom = [\"hkg\"]\nto = [\"asia\"]
[rtt_ms]\nireland = { hkg = 220, nrt = 272, sin = 188, lhr = 11 }\nhkg = { nrt = 49, sin = 38 }
";

#[test]
fn siblings_behind_nat_reach_each_other_over_the_relay() {
    let plan = simply(APAC);
    assert_eq!(path(&plan, "nrt", "sin"), "nrt > hkg > sin");
    assert_eq!(path(&plan, "sin", "nrt"), "sin > hkg > nrt");
    assert_eq!(path(&plan, "lhr", "nrt"), "lhr > ireland > hkg > nrt");
    assert_eq!(peers(&plan, "nrt"), "hkg: 10.50.0.0/16 [25 s] dials\nireland: - [25 s] dials");
    assert_eq!(peers(&plan, "sin"), "hkg: 10.50.0.0/16 [25 s] dials\nireland: 10.50.0.0/24 10.50.3.0/24 [25 s] dials");
    assert_eq!(peers(&plan, "hkg"), "ireland: 10.50.0.0/24 10.50.3.0/24 dials\nnrt: 10.50.4.1/32\nsin: 10.50.4.2/32");
}

#[test]
fn keepalives_are_sent_only_by_those_who_alone_can_dial() {
    let plan = simply(APAC);
    assert_eq!(
        peers(&plan, "ireland"),
        "hkg: 10.50.4.1/32 10.50.5.0/24 dials\nlhr: 10.50.3.1/32\nnrt: -\nsin: 10.50.4.2/32"
    );
}

#[test]
fn without_the_relay_siblings_have_no_path_and_it_is_said() {
    let text =
        "[nodes.a]\nendpoint = \"192.0.2.1\"\n[nodes.b]\n[nodes.c]\n[nodes.d]\n[[links]]\nfrom = [\"a\"]\nto = [\"*\"]";
    assert_eq!(found(text), ["WL203 no path between b and c, b and d, c and d"]);
    assert_eq!(found(&text.replace("[nodes.b]", "hub = true\n[nodes.b]")), [""; 0]);
}

#[test]
fn a_link_that_is_down_moves_its_traffic_to_the_hub_and_back() {
    let mut states = LinkStates::default();
    states.set(&name("hkg"), &name("nrt"), LinkState::Down);
    let (plan, ..) = planned(APAC, &Ledger::default(), &states);
    assert_eq!(path(&plan, "hkg", "nrt"), "hkg > ireland > nrt");
    assert_eq!(peers(&plan, "hkg"), "ireland: 10.50.0.0/24 10.50.3.0/24 10.50.4.1/32 dials\nnrt: -\nsin: 10.50.4.2/32");
    states.set(&name("hkg"), &name("nrt"), LinkState::Up { rtt_us: 49_000 });
    assert_eq!(path(&planned(APAC, &Ledger::default(), &states).0, "hkg", "nrt"), "hkg > nrt");
}

#[test]
fn a_client_sends_everything_to_its_node_and_is_behind_it_for_all_others() {
    let text = "[nodes.host1]\nendpoint = \"192.0.2.1\"\nentry = true\n[nodes.host2]\nendpoint = \"192.0.2.2\"\nprefixes = [\"192.168.7.0/24\"]
        [clients.laptop]\naddress = \"10.50.9.9\"";
    let plan = simply(text);
    assert_eq!(path(&plan, "laptop", "host2"), "laptop > host1 > host2");
    assert_eq!(peers(&plan, "laptop"), "host1: 10.50.0.0/16 192.168.7.0/24 [25 s] dials");
    assert_eq!(peers(&plan, "host2"), "host1: 10.50.0.1/32 10.50.9.9/32 dials");
    assert_eq!(peers(&plan, "host1"), "host2: 10.50.0.2/32 192.168.7.0/24 dials\nlaptop: 10.50.9.9/32");
    assert!(plan.of(plan.find(&name("host1")).expect("it exists")).forwards);
}

#[test]
fn isolated_nodes_have_no_prefix_of_each_other() {
    let text =
        "[nodes.a]\nendpoint = \"192.0.2.1\"\n[nodes.b]\nendpoint = \"192.0.2.2\"\n[nodes.c]\nendpoint = \"192.0.2.3\"
        [[isolate]]\nbetween = [[\"a\"], [\"b\"]]";
    let plan = simply(text);
    assert_eq!(path(&plan, "a", "b"), "none");
    assert_eq!(peers(&plan, "a"), "c: 10.50.0.3/32 dials");
    let hub = text.replace("[nodes.b]", "hub = true\n[nodes.b]\nfirewall = \"none\"");
    assert_eq!(found(&hub), [""; 0], "the other's addresses do it");
    let hubs = hub.replace("[nodes.b]", "firewall = \"none\"\n[nodes.b]\nhub = true");
    let said =
        "WL204 a and b are hubs and relay for others, so it takes a firewall to keep them apart, and neither has one";
    assert_eq!(found(&hubs), [said]);
    assert_eq!(found(&hubs.replacen("firewall = \"none\"\n", "", 1)), [""; 0]);
}

#[test]
fn a_full_pool_is_said_once_for_each_who_goes_without() {
    let text = "[regions.r]\nprefix = \"10.50.0.0/30\"\n[nodes.a]\nregion = \"r\"\nendpoint = \"192.0.2.1\"\nhub = true
        [nodes.b]\nregion = \"r\"\n[nodes.c]\nregion = \"r\"\n[nodes.d]\nregion = \"r\"";
    let full = |who| format!("WL202 10.50.0.0/30 is full: no address is left for {who}");
    assert_eq!(found(text), [full("c"), full("d")]);
}

#[test]
fn who_is_gone_gives_its_address_up_only_when_the_pool_is_full() {
    let node = |name: &str| format!("[nodes.{name}]\nregion = \"r\"\nendpoint = \"192.0.2.{}\"\n", name.len());
    let region = "[regions.r]\nprefix = \"10.50.0.0/29\"\n".to_owned();
    let with = |names: &[&str]| region.clone() + &names.iter().map(|name| node(name)).collect::<String>();
    let (_, ledger, _) = planned(&with(&["a", "bb", "ccc"]), &Ledger::default(), &LinkStates::default());
    let (plan, ledger, _) = planned(&with(&["a", "ccc", "dddd"]), &ledger, &LinkStates::default());
    let address =
        |plan: &Plan, who: &str| plan.overlay_addresses(plan.find(&name(who)).expect("it exists"))[0].to_string();
    assert_eq!(address(&plan, "dddd"), "10.50.0.4");
    let all = ["a", "ccc", "dddd", "eeeee", "ffffff", "ggggggg"];
    let (plan, _, findings) = planned(&with(&all), &ledger, &LinkStates::default());
    assert_eq!(address(&plan, "ggggggg"), "10.50.0.2", "the last free address is that of who is gone");
    assert_eq!(findings.errors(), 0);
}

#[test]
fn an_endpoint_inside_a_routed_prefix_gets_a_table_of_its_own() {
    let text = "[nodes.a]\nendpoints = { aws = \"10.1.0.10\" }\nprefixes = [\"10.1.0.0/16\"]
        [nodes.b]\nendpoints = { aws = \"10.2.0.10\" }\nprefixes = [\"10.2.0.0/16\"]";
    let plan = simply(text);
    assert!(plan.of(plan.find(&name("a")).expect("it exists")).own_table.is_some());
    assert!(simply(APAC).of(simply(APAC).find(&name("sin")).expect("it exists")).own_table.is_none());
}

#[test]
fn a_plan_comes_back_from_its_file_and_differences_are_told() {
    let (old, ledger, _) = planned(APAC, &Ledger::default(), &LinkStates::default());
    let mut text = String::new();
    PlanFile::write(&old, &mut text).expect("strings take everything");
    let file = PlanFile::parse(&text).expect("it was just written");
    assert_eq!(file, PlanFile::new(&old));
    assert_eq!(diff(Side::File(&file), Side::Plan(&old)), []);
    let more = APAC.to_owned() + "[nodes.syd]\nregion = \"asia\"\n";
    let (new, ledger, _) = planned(&more, &ledger, &LinkStates::default());
    assert_eq!((new.generation, ledger.generation), (2, 2));
    let told: Vec<String> =
        diff(Side::File(&file), Side::Plan(&new)).iter().map(|c| format!("{}: {}", c.member, c.what)).collect();
    assert!(told.contains(&"syd: added with 10.50.4.3".to_owned()), "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("hkg: peer syd added")), "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("nrt")), "nrt need not notice: {told:?}");
}

#[test]
fn two_nodes_that_speak_bgp_have_router_ids_of_their_own() {
    let node =
        |name: &str, id: &str| format!("[nodes.{name}]\nendpoint = \"192.0.2.1\"\nbgp = true\nrouter_id = \"{id}\"\n");
    let with = |second: &str| found(&format!("[bgp]\nasn = 64512\n{}{}", node("a", "10.0.0.1"), node("b", second)));
    let twice = "WL205 node a and node b have the same router id, 10.0.0.1".to_owned();
    assert!(with("10.0.0.1").contains(&twice), "{:?}", with("10.0.0.1"));
    assert!(!with("10.0.0.2").iter().any(|line| line.starts_with("WL205")));
}

#[test]
fn differences_name_neighbours_that_come_go_and_change() {
    let with = |neighbours: &[(&str, u16)]| {
        let one = |(name, port): &(&str, u16)| {
            let key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=";
            format!(
                "[neighbours.{name}]\nnode = \"a\"\nasn = 64513\npublic_key = \"{key}\"\nport = {port}\naccept = [\"10.9.0.0/16\"]
                own_addresses = [\"10.8.{port}.1/30\"]\naddresses = [\"10.8.{port}.2\"]\n",
            )
        };
        let head = "[bgp]\nasn = 64512\nown = [\"10.50.0.0/16\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\n";
        simply(&format!("{head}{}", neighbours.iter().map(one).collect::<String>()))
    };
    let check = |old: &[(&str, u16)], new: &[(&str, u16)], expected: &[&str]| {
        let (old, new) = (with(old), with(new));
        let told: Vec<String> = diff(Side::Plan(&old), Side::Plan(&new)).into_iter().map(|c| c.what).collect();
        assert_eq!(told, expected);
    };
    check(&[("b", 1), ("c", 2)], &[("b", 1), ("c", 2)], &[]);
    check(&[("b", 1)], &[("b", 1), ("c", 2)], &["neighbour c added, AS 64513 on wgn-c"]);
    check(&[("b", 1), ("c", 2)], &[("c", 2)], &["neighbour b removed, AS 64513 on wgn-b"]);
    let changed = ["port 1 -> 2", "own addresses 10.8.1.1/30 -> 10.8.2.1/30", "addresses 10.8.1.2 -> 10.8.2.2"];
    check(&[("b", 1)], &[("b", 2)], &changed.map(|what| format!("neighbour b {what}")).each_ref().map(String::as_str));
    check(
        &[],
        &[("b", 1)],
        &[
            "forwards false -> true",
            "speaks BGP now, as AS 64512 with router id 10.50.0.1",
            "neighbour b added, AS 64513 on wgn-b",
        ],
    );
}

#[test]
fn files_that_are_no_plans_or_ledgers_are_refused() {
    for text in ["", "{}", "[]", "{\"schema\":\"wayleave.plan\",\"version\":2}", "\u{0}", "{\"schema\":1}"] {
        assert!(PlanFile::parse(text).is_err(), "{text:?}");
        assert!(Ledger::parse(text).is_err(), "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in ".{0,200}", cut in 0_usize..2_000, byte: u8) {
        let _ = (PlanFile::parse(&text), Ledger::parse(&text));
        let (plan, ledger, _) = planned(APAC, &Ledger::default(), &LinkStates::default());
        let mut whole = String::new();
        PlanFile::write(&plan, &mut whole).expect("strings take everything");
        for good in [whole, ledger.to_text()] {
            let mut bytes = good.into_bytes();
            let at = cut % bytes.len();
            bytes[at] = byte;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let _ = (PlanFile::parse(&text), Ledger::parse(&text));
            let _ = (PlanFile::parse(&text[..text.floor_char_boundary(at)]), Ledger::parse(&text[..text.floor_char_boundary(at)]));
        }
    }
}

#[test]
fn prefixes_that_are_written_take_the_place_of_planned_ones_until_the_link_is_down() {
    let text = "[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]
        [nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n[nodes.b]\nendpoint = \"192.0.2.2\"\nhub = true
        [nodes.c]\nallowed = { a = [\"10.50.0.0/16\"], b = [\"10.50.0.2/32\"] }\n";
    let loaded = wayleave_core::file::load_with("n.toml", |_| Ok(text.as_bytes().to_vec()));
    let network = Arc::new(wayleave_core::network::resolve::resolve(&loaded.file).network.unwrap());
    let given = |network: &Arc<wayleave_core::network::Network>, states: &LinkStates| {
        let (plan, ..) = plan(network.clone(), &Ledger::default(), states);
        let c = plan.find(&Name::new("c").unwrap()).unwrap();
        let peers = plan.of(c).peers;
        peers.iter().map(|peer| format!("{} {:?}", peer.name, peer.allowed)).collect::<Vec<_>>()
    };
    assert_eq!(given(&network, &LinkStates::default()), ["a [10.50.0.0/16]", "b [10.50.0.2/32]"]);
    // Without them the other hub has the wide prefix.
    let mut free = (*network).clone();
    free.fixed.clear();
    let planned = given(&Arc::new(free.clone()), &LinkStates::default());
    assert!(planned[1].contains("10.50.0.0/16") && !planned[0].contains("10.50.0.0/16"), "{planned:?}");
    let mut states = LinkStates::default();
    states.set(&Name::new("a").unwrap(), &Name::new("c").unwrap(), LinkState::Down);
    let around = given(&network, &states);
    assert!(around[0] == "a []" && around[1].contains("10.50.0.0/16"), "{around:?}");
}

/// Two entry nodes, each before a site, and two clients.
const ROAMING: &str = "
[nodes.fra]\nentry = true\nplatform = \"agent\"\nregion = \"eu\"\naddress = \"10.50.0.1\"
endpoints = { public = \"192.0.2.1\", aws = \"10.1.0.1\" }\nprefixes = [\"10.1.0.0/16\"]
[nodes.sin]\nentry = true\nplatform = \"agent\"\nregion = \"ap\"\naddress = \"10.50.0.2\"
endpoints = { public = \"192.0.2.2\", aws = \"10.2.0.1\" }\nprefixes = [\"10.2.0.0/16\"]
[nodes.box]\nregion = \"eu\"\naddress = \"10.50.0.3\"
[regions.eu]\n[regions.ap]
[entry]\nendpoint = \"192.0.2.99\"\naddress = \"10.50.9.9\"
[clients.one]\nregion = \"ap\"\naddress = \"10.50.1.1\"\nprefixes = [\"192.168.7.0/24\"]
[clients.two]\nregion = \"eu\"\naddress = \"10.50.1.2\"
[clients.stays]\nvia = [\"fra\"]\naddress = \"10.50.1.3\"
";

/// What a member routes where, and who is on its clients' device.
fn roaming(plan: &Plan, member: &str) -> String {
    let own = plan.of(plan.find(&name(member)).expect("the member exists"));
    let list = |prefixes: &mut dyn Iterator<Item = String>| prefixes.collect::<Vec<_>>().join(" ");
    let routes = list(&mut own.routes.iter().map(ToString::to_string));
    let Some(entry) = own.entry else { return routes };
    let all = list(&mut entry.peers.iter().map(|peer| peer.name.to_string()));
    let here = list(&mut entry.prefixes().0.iter().map(ToString::to_string));
    format!("{routes}; {} {:?} {all}; {here}", entry.device, entry.addresses)
}

#[test]
fn clients_that_roam_sit_on_a_device_that_is_the_same_everywhere() {
    let plan = simply(ROAMING);
    assert_eq!(peers(&plan, "one"), "entry: 10.1.0.0/16 10.2.0.0/16 10.50.0.0/16 [25 s] dials");
    assert_eq!(peers(&plan, "stays"), "fra: 10.1.0.0/16 10.2.0.0/16 10.50.0.0/16 192.168.7.0/24 [25 s] dials");
    assert_eq!(
        roaming(&plan, "fra"),
        "10.2.0.0/16 10.50.0.2/31 10.50.1.1/32 10.50.1.3/32 192.168.7.0/24; wg-clients [10.50.9.9] one two; 10.50.1.2/32"
    );
    assert_eq!(
        roaming(&plan, "sin"),
        "10.1.0.0/16 10.50.0.1/32 10.50.0.3/32 10.50.1.2/31; wg-clients [10.50.9.9] one two; 10.50.1.1/32 192.168.7.0/24"
    );
}

#[test]
fn a_claim_moves_a_client_with_all_that_is_behind_it() {
    let loaded = planned(ROAMING, &Ledger::default(), &LinkStates::default()).0;
    let mut claims = Claims::default();
    claims.set(&name("one"), Some(&name("fra")));
    let (ledger, states) = (Ledger::default(), LinkStates::default());
    let (plan, ..) = plan_now(loaded.network.clone(), &ledger, &states, &claims);
    assert_eq!(
        roaming(&plan, "fra"),
        "10.2.0.0/16 10.50.0.2/31 10.50.1.3/32; wg-clients [10.50.9.9] one two; 10.50.1.1/32 10.50.1.2/32 192.168.7.0/24"
    );
    assert_eq!(path(&plan, "sin", "one"), "sin > fra > one");
    assert_eq!(
        peers(&plan, "sin").lines().find(|line| line.starts_with("fra")),
        Some("fra: 10.1.0.0/16 10.50.0.1/32 10.50.1.1/32 10.50.1.2/31 192.168.7.0/24 dials")
    );
    // Who can't have it, and who does not roam, is nobody's to claim.
    for (client, server) in [("one", "box"), ("one", "nobody"), ("stays", "sin")] {
        let mut claims = Claims::default();
        claims.set(&name(client), Some(&name(server)));
        let (plan, ..) = plan_now(loaded.network.clone(), &ledger, &states, &claims);
        assert_eq!(roaming(&plan, "fra"), roaming(&loaded, "fra"), "{client} at {server}");
    }
}

#[test]
fn devices_of_several_networks_on_a_host_have_tables_of_their_own_away_from_wg_quicks() {
    let table = |name: &str| own_table(&DeviceName::new(name).unwrap());
    assert_eq!((table("wg0"), table("wg1"), table("wg19")), (51_800, 51_801, 51_819));
    for stem in ["wg", "net", "tun-", "9"] {
        let all: BTreeSet<u32> = (0..500).map(|number| table(&format!("{stem}{number}"))).collect();
        assert_eq!(all.len(), 500, "{stem}: they differ in their number, and so do their tables");
        assert!(all.iter().all(|table| OWN_TABLES.contains(table) && *table < 51_820), "{stem}");
    }
    assert_eq!(table("net1"), table("net801"), "there are only so many");
    assert!(OWN_TABLES.contains(&table("999999999999999")));
}
