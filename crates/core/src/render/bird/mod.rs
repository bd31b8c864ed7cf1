//! What BIRD is told on a node that speaks BGP: `bird.conf`, in the syntax that BIRD 2 and BIRD 3 have in common.
//!
//! What is learned goes into the kernel's table of the plan and nowhere else, and only what was learned by BGP; the network's own
//! prefixes are there to be announced. Every session has filters of its own, written out, so that what a neighbour may say and
//! is told stands in one place. Names of protocols are made of names of neighbours and nodes and stay the same.

mod claims;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use blake2::{Blake2s256, Digest as _};
use ipnet::IpNet;

use super::file::{Opening, RenderedFile, joined, line};
use crate::names::Name;
use crate::network::{LineClass, PrefixRange, TheirBird};
use crate::plan::{BgpPlan, NodePlan};

pub use sessions::Session;

/// What only the running node knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BirdNow {
    /// Whether it is about to go, and asks others to use other ways (RFC 8326).
    pub is_leaving: bool,
    /// The classes of lines to neighbours and nodes as measured, in the place of what the file does not say.
    pub lines: BTreeMap<Name, LineClass>,
    /// Nodes to which no way leads at present: routes to them are as good as gone.
    pub lost: BTreeSet<Name>,
}

/// The configuration of a node's BIRD; none if it speaks no BGP.
pub fn bird(plan: &NodePlan) -> Option<RenderedFile> {
    bird_now(plan, &BirdNow::default())
}

/// The same, with what the node knows.
pub fn bird_now(plan: &NodePlan, now: &BirdNow) -> Option<RenderedFile> {
    let bgp = plan.bgp.as_ref()?;
    let mut out = String::new();
    match &bgp.bird {
        Some(theirs) => included(bgp, theirs, &mut out),
        None => general(&mut out, bgp),
    }
    define(bgp, &mut out);
    origins(bgp, &mut out);
    devices(plan, bgp, &mut out);
    for is_v4 in [true, false] {
        own(bgp, is_v4, &mut out);
        services(bgp, is_v4, &mut out);
        overlay(plan, bgp, now, is_v4, &mut out);
        kernel(bgp, is_v4, &mut out);
        claims::write(bgp, is_v4, &mut out);
    }
    sessions::write(plan, bgp, now, &mut out);
    let name = bgp.bird.as_ref().and_then(|theirs| theirs.part.rsplit('/').next()).unwrap_or("bird.conf");
    Some(RenderedFile::new(plan, name.to_owned(), Opening::Header, &out))
}

/// All sessions of a node: what their protocols are called in BIRD, and with whom they are.
pub fn bird_sessions(plan: &NodePlan) -> Vec<Session> {
    plan.bgp.as_ref().map(|bgp| sessions::all(plan, bgp)).unwrap_or_default()
}

/// What only one can say in a BIRD, and ours is alone.
fn general(out: &mut String, bgp: &BgpPlan) {
    line(out, format_args!("log stderr {{ info, remote, warning, error, auth, fatal, bug }};"));
    line(out, format_args!("timeformat protocol iso long;"));
    line(out, format_args!("timeformat route iso long;"));
    line(out, format_args!("router id {};", bgp.router_id));
    // How long routes that a predecessor has left wait for sessions to come back. Nothing is told to anybody until then.
    let wait_s = if bgp.claims.is_some() { claims::SESSIONS_S_MAX } else { 30 };
    line(out, format_args!("graceful restart wait {wait_s};"));
}

