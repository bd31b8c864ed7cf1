//! What an operator asserts of the network, with its selectors resolved; `wayleave prove` says whether it is so.
//!
//! An assertion is about the pairs of two lists of members, which may be the same list. One table of the file may hold
//! several claims about the same pairs; each becomes an assertion of its own.

use super::selection::{Catalogue, Lookup};
use super::{Network, Place};
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::written::{AssertRule, List};
use crate::file::{Selector, Spanned};
use crate::limits::ASSERTED_PAIRS_MAX;

/// One thing that must be true.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    /// What must be true of each pair.
    pub claim: Claim,
    /// Nodes and clients, sorted: one of each pair ...
    pub from: Vec<Place>,
    /// ... and the other.
    pub to: Vec<Place>,
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
    lookup: &Lookup<'_>,
    findings: &mut Findings,
) -> Vec<Assertion> {
    let catalogue = Catalogue::new(network, lookup);
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
        let Some((from, to)) = pairs(network, &catalogue, lists, lookup, findings) else { continue };
        let count = from.len().saturating_mul(to.len());
        if count > ASSERTED_PAIRS_MAX {
            findings.push(Finding::new(
                Meaning::TooMany { what: "asserted pairs", count, max: ASSERTED_PAIRS_MAX },
                rule.span,
            ));
            continue;
        }
        let assertion = |claim| Assertion { claim, from: from.clone(), to: to.clone(), place: rule.span };
        assertions.extend(claims.into_iter().map(assertion));
    }
    assertions
}

type Sides = (Vec<Place>, Vec<Place>);

fn pairs(
    network: &Network,
    catalogue: &Catalogue<'_>,
    lists: Option<&Spanned<List<List<Selector>>>>,
    lookup: &Lookup<'_>,
    findings: &mut Findings,
) -> Option<Sides> {
    let Some(lists) = lists else {
        let nodes = network.node_numbers().map(Place::Node);
        let all: Vec<Place> = nodes.chain((0..network.clients.len() as u32).map(Place::Client)).collect();
        return Some((all.clone(), all));
    };
    let [one, other] = lists.value.as_slice() else {
        push_incomplete("it takes two lists of selectors", lists.span, "Write [[...], [...]].", findings);
        return None;
    };
    let mut side = |list: &[Spanned<Selector>]| {
        let client = |selector: &Spanned<Selector>| match &selector.value {
            Selector::Named(name) => lookup(name).filter(|place| matches!(place, Place::Client(_))),
            _ => None,
        };
        let mut places: Vec<Place> = list.iter().filter_map(client).collect();
        let rest: Vec<Spanned<Selector>> = list.iter().filter(|selector| client(selector).is_none()).cloned().collect();
        places.extend(catalogue.select(&rest, findings).nodes.into_iter().map(Place::Node));
        places.sort_unstable();
        places.dedup();
        places
    };
    Some((side(&one.value), side(&other.value)))
}

fn push_incomplete(why: &'static str, place: Span, fix: &str, findings: &mut Findings) {
    findings.push(Finding::new(Meaning::RuleIncomplete { why }, place).with_fix(fix));
}
