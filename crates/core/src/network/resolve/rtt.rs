//! Round-trip times: names resolved, milliseconds made microseconds, contradictions reported.
//!
//! A row and a column may be a node, a region or a client. A pair may be written from both ends if both say the same;
//! a region has a time with itself, which is the one between its nodes.

use std::collections::BTreeMap;

use super::Context;
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::{Milliseconds, Spanned};
use crate::names::Name;
use crate::network::{Place, RttTable};

/// Resolves the table.
pub(super) fn resolve(context: &Context<'_>, findings: &mut Findings) -> RttTable {
    let mut table = RttTable::default();
    let mut seen = BTreeMap::new();
    for (a, row) in &context.file.rtt_ms {
        let Some(from) = context.names.place(&a.value, a.span, findings) else { continue };
        for (b, ms) in &row.value.0 {
            let Some(to) = context.names.place(&b.value, b.span, findings) else { continue };
            if from == to && !matches!(from, Place::Region(_)) {
                let finding = Finding::new(Meaning::RttSelf { name: a.value.to_string() }, b.span);
                findings.push(finding.with_fix("Remove it."));
                continue;
            }
            if consistent(&mut seen, (from, to), (&a.value, &b.value), *ms, findings) {
                table.insert(from, to, (ms.value.0 * 1000.0).round() as u64);
            }
        }
    }
    table
}

fn consistent(
    seen: &mut BTreeMap<(Place, Place), (f64, Span)>,
    (from, to): (Place, Place),
    (a, b): (&Name, &Name),
    ms: Spanned<Milliseconds>,
    findings: &mut Findings,
) -> bool {
    let pair = (from.min(to), from.max(to));
    let (first_ms, place) = *seen.entry(pair).or_insert((ms.value.0, ms.span));
    if first_ms == ms.value.0 {
        return true;
    }
    let kind = Meaning::RttTwice { a: a.to_string(), b: b.to_string(), first_ms, second_ms: ms.value.0 };
    findings.push(
        Finding::new(kind, ms.span)
            .with_related(place, "given here first")
            .with_fix("Keep one; the time is the same both ways."),
    );
    false
}
