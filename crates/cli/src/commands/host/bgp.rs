//! `wayleave bgp`: the BGP sessions of this host, worst first, and why those are down that are.
//!
//! From the agent's snapshot; or, with `--socket`, of any BIRD by its control socket, which is asked nothing that could change
//! anything. Exits with 4 if a session is not as intended.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use wayleave_agent::bird::{Connection, sessions};
use wayleave_agent::control::{BgpSnapshot, Health, LearnedSnapshot, SessionSnapshot};

use super::status::{age, ask};
use crate::args::BgpArgs;
use crate::exit::Exit;
use crate::files;
use crate::table::{Align, layout};

/// How long BIRD may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

const HEADER: [(&str, Align); 7] = [
    ("neighbour", Align::Left),
    ("ASN", Align::Right),
    ("state", Align::Left),
    ("since", Align::Right),
    ("received", Align::Right),
    ("accepted", Align::Right),
    ("exported", Align::Right),
];

/// Prints the sessions.
pub fn run(args: &BgpArgs) -> anyhow::Result<Exit> {
    let snapshot = match &args.socket {
        Some(socket) => of_socket(socket)?,
        None => of_agent(args.network.as_deref())?,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&snapshot)?)?;
    } else {
        out.write_all(text(&snapshot).as_bytes())?;
    }
    Ok(if snapshot.health() >= Health::Idle { Exit::Fine } else { Exit::Degraded })
}

/// What the agent knows.
pub(super) fn of_agent(network: Option<&str>) -> anyhow::Result<BgpSnapshot> {
    let snapshot = ask(network)?;
    snapshot.bgp.ok_or_else(|| {
        files::usage(format!(
            "{} speaks no BGP in {}; name another BIRD's control socket with --socket",
            snapshot.node, snapshot.network
        ))
    })
}

fn of_socket(socket: &Path) -> anyhow::Result<BgpSnapshot> {
    let mut bird = open(socket)?;
    let status = bird.status()?;
    let protocols = bird.protocols()?;
    Ok(BgpSnapshot {
        schema: "wayleave.bgp".into(),
        version: 1,
        bird: "running".into(),
        bird_version: Some(status.version),
        router_id: Some(status.router_id),
        socket: socket.to_owned(),
        tables: None,
        problem: None,
        is_leaving: false,
        sessions: sessions(&protocols, status.now, |_| None),
        between_nodes: None,
    })
}

/// A connection that can change nothing.
pub(super) fn open(socket: &Path) -> anyhow::Result<Connection> {
    let mut bird = Connection::open(socket, ANSWER_MAX)?;
    bird.restrict().context("giving up what could change anything")?;
    Ok(bird)
}

fn text(snapshot: &BgpSnapshot) -> String {
    let version = snapshot.bird_version.as_ref().map_or(String::new(), |version| format!(" {version}"));
    let id = snapshot.router_id.as_ref().map_or(String::new(), |id| format!(", router id {id}"));
    let up = snapshot.sessions.iter().filter(|session| session.state == "Established").count();
    let mut text =
        format!("BIRD{version} is {}{id}; {up} of {} sessions are up\n", snapshot.bird, snapshot.sessions.len());
    if let Some(problem) = &snapshot.problem {
        let _ = writeln!(text, "  {problem}");
    }
    if snapshot.is_leaving {
        let _ = writeln!(
            text,
            "  it is about to go: others are asked to use other ways (`wayleave undrain` takes that back)"
        );
    }
    if !snapshot.sessions.is_empty() {
        text.push_str(&layout(&HEADER, &snapshot.sessions.iter().map(row).collect::<Vec<_>>()));
    }
    for session in snapshot.sessions.iter().filter(|session| !session.reason.is_empty()) {
        let _ = writeln!(text, "{}: {}", session.name, crate::report::printable(&session.reason));
    }
    if let Some(routes) = &snapshot.between_nodes {
        between_nodes(routes, &mut text);
    }
    text
}

/// Where routes go that lead to other nodes, and which go nowhere.
fn between_nodes(routes: &LearnedSnapshot, text: &mut String) {
    let to: Vec<String> = routes.prefixes.iter().map(|(node, count)| format!("{count} to {node}")).collect();
    if !to.is_empty() {
        let _ = writeln!(text, "prefixes that go to other nodes: {}", to.join(", "));
    }
    for (prefix, why) in &routes.dropped_some {
        let _ = writeln!(text, "{prefix} goes to no node: it {why}");
    }
    let unnamed = routes.dropped - routes.dropped_some.len().min(routes.dropped);
    if unnamed > 0 {
        let _ = writeln!(text, "and {unnamed} more prefixes go to no node");
    }
}

fn row(session: &SessionSnapshot) -> Vec<String> {
    let count = |routes: Option<u64>| routes.map_or_else(|| "-".to_owned(), |routes| routes.to_string());
    vec![
        session.name.clone(),
        session.asn.to_string(),
        session.state.clone(),
        session.since_s.map_or_else(|| "-".to_owned(), age),
        count(session.received_routes),
        count(session.accepted_routes),
        count(session.exported_routes),
    ]
}
