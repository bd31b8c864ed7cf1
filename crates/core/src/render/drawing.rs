//! Drawings as text: Graphviz DOT and Mermaid.
//!
//! Nodes stand in boxes of their regions, hubs are marked, clients hang on the nodes they prefer. A link that carries
//! traffic is solid, one that stands by is dotted; each is labelled with its round-trip time.

use std::fmt::Write as _;

use crate::network::{Link, RegionIx};
use crate::plan::{Member, Plan};

/// A link as it is drawn.
pub(super) struct Line {
    pub a: Member,
    pub b: Member,
    pub carries: bool,
    pub rtt_us: u64,
}

/// All links, clients' preferred ones included.
pub(super) fn lines(plan: &Plan) -> Vec<Line> {
    let carries =
        |from: Member, to: Member| plan.peers(from).iter().any(|peer| peer.who == to && !peer.allowed.is_empty());
    let nodes = plan.network.links.iter().map(|Link { a, b }| {
        let (one, other) = (Member::Node(*a), Member::Node(*b));
        Line {
            a: one,
            b: other,
            carries: carries(one, other) || carries(other, one),
            rtt_us: plan.network.rtt_us(*a, *b),
        }
    });
    let clients = plan.network.clients.iter().enumerate().flat_map(|(at, client)| {
        let line = move |(rank, via): (usize, &crate::network::NodeIx)| Line {
            a: Member::Client(at as u32),
            b: Member::Node(*via),
            carries: rank == 0,
            rtt_us: plan.network.client_rtt_us(at, *via),
        };
        client.via.iter().enumerate().map(line)
    });
    nodes.chain(clients).collect()
}

/// Milliseconds with as many decimals as matter.
pub(super) fn milliseconds(us: u64) -> String {
    if us.is_multiple_of(1_000) { format!("{} ms", us / 1_000) } else { format!("{:.1} ms", us as f64 / 1_000.0) }
}

/// The members of a region, nodes before clients; `None`: those without a region.
pub(super) fn members_of(plan: &Plan, region: Option<RegionIx>) -> Vec<Member> {
    let is_in = |member: &Member| {
        let own = match member {
            Member::Node(ix) => plan.network.node(*ix).region,
            Member::Client(at) => plan.network.clients[*at as usize].region,
        };
        own == region
    };
    plan.members().filter(is_in).collect()
}

fn is_hub(plan: &Plan, member: Member) -> bool {
    matches!(member, Member::Node(ix) if plan.network.node(ix).hub)
}

/// Graphviz DOT, for `dot` or `neato`.
pub fn dot(plan: &Plan) -> String {
    let mut out = format!("graph \"{}\" {{\n  layout=fdp; node [shape=box, style=rounded];\n", plan.network.name);
    let node = |out: &mut String, member: Member, indent: &str| {
        let name = plan.name(member);
        let shape = match member {
            Member::Client(_) => ", shape=ellipse",
            Member::Node(_) if is_hub(plan, member) => ", style=\"rounded,bold\"",
            Member::Node(_) => "",
        };
        let address = plan.overlay_addresses(member).first().map_or(String::new(), |a| format!("\\n{a}"));
        let _ = writeln!(out, "{indent}\"{name}\" [label=\"{name}{address}\"{shape}];");
    };
    for (at, region) in plan.network.regions.iter().enumerate() {
        let _ = writeln!(out, "  subgraph \"cluster_{0}\" {{\n    label=\"{0}\";", region.name);
        for member in members_of(plan, Some(RegionIx(at as u32))) {
            node(&mut out, member, "    ");
        }
        out.push_str("  }\n");
    }
    for member in members_of(plan, None) {
        node(&mut out, member, "  ");
    }
    for line in lines(plan) {
        let style = if line.carries { "" } else { ", style=dotted" };
        let (a, b, rtt) = (plan.name(line.a), plan.name(line.b), milliseconds(line.rtt_us));
        let _ = writeln!(out, "  \"{a}\" -- \"{b}\" [label=\"{rtt}\"{style}];");
    }
    out.push_str("}\n");
    out
}

/// A Mermaid flowchart, for Markdown pages.
pub fn mermaid(plan: &Plan) -> String {
    let mut out = String::from("flowchart LR\n");
    // Mermaid's own words ("end", "graph") must not be identifiers, and a hyphen may read as an edge.
    let id = |member: Member| match member {
        Member::Node(ix) => format!("n{}", ix.0),
        Member::Client(at) => format!("c{at}"),
    };
    let node = |out: &mut String, member: Member, indent: &str| {
        let name = plan.name(member);
        let _ = match member {
            Member::Client(_) => writeln!(out, "{indent}{}(\"{name}\")", id(member)),
            Member::Node(_) if is_hub(plan, member) => writeln!(out, "{indent}{}[[\"{name}\"]]", id(member)),
            Member::Node(_) => writeln!(out, "{indent}{}[\"{name}\"]", id(member)),
        };
    };
    for (at, region) in plan.network.regions.iter().enumerate() {
        let _ = writeln!(out, "  subgraph r{at}[\"{}\"]", region.name);
        for member in members_of(plan, Some(RegionIx(at as u32))) {
            node(&mut out, member, "    ");
        }
        out.push_str("  end\n");
    }
    for member in members_of(plan, None) {
        node(&mut out, member, "  ");
    }
    for line in lines(plan) {
        let edge = if line.carries { "---" } else { "-.-" };
        let _ = writeln!(out, "  {} {edge}|{}| {}", id(line.a), milliseconds(line.rtt_us), id(line.b));
    }
    out
}
