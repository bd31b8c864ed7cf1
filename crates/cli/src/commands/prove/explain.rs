//! `wayleave explain`: one pair walked both ways, hop by hop, in sentences. Changes nothing.

use wayleave_core::prove::{Hosts, Proof, Verdict, reachability};

use crate::args::ExplainArgs;
use crate::exit::Exit;
use crate::files;

/// Tells both ways; fails if one of them does not arrive and should.
pub fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let planned = files::plan(&args.file)?;
    let plan = super::plan_of(&planned)?;
    let proof = reachability(Hosts::from_plan(plan));
    let (from, to) = (find(&proof, &args.from)?, find(&proof, &args.to)?);
    for (a, b) in [(from, to), (to, from)] {
        tell(&proof, a, b);
    }
    let verdicts = [proof.verdict(from, to), proof.verdict(to, from)];
    let name = |end: usize| &proof.hosts.ends[end].name;
    let (a, b) = (name(from), name(to));
    eprintln!(
        "{}",
        match verdicts {
            [Verdict::Fine, Verdict::Fine] => format!("{a} and {b} reach each other, both ways over the same hosts"),
            [Verdict::Nothing, _] => format!("{a} and {b} have nothing to send to each other"),
            [Verdict::Apart, Verdict::Apart] => format!("{a} and {b} are isolated from each other, as the file wants"),
            [there, back] if there.arrives() && back.arrives() => format!("{a} and {b} reach each other"),
            [there, _] if there.arrives() => format!("{a} reaches {b}, but {b} does not reach {a}"),
            [_, back] if back.arrives() => format!("{b} reaches {a}, but {a} does not reach {b}"),
            _ => format!("{a} and {b} don't reach each other"),
        }
    );
    let lost = verdicts.iter().any(|verdict| !verdict.arrives() && !verdict.is_good());
    Ok(if lost { Exit::Degraded } else { Exit::Fine })
}

/// An end by its name: a node, a client, or a site with or without the word.
fn find(proof: &Proof, text: &str) -> anyhow::Result<usize> {
    let ends = &proof.hosts.ends;
    let named = |name: &str| ends.iter().position(|end| end.name == name);
    named(text).or_else(|| named(&format!("site {text}"))).ok_or_else(|| {
        let names: Vec<&str> = ends.iter().map(|end| end.name.as_str()).take(20).collect();
        files::usage(format!("{text} is no node, client or site of the network; there are {}", names.join(", ")))
    })
}

fn tell(proof: &Proof, from: usize, to: usize) {
    let ends = &proof.hosts.ends;
    for story in proof.explain(from, to) {
        println!("{} ({}) to {} ({}):", ends[from].name, story.source, ends[to].name, story.destination);
        story.steps.iter().for_each(|step| println!("  {step}"));
    }
}
