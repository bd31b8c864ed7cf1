//! What clouds are to let in: rules for security groups, which stand before a host and know nothing of its firewall.
//!
//! For each node a table of who may reach its WireGuard port and the ports of its services from outside, as narrow as is
//! known: the addresses of those that dial it, or everybody where one of them may come from anywhere (a client, a node
//! behind NAT or found by its name). After it the same as commands of AWS. What goes through the tunnel needs no rule.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Opening, RenderedFile, joined, line};
use crate::network::{Host, Neighbour, NodeIx, PortRange};
use crate::plan::{Member, Plan, host, merge};

/// A rule: protocol, ports, who may use them, and why.
struct Rule {
    protocol: &'static str,
    ports: PortRange,
    from: Vec<IpNet>,
    why: String,
}

/// Renders `ingress.txt`.
pub fn ingress(plan: &Plan) -> RenderedFile {
    let mut body = String::from(
        "# What security groups let in from outside: a table for each node, then the same for AWS. Answers need no rule\n\
         # there, and neither does what comes through the tunnel, such as SSH by overlay addresses. 0.0.0.0/0 and ::/0\n\
         # stand where somebody dials from addresses that nobody knows: a client, a node behind NAT or known by a name.\n",
    );
    for node in plan.network.node_numbers() {
        of_node(plan, node, &mut body);
    }
    let whose = format!("for network {}", plan.network.name);
    RenderedFile::about(&whose, plan.generation, "ingress.txt".to_owned(), Opening::Header, &body)
}

fn of_node(plan: &Plan, node: NodeIx, out: &mut String) {
    let name = &plan.network.node(node).name;
    let rules = wireguard(plan, node)
        .into_iter()
        .chain(neighbours(plan, node))
        .chain(entry(plan, node))
        .chain(services(plan, node));
    let rules: Vec<Rule> = rules.collect();
    line(out, format_args!("\n# {name}"));
    if rules.is_empty() {
        return line(out, format_args!("# nothing: it dials others and is dialled by nobody"));
    }
    for rule in &rules {
        for from in &rule.from {
            line(
                out,
                format_args!(
                    "# {}  {:<11}  {:<18}  {}",
                    rule.protocol,
                    ports(rule.ports, '-'),
                    from.to_string(),
                    rule.why
                ),
            );
        }
    }
    line(
        out,
        format_args!(
            "aws ec2 authorize-security-group-ingress --group-id \"$GROUP_OF_{}\" --ip-permissions \\",
            variable(name.as_str())
        ),
    );
    let permissions: Vec<String> = rules.iter().map(permission).collect();
    line(out, format_args!("  {}", permissions.join(" \\\n  ")));
}

/// Who may reach the WireGuard port: those who dial it.
fn wireguard(plan: &Plan, node: NodeIx) -> Option<Rule> {
    let (mut from, mut who) = (Vec::new(), Vec::new());
    for peer in plan.peers(Member::Node(node)) {
        match peer.who {
            Member::Client(_) if plan.network.node(node).is_public() => from.extend(anywhere()),
            Member::Node(other) if plan.network.dialable(other, node).next().is_some() => {
                from.extend(sources(plan, other, node));
            }
            _ => continue,
        }
        who.push(plan.name(peer.who));
    }
    if let Some(only) = plan.firewall(node).and_then(|firewall| firewall.wireguard_from) {
        from = only;
    }
    let port = plan.network.node(node).port;
    let why = if who.len() > NAMED_MAX { format!("{} members dial it", who.len()) } else { joined(&who, ", ") };
    let rule = Rule { protocol: "udp", ports: (port, port), from: merge(from), why };
    (!who.is_empty() && !rule.from.is_empty()).then_some(rule)
}

