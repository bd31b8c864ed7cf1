//! `wayleave prove`: every pair of nodes, clients and sites, both ways, and what the file asserts. Changes nothing.
//!
//! The matrix goes to stdout, findings and the summary to stderr. Exit code 4 when a pair is lost or an assertion fails.

pub mod explain;
pub mod survive;

use anyhow::Context as _;
use serde_json::{Value, json};
use wayleave_core::check::{Findings, Severity};
use wayleave_core::plan::Plan;
use wayleave_core::prove::{EndKind, Hosts, Proof, Verdict, reachability, refuted};

use crate::args::ProveArgs;
use crate::exit::Exit;
use crate::files::{self, Planned};
use crate::report;
use crate::table::{Align, layout};

/// Ends up to which the matrix is printed.
const MATRIX_ENDS_MAX: usize = 40;
/// Pairs that are listed as JSON.
const PAIRS_LISTED_MAX: usize = 10_000;

/// Proves, prints, and fails if something does not hold.
pub fn run(args: &ProveArgs) -> anyhow::Result<Exit> {
    let planned = files::plan(&args.file)?;
    let plan = plan_of(&planned)?;
    let proof = reachability(Hosts::from_plan(plan));
    let mut findings = proof.findings();
    findings.extend(refuted(plan, &proof));
    if args.json {
        let listed = report::findings_json(&findings, &planned.sources);
        println!("{:#}", proof_json(plan, &proof, listed));
    } else {
        print_matrix(&proof);
        report::print_findings(&findings, &planned.sources);
        print_summary(plan, &proof, &findings);
    }
    Ok(if findings.errors() > 0 { Exit::Degraded } else { Exit::Fine })
}

/// The plan, even of a network in which some pairs have no path: that is what is to be shown.
fn plan_of(planned: &Planned) -> anyhow::Result<&Plan> {
    let no_path = |code: &str| code == "WL203";
    let errors = planned.findings.sorted().into_iter().filter(|finding| finding.severity() == Severity::Error);
    if errors.into_iter().any(|finding| !no_path(finding.kind.code())) {
        return planned.accept();
    }
    planned.plan.as_ref().context("the file has no plan")
}

fn print_matrix(proof: &Proof) {
    let ends = &proof.hosts.ends;
    if ends.len() > MATRIX_ENDS_MAX {
        return;
    }
    let numbers: Vec<String> = (1..=ends.len()).map(|number| number.to_string()).collect();
    let mut header = vec![("", Align::Right), ("from, to", Align::Left)];
    header.extend(numbers.iter().map(|number| (number.as_str(), Align::Right)));
    let row = |(from, end): (usize, &wayleave_core::prove::End)| {
        let signs = (0..ends.len()).map(|to| sign(proof.verdict(from, to)).to_owned());
        [numbers[from].clone(), end.name.clone()].into_iter().chain(signs).collect()
    };
    print!("{}", layout(&header, &ends.iter().enumerate().map(row).collect::<Vec<_>>()));
    let bad: Vec<String> = proof
        .counts()
        .keys()
        .filter(|verdict| !matches!(verdict, Verdict::Nothing | Verdict::Fine))
        .map(|verdict| format!("{} {}", sign(*verdict), word(*verdict).replace('_', " ")))
        .collect();
    if !bad.is_empty() {
        println!("{}", bad.join(", "));
    }
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Nothing => "",
        Verdict::Fine => ".",
        Verdict::Apart => "|",
        Verdict::Asymmetric => "~",
        Verdict::NotApart => "?",
        Verdict::OneWay => "1",
        Verdict::Elsewhere => "!",
        Verdict::Dropped => "x",
        Verdict::Circles => "o",
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Nothing => "nothing_to_send",
        Verdict::Fine => "fine",
        Verdict::Apart => "isolated",
        Verdict::Asymmetric => "asymmetric",
        Verdict::NotApart => "not_isolated",
        Verdict::OneWay => "one_way",
        Verdict::Elsewhere => "taken_by_another",
        Verdict::Dropped => "dropped",
        Verdict::Circles => "circles",
    }
}

fn print_summary(plan: &Plan, proof: &Proof, findings: &Findings) {
    let counts = proof.counts();
    let of = |wanted: Verdict| counts.get(&wanted).copied().unwrap_or(0);
    let all: usize = counts.iter().filter(|(verdict, _)| **verdict != Verdict::Nothing).map(|(_, count)| count).sum();
    let bad: Vec<String> = counts
        .iter()
        .filter(|(verdict, _)| !matches!(verdict, Verdict::Nothing | Verdict::Fine))
        .map(|(verdict, count)| format!("{count} {}", word(*verdict).replace('_', " ")))
        .collect();
    let rest = if bad.is_empty() { String::new() } else { format!(", {}", bad.join(", ")) };
    let asserted = match plan.network.assertions.len() {
        0 => String::new(),
        1 => "; 1 assertion".to_owned(),
        count => format!("; {count} assertions"),
    };
    let broken = findings.sorted().iter().filter(|finding| finding.kind.code() == "WL310").count();
    let broken = if broken > 0 { format!(", {broken} not so") } else { String::new() };
    eprintln!("{}: {} of {all} ways fine{rest}{asserted}{broken}", plan.network.name, of(Verdict::Fine));
}

fn proof_json(plan: &Plan, proof: &Proof, findings: Value) -> Value {
    let ends = &proof.hosts.ends;
    let kind = |kind: EndKind| match kind {
        EndKind::Node => "node",
        EndKind::Client => "client",
        EndKind::Site => "site",
    };
    let counts: serde_json::Map<String, Value> =
        proof.counts().into_iter().map(|(verdict, count)| (word(verdict).to_owned(), count.into())).collect();
    let pairs = (0..ends.len()).flat_map(|from| (0..ends.len()).map(move |to| (from, to)));
    let bad = pairs.filter(|(from, to)| !proof.verdict(*from, *to).is_good());
    let pair = |(from, to): (usize, usize)| {
        let verdict = word(proof.verdict(from, to));
        json!({ "from": ends[from].name, "to": ends[to].name, "verdict": verdict })
    };
    json!({
        "schema": "wayleave.proof",
        "version": 1,
        "network": plan.network.name,
        "ends": ends.iter().map(|end| json!({ "name": end.name, "kind": kind(end.kind) })).collect::<Vec<_>>(),
        "ways": counts,
        "not_fine": bad.take(PAIRS_LISTED_MAX).map(pair).collect::<Vec<_>>(),
        "assertions": plan.network.assertions.len(),
        "findings": findings,
    })
}