/// What an administrator's has said already; and tables of our own, so that no route of theirs is ours, and none of ours theirs.
fn included(bgp: &BgpPlan, theirs: &TheirBird, out: &mut String) {
    line(out, format_args!("# A part of {}, which includes it by this line:", theirs.configuration));
    line(out, format_args!("#     {}", include_line(theirs)));
    let watched: Vec<String> = bgp.neighbours.iter().filter(|n| n.bfd).map(|n| format!("\"{}\"", n.device)).collect();
    if !watched.is_empty() {
        line(
            out,
            format_args!("# There can be one BFD in a BIRD, so it is for that file to have it. Neighbours count on:"),
        );
        line(
            out,
            format_args!(
                "#     protocol bfd {{ interface {} {{ interval 300 ms; multiplier 5; }}; }}",
                watched.join(", ")
            ),
        );
    }
    for is_v4 in [true, false] {
        line(out, format_args!("ipv{} table {};", digit(is_v4), table(bgp, is_v4)));
    }
}

/// The line of an administrator's configuration that includes our part. With a pattern it is no mistake that the file is not there.
pub fn include_line(theirs: &TheirBird) -> String {
    let (rest, last) = theirs.part.split_at(theirs.part.len() - 1);
    format!("include \"{rest}[{last}]\";")
}

fn define(bgp: &BgpPlan, out: &mut String) {
    line(out, format_args!("define {} = {};", ours(bgp, "OWN_AS"), bgp.asn));
    for is_v4 in [true, false] {
        let own = of_family(&bgp.own, is_v4);
        if !own.is_empty() {
            let list: Vec<String> = own.iter().map(|prefix| format!("{prefix}+")).collect();
            line(out, format_args!("define {} = [ {} ];", ours(bgp, &format!("OWN{}", digit(is_v4))), list.join(", ")));
        }
    }
    claims::define(bgp, out);
    out.push('\n');
}

/// Who may originate what.
fn origins(bgp: &BgpPlan, out: &mut String) {
    for is_v4 in [true, false].into_iter().filter(|is_v4| bgp.roa.covers(*is_v4)) {
        let family = digit(is_v4);
        let name = ours(bgp, &format!("origins{family}"));
        line(out, format_args!("roa{family} table {name};"));
        if let Some(path) = &bgp.roa.files[usize::from(!is_v4)] {
            line(out, format_args!("protocol static {name}_file {{"));
            line(out, format_args!("\troa{family} {{ table {name}; }};"));
            line(out, format_args!("\tinclude \"{path}\";\n}}"));
        }
    }
    for (at, server) in bgp.roa.servers.iter().enumerate() {
        line(out, format_args!("protocol rpki {}{} {{", ours(bgp, "origins_server"), at + 1));
        line(
            out,
            format_args!(
                "\troa4 {{ table {}; }};\n\troa6 {{ table {}; }};",
                ours(bgp, "origins4"),
                ours(bgp, "origins6")
            ),
        );
        line(out, format_args!("\tremote \"{}\" port {};", host(&server.host), server.port));
        // What is known stays for two days while the server is away.
        line(out, format_args!("\tretry keep 90;\n\trefresh keep 900;\n\texpire keep 172800;\n}}"));
    }
    if bgp.roa != crate::network::Roa::default() {
        out.push('\n');
    }
}

fn host(host: &crate::network::Host) -> String {
    match host {
        crate::network::Host::Ip(ip) => ip.to_string(),
        crate::network::Host::Dns(name) => name.clone(),
    }
}

/// Only devices of this network are looked at for addresses.
fn devices(plan: &NodePlan, bgp: &BgpPlan, out: &mut String) {
    let all = std::iter::once(&plan.device).chain(bgp.neighbours.iter().map(|neighbour| &neighbour.device));
    let list: Vec<String> = all.map(|device| format!("\"{device}\"")).collect();
    if bgp.bird.is_none() {
        line(out, format_args!("protocol device {{\n\tscan time 60;\n}}\n"));
    }
    if bgp.bird.is_none() && bgp.neighbours.iter().any(|neighbour| neighbour.bfd) {
        let watched = bgp.neighbours.iter().filter(|neighbour| neighbour.bfd);
        let list: Vec<String> = watched.map(|neighbour| format!("\"{}\"", neighbour.device)).collect();
        line(out, format_args!("protocol bfd {{\n\tinterface {} {{", list.join(", ")));
        line(out, format_args!("\t\tinterval 300 ms;\n\t\tmultiplier 5;\n\t}};\n}}\n"));
    }
    let name = bgp.bird.as_ref().map_or(String::new(), |_| format!("{} ", ours(bgp, "direct")));
    let [v4, v6] = [true, false].map(|is_v4| channel(bgp, is_v4));
    line(out, format_args!("protocol direct {name}{{\n\t{v4};\n\t{v6};\n\tinterface {};\n}}\n", list.join(", ")));
}

