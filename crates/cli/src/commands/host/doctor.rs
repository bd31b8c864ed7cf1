//! `wayleave doctor`: what on this host keeps the plan from working, or may, and what to do about it.
//!
//! Looks at the host with the eyes of `core::host::doctor` and changes nothing. Exits with 4 if something can't work.

use std::io::Write as _;

use serde::Serialize;
use wayleave_agent::control::Health;
use wayleave_agent::host::symptoms::symptoms;
use wayleave_core::host::doctor::{Gravity, Remark, SessionSeen, Symptoms, examine};

use super as host;
use super::bgp;
use crate::args::DoctorArgs;
use crate::exit::Exit;
use crate::files;

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    version: u32,
    node: &'a str,
    remarks: &'a [Remark],
}

/// Looks and says.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let planned = files::plan(&args.host.network)?;
    let plan = planned.accept()?;
    let plan = plan.of(host::member(&args.host, plan)?);
    let mut seen = symptoms(&plan)?;
    if plan.bgp.is_some() {
        ask_of_bgp(plan.network.as_str(), &mut seen);
    }
    let mut remarks = examine(&plan, &seen);
    for error in plan.keys().filter_map(|need| host::key(&args.host, need).err()) {
        let remedy = "name its file with --private-key or --entry-key; `wayleave key generate` makes a new one".into();
        remarks.insert(0, Remark { gravity: Gravity::Broken, what: format!("{error:#}"), remedy });
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = Report { schema: "wayleave.doctor", version: 1, node: plan.name.as_str(), remarks: &remarks };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        for Remark { gravity, what, remedy } in &remarks {
            let word = if *gravity == Gravity::Broken { "broken" } else { "doubtful" };
            writeln!(out, "{word}: {what}\n    {remedy}")?;
        }
    }
    let broken = remarks.iter().filter(|remark| remark.gravity == Gravity::Broken).count();
    match remarks.len() {
        0 => eprintln!("nothing found that would keep {} from working", plan.name),
        all => eprintln!("{broken} broken, {} doubtful; nothing was changed", all - broken),
    }
    Ok(if broken > 0 { Exit::Degraded } else { Exit::Fine })
}

/// What the running agent knows of BIRD and its sessions. Where none runs, nothing is: that is no fault of BGP's.
fn ask_of_bgp(network: &str, seen: &mut Symptoms) {
    let Ok(snapshot) = bgp::of_agent(Some(network)) else { return };
    seen.bird_problem = snapshot.problem;
    let unwell = snapshot.sessions.into_iter().filter(|session| session.health != Health::Fine);
    let session = |session: wayleave_agent::control::SessionSnapshot| SessionSeen {
        name: session.name,
        is_down: session.health == Health::Down,
        state: session.state,
        reason: crate::report::printable(&session.reason).to_string(),
    };
    seen.sessions = unwell.map(session).collect();
}
