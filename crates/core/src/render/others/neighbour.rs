//! The other side's half: what the operator of a foreign router needs, in four syntaxes, with what each part does.
//!
//! Keys are theirs to fill in, and so is what they announce; all that this network decides is written out. Lines are what their
//! programs take as they are.

use std::net::IpAddr;

use super::super::file::{Opening, RenderedFile, line};
use crate::network::{Host, Neighbour, Sessions};
use crate::plan::{Member, Plan};

/// What both halves have in common, seen from there.
struct Other<'a> {
    neighbour: &'a Neighbour,
    /// Our AS number.
    asn: u32,
    /// Our public key, or what stands for it.
    key: String,
    /// Where we are dialled, as they write it.
    endpoint: Option<String>,
    /// UDP port on which they listen.
    port: u16,
    /// Their addresses with the length of ours, and ours.
    pairs: Vec<(IpAddr, u8, IpAddr)>,
    /// Seconds of silence after which a session has ended.
    hold_s: u16,
}

/// Seconds of silence after which a session has ended: a minute between keepalives, as routers have it.
pub const HOLD_S: u16 = 180;

/// The half of one neighbour: wg-quick, BIRD 2, FRR, EdgeOS and VyOS.
pub fn neighbour(plan: &Plan, neighbour: &Neighbour) -> Vec<RenderedFile> {
    neighbour_held(plan, neighbour, HOLD_S)
}

/// The same, with another hold time.
pub(super) fn neighbour_held(plan: &Plan, neighbour: &Neighbour, hold_s: u16) -> Vec<RenderedFile> {
    let Some(bgp) = &plan.network.bgp else { return Vec::new() };
    let node = plan.network.node(neighbour.node);
    let public = node.endpoints.iter().find(|endpoint| endpoint.underlay.is_none());
    let pair = |theirs: &IpAddr| {
        let own = neighbour.own_addresses.iter().find(|own| own.addr().is_ipv4() == theirs.is_ipv4())?;
        Some((*theirs, own.prefix_len(), own.addr()))
    };
    let key = neighbour.own_public_key.or_else(|| plan.public_key(Member::Node(neighbour.node)));
    let other = Other {
        neighbour,
        asn: bgp.asn,
        key: key.map_or_else(|| "OUR-PUBLIC-KEY".to_owned(), |key| key.to_string()),
        endpoint: public.map(|endpoint| at(&endpoint.host, neighbour.port)),
        port: neighbour.endpoint.as_ref().map_or(neighbour.port, |endpoint| endpoint.port),
        pairs: neighbour.addresses.iter().filter_map(pair).collect(),
        hold_s,
    };
    let whose = format!("for neighbour {} of {} of network {}", neighbour.name, node.name, plan.network.name);
    let file = |name: String, body: String| RenderedFile::about(&whose, plan.generation, name, Opening::Header, &body);
    vec![
        file(format!("{}-wg-quick.conf", neighbour.name), other.wg_quick()),
        file(format!("{}-bird.conf", neighbour.name), other.bird()),
        file(format!("{}-frr.conf", neighbour.name), other.frr()),
        file(format!("{}-edgeos.txt", neighbour.name), other.router("EdgeOS")),
        file(format!("{}-vyos.txt", neighbour.name), other.router("VyOS")),
    ]
}

