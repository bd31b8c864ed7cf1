//! Sites: those of the file, and one for each node that has prefixes of its own.
//!
//! A site is where prefixes are and who stands in front of them; the order of its gateways is the operator's preference.
//! Whether prefixes overlap is not judged here but with all other prefixes.

use super::Context;
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::written::SiteTable;
use crate::file::{Family, OneOrMore, Spanned};
use crate::names::Name;
use crate::network::{NodeIx, Site};

/// Resolves all sites, sorted by name.
pub(super) fn resolve(context: &Context<'_>, findings: &mut Findings) -> Vec<Site> {
    let mut sites: Vec<Site> =
        context.names.sites.iter().map(|(name, table)| site(context, name, &table.value, findings)).collect();
    for (at, (name, table)) in context.names.nodes.iter().enumerate() {
        let Some(prefixes) = table.value.prefixes.as_ref().filter(|prefixes| !prefixes.value.is_empty()) else {
            continue;
        };
        let gateways = vec![NodeIx(at as u32)];
        sites.push(Site {
            name: name.value.clone(),
            prefixes: sorted(&prefixes.value),
            gateways,
            masquerade: families(&table.value.masquerade),
            place: prefixes.span,
        });
    }
    sites.sort_by(|a, b| (&a.name, a.place).cmp(&(&b.name, b.place)));
    lan_addresses(context, &sites, findings);
    sites
}

/// Addresses of gateways and routers in LANs must be in LANs that the node is a gateway of.
fn lan_addresses(context: &Context<'_>, sites: &[Site], findings: &mut Findings) {
    for (at, (name, table)) in context.names.nodes.iter().enumerate() {
        let behind = || sites.iter().filter(|site| site.gateways.contains(&NodeIx(at as u32)));
        for (key, list) in [("lan_addresses", &table.value.lan_addresses), ("lan_routers", &table.value.lan_routers)] {
            for address in list.iter().flat_map(|list| &list.value) {
                if behind().flat_map(|site| &site.prefixes).any(|prefix| prefix.contains(&address.value)) {
                    continue;
                }
                let kind = Meaning::LanAddressOutside { node: name.value.to_string(), key, address: address.value };
                let finding = Finding::new(kind, address.span);
                findings.push(match behind().next() {
                    Some(site) => finding
                        .with_related(site.place, "what is behind it")
                        .with_fix("Correct the address, or add its prefix to those behind the node."),
                    None => {
                        finding.with_fix(format!("Give node {} the prefixes behind it, or remove this.", name.value))
                    }
                });
            }
        }
    }
}

fn site(context: &Context<'_>, name: &Spanned<Name>, table: &SiteTable, findings: &mut Findings) -> Site {
    let mut gateways = Vec::new();
    for wanted in table.gateways.iter().flat_map(|list| &list.value) {
        let Some(node) = context.names.node(&wanted.value, wanted.span, findings) else { continue };
        if gateways.contains(&node) {
            let owner = format!("site {}", name.value);
            let kind = Meaning::ListedTwice { list: "gateways", owner, name: wanted.value.to_string() };
            findings.push(
                Finding::new(kind, wanted.span).with_fix("Name another node; the same one can't replace itself."),
            );
        } else {
            gateways.push(node);
        }
    }
    if let Some(list) = table.gateways.as_ref().filter(|list| list.value.is_empty()) {
        empty(name, "gateway", list.span, "Name the nodes in front of it in gateways.", findings);
    }
    if let Some(list) = table.prefixes.as_ref().filter(|list| list.value.is_empty()) {
        empty(name, "prefix", list.span, "Name its prefixes, or remove the site.", findings);
    }
    let prefixes = table.prefixes.as_ref().map_or_else(Vec::new, |list| sorted(&list.value));
    Site { name: name.value.clone(), prefixes, gateways, masquerade: families(&table.masquerade), place: name.span }
}

/// v4, v6.
fn families(given: &Option<Spanned<OneOrMore<Family>>>) -> [bool; 2] {
    let has = |family: Family| given.iter().flat_map(|list| &list.value.0).any(|one| one.value == family);
    [has(Family::V4), has(Family::V6)]
}

fn empty(name: &Spanned<Name>, what: &'static str, place: Span, fix: &str, findings: &mut Findings) {
    let kind = Meaning::EmptySite { site: name.value.to_string(), what };
    findings.push(Finding::new(kind, place).with_fix(fix));
}

fn sorted(list: &[Spanned<ipnet::IpNet>]) -> Vec<ipnet::IpNet> {
    let mut prefixes: Vec<ipnet::IpNet> = list.iter().map(|prefix| prefix.value).collect();
    prefixes.sort();
    prefixes
}
