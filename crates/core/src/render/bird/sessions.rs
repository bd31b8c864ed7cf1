//! Sessions: with neighbours over the devices for them, with other nodes over the overlay.
//!
//! Filters refuse before they accept: default routes, one's own prefixes, prefixes that nobody may announce here, origins that
//! nobody has authorised.

use std::net::IpAddr;

use super::super::file::line;
use super::{BirdNow, claims, digit, ours, own_table_line, set, symbol, tells_services};
use crate::names::{DeviceName, Name};
use crate::network::{Exports, LineClass, PrefixRange, Profile, Sessions};
use crate::plan::{BgpPlan, InternalPlan, NeighbourPlan, NodePlan};

/// A BGP session as BIRD has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What its protocol is called.
    pub protocol: String,
    /// The neighbour or node.
    pub with: Name,
    /// Whether that is a neighbour.
    pub is_neighbour: bool,
    /// The device that it goes over.
    pub device: DeviceName,
    /// The other side's address.
    pub address: IpAddr,
    /// The other side's AS number.
    pub asn: u32,
    local: IpAddr,
    /// Families of routes: IPv4, IPv6.
    families: [bool; 2],
}

/// All sessions of a node, neighbours first.
pub(super) fn all(plan: &NodePlan, bgp: &BgpPlan) -> Vec<Session> {
    let neighbours = bgp.neighbours.iter().flat_map(|neighbour| of_neighbour(bgp, neighbour));
    let nodes = bgp.nodes.iter().flat_map(|node| [true, false].map(|is_v4| of_node(plan, bgp, node, is_v4)));
    neighbours.chain(nodes.flatten()).collect()
}

fn of_neighbour(bgp: &BgpPlan, neighbour: &NeighbourPlan) -> Vec<Session> {
    let name = ours(bgp, &format!("n_{}", symbol(bgp, &neighbour.name)));
    let session = |is_v4: bool, protocol: String, families: [bool; 2]| {
        Some(Session {
            protocol,
            with: neighbour.name.clone(),
            is_neighbour: true,
            device: neighbour.device.clone(),
            address: neighbour.address(is_v4)?,
            asn: neighbour.asn,
            local: neighbour.own_address(is_v4)?,
            families,
        })
    };
    let sessions = match neighbour.sessions {
        Sessions::V4 => vec![session(true, name, [true, false])],
        Sessions::V6 => vec![session(false, name, [false, true])],
        Sessions::ExtendedNextHop => vec![session(false, name, [true, true])],
        Sessions::Both => vec![
            session(true, format!("{name}_v4"), [true, false]),
            session(false, format!("{name}_v6"), [false, true]),
        ],
    };
    sessions.into_iter().flatten().collect()
}

/// One session for each family of overlay addresses that both have.
fn of_node(plan: &NodePlan, bgp: &BgpPlan, node: &InternalPlan, is_v4: bool) -> Option<Session> {
    let find = |list: &[IpAddr]| list.iter().copied().find(|address| address.is_ipv4() == is_v4);
    Some(Session {
        protocol: ours(bgp, &format!("i_{}_v{}", symbol(bgp, &node.name), digit(is_v4))),
        with: node.name.clone(),
        is_neighbour: false,
        device: plan.device.clone(),
        address: find(&node.addresses)?,
        asn: bgp.asn,
        local: find(&plan.addresses)?,
        families: [is_v4, !is_v4],
    })
}

/// Writes all of them.
pub(super) fn write(plan: &NodePlan, bgp: &BgpPlan, now: &BirdNow, out: &mut String) {
    for neighbour in &bgp.neighbours {
        for session in of_neighbour(bgp, neighbour) {
            with_neighbour(bgp, neighbour, now, &session, out);
        }
    }
    for node in &bgp.nodes {
        for session in [true, false].into_iter().filter_map(|is_v4| of_node(plan, bgp, node, is_v4)) {
            with_node(bgp, node, now, &session, out);
        }
    }
}

fn begin(bgp: &BgpPlan, session: &Session, what: &str, out: &mut String) {
    line(out, format_args!("protocol bgp {} {{\n\tdescription \"{what} {}\";", session.protocol, session.with));
    if bgp.bird.is_some() {
        line(out, format_args!("\trouter id {};", bgp.router_id));
    }
    line(out, format_args!("\tlocal {} as {};", session.local, ours(bgp, "OWN_AS")));
    line(out, format_args!("\tneighbor {} as {};", session.address, session.asn));
    if bgp.bird.as_ref().is_none_or(|theirs| theirs.strict_bind) {
        line(out, format_args!("\tstrict bind yes;"));
    }
    line(out, format_args!("\thold time 180;\n\tkeepalive time 60;\n\tgraceful restart yes;"));
    // With long-lived ones BIRD takes a neighbour that was silent for the whole hold time for one that restarts, and keeps its routes: FRR
    // offers them unasked.
    line(out, format_args!("\tlong lived graceful restart off;"));
    line(out, format_args!("\tconnect delay time 2;\n\tconnect retry time 30;\n\terror wait time 10, 120;"));
}

