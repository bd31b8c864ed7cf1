//! Routers: the tree of settings that EdgeOS and VyOS end up with, and the grammar of RouterOS scripts.
//!
//! No such router runs here. The tree is a model of its own: a leaf has one value or several, and `delete` takes away
//! everything below a path. The grammar knows the menus and properties of the vendor's manual.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wayleave_core::network::Platform;
use wayleave_core::plan::{NodePlan, Plan};
use wayleave_core::render::{KeySource, files, key_path};

use super::support::{example, planned};
use crate::random;

/// Leaves that may have several values.
const MANY: [&str; 3] = ["address", "allowed-ips", "interface"];

/// A router's settings: values by path.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Router(BTreeMap<Vec<String>, BTreeSet<String>>);

impl Router {
    fn run(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<String> = line.splitn(2, ' ').map(str::to_owned).collect();
            let path: Vec<String> = match words[1].split_once(" \"") {
                Some((path, quoted)) => path.split(' ').map(str::to_owned).chain([format!("\"{quoted}")]).collect(),
                None => words[1].split(' ').map(str::to_owned).collect(),
            };
            match words[0].as_str() {
                "set" => self.set(&path),
                "delete" => assert!(self.delete(&path), "nothing to delete: {line}"),
                other => panic!("no command: {other}"),
            }
        }
    }

    fn set(&mut self, path: &[String]) {
        let (value, node) = path.split_last().unwrap();
        let values = self.0.entry(node.to_vec()).or_default();
        // VyOS: a peer's address is one.
        let is_peers = node.contains(&"peer".to_owned()) && node.last().unwrap() == "address";
        if !MANY.contains(&node.last().unwrap().as_str()) || is_peers {
            values.clear();
        }
        values.insert(value.clone());
    }

    fn delete(&mut self, path: &[String]) -> bool {
        let before = self.clone();
        self.0.retain(|node, _| !node.starts_with(path));
        let (value, node) = path.split_last().unwrap();
        if let Some(values) = self.0.get_mut(node) {
            values.remove(value);
        }
        self.0.retain(|_, values| !values.is_empty());
        *self != before
    }
}

fn told(plan: &Plan, name: &str) -> Option<NodePlan> {
    plan.members().map(|member| plan.of(member)).find(|told| told.name.as_str() == name)
}

fn text(told: &NodePlan, platform: Platform, previous: Option<&NodePlan>) -> String {
    let files = files(told, platform, &KeySource::File(key_path(platform)), previous).unwrap();
    files[0].text.to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_router_that_had_the_old_plan_has_exactly_the_new_one(old: u64, new: u64) {
        let (old, new) = (planned(random::random_network(old)), planned(random::random_network(new)));
        for is in new.members().map(|member| new.of(member)) {
            let Some(was) = told(&old, is.name.as_str()) else { continue };
            for platform in [Platform::Edgeos, Platform::Vyos] {
                let (mut changed, mut fresh) = (Router::default(), Router::default());
                changed.run(&text(&was, platform, None));
                changed.run(&text(&is, platform, Some(&was)));
                fresh.run(&text(&is, platform, None));
                prop_assert_eq!(&changed, &fresh, "{}", text(&is, platform, Some(&was)));
            }
        }
    }
}

