//! What the network file asserts, held against the proof: each assertion that is not so becomes one finding.
//!
//! Reaching and isolation are read from the proof's verdicts, times and hops from the walks it makes, and failures are
//! examined for the asserted pairs alone. A finding names some of the pairs or failures that break it and counts all.

use std::collections::BTreeSet;

use super::from_plan::end_number;
use super::reach::{Proof, Verdict};
use super::survive::{Element, Ground, Survival};
use crate::check::{Finding, Findings, Proven};
use crate::limits::{BROKEN_NAMED_MAX, SURVIVE_CASES_MAX};
use crate::network::{Assertion, Claim, ElementKind, Network, Party};
use crate::plan::{Member, Plan};

/// Pairs or failures that break an assertion: some named, all counted.
#[derive(Default)]
struct Broken {
    named: Vec<String>,
    count: usize,
}

impl Broken {
    fn push(&mut self, sentence: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < BROKEN_NAMED_MAX {
            self.named.push(sentence());
        }
    }
}

/// Which assertions of a plan's network are not so. The proof must be of this plan.
pub fn refuted(plan: &Plan, proof: &Proof) -> Findings {
    let mut findings = Findings::default();
    for assertion in &plan.network.assertions {
        let mut broken = Broken::default();
        if let Claim::Survives(count, kind) = assertion.claim {
            let survival = survives(plan, assertion, (count, kind), &mut broken);
            if survival.omitted > 0 {
                findings.push(Finding::new(Proven::Unexamined { examined: survival.examined }, assertion.place));
            }
        } else {
            pairs(assertion, |a, b| judge(plan, proof, assertion, (a, b), &mut broken));
        }
        if broken.count > 0 {
            let kind = Proven::Refuted { broken: broken.named, count: broken.count };
            findings.push(Finding::new(kind, assertion.place));
        }
    }
    findings
}

/// Calls for each pair once, whichever side names which.
fn pairs(assertion: &Assertion, mut take: impl FnMut(Party, Party)) {
    let both: BTreeSet<Party> = assertion.from.iter().filter(|party| assertion.to.contains(party)).copied().collect();
    for a in &assertion.from {
        for b in assertion.to.iter().filter(|b| *b != a) {
            let twice = assertion.ports.is_none() && b < a && both.contains(a) && both.contains(b);
            if !twice {
                take(*a, *b);
            }
        }
    }
}

fn judge(plan: &Plan, proof: &Proof, assertion: &Assertion, (a, b): (Party, Party), broken: &mut Broken) {
    let (from, to) = (end_number(plan, a), end_number(plan, b));
    let names = || (a.name(&plan.network), b.name(&plan.network));
    let verdicts = [proof.verdict(from, to), proof.verdict(to, from)];
    let reach = verdicts.iter().all(|verdict| verdict.arrives() && *verdict != Verdict::OneWay);
    match (assertion.claim, &assertion.ports) {
        (Claim::Reach, Some(ports)) => {
            let missing = ports.without(&proof.passes(from, to));
            if !missing.is_empty() {
                broken.push(|| format!("{} does not reach {missing} of {}", names().0, names().1));
            }
        }
        (Claim::Isolate, Some(ports)) => {
            let open = ports.and(&proof.passes(from, to));
            if !open.is_empty() {
                broken.push(|| format!("{} reaches {open} of {}", names().0, names().1));
            }
        }
        (Claim::Isolate, None) if verdicts.iter().any(|verdict| verdict.arrives()) => {
            broken.push(|| format!("{} and {} reach each other", names().0, names().1));
        }
        (Claim::Reach | Claim::RttUs(_) | Claim::Hops(_), None) if !reach => {
            broken.push(|| format!("{} and {} don't reach each other", names().0, names().1));
        }
        (Claim::RttUs(max), _) => {
            let members: Vec<Member> = walked(plan, proof, from, to);
            let us = plan.path_rtt_us(&members);
            if us > max {
                let ms = us as f64 / 1_000.0;
                broken.push(|| format!("{} to {} takes {ms:.1} ms", names().0, names().1));
            }
        }
        (Claim::Hops(max), _) => {
            let links = proof.path(from, to).len().saturating_sub(1);
            if links > usize::from(max) {
                broken.push(|| format!("{} to {} takes {links} links", names().0, names().1));
            }
        }
        _ => {}
    }
}

fn walked(plan: &Plan, proof: &Proof, from: usize, to: usize) -> Vec<Member> {
    proof.path(from, to).iter().filter_map(|host| plan.member_at(*host as usize)).collect()
}

/// Fails elements and looks at the asserted pairs alone.
fn survives(plan: &Plan, assertion: &Assertion, failing: (usize, ElementKind), broken: &mut Broken) -> Survival {
    let network: &Network = &plan.network;
    let ground = Ground::new(network);
    let mut asserted = BTreeSet::new();
    pairs(assertion, |a, b| {
        // Failures count parties as ends are counted.
        let (a, b) = (end_number(plan, a), end_number(plan, b));
        asserted.insert((a.min(b), a.max(b)));
    });
    let (count, kind) = failing;
    ground.each_failure(&[kind], count, SURVIVE_CASES_MAX, |failed, lost| {
        let mut hit = lost.iter().filter(|(a, b)| asserted.contains(&(*a.min(b), *a.max(b))));
        if let Some((a, b)) = hit.next() {
            let more = hit.count();
            let names: Vec<String> = failed.iter().map(|element| element.name(network)).collect();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let name = |at: usize| ground.party(at).name(network);
            broken.push(|| {
                format!("without {}, {} loses {}{more}", names.join(" and "), name(*a.min(b)), name(*a.max(b)))
            });
        }
    })
}

impl Element {
    /// What it is called.
    pub fn name(&self, network: &Network) -> String {
        match self {
            Element::Node(ix) => network.node(*ix).name.to_string(),
            Element::Link(link) => format!("link {}-{}", network.node(link.a).name, network.node(link.b).name),
            Element::Region(region) => format!("region {}", network.regions[region.at()].name),
        }
    }
}
