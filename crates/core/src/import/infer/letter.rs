//! Prefixes that a plan would give to other peers than the files do, carried over to the letter.
//!
//! Which hub has a wide prefix follows from regions and times, of which files show only traces, and from ways that no packet
//! takes. Where the draft's plan differs in allowed prefixes alone, the draft says them, and is kept if everybody is reached
//! then as the plan alone would have it. A network in which something is lost is not taken over to the letter: the plan
//! mends it, and `verify` says what changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::Taken;
use super::draft::Draft;
use super::members::World;
use super::search::{may_relay, resolved, weighed};
use super::walk::Tables;
use crate::import::sources::Read;
use crate::import::verify::{Aspect, verify};
use crate::limits::IMPORT_SEARCH_MEMBERS_MAX;
use crate::plan::{Ledger, LinkStates, Plan, plan};
use crate::prove::{Hosts, Verdict, reachability};

/// Prefixes at least this wide stand for the internet, which no network file routes.
const INTERNET_BITS: u8 = 3;

/// A draft with what its plan would decide otherwise, if that is sound.
pub(super) fn exact(read: &Read, world: &World<'_>, tables: &Tables, taken: &[Taken], draft: Draft) -> Draft {
    if draft.members.len() > IMPORT_SEARCH_MEMBERS_MAX {
        return draft;
    }
    let of = |draft: &Draft| to_the_letter(read, world, tables, taken, draft);
    // Who forwards and is no hub by what packets show may be one that nobody uses.
    let again = || {
        let may_relay = may_relay(world, tables, &draft);
        of(&weighed(tables, draft.clone(), |at| may_relay.contains(&at)))
    };
    of(&draft).or_else(again).unwrap_or(draft)
}

/// A draft with what its plan would decide otherwise; none if that is not sound, or not all.
fn to_the_letter(read: &Read, world: &World<'_>, tables: &Tables, taken: &[Taken], draft: &Draft) -> Option<Draft> {
    let before = planned(draft)?;
    let differences = verify(read, taken, &before);
    let others = differences.iter().filter(|one| one.aspect != Aspect::Allowed).count();
    if differences.len() == others {
        return Some(draft.clone());
    }
    let mut exact = draft.clone();
    let differing: BTreeSet<&crate::names::Name> =
        differences.iter().filter(|one| one.aspect == Aspect::Allowed).map(|one| &one.member).collect();
    for at in 0..exact.members.len() {
        if !differing.contains(&exact.members[at].name) {
            continue;
        }
        let labels: Vec<&str> = differences
            .iter()
            .filter(|one| one.aspect == Aspect::Allowed && one.member == exact.members[at].name)
            .filter_map(|one| one.peer.as_deref())
            .collect();
        let fixed = fixed(world, tables, &exact, at, &labels);
        exact.members[at].allowed = fixed;
    }
    let after = planned(&exact)?;
    let left = verify(read, taken, &after).len();
    let (was, is) = (verdicts(&before), verdicts(&after));
    let is_sound = was.iter().zip(&is).all(|(was, is)| is.is_good() || was == is);
    (left == others && is_sound).then_some(exact)
}

/// What a member's file gives to some of its peers; none if that is the internet.
fn fixed(world: &World<'_>, tables: &Tables, draft: &Draft, at: usize, labels: &[&str]) -> Vec<(usize, Vec<IpNet>)> {
    let (Some(device), Some(table)) = (world.device(at), tables.of(at)) else { return Vec::new() };
    let peers: BTreeSet<usize> = world.peers(device).map(|(peer, _)| peer).collect();
    let differs = |peer: &usize| labels.contains(&draft.members[*peer].name.as_str());
    let given = |peer: usize| {
        let mut list: Vec<IpNet> =
            table.prefixes().filter(|(_, owner)| *owner == peer).map(|(prefix, _)| prefix).collect();
        list.sort();
        let is_wide = list.iter().any(|prefix| prefix.prefix_len() <= INTERNET_BITS);
        (!is_wide).then_some((peer, list))
    };
    peers.into_iter().filter(differs).filter_map(given).collect()
}

fn planned(draft: &Draft) -> Option<Plan> {
    let network = resolved(draft).ok()?;
    Some(plan(Arc::new(network), &Ledger::default(), &LinkStates::default()).0)
}

/// What becomes of all pairs, in the order of the plan's ends.
fn verdicts(plan: &Plan) -> Vec<Verdict> {
    let proof = reachability(Hosts::from_plan(plan));
    let ends = proof.hosts.ends.len();
    (0..ends * ends).map(|pair| proof.verdict(pair / ends, pair % ends)).collect()
}