#[test]
fn the_edgerouter_is_told_what_its_owner_typed() {
    // What the owner's own notes say, but for what the plan decides: addresses of one host, the two service addresses
    // instead of everything, and routes for these.
    let plan = example("edge-router.toml");
    let text = text(&told(&plan, "home").unwrap(), Platform::Edgeos, None);
    let peer = "set interfaces wireguard wg67 peer LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=";
    for line in [
        "set interfaces wireguard wg67 address 10.132.0.2/32",
        "set interfaces wireguard wg67 mtu 1420",
        &format!("{peer} allowed-ips 172.22.132.169/32"),
        &format!("{peer} endpoint 'vps.example.net:51823'"),
        "set interfaces wireguard wg67 private-key /config/auth/wg67.key",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

/// Properties of each menu, from the vendor's manual.
const MANGLE: &[&str] =
    &["chain", "in-interface", "out-interface", "protocol", "tcp-flags", "action", "new-mss", "passthrough", "comment"];
const FILTER: &[&str] =
    &["chain", "comment", "protocol", "dst-port", "in-interface", "out-interface", "action", "place-before", "dynamic"];
const MENUS: [(&str, &[&str]); 11] = [
    ("/ip/firewall/filter", FILTER),
    ("/ipv6/firewall/filter", FILTER),
    ("/ip/firewall/mangle", MANGLE),
    ("/ipv6/firewall/mangle", MANGLE),
    ("/interface/wireguard", &["name", "mtu", "listen-port", "private-key"]),
    (
        "/interface/wireguard/peers",
        &[
            "interface",
            "public-key",
            "comment",
            "endpoint-address",
            "endpoint-port",
            "persistent-keepalive",
            "allowed-address",
        ],
    ),
    ("/ip/address", &["address", "interface"]),
    ("/ipv6/address", &["address", "interface", "advertise"]),
    ("/ip/route", &["dst-address", "gateway"]),
    ("/ipv6/route", &["dst-address", "gateway"]),
    ("/file", &["contents"]),
];

/// One command: menu, verb, `[find ...]` where the verb needs it, properties.
fn command(text: &str) -> Result<(), String> {
    let (path, rest) = text.split_once(' ').ok_or_else(|| format!("no arguments: {text}"))?;
    let (menu, verb) = path.rsplit_once('/').ok_or_else(|| format!("no path: {path}"))?;
    let known = MENUS.iter().find(|(name, _)| *name == menu).ok_or_else(|| format!("no menu {menu}"))?.1;
    let (found, rest) = match (verb, rest.strip_prefix("[find ")) {
        ("set" | "remove", Some(rest)) => rest.split_once(']').ok_or("an open bracket")?,
        ("add" | "find", None) => ("", rest),
        _ => return Err(format!("{verb} with {rest}")),
    };
    for word in found.split_whitespace().chain(rest.split_whitespace()) {
        // What a file is read by has words of its own.
        let Some((name, value)) = word.split_once('=') else { continue };
        if !known.contains(&name) {
            return Err(format!("{menu} has no {name}"));
        }
        let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        if value.is_empty() || (!quoted && value.contains('"')) {
            return Err(format!("bad value {value}"));
        }
    }
    Ok(())
}

fn routeros_line(line: &str) -> Result<(), String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let balanced =
        ["[]", "{}", "()"].iter().all(|pair| line.matches(&pair[..1]).count() == line.matches(&pair[1..]).count());
    if !balanced || !line.matches('"').count().is_multiple_of(2) {
        return Err("not balanced".into());
    }
    let Some(rest) = line.strip_prefix(":if ([:len [") else { return command(line) };
    let (find, rest) = rest.split_once("]] = 0) do={ ").ok_or("no condition")?;
    command(find)?;
    let then = rest.strip_suffix(" }").ok_or("no end")?;
    let Some(tried) = then.strip_prefix(":do { ") else { return command(then) };
    // Added before the first rule of the chain, or where there is none.
    let (first, otherwise) = tried.split_once(" } on-error={ ").ok_or("no on-error")?;
    let (rule, place) = first.split_once(" place-before=[:pick [").ok_or("no place")?;
    command(place.strip_suffix("] 0]").ok_or("no end of the place")?)?;
    let otherwise = otherwise.strip_suffix(" }").ok_or("no end")?;
    if rule != otherwise {
        return Err(format!("{otherwise} instead of {rule}"));
    }
    command(rule)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn routeros_scripts_follow_the_manuals_grammar(old: u64, new: u64) {
        let (old, new) = (planned(random::random_network(old)), planned(random::random_network(new)));
        for is in new.members().map(|member| new.of(member)) {
            let was = told(&old, is.name.as_str());
            let text = text(&is, Platform::Routeros, was.as_ref());
            for line in text.lines() {
                let result = routeros_line(line);
                prop_assert!(result.is_ok(), "{}: {line}", result.unwrap_err());
            }
            for gone in was.iter().flat_map(|was| &was.routes).filter(|prefix| !is.routes.contains(prefix)) {
                let menu = if gone.addr().is_ipv4() { "/ip/route" } else { "/ipv6/route" };
                let line = format!("{menu}/remove [find dst-address={gone} gateway=\"wg0\"]");
                prop_assert!(text.contains(&line), "{line}");
            }
        }
    }
}

#[test]
fn routers_let_in_the_port_and_the_overlay_unless_a_policy_says_otherwise() {
    let open = "[network]\nname = \"n\"\nprefixes = [\"10.0.0.0/24\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n[nodes.b]\n";
    let of = |text: &str| told(&planned(super::support::network(text)), "a").unwrap();
    let (is_open, denies) = (of(open), of(&open.replace("name = \"n\"", "name = \"n\"\npolicy = \"deny\"")));
    let moved = of(&open.replace("[nodes.b]", "device = \"wg3\"\nport = 4000\n[nodes.b]"));
    let vyos = |plan: &NodePlan, old| text(plan, Platform::Vyos, old);
    assert!(vyos(&is_open, None).contains("set firewall ipv4 forward filter rule 5001 inbound-interface name wg0\n"));
    assert!(vyos(&is_open, None).contains("set firewall ipv6 input filter rule 5000 destination port 51820\n"));
    assert!(
        !vyos(&denies, None).contains("interface name") && vyos(&denies, None).contains("# The policy is not enforced")
    );
    let removed = vyos(&moved, Some(&is_open));
    assert!(removed.contains("delete firewall ipv4 input filter rule 5000\n"), "{removed}");
    let routeros = |plan: &NodePlan, old| text(plan, Platform::Routeros, old);
    let overlay = "find chain=forward in-interface=\"wg0\" comment=\"wayleave-wg0\"]";
    assert!(routeros(&is_open, None).contains(overlay) && !routeros(&denies, None).contains(overlay));
    assert!(routeros(&denies, Some(&is_open)).contains(&format!("/ip/firewall/filter/remove [{overlay}")));
    let removed = routeros(&moved, Some(&is_open));
    assert!(
        removed.contains("/ipv6/firewall/filter/remove [find chain=input comment=\"wayleave-wg0-port\"]"),
        "{removed}"
    );
    assert!(removed.contains("dst-port=4000"), "{removed}");
}

#[test]
fn the_grammar_refuses_what_is_wrong() {
    for line in [
        "/interface/wireguard/add nome=\"wg0\"",
        "/interface/wireguard/peers/remove interface=\"wg0\"",
        "/ip/route/add dst-address=10.0.0.0/8 gateway=\"wg0",
        "/ip/rule/add dst-address=10.0.0.0/8",
        ":if ([:len [/ip/route/find dst-address=10.0.0.0/8]] = 0) do={ /ip/route/add }",
    ] {
        assert!(routeros_line(line).is_err(), "{line}");
    }
}
