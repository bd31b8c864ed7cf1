//! Who has which client, and how long its latest move took: what `lab status` shows of clients that roam.
//!
//! In: what the nodes' agents report of moves, each with times of the machine's one monotonic clock. Out: one line for each
//! client. A move has taken from the moment in which the new entry node's device told of the client's session, after the
//! handshake and the client's first packet, until the last node had its devices and routes changed.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wayleave_agent::control::{MoveSnapshot, Request, Response, Snapshot, client::ask};
use wayleave_agent::system::clock::monotonic_us;
use wayleave_core::names::Name;
use wayleave_core::plan::{Claims, LinkStates, Member, plan_now};

use super::Lab;

/// A client that roams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientReport {
    /// The client.
    pub client: String,
    /// The region that it is in at present.
    pub region: Option<String>,
    /// The entry node that it is with; none: nobody.
    pub server: Option<String>,
    /// Seconds since it came there, or left.
    pub since_s: Option<f64>,
    /// Its latest move, of which the present is the end; none: it has not moved yet.
    pub moved: Option<MoveReport>,
}

/// A move of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveReport {
    /// The entry node that it was with before; none: nobody.
    pub from: Option<String>,
    /// The entry node that it came to; none: nobody.
    pub to: Option<String>,
    /// When it came there, in microseconds of the machine's monotonic clock.
    pub at_us: u64,
    /// Milliseconds from the handshake until all nodes sent its packets there; none: not all do yet, or there was none.
    pub took_ms: Option<f64>,
    /// How many nodes send its packets there.
    pub followed: usize,
    /// Of how many.
    pub nodes: usize,
}

/// What the agents of a lab are asked for its clients; to be used in a thread of its own, too.
#[derive(Debug, Clone)]
pub struct Agents {
    /// Control sockets of the nodes' agents.
    sockets: Vec<PathBuf>,
    /// Clients that roam, with their present regions.
    clients: Vec<(Name, Option<String>)>,
}

/// One node's report.
struct View<'a> {
    snapshot: &'a Snapshot,
    moved: &'a MoveSnapshot,
}

impl Lab {
    /// What is to be asked for clients that roam; none if there are none, or nobody who could tell.
    pub fn client_agents(&self) -> Option<Agents> {
        let nodes = self.members.iter().filter(|(member, _)| matches!(member, Member::Node(_)));
        let sockets: Vec<PathBuf> = nodes.filter_map(|(_, host)| host.agent_socket()).collect();
        let roaming = (0..).zip(&self.network.clients).filter(|(_, client)| client.roams);
        let clients: Vec<_> = roaming.map(|(at, client)| (client.name.clone(), self.region_of(at))).collect();
        (!sockets.is_empty() && !clients.is_empty()).then_some(Agents { sockets, clients })
    }

    /// Paths from here on are those to where clients are at present. Says where that is.
    pub fn follow_clients(&mut self) -> Vec<ClientReport> {
        let reports = self.clients();
        if reports.is_empty() {
            return reports;
        }
        let name = |text: &str| Name::new(text).ok();
        let mut claims = Claims::default();
        for report in &reports {
            if let (Some(client), Some(server)) = (name(&report.client), report.server.as_deref().and_then(name)) {
                claims.set(&client, Some(&server));
            }
        }
        (self.plan, ..) = plan_now(self.network.clone(), &self.ledger, &LinkStates::default(), &claims);
        reports
    }

    /// Where all clients that roam are.
    pub fn clients(&self) -> Vec<ClientReport> {
        self.client_agents().map(|agents| agents.clients()).unwrap_or_default()
    }
}

impl Agents {
    /// Asks all agents. One that does not answer is no node as far as this is concerned.
    pub fn clients(&self) -> Vec<ClientReport> {
        let snapshot = |socket: &PathBuf| match ask(socket, Request::Status) {
            Ok(Response::Status(snapshot)) => Some(*snapshot),
            _ => None,
        };
        let snapshots: Vec<Snapshot> = self.sockets.iter().filter_map(snapshot).collect();
        let now_us = monotonic_us();
        let report = |(client, region): &(Name, Option<String>)| ClientReport {
            region: region.clone(),
            ..report(client.as_str(), &snapshots, now_us)
        };
        self.clients.iter().map(report).collect()
    }
}

