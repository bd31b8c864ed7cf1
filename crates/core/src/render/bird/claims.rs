//! Claims as routes: with which entry node each client is, told by BGP.
//!
//! The agent writes its own claims into a table of the kernel, from which BIRD learns them at once, and BIRD writes those of others into a second
//! one, from which the agent hears of them. No rule asks either table: what is in them are names and numbers. The epoch of a claim is the
//! route's window on both sides, since the kernel replaces a route whose window is another, and not one whose metric is. Between
//! nodes it is the local preference, which BGP compares before anything else, and the next hop is the entry node. Nobody but
//! nodes of this network is believed or told any of it.

use ipnet::IpNet;

use super::super::file::line;
use super::{digit, of_family};
use crate::plan::{BgpPlan, ClaimRoutesPlan, NodePlan};

/// Better than what others say: what a node claims itself it tells, whatever it hears.
const PREFERENCE: u32 = 200;
/// Seconds between two looks at the kernel's tables, beside its news: what was lost of these is made up for by the next look.
const SCAN_S: u32 = 10;
/// Bytes of the kernel's news that may wait for BIRD, which gets those of all tables: routes of thousands of clients, while it has no
/// processor. One buffer serves all of BIRD.
const NEWS_BYTES: u32 = 16 << 20;

/// The addresses that claims are about, as a set; none if there are none of this family.
fn within(claims: &ClaimRoutesPlan, is_v4: bool) -> Option<String> {
    let bits = if is_v4 { 32 } else { 128 };
    let list: Vec<String> =
        of_family(&claims.within, is_v4).iter().map(|all: &IpNet| format!("{all}{{{bits},{bits}}}")).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

/// A filter's condition by which routes are claims; none if claims are no routes, or not of this family.
pub(super) fn condition(bgp: &BgpPlan, is_v4: bool) -> Option<String> {
    within(bgp.claims.as_ref()?, is_v4).map(|_| format!("net ~ CLAIMED{}", digit(is_v4)))
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
            line(out, format_args!("define CLAIMED{} = [ {within} ];", digit(is_v4)));
        }
    }
}

/// Tables, and the ways between them and the kernel's.
pub(super) fn write(plan: &NodePlan, bgp: &BgpPlan, is_v4: bool, out: &mut String) {
    let (Some(claims), Some(condition)) = (&bgp.claims, condition(bgp, is_v4)) else { return };
    let family = digit(is_v4);
    if plan.entry.is_some() {
        line(out, format_args!("ipv{family} table claims{family};"));
        line(out, format_args!("protocol kernel claims{family}_own {{\n\tkernel table {};", claims.origins));
        line(
            out,
            format_args!(
                "\tscan time {SCAN_S};\n\tnetlink rx buffer {NEWS_BYTES};\n\tlearn yes;\n\tipv{family} {{\n\t\ttable claims{family};"
            ),
        );
        line(out, format_args!("\t\timport filter {{\n\t\t\tif !({condition}) then reject;"));
        line(out, format_args!("\t\t\tbgp_local_pref = krt_window;\n\t\t\tbgp_med = {};", claims.med));
        line(
            out,
            format_args!("\t\t\tpreference = {PREFERENCE};\n\t\t\taccept;\n\t\t}};\n\t\texport none;\n\t}};\n}}"),
        );
        line(out, format_args!("protocol pipe claims{family}_told {{\n\ttable master{family};"));
        line(out, format_args!("\tpeer table claims{family};\n\timport all;\n\texport none;\n}}\n"));
    }
    line(out, format_args!("ipv{family} table heard{family};"));
    line(out, format_args!("protocol pipe claims{family}_heard {{\n\ttable heard{family};"));
    line(out, format_args!("\tpeer table master{family};\n\timport where source = RTS_BGP && {condition};"));
    line(out, format_args!("\texport none;\n}}"));
    line(out, format_args!("protocol kernel claims{family}_others {{\n\tkernel table {};", claims.heard));
    line(out, format_args!("\tscan time {SCAN_S};\n\tipv{family} {{\n\t\ttable heard{family};\n\t\timport none;"));
    line(
        out,
        format_args!("\t\texport filter {{\n\t\t\tkrt_window = bgp_local_pref;\n\t\t\taccept;\n\t\t}};\n\t}};\n}}\n"),
    );
}
