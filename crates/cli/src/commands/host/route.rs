//! `wayleave route`: which way BIRD sends packets to an address, why that way, and what else was possible.
//!
//! BIRD is asked for all routes of the narrowest prefix that the address is in, over a connection that can change nothing. For each
//! that was not chosen, the first thing is told by which it differs from the best. Exits with 1 if there is no route.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;

use serde::Serialize;
use wayleave_agent::bird::routes::{Candidate, NextHop, why_not};

use super::bgp::{of_agent, open};
use crate::args::RouteArgs;
use crate::exit::Exit;
use crate::report::printable;

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    version: u32,
    address: IpAddr,
    routes: Vec<Judged<'a>>,
}

#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    route: &'a Candidate,
    /// Why it is not the one that is used.
    not_chosen: Option<String>,
}

/// Asks and prints.
pub fn run(args: &RouteArgs) -> anyhow::Result<Exit> {
    let (socket, tables) = match &args.socket {
        Some(socket) => (socket.clone(), None),
        None => {
            let bgp = of_agent(args.network.as_deref())?;
            (bgp.socket, bgp.tables)
        }
    };
    let usual = tables.map(|[v4, v6]| if args.address.is_ipv4() { v4 } else { v6 });
    let table = args.table.as_ref().or(usual.as_ref());
    let mut bird = open(&socket)?;
    let protocols = bird.protocols()?;
    let inside = |protocol: &&wayleave_agent::bird::protocols::Protocol| {
        protocol.bgp.as_ref().is_some_and(wayleave_agent::bird::protocols::Bgp::is_internal)
    };
    let internal: BTreeSet<&str> = protocols.iter().filter(inside).map(|protocol| protocol.name.as_str()).collect();
    let routes = bird.routes(args.address, table.map(String::as_str))?;
    let judged: Vec<Judged<'_>> = routes.iter().map(|route| judge(route, &routes, &internal)).collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = Report { schema: "wayleave.route", version: 1, address: args.address, routes: judged };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        out.write_all(text(args.address, &judged).as_bytes())?;
    }
    Ok(if routes.is_empty() { Exit::Failed } else { Exit::Fine })
}

fn judge<'a>(route: &'a Candidate, all: &'a [Candidate], internal: &BTreeSet<&str>) -> Judged<'a> {
    let best = all.iter().find(|best| best.is_best && (&best.table, &best.prefix) == (&route.table, &route.prefix));
    let not_chosen = match best {
        _ if route.is_best => None,
        Some(best) => Some(why_not(best, route, |protocol| internal.contains(protocol))),
        None => Some("no route of this prefix is used".to_owned()),
    };
    Judged { route, not_chosen }
}

fn text(address: IpAddr, routes: &[Judged<'_>]) -> String {
    let Some(first) = routes.first() else { return format!("{address}: BIRD has no route to it\n") };
    let mut text = String::new();
    let _ = match routes.len() {
        1 => writeln!(text, "{address} is in {}, to which there is one way", printable(&first.route.prefix)),
        count => writeln!(text, "{address} is in {}, to which there are {count} ways", printable(&first.route.prefix)),
    };
    for Judged { route, not_chosen } in routes {
        let mark = if route.is_best { '*' } else { ' ' };
        let from = route.from.as_ref().map_or(String::new(), |from| format!(", heard from {from}"));
        let way = format!("{}, by {} of table {}{from}", way(route), route.protocol, route.table);
        let _ = writeln!(text, "\n{mark} {}", printable(&way));
        if let Some(why) = not_chosen {
            let _ = writeln!(text, "    not chosen   {}", printable(why));
        }
        for (name, value) in facts(route) {
            let _ = writeln!(text, "    {name:<12} {}", printable(&value));
        }
    }
    text
}

fn way(route: &Candidate) -> String {
    let hop = |hop: &NextHop| match &hop.via {
        Some(via) => format!("via {via} on {}", hop.device),
        None => format!("on {}", hop.device),
    };
    match route.next_hops.as_slice() {
        [] => route.kind.clone(),
        hops => hops.iter().map(hop).collect::<Vec<_>>().join(" and "),
    }
}

/// What there is to say of a route, in the order in which BIRD compares routes.
fn facts(route: &Candidate) -> Vec<(&'static str, String)> {
    let mut facts = vec![("preference", route.preference.to_string())];
    if let Some(bgp) = &route.bgp {
        let path = if bgp.path.is_empty() { "empty: it begins in the own AS".to_owned() } else { bgp.path.join(" ") };
        facts.extend(bgp.local_preference.map(|value| ("local pref", value.to_string())));
        facts.push(("AS path", path));
        facts.push(("origin", bgp.origin.clone()));
        facts.extend(bgp.med.map(|value| ("MED", value.to_string())));
        facts.push(("next hop", bgp.next_hop.clone()));
        for (name, list) in [
            ("communities", &bgp.communities),
            ("large", &bgp.large_communities),
            ("extended", &bgp.extended_communities),
        ] {
            if !list.is_empty() {
                facts.push((name, list.join(" ")));
            }
        }
        facts.extend(bgp.originator.clone().map(|id| ("originator", id)));
    }
    facts.extend(route.igp_metric.map(|metric| ("IGP metric", metric.to_string())));
    facts.push(("since", route.since.clone()));
    facts
}
