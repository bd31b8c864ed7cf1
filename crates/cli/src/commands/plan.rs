//! `wayleave plan`: shows the plan, or how it differs from an earlier one, and records it.
//!
//! The plan goes to stdout, as a table, JSON or a drawing, everything else to stderr. `--diff` and a file with errors
//! record nothing.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use wayleave_core::names::Name;
use wayleave_core::network::Neighbour;
use wayleave_core::plan::{Member, Plan, PlanFile, Side, diff};
use wayleave_core::render;

use crate::args::{GraphFormat, PlanArgs};
use crate::exit::Exit;
use crate::files::{self, Earlier, Locking};
use crate::report::count;
use crate::table::{Align, layout};

/// Plans, prints and records.
pub fn run(args: &PlanArgs) -> anyhow::Result<Exit> {
    let planned = files::plan(&args.file)?;
    let plan = planned.accept()?;
    if let Some(old) = &args.diff {
        return print_diff(plan, old.clone().unwrap_or_else(|| files::plan_path(&args.file)));
    }
    let member = args.member.as_deref().map(|name| find(plan, name)).transpose()?;
    let locking = if args.locked { Locking::Locked } else { Locking::Update };
    files::record(&args.file, &planned, plan, locking)?;
    match (args.graph, member) {
        (Some(GraphFormat::Svg), _) => print!("{}", render::svg(plan)),
        (Some(GraphFormat::Dot), _) => print!("{}", render::dot(plan)),
        (Some(GraphFormat::Mermaid), _) => print!("{}", render::mermaid(plan)),
        (None, Some(member)) if args.json => {
            let member = plan.of(member);
            println!("{:#}", json!({ "schema": "wayleave.plan.member", "version": 1, "member": member }));
        }
        (None, None) if args.json => {
            let mut text = String::new();
            PlanFile::write(plan, &mut text)?;
            print!("{text}");
        }
        (None, Some(member)) => print_member(plan, member),
        (None, None) => print_plan(plan),
    }
    Ok(Exit::Fine)
}

/// The member with a name, or an error that names similar ones.
pub fn find(plan: &Plan, text: &str) -> anyhow::Result<Member> {
    let found = Name::new(text).ok().and_then(|name| plan.find(&name));
    found.ok_or_else(|| {
        let names: Vec<String> = plan.members().map(|member| plan.name(member).to_string()).take(20).collect();
        let network = &plan.network.name;
        let all: Vec<String> = plan.members().map(|member| plan.name(member).to_string()).collect();
        let meant = files::meant(text, all.iter().map(String::as_str));
        files::usage(format!("{text} is no node or client of {network}; {meant}there are {}", names.join(", ")))
    })
}

fn print_diff(plan: &Plan, old: PathBuf) -> anyhow::Result<Exit> {
    if !old.exists() {
        anyhow::bail!("there is no earlier plan at {}; `wayleave plan` records one", old.display());
    }
    let earlier = files::earlier(&old).context("reading the earlier plan")?;
    let side = match &earlier {
        Earlier::File(file) => Side::File(file),
        Earlier::Plan(plan) => Side::Plan(plan),
    };
    let changes = diff(side, Side::Plan(plan));
    for change in &changes {
        println!("{}: {}", change.member, change.what);
    }
    let members: std::collections::BTreeSet<_> = changes.iter().map(|change| &change.member).collect();
    if changes.is_empty() {
        eprintln!("no differences");
        return Ok(Exit::Fine);
    }
    eprintln!("{} at {}", count(changes.len(), "difference"), count(members.len(), "member"));
    Ok(Exit::Differences)
}

/// A table of neighbours, if there are any.
fn neighbours(plan: &Plan, all: &[&Neighbour]) {
    let header = ["neighbour", "node", "asn", "device", "port", "address", "endpoint"].map(|word| (word, Align::Left));
    let row = |neighbour: &&Neighbour| {
        vec![
            neighbour.name.to_string(),
            plan.network.node(neighbour.node).name.to_string(),
            neighbour.asn.to_string(),
            neighbour.device.to_string(),
            neighbour.port.to_string(),
            neighbour.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            neighbour.endpoint.as_ref().map_or("dials".to_owned(), ToString::to_string),
        ]
    };
    if !all.is_empty() {
        print!("\n{}", layout(&header, &all.iter().map(row).collect::<Vec<_>>()));
    }
}

