//! `wayleave lab`: a whole network on this machine.

pub mod agent;
mod clients;
mod others;
mod sessions;
mod up;

use wayleave_core::names::Name;
use wayleave_lab::session::PairReport;

use crate::args::{LabCommand, LabName};
use crate::exit::Exit;
use crate::files;
use crate::table::{Align, layout};

/// Runs one of the lab commands.
pub fn run(command: LabCommand) -> anyhow::Result<Exit> {
    match command {
        LabCommand::Up(args) => up::run(&args),
        LabCommand::Status { which, json } => others::status(&which, json),
        LabCommand::Ping { which, from, to, count, json } => others::ping(&which, from, to, count, json),
        LabCommand::Exec { which, member, command } => others::exec(&which, &member, &command),
        LabCommand::Fail { what, one_way, loss } => others::fail(&what, one_way, loss),
        LabCommand::Heal { what } => others::heal(&what),
        LabCommand::Move { which, client, region, keep_address } => {
            others::move_client(&which, client, region, keep_address)
        }
        LabCommand::Become { directory, command } => agent::become_program(&directory, &command),
        LabCommand::Agent { directory } => agent::run(&directory),
        LabCommand::Down { which } => others::down(&which),
    }
}

fn lab_name(which: &LabName) -> anyhow::Result<Option<Name>> {
    which.name.as_deref().map(parse_name).transpose()
}

fn parse_name(text: &str) -> anyhow::Result<Name> {
    Name::new(text).map_err(|error| files::usage(format!("{text:?} can't be a lab's name: {error}")))
}

/// The table of pairs: lost ones first, then in the order they were measured.
fn pair_table(pairs: &[PairReport], hub: Option<&str>) -> String {
    let over_hub = hub.map(|hub| format!("over {hub}"));
    let mut header = vec![("from", Align::Left), ("to", Align::Left), ("rtt ms", Align::Right)];
    if let Some(over_hub) = &over_hub {
        header.push((over_hub, Align::Right));
    }
    header.extend([("loss", Align::Right), ("path", Align::Left)]);
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    let mut sorted: Vec<&PairReport> = pairs.iter().collect();
    sorted.sort_by_key(|pair| !is_lost(pair));
    let row = |pair: &&PairReport| {
        let mut row = vec![pair.from.clone(), pair.to.clone(), ms(pair.rtt_ms)];
        if hub.is_some() {
            row.push(ms(pair.hub_rtt_ms));
        }
        let lost = pair.sent.saturating_sub(pair.received);
        row.push(format!("{:.0}%", 100.0 * f64::from(lost) / f64::from(pair.sent.max(1))));
        row.push(if pair.path.is_empty() { "no path".to_owned() } else { pair.path.join(" > ") });
        row
    };
    layout(&header, &sorted.iter().map(row).collect::<Vec<_>>())
}

/// Whether nothing came back although there is a path.
fn is_lost(pair: &PairReport) -> bool {
    pair.received == 0 && !pair.path.is_empty()
}
