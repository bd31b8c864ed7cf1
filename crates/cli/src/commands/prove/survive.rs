//! `wayleave survive`: who loses what when a node, a link or a region fails, or two of them. Changes nothing.

use serde_json::json;
use wayleave_core::network::{ElementKind, Network};
use wayleave_core::prove::{Loss, Survival, survive};

use crate::args::SurviveArgs;
use crate::exit::Exit;
use crate::files;
use crate::table::{Align, layout};

/// Failures shown.
const LOSSES_SHOWN_MAX: usize = 100;
/// Members shown of each.
const MEMBERS_SHOWN_MAX: usize = 6;

/// Fails everything and prints what is lost, the worst first.
pub fn run(args: &SurviveArgs) -> anyhow::Result<Exit> {
    let planned = files::plan(&args.file)?;
    let network = &super::subject::plan_of(&planned)?.network;
    let kinds = [ElementKind::Node, ElementKind::Link, ElementKind::Region];
    let survival = survive(network, &kinds, if args.pairs { 2 } else { 1 });
    if args.json {
        print_json(network, &survival);
    } else {
        print_losses(network, &survival);
    }
    Ok(if survival.losses.is_empty() { Exit::Fine } else { Exit::Degraded })
}

fn failed(network: &Network, loss: &Loss) -> Vec<String> {
    loss.failed.iter().map(|element| element.name(network)).collect()
}

fn print_losses(network: &Network, survival: &Survival) {
    let header = [("without", Align::Left), ("pairs lost", Align::Right), ("who loses how many others", Align::Left)];
    let row = |loss: &Loss| {
        let shown = loss.who.iter().take(MEMBERS_SHOWN_MAX);
        let mut who: Vec<String> = shown.map(|(party, lost)| format!("{} {lost}", party.name(network))).collect();
        if loss.who.len() > MEMBERS_SHOWN_MAX {
            who.push("...".to_owned());
        }
        vec![failed(network, loss).join(", "), loss.pairs.to_string(), who.join(", ")]
    };
    let rows: Vec<Vec<String>> = survival.losses.iter().take(LOSSES_SHOWN_MAX).map(row).collect();
    if !rows.is_empty() {
        print!("{}", layout(&header, &rows));
    }
    let more = survival.losses.len().saturating_sub(LOSSES_SHOWN_MAX);
    if more > 0 {
        println!("... and {more} more");
    }
    let omitted = match survival.omitted {
        0 => String::new(),
        count => format!("; {count} not examined, there are too many"),
    };
    let (name, lossy, all) = (&network.name, survival.losses.len(), survival.examined);
    eprintln!("{name}: {lossy} of {all} failures lose pairs that have not failed themselves{omitted}");
}

fn print_json(network: &Network, survival: &Survival) {
    let loss = |loss: &Loss| {
        let who: Vec<_> =
            loss.who.iter().map(|(party, lost)| json!({ "name": party.name(network), "lost": lost })).collect();
        json!({ "failed": failed(network, loss), "pairs_lost": loss.pairs, "who": who })
    };
    let value = json!({
        "schema": "wayleave.survival",
        "version": 1,
        "network": network.name,
        "examined": survival.examined,
        "not_examined": survival.omitted,
        "losses": survival.losses.iter().map(loss).collect::<Vec<_>>(),
    });
    println!("{value:#}");
}