fn print_plan(plan: &Plan) {
    let header = [
        ("name", Align::Left),
        ("region", Align::Left),
        ("role", Align::Left),
        ("address", Align::Left),
        ("endpoint", Align::Left),
        ("peers", Align::Right),
        ("prefixes", Align::Right),
    ];
    let row = |member: Member| {
        let peers = plan.peers(member);
        let (region, role, endpoint) = match member {
            Member::Node(ix) => {
                let node = plan.network.node(ix);
                let role = match (node.hub, node.entry, plan.site_prefixes(ix).is_empty()) {
                    (true, true, _) => "hub, entry",
                    (true, false, _) => "hub",
                    (false, true, _) => "entry",
                    (false, false, false) => "gateway",
                    (false, false, true) => "node",
                };
                (node.region, role, node.endpoints.first().map_or("behind NAT".to_owned(), ToString::to_string))
            }
            Member::Client(at) => (plan.network.clients[at as usize].region, "client", "-".to_owned()),
        };
        vec![
            plan.name(member).to_string(),
            region.map_or("-".to_owned(), |region| plan.network.regions[region.at()].name.to_string()),
            role.to_owned(),
            plan.overlay_addresses(member).iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            endpoint,
            peers.len().to_string(),
            peers.iter().map(|peer| peer.allowed.len()).sum::<usize>().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = plan.members().map(row).collect();
    print!("{}", layout(&header, &rows));
    neighbours(plan, &plan.network.neighbours.iter().collect::<Vec<_>>());
    let (nodes, clients) = (plan.network.nodes.len(), plan.network.clients.len());
    eprintln!(
        "{}: generation {}, {}, {}, {}, {}",
        plan.network.name,
        plan.generation,
        count(nodes, "node"),
        count(clients, "client"),
        count(plan.network.links.len(), "link"),
        count(plan.network.sites.len(), "site")
    );
}

fn print_member(plan: &Plan, member: Member) {
    let own = plan.of(member);
    let addresses: Vec<String> = own.addresses.iter().map(ToString::to_string).collect();
    println!("{}: {}", own.name, addresses.join(" "));
    println!("  device {}, port {}, mtu {}", own.device, own.port.map_or("any".into(), |p| p.to_string()), own.mtu);
    if own.forwards {
        println!("  forwards");
    }
    if let Some(bgp) = &own.bgp {
        println!("  bgp as {}, router id {}, table {}", bgp.asn, bgp.router_id, bgp.table);
    }
    if let Member::Node(ix) = member {
        neighbours(plan, &plan.network.neighbours_of(ix).collect::<Vec<_>>());
    }
    let header =
        [("peer", Align::Left), ("endpoint", Align::Left), ("keepalive", Align::Right), ("allowed", Align::Left)];
    let row = |peer: &wayleave_core::plan::PeerPlan| {
        let allowed: Vec<String> = peer.allowed.iter().map(ToString::to_string).collect();
        vec![
            peer.name.to_string(),
            peer.endpoints.first().map_or("-".into(), ToString::to_string),
            peer.keepalive_s.map_or("-".into(), |seconds| format!("{seconds} s")),
            if allowed.is_empty() { "(standby)".into() } else { allowed.join(", ") },
        ]
    };
    println!("\n{}", layout(&header, &own.peers.iter().map(row).collect::<Vec<_>>()));
    let header = [("to", Align::Left), ("ms", Align::Right), ("path", Align::Left)];
    let path_row = |to: Member| match plan.path(member, to) {
        Some(path) => {
            let names: Vec<String> = path.iter().map(|step| plan.name(*step).to_string()).collect();
            let ms = format!("{:.1}", plan.path_rtt_us(&path) as f64 / 1_000.0);
            vec![plan.name(to).to_string(), ms, names.join(" > ")]
        }
        None => vec![plan.name(to).to_string(), "-".into(), "none".into()],
    };
    let rows: Vec<Vec<String>> = plan.members().filter(|to| *to != member).map(path_row).collect();
    print!("{}", layout(&header, &rows));
}