fn with_neighbour(bgp: &BgpPlan, neighbour: &NeighbourPlan, now: &BirdNow, session: &Session, out: &mut String) {
    let measured = now.lines.get(&neighbour.name).copied().unwrap_or_default();
    let class = Class {
        is_dn42: bgp.profile == Some(Profile::Dn42),
        // What the file says counts.
        line: LineClass {
            latency: neighbour.line.latency.or(measured.latency),
            bandwidth: neighbour.line.bandwidth.or(measured.bandwidth),
        },
        is_leaving: now.is_leaving,
    };
    begin(bgp, session, "neighbour", out);
    if matches!(session.address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        line(out, format_args!("\tinterface \"{}\";", session.device));
    }
    line(out, format_args!("\tdirect;"));
    let is_internal = |other: &&NeighbourPlan| other.asn == bgp.asn;
    if is_internal(&neighbour) && (!bgp.nodes.is_empty() || bgp.neighbours.iter().filter(is_internal).count() > 1) {
        // It is told what other nodes and others of its kind have, and they what it has.
        line(out, format_args!("\trr client;"));
    }
    if neighbour.bfd {
        line(out, format_args!("\tbfd yes;"));
    }
    for (is_v4, _) in [true, false].into_iter().zip(session.families).filter(|(_, told)| *told) {
        line(out, format_args!("\tipv{} {{", digit(is_v4)));
        own_table_line(bgp, is_v4, out);
        if is_v4 && session.address.is_ipv6() {
            line(out, format_args!("\t\textended next hop yes;"));
        }
        line(out, format_args!("\t\tnext hop self;\n\t\timport keep filtered yes;"));
        if bgp.roa.covers(is_v4) {
            // What was told is kept, so that it is judged again when origins change.
            line(out, format_args!("\t\timport table yes;"));
        }
        line(out, format_args!("\t\timport limit {} action restart;", neighbour.max_prefixes));
        imports(bgp, neighbour, &class, is_v4, out);
        exports(bgp, neighbour, &class, is_v4, out);
        out.push_str("\t};\n");
    }
    out.push_str("}\n\n");
}

fn imports(bgp: &BgpPlan, neighbour: &NeighbourPlan, class: &Class, is_v4: bool, out: &mut String) {
    let (family, is_internal) = (digit(is_v4), neighbour.asn == bgp.asn);
    let ranges: Vec<&PrefixRange> =
        neighbour.accept.iter().filter(|range| range.prefix.addr().is_ipv4() == is_v4).collect();
    let has_own = bgp.own.iter().any(|own| own.addr().is_ipv4() == is_v4);
    line(out, format_args!("\t\timport filter {{\n\t\t\tif net.len = 0 then reject;"));
    claims::refuse(bgp, is_v4, out);
    // Inside the network's own AS its parts are told of, too.
    let own = format!("net ~ {}{family}", ours(bgp, "OWN"));
    if has_own && !is_internal {
        line(out, format_args!("\t\t\tif {own} then reject;"));
    }
    let also_own = if has_own && is_internal { format!(" && !({own})") } else { String::new() };
    match ranges.as_slice() {
        [] if also_own.is_empty() => line(out, format_args!("\t\t\treject;")),
        [] => line(out, format_args!("\t\t\tif !({own}) then reject;")),
        ranges => line(out, format_args!("\t\t\tif !(net ~ {}){also_own} then reject;", set(ranges))),
    }
    if bgp.roa.covers(is_v4) {
        // What begins in the own AS has no path, and no authorisation is asked for.
        let inside = if is_internal { "bgp_path.len > 0 && " } else { "" };
        line(
            out,
            format_args!(
                "\t\t\tif {inside}roa_check({}, net, bgp_path.last) != ROA_VALID then reject;",
                ours(bgp, &format!("origins{family}"))
            ),
        );
    }
    class.believe(out);
    line(out, format_args!("\t\t\taccept;\n\t\t}};"));
}

fn exports(bgp: &BgpPlan, neighbour: &NeighbourPlan, class: &Class, is_v4: bool, out: &mut String) {
    let family = digit(is_v4);
    let has_own = bgp.own.iter().any(|own| own.addr().is_ipv4() == is_v4);
    if neighbour.export == Exports::Nothing || (neighbour.export == Exports::Own && !has_own) {
        line(out, format_args!("\t\texport none;"));
        return;
    }
    line(out, format_args!("\t\texport filter {{"));
    claims::refuse(bgp, is_v4, out);
    let mut told = Vec::new();
    if has_own {
        told.push(format!("proto = \"{}{family}\"", ours(bgp, "own")));
    }
    if neighbour.export == Exports::All {
        // What leads to nowhere is not promised to anybody.
        told.push("(source = RTS_BGP && net.len > 0 && dest != RTD_UNREACHABLE)".to_owned());
    }
    line(out, format_args!("\t\t\tif !({}) then reject;", told.join(" || ")));
    class.tell(out);
    line(out, format_args!("\t\t\taccept;\n\t\t}};"));
}