/// What several nodes' reports say of a client. The one that has followed last knows best where it is.
fn report<'a>(client: &str, snapshots: &'a [Snapshot], now_us: u64) -> ClientReport {
    let latest = |snapshot: &'a Snapshot| snapshot.moves.iter().find(|moved| moved.client == client);
    let view = |snapshot: &'a Snapshot| Some(View { snapshot, moved: latest(snapshot)? });
    let views: Vec<View<'_>> = snapshots.iter().filter_map(view).collect();
    let Some(latest) = views.iter().max_by_key(|view| view.moved.followed_us) else {
        return ClientReport { client: client.into(), region: None, server: None, since_s: None, moved: None };
    };
    let to = latest.moved.to.as_deref();
    let own = views.iter().find(|view| Some(view.snapshot.node.as_str()) == to && view.moved.to.as_deref() == to);
    let came_us = own.and_then(|own| own.moved.came_us);
    // Who was started since then has heard of it as of an old thing.
    let was_there = |snapshot: &&Snapshot| {
        // Whole seconds are told, so it may have run for one more.
        let started_us = now_us.saturating_sub(Duration::from_secs(snapshot.uptime_s + 1).as_micros() as u64);
        came_us.is_none_or(|came_us| started_us <= came_us)
    };
    let nodes = snapshots.iter().filter(was_there).count();
    let followed = || {
        let there = views.iter().filter(|view| view.moved.to.as_deref() == to && was_there(&view.snapshot));
        there.map(|view| view.moved.followed_us)
    };
    let last_us = followed().max().unwrap_or(latest.moved.followed_us);
    let took = came_us.filter(|came_us| followed().count() == nodes && *came_us <= last_us);
    let began_us = came_us.unwrap_or(latest.moved.followed_us);
    ClientReport {
        client: client.into(),
        region: None,
        server: to.map(str::to_owned),
        since_s: Some(now_us.saturating_sub(began_us) as f64 / 1e6),
        moved: Some(MoveReport {
            from: own.unwrap_or(latest).moved.from.clone(),
            to: to.map(str::to_owned),
            at_us: began_us,
            took_ms: took.map(|came_us| (last_us - came_us) as f64 / 1e3),
            followed: followed().count(),
            nodes,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const S: u64 = 1_000_000;

    /// A node that has run for so many seconds, and what it has seen of a laptop: from, to, came and followed in microseconds.
    fn node(name: &str, uptime_s: u64, moved: Option<(&str, &str, Option<u64>, u64)>) -> Snapshot {
        let moves = moved.map(|(from, to, came_us, followed_us)| {
            let end = |name: &str| (!name.is_empty()).then(|| name.to_owned());
            json!({"client": "laptop", "from": end(from), "to": end(to), "came_us": came_us, "followed_us": followed_us})
        });
        let device =
            json!({"name": "wg0", "backend": "engine", "public_key": null, "port": 1, "mtu": 1420, "fwmark": 0});
        let snapshot = json!({
            "schema": "wayleave.snapshot", "version": 1, "network": "n", "node": name, "generation": 1, "pid": 1,
            "uptime_s": uptime_s, "health": "fine", "problems": [], "device": device, "members": [],
            "moves": moves.into_iter().collect::<Vec<_>>(),
        });
        serde_json::from_value(snapshot).unwrap()
    }

    fn check(nodes: &[Snapshot], server: Option<&str>, took_ms: Option<f64>, followed: (usize, usize)) {
        let report = report("laptop", nodes, 100 * S);
        let moved = report.moved.unwrap();
        assert_eq!((report.server.as_deref(), moved.took_ms), (server, took_ms));
        assert_eq!((moved.followed, moved.nodes), followed);
    }

    #[test]
    fn a_move_takes_from_the_handshake_until_the_last_node_has_followed() {
        let own = node("sg", 90, Some(("ie", "sg", Some(50 * S), 50 * S + 2_000)));
        let other = node("ie", 90, Some(("ie", "sg", None, 50 * S + 93_000)));
        check(&[own, other], Some("sg"), Some(93.0), (2, 2));
    }

    #[test]
    fn it_has_not_ended_while_somebody_still_sends_elsewhere() {
        let own = node("sg", 90, Some(("ie", "sg", Some(50 * S), 50 * S + 2_000)));
        let other = node("ie", 90, Some(("", "ie", Some(20 * S), 20 * S)));
        check(&[own, other], Some("sg"), None, (1, 2));
    }

    #[test]
    fn a_node_that_was_started_since_has_no_part_in_it() {
        let own = node("sg", 90, Some(("ie", "sg", Some(50 * S), 50 * S + 2_000)));
        let other = node("ie", 30, Some(("", "sg", None, 72 * S)));
        check(&[own, other], Some("sg"), Some(2.0), (1, 1));
    }

    #[test]
    fn who_was_let_go_is_with_nobody_and_who_never_came_has_no_move() {
        let nodes = [node("sg", 90, Some(("sg", "", None, 60 * S))), node("ie", 90, Some(("sg", "", None, 61 * S)))];
        check(&nodes, None, None, (2, 2));
        let report = report("laptop", &[node("sg", 90, None)], 100 * S);
        assert_eq!((report.server, report.moved), (None, None));
    }
}
