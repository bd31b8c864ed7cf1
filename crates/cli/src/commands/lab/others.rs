//! The commands that speak to a running lab.
//!
//! Each sends one request to the lab's control socket and prints the answer. Only `exec` does more: it moves this process
//! into a member and becomes the program, so that its streams and exit code are the program's.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::json;
use wayleave_lab::control::{
    Request, Response,
    client::{ask, wait_for_end},
    enter::enter,
};
use wayleave_lab::session::{Fault, LinkReport, Target};
use wayleave_lab::state;

use super::{clients, is_lost, lab_name, pair_table, sessions};
use crate::args::{LabName, LabTarget};
use crate::exit::Exit;
use crate::table::{Align, layout};

fn request(which: &LabName, request: Request) -> anyhow::Result<Response> {
    let socket = state::find(lab_name(which)?.as_ref())?;
    Ok(ask(&socket, request)?)
}

/// Shows links, worst first, and what is cut.
pub fn status(which: &LabName, as_json: bool) -> anyhow::Result<Exit> {
    let Response::Status(mut status) = request(which, Request::Status)? else { bail!("the lab gave another answer") };
    status.links.sort_by_key(|link| (link.up && !link.cut, !link.carries));
    status.sessions.sort_by_key(|session| session.up && !session.cut);
    let down = status.links.iter().filter(|link| !link.up || link.cut).count();
    if as_json {
        println!("{:#}", json!({ "schema": "wayleave.lab.status", "version": 1, "status": status }));
    } else {
        let header = [
            ("link", Align::Left),
            ("state", Align::Left),
            ("planned ms", Align::Right),
            ("handshake", Align::Right),
            ("received", Align::Right),
            ("sent", Align::Right),
        ];
        let row = |link: &LinkReport| {
            let state = match (link.cut, link.up, link.carries) {
                (true, ..) => "cut",
                (_, true, true) => "up",
                (_, true, false) => "standby",
                (_, false, _) => "no session",
            };
            vec![
                format!("{} - {}", link.a, link.b),
                state.to_owned(),
                format!("{:.1}", link.planned_rtt_ms),
                link.latest_handshake_s.map_or("never".to_owned(), |age| format!("{age:.0} s ago")),
                bytes(link.received_bytes),
                bytes(link.sent_bytes),
            ]
        };
        let tables = [
            (!status.links.is_empty()).then(|| layout(&header, &status.links.iter().map(row).collect::<Vec<_>>())),
            (!status.clients.is_empty()).then(|| clients::table(&status.clients)),
            (!status.sessions.is_empty()).then(|| sessions::table(&status.sessions)),
        ];
        print!("{}", tables.into_iter().flatten().collect::<Vec<_>>().join("\n"));
        for fault in &status.faults {
            println!("{fault}");
        }
    }
    let (lab, all) = (&status.lab, status.links.len());
    let lost = status.sessions.iter().filter(|session| !session.up || session.cut).count();
    let sessions = match status.sessions.len() {
        0 => String::new(),
        count => format!(", {} of {count} BGP sessions", count - lost),
    };
    eprintln!("lab {lab} (process {}): {} of {all} links{sessions} up", status.pid, all - down);
    Ok(if down + lost == 0 && status.faults.is_empty() { Exit::Fine } else { Exit::Degraded })
}

fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// Pings through the overlay.
pub fn ping(which: &LabName, from: String, to: Vec<String>, count: u32, as_json: bool) -> anyhow::Result<Exit> {
    let Response::Pairs(pairs) = request(which, Request::Ping { from, to, count })? else {
        bail!("the lab gave another answer")
    };
    if as_json {
        println!("{:#}", json!({ "schema": "wayleave.lab.pairs", "version": 1, "pairs": pairs }));
    } else {
        print!("{}", pair_table(&pairs, None));
    }
    Ok(if pairs.iter().any(is_lost) { Exit::Degraded } else { Exit::Fine })
}

/// Becomes a program on a member.
pub fn exec(which: &LabName, member: &str, command: &[String]) -> anyhow::Result<Exit> {
    let Response::Entry(entry) = request(which, Request::Enter { place: member.to_owned() })? else {
        bail!("the lab gave another answer")
    };
    enter(&entry).with_context(|| format!("entering {member}"))?;
    let Some((program, arguments)) = command.split_first() else { bail!("no program is named") };
    let mut command = Command::new(program);
    command.args(arguments).env("WAYLEAVE_LAB_MEMBER", member);
    if let Some(directory) = &entry.uapi {
        // A member's agent is found there: `wayleave status` works as on a host.
        command.env("WAYLEAVE_RUNTIME_DIR", directory);
    }
    let error = command.exec();
    Err(error).with_context(|| format!("running {program}"))
}

/// Cuts something.
pub fn fail(what: &LabTarget, one_way: bool, loss: Option<f64>) -> anyhow::Result<Exit> {
    let target = target(&what.target);
    let fault = Fault { target, one_way, loss: loss.map(|percent| percent / 100.0) };
    let text = fault.to_string();
    request(&what.which, Request::Fail(fault))?;
    eprintln!("{text}");
    Ok(Exit::Fine)
}

/// Mends something.
pub fn heal(what: &LabTarget) -> anyhow::Result<Exit> {
    let target = target(&what.target);
    let text = target.to_string();
    request(&what.which, Request::Heal(target))?;
    eprintln!("{text}: healed");
    Ok(Exit::Fine)
}

/// Takes a client to a region.
pub fn move_client(which: &LabName, client: String, region: String, keep_address: bool) -> anyhow::Result<Exit> {
    let text = format!("{client} is in {region}");
    let Response::Moved { address } = request(which, Request::Move { client, region, keep_address })? else {
        bail!("the lab gave another answer")
    };
    match address {
        Some(address) => eprintln!("{text} now, and comes from {address}"),
        None => eprintln!("{text} now, and keeps its address"),
    }
    Ok(Exit::Fine)
}

/// Ends a lab.
pub fn down(which: &LabName) -> anyhow::Result<Exit> {
    let socket = state::find(lab_name(which)?.as_ref())?;
    ask(&socket, Request::Down)?;
    if !wait_for_end(&socket) {
        bail!("the lab was told to end but has not ended yet");
    }
    Ok(Exit::Fine)
}

fn target(words: &[String]) -> Target {
    let word = |at: usize| words.get(at).cloned().unwrap_or_default();
    match words.first().map(String::as_str) {
        Some("node") => Target::Node(word(1)),
        Some("region") => Target::Region(word(1)),
        Some("neighbour") => Target::Neighbour(word(1)),
        _ => Target::Between(word(0), word(1)),
    }
}
