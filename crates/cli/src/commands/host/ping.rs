//! `wayleave ping`: whether somebody in the network answers, how fast, and by which way the packets go.
//!
//! The agent says the address and the way, anew for each request, since paths move; the requests are this program's own. In: a
//! member's name. Out: a line per request and a summary; exits with 1 if nothing came back.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use wayleave_agent::control::{MemberSnapshot, Snapshot};
use wayleave_agent::ping::{PingOptions, PingTarget, ping_many};

use super::status::ask;
use crate::args::PingArgs;
use crate::exit::Exit;
use crate::files;

/// Sends the requests.
pub fn run(args: &PingArgs) -> anyhow::Result<Exit> {
    let snapshot = ask(args.network.as_deref())?;
    let member = member(&snapshot, &args.name)?;
    let Some(destination) = member.address else { bail!("{} has no address in the network", member.name) };
    let mut out = std::io::stdout().lock();
    let mut way = way(member);
    writeln!(out, "{} ({destination}), {way}", member.name)?;
    let options = PingOptions { count: 1, timeout: Duration::from_secs(1), ..PingOptions::default() };
    let mut rtts = Vec::new();
    for number in 1..=args.count {
        let begin = Instant::now();
        let target = PingTarget { source: None, destination };
        let result = ping_many(&[target], &options)?.pop().context("nothing was measured")?;
        let said = match (result.rtts.first(), result.refused_errno) {
            (Some(rtt), _) => format!("{:.1} ms", rtt.as_secs_f64() * 1_000.0),
            (None, Some(errno)) => format!("not sent: {}", std::io::Error::from_raw_os_error(errno)),
            (None, None) => "no answer".into(),
        };
        rtts.extend(result.rtts);
        let now = ask(args.network.as_deref())?;
        let moved = now.members.iter().find(|other| other.name == member.name).map(self::way);
        match moved.filter(|moved| *moved != way) {
            Some(moved) => {
                writeln!(out, "{number:>3}  {said}, from now on {moved}")?;
                way = moved;
            }
            None => writeln!(out, "{number:>3}  {said}")?,
        }
        if number < args.count {
            std::thread::sleep(args.interval.saturating_sub(begin.elapsed()));
        }
    }
    writeln!(out, "{}", summary(args.count, &mut rtts))?;
    Ok(if rtts.is_empty() { Exit::Failed } else { Exit::Fine })
}

fn member<'a>(snapshot: &'a Snapshot, name: &str) -> anyhow::Result<&'a MemberSnapshot> {
    let found = snapshot.members.iter().find(|member| member.name == name);
    found.ok_or_else(|| match name == snapshot.node {
        true => files::usage(format!("{name} is this host")),
        false => files::usage(format!(
            "there is no node or client {name} in {}; {}see `wayleave status`",
            snapshot.network,
            files::meant(name, snapshot.members.iter().map(|member| member.name.as_str()))
        )),
    })
}

/// The way to a member, and why it is that one.
fn way(member: &MemberSnapshot) -> String {
    let reason = if member.reason.is_empty() { String::new() } else { format!(": {}", member.reason) };
    match member.via.as_deref() {
        None => format!("no path{reason}"),
        Some("direct") => format!("direct{reason}"),
        // Reasons for a detour name the relay themselves.
        Some(_) if member.reason.starts_with("over ") => member.reason.clone(),
        Some(via) => format!("over {via}{reason}"),
    }
}

fn summary(sent: u32, rtts: &mut [Duration]) -> String {
    rtts.sort_unstable();
    let lost = 100.0 * f64::from(sent - rtts.len() as u32) / f64::from(sent);
    let counts = format!("{sent} sent, {} answered, {lost:.0} % lost", rtts.len());
    let ms = |at: usize| rtts.get(at).map_or(0.0, |rtt| rtt.as_secs_f64() * 1_000.0);
    match rtts.len() {
        0 => counts,
        answered => format!(
            "{counts}; shortest {:.1} ms, median {:.1} ms, longest {:.1} ms",
            ms(0),
            ms((answered - 1) / 2),
            ms(answered - 1)
        ),
    }
}