fn at(host: &Host, port: u16) -> String {
    match host {
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        Host::Ip(ip) => format!("{ip}:{port}"),
        Host::Dns(name) => format!("{name}:{port}"),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

impl Other<'_> {
    /// The sessions: their address, ours, and the families of routes.
    fn sessions(&self) -> Vec<(IpAddr, IpAddr, [bool; 2])> {
        let find = |v4: bool| self.pairs.iter().find(|(theirs, ..)| theirs.is_ipv4() == v4);
        let session = |v4: bool, families| find(v4).map(|(theirs, _, ours)| (*theirs, *ours, families));
        let all = match self.neighbour.sessions {
            Sessions::V4 => [session(true, [true, false]), None],
            Sessions::V6 => [session(false, [false, true]), None],
            Sessions::Both => [session(true, [true, false]), session(false, [false, true])],
            Sessions::ExtendedNextHop => [session(false, [true, true]), None],
        };
        all.into_iter().flatten().collect()
    }

    fn wg_quick(&self) -> String {
        let mut out = String::new();
        line(
            &mut out,
            format_args!("# One device for this tunnel alone: what goes into it is BGP's to say.\n[Interface]"),
        );
        line(&mut out, format_args!("# Your own; its public half is {}.", self.neighbour.public_key));
        line(&mut out, format_args!("PrivateKey = YOUR-PRIVATE-KEY\nListenPort = {}", self.port));
        line(&mut out, format_args!("# Your addresses on this tunnel."));
        for (theirs, length, _) in &self.pairs {
            line(&mut out, format_args!("Address = {theirs}/{length}"));
        }
        line(&mut out, format_args!("MTU = {}", self.neighbour.mtu));
        line(&mut out, format_args!("# Without this, wg-quick would route everything into the tunnel.\nTable = off"));
        line(&mut out, format_args!("\n[Peer]\nPublicKey = {}", self.key));
        if self.neighbour.preshared {
            line(
                &mut out,
                format_args!("# The same on both sides; tell it over a safe way.\nPresharedKey = THE-PRESHARED-KEY"),
            );
        }
        match &self.endpoint {
            Some(endpoint) => line(&mut out, format_args!("Endpoint = {endpoint}")),
            None => line(&mut out, format_args!("# We dial you: let UDP port {} in.", self.port)),
        }
        line(
            &mut out,
            format_args!("# Whatever BGP tells may go there and come from there.\nAllowedIPs = 0.0.0.0/0, ::/0"),
        );
        out
    }

    fn bird(&self) -> String {
        let mut out = String::new();
        let name = self.asn;
        line(
            &mut out,
            format_args!("# To be included in your bird.conf (BIRD 2). `wgDEVICE` is what you call the tunnel."),
        );
        for (theirs, ours, families) in self.sessions() {
            let suffix = if self.sessions().len() > 1 { if ours.is_ipv4() { "_v4" } else { "_v6" } } else { "" };
            line(&mut out, format_args!("\nprotocol bgp as{name}{suffix} {{"));
            line(
                &mut out,
                format_args!("\tlocal {theirs} as {};\n\tneighbor {ours} as {};", self.neighbour.asn, self.asn),
            );
            if is_link_local(ours) {
                line(&mut out, format_args!("\tinterface \"wgDEVICE\";"));
            }
            line(&mut out, format_args!("\tdirect;\n\thold time {};\n\tgraceful restart yes;", self.hold_s));
            line(&mut out, format_args!("\t# Tried again soon: by itself BIRD waits for up to five minutes."));
            line(&mut out, format_args!("\tconnect retry time 30;\n\terror wait time 10, 120;"));
            if self.neighbour.bfd {
                line(&mut out, format_args!("\t# Needs `protocol bfd {{}}` once.\n\tbfd yes;"));
            }
            for (is_v4, _) in [true, false].into_iter().zip(families).filter(|(_, told)| *told) {
                line(&mut out, format_args!("\tipv{} {{", if is_v4 { 4 } else { 6 }));
                if is_v4 && ours.is_ipv6() {
                    line(
                        &mut out,
                        format_args!("\t\t# IPv4 routes have IPv6 next hops (RFC 8950).\n\t\textended next hop yes;"),
                    );
                }
                line(&mut out, format_args!("\t\t# What you tell comes by you.\n\t\tnext hop self;"));
                line(
                    &mut out,
                    format_args!("\t\t# Put your own filters here.\n\t\timport all;\n\t\texport all;\n\t}};"),
                );
            }
            out.push_str("}\n");
        }
        out
    }

    fn frr(&self) -> String {
        let mut out = String::new();
        let (theirs_as, ours_as) = (self.neighbour.asn, self.asn);
        line(&mut out, format_args!("! `wgDEVICE` is what you call the tunnel.\nrouter bgp {theirs_as}"));
        if theirs_as != ours_as {
            line(
                &mut out,
                format_args!(
                    " ! Without this FRR tells and takes nothing until there are route maps (RFC 8212).\n no bgp ebgp-requires-policy"
                ),
            );
        }
        line(&mut out, format_args!(" no bgp default ipv4-unicast"));
        for (_, ours, families) in self.sessions() {
            let (keepalive_s, hold_s) = (self.hold_s / 3, self.hold_s);
            line(&mut out, format_args!(" neighbor {ours} remote-as {ours_as}"));
            line(&mut out, format_args!(" neighbor {ours} timers {keepalive_s} {hold_s}"));
            line(&mut out, format_args!(" neighbor {ours} timers connect 30"));
            if is_link_local(ours) {
                line(&mut out, format_args!(" neighbor {ours} interface wgDEVICE"));
            }
            if self.neighbour.bfd {
                line(&mut out, format_args!(" ! Needs bfdd.\n neighbor {ours} bfd"));
            }
            if families[0] && ours.is_ipv6() {
                line(
                    &mut out,
                    format_args!(
                        " ! IPv4 routes have IPv6 next hops (RFC 8950).\n neighbor {ours} capability extended-nexthop"
                    ),
                );
            }
            for (family, _) in ["ipv4", "ipv6"].into_iter().zip(families).filter(|(_, told)| *told) {
                line(&mut out, format_args!(" !\n address-family {family} unicast\n  neighbor {ours} activate"));
                line(&mut out, format_args!("  ! What you tell comes by you.\n  neighbor {ours} next-hop-self"));
                line(&mut out, format_args!("  neighbor {ours} soft-reconfiguration inbound\n exit-address-family"));
            }
        }
        out
    }

    /// `set` lines of the family of routers that Vyatta has left.
    fn router(&self, of: &str) -> String {
        let (mut out, is_edgeos, key) = (String::new(), of == "EdgeOS", &self.key);
        let device = "wgDEVICE";
        line(&mut out, format_args!("# {of}, in `configure`; `wgDEVICE` is what you call the tunnel, such as wg67."));
        let at = format!("set interfaces wireguard {device}");
        for (theirs, length, _) in &self.pairs {
            line(&mut out, format_args!("{at} address {theirs}/{length}"));
        }
        line(&mut out, format_args!("{at} mtu {}", self.neighbour.mtu));
        if is_edgeos {
            line(&mut out, format_args!("{at} listen-port {}\n{at} private-key /config/auth/{device}.key", self.port));
            line(&mut out, format_args!("{at} peer {key} allowed-ips 0.0.0.0/0\n{at} peer {key} allowed-ips ::/0"));
            if self.neighbour.preshared {
                line(&mut out, format_args!("{at} peer {key} preshared-key /config/auth/{device}.psk"));
            }
            if let Some(endpoint) = &self.endpoint {
                line(&mut out, format_args!("{at} peer {key} endpoint '{endpoint}'"));
            }
            line(
                &mut out,
                format_args!(
                    "# Without this everything would be routed into the tunnel.\n{at} route-allowed-ips false"
                ),
            );
        } else {
            let peer = format!("{at} peer as{}", self.asn);
            line(&mut out, format_args!("{at} port {}\n{at} private-key YOUR-PRIVATE-KEY", self.port));
            line(
                &mut out,
                format_args!("{peer} public-key {key}\n{peer} allowed-ips 0.0.0.0/0\n{peer} allowed-ips ::/0"),
            );
            if self.neighbour.preshared {
                line(&mut out, format_args!("{peer} preshared-key THE-PRESHARED-KEY"));
            }
            if let Some((host, port)) = self.endpoint.as_ref().and_then(|endpoint| endpoint.rsplit_once(':')) {
                let host = host.trim_matches(['[', ']']);
                line(&mut out, format_args!("{peer} address {host}\n{peer} port {port}"));
            }
        }
        line(
            &mut out,
            format_args!("# The tunnel's port, in the rule set for what comes from the internet to the router."),
        );
        let rule =
            if is_edgeos { "set firewall name WAN_LOCAL rule 25" } else { "set firewall ipv4 input filter rule 25" };
        line(
            &mut out,
            format_args!("{rule} action accept\n{rule} protocol udp\n{rule} destination port {}", self.port),
        );
        self.router_bgp(is_edgeos, &mut out);
        out
    }

    fn router_bgp(&self, is_edgeos: bool, out: &mut String) {
        let bgp = match is_edgeos {
            true => format!("set protocols bgp {}", self.neighbour.asn),
            false => "set protocols bgp".to_owned(),
        };
        line(
            out,
            format_args!(
                "# BGP. What you tell comes by you (next-hop-self); what you are told is kept, so that filters can change."
            ),
        );
        if !is_edgeos {
            line(out, format_args!("{bgp} system-as {}", self.neighbour.asn));
        }
        for (_, ours, families) in self.sessions() {
            let one = format!("{bgp} neighbor {ours}");
            line(
                out,
                format_args!(
                    "{one} remote-as {}\n{one} timers keepalive {}\n{one} timers holdtime {}",
                    self.asn,
                    self.hold_s / 3,
                    self.hold_s
                ),
            );
            if self.neighbour.bfd && !is_edgeos {
                line(out, format_args!("{one} bfd"));
            }
            if is_link_local(ours) && !is_edgeos {
                line(out, format_args!("{one} interface source-interface wgDEVICE"));
            }
            for (family, _) in ["ipv4", "ipv6"].into_iter().zip(families).filter(|(_, told)| *told) {
                if is_edgeos && ours.is_ipv6() && family == "ipv4" {
                    line(
                        out,
                        format_args!("# EdgeOS can't have IPv6 next hops for IPv4: ask for sessions = \"both\"."),
                    );
                    continue;
                }
                let at = match (is_edgeos, family) {
                    (true, "ipv4") => one.clone(),
                    _ => format!("{one} address-family {family}-unicast"),
                };
                line(out, format_args!("{at} nexthop-self\n{at} soft-reconfiguration inbound"));
            }
        }
    }
}
