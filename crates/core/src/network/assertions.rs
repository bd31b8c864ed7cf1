//! What an operator asserts of the network, with its selectors resolved; `wayleave prove` says whether it is so.
//!
//! An assertion is about the pairs of two lists of parties, which may be the same list. One table of the file may hold
//! several claims about the same pairs; each becomes an assertion of its own.

use super::parties::PartyCatalogue;
use super::{Network, Party, Ports};
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::written::{AssertRule, List};
use crate::file::{Selector, Spanned};
use crate::limits::ASSERTED_PAIRS_MAX;

/// One thing that must be true.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    /// What must be true of each pair.
    pub claim: Claim,
    /// One of each pair, sorted ...
    pub from: Vec<Party>,
    /// ... and the other.
    pub to: Vec<Party>,
    /// The ports that it is about, opened by the first; none: any, either way.
    pub ports: Option<Ports>,
    /// Where the file asserts it.
    pub place: Span,
}

/// What must be true of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Claim {
    /// They reach each other.
    Reach,
    /// Neither reaches the other.
    Isolate,
    /// The path's round-trip time is at most so many microseconds.
    RttUs(u64),
    /// The path has at most so many links.
    Hops(u16),
    /// They still reach each other when so many elements fail that are neither of them.
    Survives(usize, ElementKind),
}

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementKind {
    /// Nodes.
    Node,
    /// Links.
    Link,
    /// Regions.
    Region,
}

/// Resolves all assertions.
pub(super) fn resolve(
    network: &Network,
    rules: &[Spanned<AssertRule>],
    catalogue: &PartyCatalogue<'_>,
    findings: &mut Findings,
) -> Vec<Assertion> {
    let mut assertions = Vec::new();
    for rule in rules {
        let table = &rule.value;
        let mut claims = Vec::new();
        claims.extend(table.rtt_ms_max.map(|ms| Claim::RttUs((ms.value.0 * 1_000.0).round() as u64)));
        claims.extend(table.hops_max.map(|hops| Claim::Hops(hops.value.0)));
        claims.extend(table.survives.map(|survives| Claim::Survives(survives.value.count, survives.value.kind)));
        let (lists, claims) = match (&table.reach, &table.isolate, claims.is_empty()) {
            (Some(lists), None, true) if table.between.is_none() => (Some(lists), vec![Claim::Reach]),
            (None, Some(lists), true) if table.between.is_none() => (Some(lists), vec![Claim::Isolate]),
            (None, None, false) => (table.between.as_ref(), claims),
            (reach, isolate, _) => {
                let why = match (reach, isolate) {
                    (None, None) => "it has no claim",
                    _ => "reach and isolate stand alone, without between and other claims",
                };
                push_incomplete(why, rule.span, "Write a table for each.", findings);
                continue;
            }
        };
        let ports = table.ports.as_ref().filter(|_| table.reach.is_some() || table.isolate.is_some());
        if let (Some(given), None) = (&table.ports, ports) {
            push_incomplete("ports belongs to reach or isolate", given.span, "Remove it.", findings);
        }
        let join = |list: &Spanned<List<Ports>>| Ports::of_all(list.value.iter().map(|one| &one.value));
        let ports = ports.map(join);
        let Some((from, to)) = pairs(network, catalogue, lists, findings) else { continue };
        let count = from.len().saturating_mul(to.len());
        if count > ASSERTED_PAIRS_MAX {
            findings.push(Finding::new(
                Meaning::TooMany { what: "asserted pairs", count, max: ASSERTED_PAIRS_MAX },
                rule.span,
            ));
            continue;
        }
        let (from, to) = (&from, &to);
        let assertion =
            |claim| Assertion { claim, from: from.clone(), to: to.clone(), ports: ports.clone(), place: rule.span };
        assertions.extend(claims.into_iter().map(assertion));
    }
    assertions
}

type Sides = (Vec<Party>, Vec<Party>);

fn pairs(
    network: &Network,
    catalogue: &PartyCatalogue<'_>,
    lists: Option<&Spanned<List<List<Selector>>>>,
    findings: &mut Findings,
) -> Option<Sides> {
    let members = || network.parties().filter(|party| !matches!(party, Party::Site(_))).collect::<Vec<_>>();
    let Some(lists) = lists else { return Some((members(), members())) };
    let [one, other] = lists.value.as_slice() else {
        push_incomplete("it takes two lists of selectors", lists.span, "Write [[...], [...]].", findings);
        return None;
    };
    let mut side = |list: &[Spanned<Selector>]| {
        let parties = catalogue.select(list, findings);
        // `*` is every node, as in rules for links; clients and sites are named.
        let nodes = |party: &Party| !parties.everybody || matches!(party, Party::Node(_));
        let others = catalogue.select(&named(list), &mut Findings::default()).list;
        let mut list: Vec<Party> = parties.list.iter().copied().filter(nodes).chain(others).collect();
        list.sort_unstable();
        list.dedup();
        list
    };
    Some((side(&one.value), side(&other.value)))
}

/// All selectors but `*`.
fn named(list: &[Spanned<Selector>]) -> Vec<Spanned<Selector>> {
    list.iter().filter(|selector| selector.value != Selector::All).cloned().collect()
}

fn push_incomplete(why: &'static str, place: Span, fix: &str, findings: &mut Findings) {
    findings.push(Finding::new(Meaning::RuleIncomplete { why }, place).with_fix(fix));
}
