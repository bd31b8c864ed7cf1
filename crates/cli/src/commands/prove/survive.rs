//! `wayleave survive`: who loses what when a node, a link or a region fails, or two of them. Changes nothing.
//!
//! Of a network file, what can be planned around a failure is; hosts of other programs' files stay as they are, and lose
//! every pair that needed what failed.

use serde_json::json;
use wayleave_core::network::{ElementKind, Network};
use wayleave_core::prove::{Failure, Loss, Proof, survive};

use super::subject;
use crate::args::SurviveArgs;
use crate::exit::Exit;
use crate::table::{Align, layout};
use crate::{files, foreign};

/// Failures shown.
const LOSSES_SHOWN_MAX: usize = 100;
/// Members shown of each.
const MEMBERS_SHOWN_MAX: usize = 6;

/// Everything in words.
struct Told {
    name: String,
    examined: usize,
    omitted: usize,
    losses: Vec<Lost>,
}

/// One failure: what failed, the pairs that are lost, and who loses how many others.
struct Lost {
    failed: Vec<String>,
    pairs: usize,
    who: Vec<(String, usize)>,
}

/// Fails everything and prints what is lost, the worst first.
pub fn run(args: &SurviveArgs) -> anyhow::Result<Exit> {
    let depth = if args.pairs { 2 } else { 1 };
    let paths = std::slice::from_ref(&args.file);
    let told = if foreign::are(paths) {
        let subject = subject::prove(paths)?;
        of_hosts(subject.name, &subject.proof, depth)
    } else {
        let planned = files::plan(&args.file)?;
        of_network(&subject::plan_of(&planned)?.network, depth)
    };
    if args.json {
        print_json(&told);
    } else {
        print_losses(&told);
    }
    Ok(if told.losses.is_empty() { Exit::Fine } else { Exit::Degraded })
}

/// A network: links that fail are planned around.
fn of_network(network: &Network, depth: usize) -> Told {
    let survival = survive(network, &[ElementKind::Node, ElementKind::Link, ElementKind::Region], depth);
    let lost = |loss: &Loss| Lost {
        failed: loss.failed.iter().map(|element| element.name(network)).collect(),
        pairs: loss.pairs,
        who: loss.who.iter().map(|(party, lost)| (party.name(network), *lost)).collect(),
    };
    let losses = survival.losses.iter().map(lost).collect();
    Told { name: network.name.to_string(), examined: survival.examined, omitted: survival.omitted, losses }
}

/// Hosts as they are: nobody plans anything anew.
fn of_hosts(name: String, proof: &Proof, depth: usize) -> Told {
    let standing = proof.standing(depth);
    let lost = |failure: &Failure| Lost {
        failed: failure.failed.iter().map(|part| part.name(proof)).collect(),
        pairs: failure.pairs,
        who: failure.who.iter().map(|(end, lost)| (proof.hosts.ends[*end as usize].name.clone(), *lost)).collect(),
    };
    let losses = standing.failures.iter().map(lost).collect();
    Told { name, examined: standing.examined, omitted: standing.omitted, losses }
}

fn print_losses(told: &Told) {
    let header = [("without", Align::Left), ("pairs lost", Align::Right), ("who loses how many others", Align::Left)];
    let row = |loss: &Lost| {
        let shown = loss.who.iter().take(MEMBERS_SHOWN_MAX);
        let mut who: Vec<String> = shown.map(|(name, lost)| format!("{name} {lost}")).collect();
        if loss.who.len() > MEMBERS_SHOWN_MAX {
            who.push("...".to_owned());
        }
        vec![loss.failed.join(", "), loss.pairs.to_string(), who.join(", ")]
    };
    let rows: Vec<Vec<String>> = told.losses.iter().take(LOSSES_SHOWN_MAX).map(row).collect();
    if !rows.is_empty() {
        print!("{}", layout(&header, &rows));
    }
    let more = told.losses.len().saturating_sub(LOSSES_SHOWN_MAX);
    if more > 0 {
        println!("... and {more} more");
    }
    let omitted = match told.omitted {
        0 => String::new(),
        count => format!("; {count} not examined, there are too many"),
    };
    let (name, lossy, all) = (&told.name, told.losses.len(), told.examined);
    eprintln!("{name}: {lossy} of {all} failures lose pairs that have not failed themselves{omitted}");
}

fn print_json(told: &Told) {
    let loss = |loss: &Lost| {
        let who: Vec<_> = loss.who.iter().map(|(name, lost)| json!({ "name": name, "lost": lost })).collect();
        json!({ "failed": loss.failed, "pairs_lost": loss.pairs, "who": who })
    };
    let value = json!({
        "schema": "wayleave.survival",
        "version": 1,
        "network": told.name,
        "examined": told.examined,
        "not_examined": told.omitted,
        "losses": told.losses.iter().map(loss).collect::<Vec<_>>(),
    });
    println!("{value:#}");
}
