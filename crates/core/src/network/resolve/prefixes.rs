//! Who claims which prefix, and which claims can't stand beside each other.
//!
//! Claims are sorted by address, shorter prefixes first; one sweep with a stack of enclosing claims then finds every
//! claim that lies inside another, without comparing all pairs.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::names::Names;
use super::ranges::{common_range, is_private};
use super::{Context, link_prefix};
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::Spanned;
use crate::file::written::{NetworkTable, RegionTable};
use crate::names::Name;

/// What a prefix is claimed for. In an overlap the finding stands at the later of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Overlay prefix of the network.
    Overlay,
    /// Range of link addresses.
    Links,
    /// Part of the overlay prefixes for a region's nodes.
    Region,
    /// Part of the overlay prefixes for clients.
    ClientPool,
    /// Behind gateways.
    Site,
    /// Behind a client.
    Client,
}

/// One claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'f> {
    pub prefix: IpNet,
    pub role: Role,
    name: Option<&'f Name>,
    place: Option<Span>,
}

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.map_or("", Name::as_str);
        match self.role {
            Role::Overlay => f.write_str("the network's prefixes"),
            Role::Links => f.write_str("the network's link prefix"),
            Role::Region => write!(f, "region {name}"),
            Role::ClientPool => f.write_str("the client prefixes"),
            Role::Site => write!(f, "site {name}"),
            Role::Client => write!(f, "client {name}"),
        }
    }
}

/// All claims of a file, sorted by address, then length: each right after those that enclose it.
pub(super) struct Claims<'f> {
    all: Vec<Claim<'f>>,
    /// For each claim the narrowest one that encloses it. Prefixes nest or are apart, so there is one chain.
    enclosing: Vec<Option<usize>>,
}

impl<'f> Claims<'f> {
    /// Collects the claims as written.
    pub fn collect(table: &'f NetworkTable, names: &Names<'f>) -> Claims<'f> {
        let mut all = Vec::new();
        let links = link_prefix(table, table.name.as_ref().map(|name| &name.value));
        let place = table.link_prefix.as_ref().map(|prefix| prefix.span);
        all.push(Claim { prefix: links, role: Role::Links, name: None, place });
        let mut add = |role, name, prefix: &Spanned<IpNet>| {
            all.push(Claim { prefix: prefix.value, role, name, place: Some(prefix.span) });
        };
        table.prefixes.iter().flat_map(|list| &list.value).for_each(|p| add(Role::Overlay, None, p));
        table.client_prefixes.iter().flat_map(|list| &list.value).for_each(|p| add(Role::ClientPool, None, p));
        for (name, region) in &names.regions {
            of_region(&region.value).into_iter().for_each(|p| add(Role::Region, Some(&name.value), p));
        }
        for (name, site) in &names.sites {
            site.value.prefixes.iter().flat_map(|l| &l.value).for_each(|p| add(Role::Site, Some(&name.value), p));
        }
        for (name, node) in &names.nodes {
            node.value.prefixes.iter().flat_map(|l| &l.value).for_each(|p| add(Role::Site, Some(&name.value), p));
        }
        for (name, client) in &names.clients {
            client.value.prefixes.iter().flat_map(|l| &l.value).for_each(|p| add(Role::Client, Some(&name.value), p));
        }
        all.sort_by_key(|claim| (claim.prefix.network(), claim.prefix.prefix_len(), claim.role, claim.place));
        let enclosing = enclosing(&all);
        Claims { all, enclosing }
    }

    /// The narrowest claim of certain roles that an address lies in.
    pub fn holding(&self, address: IpAddr, wanted: impl Fn(Role) -> bool) -> Option<&Claim<'f>> {
        // Whatever holds the address encloses the last claim that starts at or before it, or is that claim.
        let before = self.all.partition_point(|claim| claim.prefix.network() <= address);
        let mut next = before.checked_sub(1);
        while let Some(at) = next {
            let claim = &self.all[at];
            if claim.prefix.contains(&address) && wanted(claim.role) {
                return Some(claim);
            }
            next = self.enclosing[at];
        }
        None
    }
}

/// The prefixes of a region, from either key.
pub(super) fn of_region(table: &RegionTable) -> Vec<&Spanned<IpNet>> {
    table.prefix.iter().chain(table.prefixes.iter().flat_map(|list| &list.value)).collect()
}

/// Checks all claims.
pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    overlaps(&context.claims, findings);
    outside_overlay(&context.claims, findings);
    families(context, findings);
    if context.table.allow_public_prefixes.as_ref().is_none_or(|allowed| !allowed.value) {
        public(&context.claims, findings);
    }
    common(context, findings);
}

