//! Link rules: each kind of topology, and the fast expansion against one that tests every pair.

use proptest::prelude::*;
use wayleave_core::file::load_with;
use wayleave_core::network::Network;
use wayleave_core::network::resolve::resolve;

fn network(text: &str) -> Network {
    let loaded = load_with("n.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let found: Vec<String> =
        loaded.findings.sorted().iter().chain(&resolution.findings.sorted()).map(|f| f.kind.to_string()).collect();
    resolution.network.unwrap_or_else(|| panic!("{found:?}\n{text}"))
}

fn named(
    network: &Network,
    pairs: impl Iterator<Item = (wayleave_core::network::NodeIx, wayleave_core::network::NodeIx)>,
) -> String {
    let names = pairs.map(|(a, b)| format!("{}{}", network.node(a).name, network.node(b).name));
    names.collect::<Vec<_>>().join(" ")
}

/// Six nodes: a, b in region x; c, d in region y; h and i hubs without region; d is behind NAT.
fn check(rules: &str, links: &str) {
    let head = "
        network = { name = 'n', prefixes = ['10.0.0.0/8'] }
        regions = { x = {}, y = {} }
        [nodes]
        a = { region = 'x', endpoint = '192.0.2.1', tags = ['t'] }
        b = { region = 'x', endpoint = '192.0.2.2' }
        c = { region = 'y', endpoint = '192.0.2.3', entry = true, tags = ['t'] }
        d = { region = 'y' }
        h = { hub = true, endpoint = '192.0.2.4' }
        i = { hub = true, endpoint = '192.0.2.5' }
        ";
    let network = network(&format!("{head}{rules}"));
    assert_eq!(named(&network, network.links.iter().map(|link| (link.a, link.b))), links, "{rules}");
}

#[test]
fn every_topology_is_a_rule() {
    check("", "ah ai bh bi ch ci dh di hi");
    check("[[links]]\nmesh = ['*']", "ab ac ad ah ai bc bd bh bi cd ch ci dh di hi");
    check("[[links]]\nmesh = ['*']\nwithin = 'region'", "ab cd");
    check("[[links]]\nmesh = ['x', 'c']", "ab ac bc");
    check("[[links]]\nfrom = ['x']\nto = ['y']\nexcept = ['b']", "ac ad");
    check("[[links]]\nfrom = ['*']\nto = ['role:hub']\nexcept_pairs = [['i', 'a']]", "ah bh bi ch ci dh di hi");
    check("[[links]]\nmesh = ['tag:t']\n[[links]]\nfrom = ['role:entry']\nto = ['*']\nwithin = 'region'", "ac cd");
}

#[test]
fn removed_pairs_are_gone_wherever_the_rule_stands() {
    let remove = "[[links]]\nfrom = ['x']\nto = ['h']\nremove = true\n";
    let mesh = "[[links]]\nmesh = ['x', 'h']\n";
    check(&format!("{remove}{mesh}"), "ab");
    check(&format!("{mesh}{remove}"), "ab");
}

#[test]
fn isolated_pairs_are_between_the_lists_only() {
    let text = "network = { name = 'n', prefixes = ['10.0.0.0/8'] }
        nodes = { a = { endpoint = '192.0.2.1' }, b = {tags = ['t'] }, c = { tags = ['t', 'u'] } }
        isolate = [{ between = [['tag:t'], ['tag:u', 'a']] }]";
    let network = network(text);
    assert_eq!(named(&network, network.isolated.iter().copied()), "ab ac bc");
}

#[test]
fn a_private_network_links_those_that_are_on_it() {
    let text = "network = { name = 'n', prefixes = ['10.0.0.0/8'] }
        [nodes]
        a = { endpoints = { lan = '192.168.7.1' } }
        b = { underlays = ['lan'] }
        c = {}";
    let network = network(text);
    assert_eq!(named(&network, network.links.iter().map(|link| (link.a, link.b))), "ab");
}

#[derive(Debug, Clone)]
struct Rule {
    from: Vec<usize>,
    to: Option<Vec<usize>>,
    except: Vec<usize>,
    pair: (usize, usize),
    within: bool,
    remove: bool,
}

const NODES: usize = 9;
const REGIONS: usize = 3;

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let nodes = || prop::collection::vec(0..NODES, 1..6);
    let pair = (0..NODES, 0..NODES);
    let fields =
        (nodes(), prop::option::of(nodes()), prop::collection::vec(0..NODES, 0..2), pair, any::<bool>(), any::<bool>());
    let rule =
        fields.prop_map(|(from, to, except, pair, within, remove)| Rule { from, to, except, pair, within, remove });
    prop::collection::vec(rule, 1..5)
}

/// Whether a rule selects a pair, by its definition.
fn selects(rule: &Rule, a: usize, b: usize) -> bool {
    let to = rule.to.as_ref().unwrap_or(&rule.from);
    let crossed = (rule.from.contains(&a) && to.contains(&b)) || (rule.from.contains(&b) && to.contains(&a));
    let excepted = rule.except.contains(&a) || rule.except.contains(&b);
    let pair = rule.pair == (a, b) || rule.pair == (b, a);
    crossed && !excepted && !pair && (!rule.within || a % REGIONS == b % REGIONS)
}

fn written(rule: &Rule) -> String {
    let list = |nodes: &[usize]| nodes.iter().map(|n| format!("'n{n}'")).collect::<Vec<_>>().join(", ");
    let sides = match &rule.to {
        Some(to) => format!("from = [{}]\nto = [{}]", list(&rule.from), list(to)),
        None => format!("mesh = [{}]", list(&rule.from)),
    };
    let within = if rule.within { "within = 'region'\n" } else { "" };
    let (a, b) = rule.pair;
    format!(
        "[[links]]\n{sides}\n{within}except = [{}]\nexcept_pairs = [['n{a}', 'n{b}']]\nremove = {}\n",
        list(&rule.except),
        rule.remove
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expanding_rules_gives_what_testing_every_pair_gives(rules in rules()) {
        let mut text = "[network]\nname = 'n'\nprefixes = ['10.0.0.0/8']\n[regions]\nr0 = {}\nr1 = {}\nr2 = {}\n".to_owned();
        (0..NODES).for_each(|n| text += &format!("[nodes.n{n}]\nregion = 'r{}'\nendpoint = '192.0.2.{n}'\n", n % REGIONS));
        rules.iter().for_each(|rule| text += &written(rule));
        let network = network(&text);
        let mut expected = Vec::new();
        for a in 0..NODES {
            for b in a + 1..NODES {
                let any = |remove: bool| rules.iter().any(|rule| rule.remove == remove && selects(rule, a, b));
                if any(false) && !any(true) {
                    expected.push(format!("n{a}n{b}"));
                }
            }
        }
        prop_assert_eq!(named(&network, network.links.iter().map(|link| (link.a, link.b))), expected.join(" "));
    }
}
