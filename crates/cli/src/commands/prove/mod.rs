//! `wayleave prove`: every pair of nodes, clients and sites, both ways, and what the file asserts. Changes nothing.
//!
//! The matrix goes to stdout, findings and the summary to stderr. Exit code 4 when a pair is lost or an assertion fails.

pub mod explain;
mod outside;
mod subject;
pub mod survive;

use serde_json::{Value, json};
use wayleave_core::prove::{EndKind, Proof, Verdict};

use crate::args::ProveArgs;
use crate::exit::Exit;
use crate::report;
use crate::table::{Align, layout};
use subject::Subject;

/// Ends up to which the matrix is printed.
const MATRIX_ENDS_MAX: usize = 40;
/// Pairs that are listed as JSON.
const PAIRS_LISTED_MAX: usize = 10_000;
/// Peers without files that are named.
const UNREAD_NAMED_MAX: usize = 12;

/// Proves, prints, and fails if something does not hold.
pub fn run(args: &ProveArgs) -> anyhow::Result<Exit> {
    let subject = subject::prove(&args.paths)?;
    if args.json {
        println!("{:#}", as_json(&subject));
    } else {
        print_matrix(&subject.proof);
        report::print_findings(&subject.findings, &subject.sources);
        print_summary(&subject);
    }
    Ok(if subject.findings.errors() > 0 { Exit::Degraded } else { Exit::Fine })
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
        Verdict::Denied => "-",
        Verdict::Asymmetric => "~",
        Verdict::NotApart => "?",
        Verdict::NotDenied => "+",
        Verdict::Curtailed => "%",
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
        Verdict::Denied => "denied_by_policy",
        Verdict::Asymmetric => "asymmetric",
        Verdict::NotApart => "not_isolated",
        Verdict::NotDenied => "not_denied",
        Verdict::Curtailed => "cut_off_in_part",
        Verdict::OneWay => "one_way",
        Verdict::Elsewhere => "taken_by_another",
        Verdict::Dropped => "dropped",
        Verdict::Circles => "circles",
    }
}

fn print_summary(subject: &Subject) {
    let Subject { proof, findings, assertions, unread, .. } = subject;
    let counts = proof.counts();
    let of = |wanted: Verdict| counts.get(&wanted).copied().unwrap_or(0);
    let all: usize = counts.iter().filter(|(verdict, _)| **verdict != Verdict::Nothing).map(|(_, count)| count).sum();
    let bad: Vec<String> = counts
        .iter()
        .filter(|(verdict, _)| !matches!(verdict, Verdict::Nothing | Verdict::Fine))
        .map(|(verdict, count)| format!("{count} {}", word(*verdict).replace('_', " ")))
        .collect();
    let rest = if bad.is_empty() { String::new() } else { format!(", {}", bad.join(", ")) };
    let asserted = match assertions {
        0 => String::new(),
        1 => "; 1 assertion".to_owned(),
        count => format!("; {count} assertions"),
    };
    let broken = findings.sorted().iter().filter(|finding| finding.kind.code() == "WL310").count();
    let broken = if broken > 0 { format!(", {broken} not so") } else { String::new() };
    eprintln!("{}: {} of {all} ways fine{rest}{asserted}{broken}", subject.name, of(Verdict::Fine));
    let neighbours = subject.network.as_ref().map_or(0, |network| network.neighbours.len());
    if neighbours > 0 {
        let all = report::count(neighbours, "foreign router");
        eprintln!("what is behind {all} is not proved: `wayleave explain FILE NODE ADDRESS` says who may lead there");
    }
    if !unread.is_empty() {
        let (more, named) = (unread.len().saturating_sub(UNREAD_NAMED_MAX), unread.iter().take(UNREAD_NAMED_MAX));
        let named = named.map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        eprintln!("nothing is said of peers whose own files were not named: {named}{more}");
    }
}

fn as_json(subject: &Subject) -> Value {
    let proof = &subject.proof;
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
        "network": subject.name,
        "ends": ends.iter().map(|end| json!({ "name": end.name, "kind": kind(end.kind) })).collect::<Vec<_>>(),
        "ways": counts,
        "not_fine": bad.take(PAIRS_LISTED_MAX).map(pair).collect::<Vec<_>>(),
        "assertions": subject.assertions,
        "unread": subject.unread,
        "findings": report::findings_json(&subject.findings, &subject.sources),
    })
}