/// The network's own prefixes, to be announced; none of them goes into the kernel.
fn own(bgp: &BgpPlan, is_v4: bool, out: &mut String) {
    let own = of_family(&bgp.own, is_v4);
    if own.is_empty() {
        return;
    }
    line(out, format_args!("protocol static {}{} {{\n\t{};", ours(bgp, "own"), digit(is_v4), channel(bgp, is_v4)));
    for prefix in own {
        line(out, format_args!("\troute {prefix} unreachable;"));
    }
    out.push_str("}\n\n");
}

/// Addresses of the node's own, of which the other nodes are told; the kernel has them on a device.
fn services(bgp: &BgpPlan, is_v4: bool, out: &mut String) {
    if !tells_services(bgp, is_v4) {
        return;
    }
    // Before what the device itself tells of them.
    line(out, format_args!("protocol static {}{} {{", ours(bgp, "services"), digit(is_v4)));
    line(out, format_args!("\tipv{} {{{} preference 250; }};", digit(is_v4), in_table(bgp, is_v4)));
    for address in bgp.service_addresses.iter().filter(|address| address.is_ipv4() == is_v4) {
        line(out, format_args!("\troute {} unreachable;", IpNet::from(*address)));
    }
    out.push_str("}\n\n");
}

/// Whether there are addresses of a family to tell, and anybody to tell them.
fn tells_services(bgp: &BgpPlan, is_v4: bool) -> bool {
    !bgp.nodes.is_empty() && bgp.service_addresses.iter().any(|address| address.is_ipv4() == is_v4)
}

/// Where next hops are that are other nodes: what the plan says, which is the same as what the kernel has. With a node that can't be
/// reached go all ways over it, at once: sessions end after minutes, and a reflector's with us does not end at all.
fn overlay(plan: &NodePlan, bgp: &BgpPlan, now: &BirdNow, is_v4: bool, out: &mut String) {
    let all = bgp.speakers.iter().flat_map(|node| node.addresses.iter().map(|address| (address, &node.name)));
    let list: Vec<(&IpAddr, &Name)> = all.filter(|(address, _)| address.is_ipv4() == is_v4).collect();
    if list.is_empty() {
        return;
    }
    line(out, format_args!("protocol static {}{} {{\n\t{};", ours(bgp, "overlay"), digit(is_v4), channel(bgp, is_v4)));
    for (address, node) in list {
        if now.lost.contains(node) {
            line(out, format_args!("\troute {} unreachable;", IpNet::from(*address)));
            continue;
        }
        // With itself as the gateway, which the kernel is told too: so the agent sees to which node a route leads.
        let (prefix, device) = (IpNet::from(*address), &plan.device);
        line(out, format_args!("\troute {prefix} via {address} % '{device}' onlink;"));
    }
    out.push_str("}\n\n");
}

/// Room for what the kernel tells of BIRD's own changes, while BIRD makes more of them: with the usual 200 KB some hundred routes
/// at once are too many, and BIRD warns of news that were dropped and reads the whole table again.
const NEWS_BYTES: u32 = 8 << 20;

