//! Rules over time: keys that are older than the network allows, members whose time is over.

use super::View;
use crate::check::{Finding, Findings, Hazard, Span};
use crate::file::{Date, Spanned};

/// Days before its end at which a member is named.
const NOTICE_DAYS: i32 = 14;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, today: Date, findings: &mut Findings) {
    let nodes = view.nodes().map(|(node, table)| (format!("node {}", node.name), &table.key_created, &table.expires));
    let clients =
        view.clients().map(|(client, table)| (format!("client {}", client.name), &table.key_created, &table.expires));
    let max = view.table.key_max_age_days.as_ref().map(|days| (u32::from(days.value.0), days.span));
    for (owner, created, expires) in nodes.chain(clients) {
        if let (Some(created), Some(max)) = (created, max) {
            key_old(&owner, created, max, today, findings);
        }
        if let Some(end) = expires {
            expired(&owner, end, today, findings);
        }
    }
}

fn key_old(owner: &str, created: &Spanned<Date>, max: (u32, Span), today: Date, findings: &mut Findings) {
    let days = today.0.saturating_sub(created.value.0);
    let Some(days) = u32::try_from(days).ok().filter(|days| *days > max.0) else { return };
    let kind = Hazard::KeyOld { owner: owner.to_owned(), days, max: max.0 };
    findings.push(
        Finding::new(kind, created.span)
            .with_related(max.1, "the limit")
            .with_fix("Make a new key with `wayleave key make`, and set key_created."),
    );
}

fn expired(owner: &str, end: &Spanned<Date>, today: Date, findings: &mut Findings) {
    let days = end.value.0.saturating_sub(today.0);
    if days > NOTICE_DAYS {
        return;
    }
    let kind = Hazard::Expires { owner: owner.to_owned(), days };
    findings.push(Finding::new(kind, end.span).with_fix("Remove it, or set a later date."));
}