fn enclosing(all: &[Claim<'_>]) -> Vec<Option<usize>> {
    let mut open: Vec<usize> = Vec::new();
    let mut enclosing = Vec::with_capacity(all.len());
    for (at, claim) in all.iter().enumerate() {
        while open.last().is_some_and(|outer| !all[*outer].prefix.contains(&claim.prefix)) {
            open.pop();
        }
        enclosing.push(open.last().copied());
        open.push(at);
    }
    enclosing
}

fn overlaps(claims: &Claims<'_>, findings: &mut Findings) {
    for (claim, outer) in claims.all.iter().zip(&claims.enclosing) {
        let Some(outer) = outer.map(|at| &claims.all[at]) else { continue };
        let part_of_overlay = outer.role == Role::Overlay && matches!(claim.role, Role::Region | Role::ClientPool);
        if !part_of_overlay {
            overlap(outer, claim, findings);
        }
    }
}

fn overlap(x: &Claim<'_>, y: &Claim<'_>, findings: &mut Findings) {
    let (a, b) = if (x.role, x.place) > (y.role, y.place) { (x, y) } else { (y, x) };
    let kind = Meaning::Overlap { a: a.to_string(), a_prefix: a.prefix, b: b.to_string(), b_prefix: b.prefix };
    let finding = Finding::new(kind, a.place);
    let finding = match b.place {
        Some(place) => finding.with_related(place, "also used here"),
        None => finding,
    };
    findings.push(finding.with_fix(match (a.role, b.role) {
        (Role::Site, Role::Site) => "Renumber one of them; one address can't be in two places.",
        (Role::Site | Role::Client, Role::Overlay) => "Choose overlay prefixes outside every site.",
        (Role::Region, Role::Region) => "Give each region its own part of the overlay prefix.",
        (Role::ClientPool, Role::Region) => "Give clients a part of the overlay prefix that no region has.",
        _ => "Choose ranges that do not overlap.",
    }));
}

fn outside_overlay(claims: &Claims<'_>, findings: &mut Findings) {
    let overlay: Vec<&Claim<'_>> = claims.all.iter().filter(|claim| claim.role == Role::Overlay).collect();
    let parts = claims.all.iter().filter(|claim| matches!(claim.role, Role::Region | Role::ClientPool));
    for claim in parts.filter(|claim| !overlay.iter().any(|whole| whole.prefix.contains(&claim.prefix))) {
        let kind = Meaning::OutsideOverlay { owner: claim.to_string(), prefix: claim.prefix };
        let mut finding = Finding::new(kind, claim.place);
        for whole in &overlay {
            finding.related.extend(whole.place.map(|place| (place, "the network's prefix".to_owned())));
        }
        findings.push(finding.with_fix("Choose a part of the network's prefixes, or widen those."));
    }
}

fn families(context: &Context<'_>, findings: &mut Findings) {
    let network: Vec<&Spanned<IpNet>> = context.table.prefixes.iter().flat_map(|list| &list.value).collect();
    two_of_a_family("the network", &network, findings);
    for (name, region) in &context.names.regions {
        if let (Some(one), Some(many)) = (&region.value.prefix, &region.value.prefixes) {
            let owner = format!("region {}", name.value);
            super::nodes::both(owner, ("prefix", one.span), ("prefixes", many.span), findings);
        }
        two_of_a_family(&format!("region {}", name.value), &of_region(&region.value), findings);
    }
}

fn two_of_a_family(owner: &str, prefixes: &[&Spanned<IpNet>], findings: &mut Findings) {
    for (family, v4) in [("IPv4", true), ("IPv6", false)] {
        let mut of_family = prefixes.iter().filter(|prefix| prefix.value.addr().is_ipv4() == v4);
        if let (Some(first), Some(second)) = (of_family.next(), of_family.next()) {
            let kind = Meaning::FamilyTwice { owner: owner.to_owned(), family, what: "prefixes" };
            findings.push(
                Finding::new(kind, second.span)
                    .with_related(first.span, "the first one")
                    .with_fix("Keep one; a wider prefix can cover both."),
            );
        }
    }
}

fn public(claims: &Claims<'_>, findings: &mut Findings) {
    let whole = claims.all.iter().filter(|claim| !matches!(claim.role, Role::Region | Role::ClientPool));
    for claim in whole.filter(|claim| !is_private(claim.prefix)) {
        let kind = Meaning::PublicPrefix { owner: claim.to_string(), prefix: claim.prefix };
        findings.push(
            Finding::new(kind, claim.place)
                .with_fix("Choose a private range; if these addresses are yours, set allow_public_prefixes = true."),
        );
    }
}

fn common(context: &Context<'_>, findings: &mut Findings) {
    let clients = !context.names.clients.is_empty();
    for claim in context.claims.all.iter().filter(|claim| !matches!(claim.role, Role::Region | Role::ClientPool)) {
        let lan_behind_gateways = clients && claim.role == Role::Site;
        if let Some((habit, fix)) = common_range(claim.prefix, lan_behind_gateways) {
            let kind = Meaning::CommonLan { owner: claim.to_string(), prefix: claim.prefix, habit };
            findings.push(Finding::new(kind, claim.place).with_fix(fix));
        }
    }
}