/// What is noted with routes that go over a line, in either direction.
#[derive(Clone, Copy)]
struct Class {
    is_dn42: bool,
    line: LineClass,
    is_leaving: bool,
}

impl Class {
    /// In a filter for what comes.
    fn believe(&self, out: &mut String) {
        // Who is about to go asks not to be used (RFC 8326), and uses others as little.
        let when = if self.is_leaving { "" } else { "if (65535, 0) ~ bgp_community then " };
        line(out, format_args!("\t\t\t{when}bgp_local_pref = 0;"));
        self.communities(out);
    }

    /// In a filter for what is told.
    fn tell(&self, out: &mut String) {
        if self.is_leaving {
            line(out, format_args!("\t\t\tbgp_community.add((65535, 0));"));
        }
        self.communities(out);
    }

    /// DN42's communities: of all lines on the way the slowest counts, and the narrowest, and the least safe. WireGuard is of the
    /// safest class, encrypted and with keys that are forgotten.
    fn communities(&self, out: &mut String) {
        if !self.is_dn42 {
            return;
        }
        const AS: u16 = 64511;
        let mut class = |worse: String, better: Option<String>, own: u8| {
            if let Some(better) = better {
                line(out, format_args!("\t\t\tbgp_community.delete([({AS}, {better})]);"));
            }
            let has = format!("bgp_community ~ [({AS}, {worse})]");
            line(out, format_args!("\t\t\tif !({has}) then bgp_community.add(({AS}, {own}));"));
        };
        if let Some(latency) = self.line.latency {
            class(format!("{latency}..9"), (latency > 1).then(|| format!("1..{}", latency - 1)), latency);
        }
        if let Some(bandwidth) = self.line.bandwidth {
            class(format!("21..{bandwidth}"), (bandwidth < 29).then(|| format!("{}..29", bandwidth + 1)), bandwidth);
        }
        class("31..34".to_owned(), None, 34);
    }
}

fn with_node(bgp: &BgpPlan, node: &InternalPlan, now: &BirdNow, session: &Session, out: &mut String) {
    begin(bgp, session, "node", out);
    if bgp.claims.is_some() && now.lost.contains(&node.name) {
        // What it told of clients and sites is not believed until the hold time is over, and nobody who starts anew waits for it.
        line(out, format_args!("\tdisabled yes;"));
    }
    line(out, format_args!("\tmultihop;"));
    if node.is_client {
        line(out, format_args!("\trr client;"));
    }
    let crossed = now.lines.get(&node.name).copied().unwrap_or_default();
    let class = Class {
        is_dn42: bgp.profile == Some(Profile::Dn42) && crossed != LineClass::default(),
        line: crossed,
        is_leaving: now.is_leaving,
    };
    for (is_v4, _) in [true, false].into_iter().zip(session.families).filter(|(_, told)| *told) {
        // What a reflector has from one node leads the others straight to that one.
        line(out, format_args!("\tipv{} {{", digit(is_v4)));
        own_table_line(bgp, is_v4, out);
        line(out, format_args!("\t\tnext hop self ebgp;"));
        line(out, format_args!("\t\timport filter {{\n\t\t\tif net.len = 0 then reject;"));
        // A claim's preference is its epoch, and says nothing of ways.
        if let Some(claim) = claims::condition(bgp, is_v4) {
            line(out, format_args!("\t\t\tif {claim} then accept;"));
        }
        Class { is_dn42: false, ..class }.believe(out);
        if class.is_dn42 {
            // A line between nodes is noted by who hears of it; a reflector tells of others' lines as well.
            line(out, format_args!("\t\t\tif bgp_next_hop = {} then {{", session.address));
            class.communities(out);
            line(out, format_args!("\t\t\t}}"));
        }
        line(out, format_args!("\t\t\taccept;\n\t\t}};\n\t\texport filter {{"));
        let told = if tells_services(bgp, is_v4) {
            format!("source = RTS_BGP || proto = \"{}{}\"", ours(bgp, "services"), digit(is_v4))
        } else {
            "source = RTS_BGP".to_owned()
        };
        let also = claims::condition(bgp, is_v4).map(|claim| format!(" || (source = RTS_INHERIT && {claim})"));
        line(out, format_args!("\t\t\tif !({told}{}) then reject;", also.unwrap_or_default()));
        // Where neighbours are is known here only, also where they are of the own AS.
        for internal in bgp.neighbours.iter().filter(|neighbour| neighbour.asn == bgp.asn) {
            for from in of_neighbour(bgp, internal).iter().filter(|from| from.families[usize::from(!is_v4)]) {
                let (protocol, local) = (&from.protocol, session.local);
                line(out, format_args!("\t\t\tif proto = \"{protocol}\" then bgp_next_hop = {local};"));
            }
        }
        if let Some(claim) = claims::condition(bgp, is_v4) {
            line(out, format_args!("\t\t\tif {claim} then accept;"));
        }
        Class { is_dn42: false, ..class }.tell(out);
        line(out, format_args!("\t\t\taccept;\n\t\t}};\n\t}};"));
    }
    out.push_str("}\n\n");
}
