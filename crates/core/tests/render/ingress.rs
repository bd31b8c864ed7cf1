//! What clouds are told to let in: nobody is shut out who dials, and nobody else is let in who is known.

use std::net::IpAddr;

use ipnet::IpNet;
use wayleave_core::network::Host;
use wayleave_core::plan::{Member, Plan};
use wayleave_core::render::ingress;

use super::support::{example, network, planned};
use crate::random;

/// The table's rows of a node: protocol, ports, source.
fn rows(text: &str, node: &str) -> Vec<(String, String, IpNet)> {
    let part = text.split("\n\n").find(|part| part.starts_with(&format!("# {node}\n"))).unwrap();
    let rows = part.lines().skip(1).filter_map(|line| line.strip_prefix("# "));
    let words = rows.map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.filter_map(|w| Some((w[0].clone(), w[1].clone(), w[2].parse().ok()?))).collect()
}

fn of(plan: &Plan, node: &str) -> Vec<String> {
    let text = ingress(plan).text.to_string();
    rows(&text, node).into_iter().map(|(protocol, ports, from)| format!("{protocol} {ports} {from}")).collect()
}

#[test]
fn a_node_is_open_to_those_that_dial_it() {
    let plan = example("policy.toml");
    // Clients come from anywhere.
    assert_eq!(of(&plan, "gate"), ["udp 51820 0.0.0.0/0", "udp 51820 ::/0", "tcp 22 192.0.2.200/32"]);
    // The office is kept apart from it.
    assert_eq!(of(&plan, "db"), ["udp 51820 198.51.100.21/32", "udp 51820 198.51.100.22/32"]);
    // A service that everybody may see in part.
    assert!(of(&plan, "git").contains(&"tcp 443 0.0.0.0/0".to_owned()), "{:?}", of(&plan, "git"));
    let text = ingress(&plan).text.to_string();
    let rule =
        "'IpProtocol=udp,FromPort=51820,ToPort=51820,IpRanges=[{CidrIp=198.51.100.21/32},{CidrIp=198.51.100.22/32}]'";
    assert!(text.contains(rule) && text.contains("--group-id \"$GROUP_OF_DB\""), "{text}");
}

#[test]
fn who_is_behind_nat_or_known_by_name_may_come_from_anywhere() {
    let plan = planned(network(
        "[network]\nname = \"n\"\nprefixes = [\"10.0.0.0/24\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n\
         [nodes.b]\n[nodes.c]\nendpoint = \"c.example.net\"\n",
    ));
    assert_eq!(of(&plan, "a"), ["udp 51820 0.0.0.0/0"]);
    assert!(ingress(&plan).text.contains("# b\n# nothing: it dials others and is dialled by nobody\n"));
}

#[test]
fn entry_nodes_are_open_to_clients_that_roam() {
    let plan = planned(network(
        "[network]\nname = \"n\"\nprefixes = [\"10.0.0.0/24\"]\n[entry]\nendpoint = \"192.0.2.99\"\n\
         [nodes.a]\nendpoint = \"192.0.2.1\"\nentry = true\nhub = true\nplatform = \"agent\"\n[nodes.b]\nendpoint = \"192.0.2.2\"\n[clients.c]\n",
    ));
    let told = plan.of(plan.members().next().unwrap());
    let entry = told.entry.unwrap();
    let rules = of(&plan, "a");
    for port in [format!("udp {}", entry.port), format!("tcp {}", entry.ready_port)] {
        assert!(rules.contains(&format!("{port} 0.0.0.0/0")), "{rules:?}");
    }
    assert_eq!(of(&plan, "b"), ["udp 51820 192.0.2.1/32"]);
}

#[test]
fn whoever_dials_is_let_in() {
    let mut judged = 0;
    for seed in 0..60 {
        let plan = planned(random::random_network(seed));
        let text = ingress(&plan).text.to_string();
        for from in plan.network.node_numbers() {
            for peer in plan.peers(Member::Node(from)) {
                let Member::Node(to) = peer.who else { continue };
                let (caller, called) = (plan.network.node(from), plan.network.node(to));
                let Some(dialled) = plan.network.dialable(from, to).next() else { continue };
                let rows = rows(&text, called.name.as_str());
                let own = caller.endpoints.iter().filter(|own| own.underlay == dialled.underlay);
                let own: Vec<IpAddr> =
                    own.filter_map(|own| if let Host::Ip(ip) = own.host { Some(ip) } else { None }).collect();
                let is_open = |ip: &IpAddr| rows.iter().any(|(_, _, from)| from.contains(ip));
                assert!(
                    !rows.is_empty() && own.iter().all(is_open),
                    "seed {seed}: {} {}\n{text}",
                    caller.name,
                    called.name
                );
                judged += own.len();
            }
        }
    }
    assert!(judged > 500, "{judged}");
}
