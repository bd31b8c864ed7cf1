//! `wayleave status` and `wayleave show`: how a node and everybody else in its network are.
//!
//! Both ask the agent for its snapshot and print it: as a table with the worst first, as JSON, or in the words of `wg show`.
//! Nothing is changed.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::bail;
use wayleave_agent::control::{Health, MemberSnapshot, ReadySnapshot, Request, Response, Snapshot};

use super::agent::request;
use crate::args::StatusArgs;
use crate::exit::Exit;
use crate::table::{Align, layout};

/// Between two pictures of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

const HEADER: [(&str, Align); 12] = [
    ("name", Align::Left),
    ("region", Align::Left),
    ("address", Align::Left),
    ("via", Align::Left),
    ("endpoint", Align::Left),
    ("handshake", Align::Right),
    ("rtt", Align::Right),
    ("loss", Align::Right),
    ("received", Align::Right),
    ("sent", Align::Right),
    ("state", Align::Left),
    ("reason", Align::Left),
];

/// Prints the state; 4 when it is not as intended.
pub fn run(args: &StatusArgs) -> anyhow::Result<Exit> {
    loop {
        let snapshot = ask(args.network.as_deref())?;
        let mut out = std::io::stdout().lock();
        if args.watch && out.is_terminal() {
            out.write_all(b"\x1b[H\x1b[2J")?;
        }
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&snapshot)?)?;
        } else {
            out.write_all(text(&snapshot).as_bytes())?;
        }
        out.flush()?;
        if !args.watch {
            return Ok(if snapshot.health >= Health::Idle { Exit::Fine } else { Exit::Degraded });
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

pub(super) fn ask(network: Option<&str>) -> anyhow::Result<Snapshot> {
    match request(network, Request::Status)? {
        (_, Response::Status(snapshot)) => Ok(*snapshot),
        (_, other) => bail!("the agent answered something else: {other:?}"),
    }
}

fn text(snapshot: &Snapshot) -> String {
    let mut text = format!(
        "{} of {}: {}; generation {}, {} ({} WireGuard, UDP port {})\n",
        snapshot.node,
        snapshot.network,
        word(snapshot.health),
        snapshot.generation,
        snapshot.device.name,
        snapshot.device.backend,
        snapshot.device.port
    );
    for problem in &snapshot.problems {
        let _ = writeln!(text, "  {problem}");
    }
    if let Some(ready) = &snapshot.ready {
        let _ = match ready.against.as_slice() {
            [] if ready.is_open => {
                writeln!(text, "  ready for clients: TCP port {} is open; {} here", ready.port, ready.clients)
            }
            [] => writeln!(text, "  ready for clients, but TCP port {} can't be opened", ready.port),
            all => writeln!(text, "  not ready for clients ({}): {}", whereabouts(ready), all.join("; ")),
        };
    }
    let rows: Vec<Vec<String>> = snapshot.members.iter().map(row).collect();
    text.push_str(&layout(&HEADER, &rows));
    text
}

fn row(member: &MemberSnapshot) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        member.name.clone(),
        member.region.clone().unwrap_or_else(dash),
        member.address.map_or_else(dash, |address| address.to_string()),
        member.via.clone().unwrap_or_else(dash),
        member.endpoint.map_or_else(dash, |endpoint| endpoint.to_string()),
        member.handshake_age_s.map_or_else(dash, age),
        member.rtt_ms.map_or_else(dash, |rtt| format!("{rtt:.1} ms")),
        member.loss.map_or_else(dash, |loss| format!("{:.0} %", loss * 100.0)),
        bytes(member.received_bytes),
        bytes(member.sent_bytes),
        word(member.health).into(),
        member.reason.clone(),
    ]
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Down => "down",
        Health::Degraded => "degraded",
        Health::Idle => "idle",
        Health::Fine => "fine",
    }
}

pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (count as f64, "B");
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

/// Prefixes of a peer that are listed without being asked for: more than a plan gives, and fewer than BGP may tell of.
const ALLOWED_LISTED_MAX: usize = 50;
/// How many of them are, where there are more.
const ALLOWED_NAMED: usize = 8;

/// In the words and the order of `wg show`, with names.
pub fn show(network: Option<&str>, all: bool) -> anyhow::Result<Exit> {
    let snapshot = ask(network)?;
    let mut text = String::new();
    let device = &snapshot.device;
    let _ = writeln!(text, "interface: {} ({} of {})", device.name, snapshot.node, snapshot.network);
    if let Some(key) = &device.public_key {
        let _ = writeln!(text, "  public key: {key}\n  private key: (hidden)");
    }
    let _ = writeln!(text, "  listening port: {}", device.port);
    if device.fwmark != 0 {
        let _ = writeln!(text, "  fwmark: {:#x}", device.fwmark);
    }
    let mut peers: Vec<&MemberSnapshot> =
        snapshot.members.iter().filter(|member| member.public_key.is_some() && is_peer(member)).collect();
    // As `wg show`: the latest handshake first.
    peers.sort_by_key(|member| (member.handshake_age_s.unwrap_or(u64::MAX), member.name.clone()));
    for member in peers {
        let _ = writeln!(text, "\npeer: {} ({})", member.public_key.as_deref().unwrap_or_default(), member.name);
        if let Some(endpoint) = member.endpoint {
            let _ = writeln!(text, "  endpoint: {endpoint}");
        }
        let allowed = allowed(&member.allowed, all);
        let _ = writeln!(text, "  allowed ips: {allowed}");
        if let Some(age) = member.handshake_age_s {
            let _ = writeln!(text, "  latest handshake: {}", ago(age));
        }
        if member.received_bytes + member.sent_bytes > 0 {
            let (received, sent) = (bytes(member.received_bytes), bytes(member.sent_bytes));
            let _ = writeln!(text, "  transfer: {received} received, {sent} sent");
        }
        if member.keepalive_s > 0 {
            let _ =
                writeln!(text, "  persistent keepalive: every {}", units(&[(u64::from(member.keepalive_s), "second")]));
        }
    }
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Exit::Fine)
}

fn allowed(prefixes: &[String], all: bool) -> String {
    match prefixes.len() {
        0 => "(none)".to_owned(),
        count if count > ALLOWED_LISTED_MAX && !all => {
            let some = prefixes[..ALLOWED_NAMED].join(", ");
            format!("{some} and {} more (--all lists them)", count - ALLOWED_NAMED)
        }
        _ => prefixes.join(", "),
    }
}

fn is_peer(member: &MemberSnapshot) -> bool {
    member.endpoint.is_some() || !member.allowed.is_empty() || member.handshake_age_s.is_some()
}

/// `1 minute, 7 seconds ago`, as `wg` says it.
fn ago(seconds: u64) -> String {
    if seconds == 0 {
        return "Now".into();
    }
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{} ago", units(&[(days, "day"), (hours, "hour"), (minutes, "minute"), (seconds % 60, "second")]))
}

fn units(parts: &[(u64, &str)]) -> String {
    let words = parts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> =
        words.map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" })).collect();
    words.join(", ")
}
/// How many clients are at a node that is not ready for any.
fn whereabouts(ready: &ReadySnapshot) -> String {
    let passing = if ready.passing > 0 { format!(", {} pass through", ready.passing) } else { String::new() };
    format!("{} here{passing}", ready.clients)
}