fn kernel(bgp: &BgpPlan, is_v4: bool, out: &mut String) {
    let family = digit(is_v4);
    line(out, format_args!("protocol kernel {}{family} {{", ours(bgp, "kernel")));
    line(out, format_args!("\tkernel table {};\n\tscan time 20;", bgp.table));
    line(out, format_args!("\tnetlink rx buffer {NEWS_BYTES};"));
    line(out, format_args!("\tgraceful restart yes;"));
    line(out, format_args!("\tipv{family} {{"));
    own_table_line(bgp, is_v4, out);
    line(out, format_args!("\t\timport none;\n\t\texport filter {{"));
    line(out, format_args!("\t\t\tif source != RTS_BGP then reject;"));
    claims::refuse(bgp, is_v4, out);
    if let Some(source) = bgp.sources.iter().find(|source| source.is_ipv4() == is_v4) {
        line(out, format_args!("\t\t\tkrt_prefsrc = {source};"));
    }
    line(out, format_args!("\t\t\taccept;\n\t\t}};\n\t}};\n}}\n"));
}

/// A name of ours: as it is in a BIRD of our own, and after a prefix that nobody else has in an administrator's.
fn ours(bgp: &BgpPlan, word: &str) -> String {
    bgp.bird.as_ref().map_or(word.to_owned(), |theirs| format!("{}{word}", theirs.prefix))
}

/// The table of routes.
fn table(bgp: &BgpPlan, is_v4: bool) -> String {
    bgp.bird
        .as_ref()
        .map_or_else(|| format!("master{}", digit(is_v4)), |theirs| format!("{}{}", theirs.prefix, digit(is_v4)))
}

/// What says so within a channel, where it is not the usual one.
fn in_table(bgp: &BgpPlan, is_v4: bool) -> String {
    bgp.bird.as_ref().map_or(String::new(), |_| format!(" table {};", table(bgp, is_v4)))
}

fn own_table_line(bgp: &BgpPlan, is_v4: bool, out: &mut String) {
    if bgp.bird.is_some() {
        line(out, format_args!("\t\ttable {};", table(bgp, is_v4)));
    }
}

/// A channel of which nothing else is to be said.
fn channel(bgp: &BgpPlan, is_v4: bool) -> String {
    match in_table(bgp, is_v4) {
        usual if usual.is_empty() => format!("ipv{}", digit(is_v4)),
        table => format!("ipv{} {{{table} }}", digit(is_v4)),
    }
}

/// The tables in which what is learned is, for IPv4 and IPv6, where these are not BIRD's usual ones.
pub fn bird_tables(bgp: &BgpPlan) -> Option<[String; 2]> {
    bgp.bird.as_ref().map(|_| [true, false].map(|is_v4| table(bgp, is_v4)))
}

/// 4 or 6.
fn digit(is_v4: bool) -> char {
    if is_v4 { '4' } else { '6' }
}

fn of_family(list: &[IpNet], is_v4: bool) -> Vec<IpNet> {
    list.iter().copied().filter(|prefix| prefix.addr().is_ipv4() == is_v4).collect()
}

/// A set of prefixes.
fn set(ranges: &[&PrefixRange]) -> String {
    let text = |range: &&PrefixRange| format!("{}{{{},{}}}", range.prefix, range.min, range.max);
    format!("[ {} ]", joined(&ranges.iter().map(text).collect::<Vec<_>>(), ", "))
}

/// Bytes of a symbol in BIRD 2, and of what stands around a name in ours.
const SYMBOL_BYTES: usize = 63;
const AROUND_BYTES: usize = "n__v4".len();

/// Something of a name that BIRD takes as a symbol: names have hyphens and no underscores. Of one that is too long the beginning, and digits
/// by which it differs from others that begin alike.
fn symbol(bgp: &BgpPlan, name: &Name) -> String {
    let whole = name.as_str().replace('-', "_");
    let room = SYMBOL_BYTES - AROUND_BYTES - ours(bgp, "").len();
    if whole.len() <= room {
        return whole;
    }
    let digest = Blake2s256::digest(name.as_str());
    format!("{}_{:02x}{:02x}", &whole[..room - 5], digest[0], digest[1])
}