/// Neighbours that dial, or are to be heard after a while of silence.
fn neighbours(plan: &Plan, node: NodeIx) -> Vec<Rule> {
    let from = |neighbour: &Neighbour| match neighbour.endpoint.as_ref().map(|endpoint| &endpoint.host) {
        Some(Host::Ip(address)) => vec![host(*address)],
        _ => anywhere().to_vec(),
    };
    let rule = |neighbour: &Neighbour| Rule {
        protocol: "udp",
        ports: (neighbour.port, neighbour.port),
        from: from(neighbour),
        why: format!("neighbour {}", neighbour.name),
    };
    plan.network.neighbours_of(node).filter(|_| plan.network.node(node).is_public()).map(rule).collect()
}

/// Clients that roam, from wherever they are, and who asks whether the node is ready for them.
fn entry(plan: &Plan, node: NodeIx) -> Vec<Rule> {
    let Some(entry) = plan.of(Member::Node(node)).entry else { return Vec::new() };
    let rule = |protocol, port, why: &str| Rule {
        protocol,
        ports: (port, port),
        from: anywhere().to_vec(),
        why: why.to_owned(),
    };
    vec![rule("udp", entry.port, "clients that roam"), rule("tcp", entry.ready_port, "whether it is ready")]
}

/// So many members are named where a rule says whom it is for.
const NAMED_MAX: usize = 4;

/// The addresses from which `from` dials `to`, in the private networks both are on or from its public addresses; everything
/// where these are not known.
fn sources(plan: &Plan, from: NodeIx, to: NodeIx) -> Vec<IpNet> {
    let mut sources = Vec::new();
    for dialled in plan.network.dialable(from, to) {
        let own = plan.network.node(from).endpoints.iter().filter(|own| own.underlay == dialled.underlay);
        let known: Vec<IpNet> = own
            .filter_map(|own| match own.host {
                Host::Ip(ip) => Some(host(ip)),
                Host::Dns(_) => None,
            })
            .collect();
        let is_by_name = || plan.network.node(from).endpoints.iter().any(|own| matches!(own.host, Host::Dns(_)));
        match known.is_empty() || is_by_name() {
            true => sources.extend(families(&dialled.host)),
            false => sources.extend(known),
        }
    }
    sources
}

fn anywhere() -> [IpNet; 2] {
    [IpAddr::from([0; 4]), IpAddr::from([0; 16])].map(|all| IpNet::new(all, 0).expect("a prefix may be empty"))
}

/// Everything of the family of an address, of both where only a name is known.
fn families(dialled: &Host) -> Vec<IpNet> {
    let fits = |all: &IpNet| match dialled {
        Host::Ip(ip) => ip.is_ipv4() == all.addr().is_ipv4(),
        Host::Dns(_) => true,
    };
    anywhere().into_iter().filter(fits).collect()
}

/// Ports of services that are for somebody outside.
fn services(plan: &Plan, node: NodeIx) -> Vec<Rule> {
    let mut rules = Vec::new();
    for service in plan.outside_ports(node).into_iter().filter(|service| !service.from.is_empty()) {
        for (protocol, ranges) in [("tcp", &service.ports.tcp), ("udp", &service.ports.udp)] {
            let rule = |ports: &PortRange| Rule {
                protocol,
                ports: *ports,
                from: service.from.clone(),
                why: service.label.clone(),
            };
            rules.extend(ranges.iter().map(rule));
        }
    }
    rules
}

/// A rule as AWS takes it, in the shorthand of its command line.
fn permission(rule: &Rule) -> String {
    let mut by_key: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for from in &rule.from {
        let (list, key) = if from.addr().is_ipv4() { ("IpRanges", "CidrIp") } else { ("Ipv6Ranges", "CidrIpv6") };
        by_key.entry(list).or_default().push(format!("{{{key}={from}}}"));
    }
    let ranges: Vec<String> = by_key.iter().map(|(list, items)| format!("{list}=[{}]", items.join(","))).collect();
    let (first, last) = rule.ports;
    format!("'IpProtocol={},FromPort={first},ToPort={last},{}'", rule.protocol, ranges.join(","))
}

fn ports((first, last): PortRange, between: char) -> String {
    if first == last { first.to_string() } else { format!("{first}{between}{last}") }
}

/// A member's name as part of a shell variable's.
fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}
