//! Claims as routes: with which entry node each client is, and which gateways get into a site, told by BGP.
//!
//! The agent writes its own claims into a table of the kernel, from which BIRD learns them at once, and BIRD writes those of others into a second
//! one, from which the agent hears of them. No rule asks either table: what is in them are names and numbers. The epoch of a claim is the
//! route's window on both sides, since the kernel replaces a route whose window is another, and not one whose metric is. Between
//! nodes it is the local preference, which BGP compares before anything else, and the next hop is the entry node. Nobody but
//! nodes of this network is believed or told any of it. For a site the window is how much its gateway is preferred. What leads to a node
//! that can't be reached is not written: BIRD takes the next best, and a reflector passes that one on.

use ipnet::IpNet;

use super::super::file::line;
use super::{digit, of_family, ours, table};
use crate::plan::{BgpPlan, ClaimRoutesPlan};

/// Better than what others say: what a node claims itself it tells, whatever it hears.
const PREFERENCE: u32 = 200;
/// Seconds between two looks at the kernel's tables, beside its news: what was lost of these is made up for by the next look.
const SCAN_S: u32 = 10;
/// Bytes of the kernel's news that may wait for BIRD, which gets those of all tables: routes of thousands of clients, while it has no
/// processor. One buffer serves all of BIRD.
const NEWS_BYTES: u32 = 16 << 20;

/// Seconds for which a BIRD that starts anew waits for sessions: where one of them does not come, moves of clients would stand still for as
/// long. Agents believe what they knew for that time ([`crate::limits::CLAIM_FADES_MS`]).
pub(super) const SESSIONS_S_MAX: u32 = 8;

/// What claims are about, as a set; none if there is nothing of this family.
fn within(claims: &ClaimRoutesPlan, is_v4: bool) -> Option<String> {
    let bits = if is_v4 { 32 } else { 128 };
    let clients = of_family(&claims.within, is_v4).into_iter().map(|all: IpNet| format!("{all}{{{bits},{bits}}}"));
    let sites = claims.sites.iter().flat_map(|site| of_family(&site.prefixes, is_v4));
    let list: Vec<String> = clients.chain(sites.map(|prefix| prefix.to_string())).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

/// A filter's condition by which routes are claims; none if claims are no routes, or not of this family.
pub(super) fn condition(bgp: &BgpPlan, is_v4: bool) -> Option<String> {
    within(bgp.claims.as_ref()?, is_v4).map(|_| format!("net ~ {}", ours(bgp, &format!("CLAIMED{}", digit(is_v4)))))
}

/// The line that refuses them, from or for anybody who is no node of this network.
pub(super) fn refuse(bgp: &BgpPlan, is_v4: bool, out: &mut String) {
    if let Some(condition) = condition(bgp, is_v4) {
        line(out, format_args!("\t\t\tif {condition} then reject;"));
    }
}

/// Definitions, to stand before all filters.
pub(super) fn define(bgp: &BgpPlan, out: &mut String) {
    let Some(claims) = &bgp.claims else { return };
    for is_v4 in [true, false] {
        if let Some(within) = within(claims, is_v4) {
            line(out, format_args!("define {} = [ {within} ];", ours(bgp, &format!("CLAIMED{}", digit(is_v4)))));
        }
    }
}

/// Tables, and the ways between them and the kernel's.
pub(super) fn write(bgp: &BgpPlan, is_v4: bool, out: &mut String) {
    let (Some(claims), Some(condition)) = (&bgp.claims, condition(bgp, is_v4)) else { return };
    let family = digit(is_v4);
    let (main, told, heard) =
        (table(bgp, is_v4), ours(bgp, &format!("claims{family}")), ours(bgp, &format!("heard{family}")));
    if claims.originates {
        line(out, format_args!("ipv{family} table {told};"));
        line(out, format_args!("protocol kernel {told}_own {{\n\tkernel table {};", claims.origins));
        line(
            out,
            format_args!(
                "\tscan time {SCAN_S};\n\tnetlink rx buffer {NEWS_BYTES};\n\tlearn yes;\n\tipv{family} {{\n\t\ttable {told};"
            ),
        );
        line(out, format_args!("\t\timport filter {{\n\t\t\tif !({condition}) then reject;"));
        line(out, format_args!("\t\t\tbgp_local_pref = krt_window;\n\t\t\tbgp_med = {};", claims.med));
        line(
            out,
            format_args!("\t\t\tpreference = {PREFERENCE};\n\t\t\taccept;\n\t\t}};\n\t\texport none;\n\t}};\n}}"),
        );
        line(out, format_args!("protocol pipe {told}_told {{\n\ttable {main};"));
        line(out, format_args!("\tpeer table {told};\n\timport all;\n\texport none;\n}}\n"));
    }
    line(out, format_args!("ipv{family} table {heard};"));
    line(out, format_args!("protocol pipe {told}_heard {{\n\ttable {heard};"));
    line(out, format_args!("\tpeer table {main};\n\timport where source = RTS_BGP && {condition};"));
    line(out, format_args!("\texport none;\n}}"));
    line(out, format_args!("protocol kernel {told}_others {{\n\tkernel table {};", claims.heard));
    line(out, format_args!("\tscan time {SCAN_S};\n\tipv{family} {{\n\t\ttable {heard};\n\t\timport none;"));
    line(out, format_args!("\t\texport filter {{\n\t\t\tif dest = RTD_UNREACHABLE then reject;"));
    line(out, format_args!("\t\t\tkrt_window = bgp_local_pref;\n\t\t\taccept;\n\t\t}};\n\t}};\n}}\n"));
}
