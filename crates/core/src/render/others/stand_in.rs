//! A whole configuration for a router that plays a neighbour: the other side's half as its operator gets it, and around it what he
//! has besides: a router id, prefixes to tell of, the way to the kernel.
//!
//! For the lab. In: the plan, the neighbour, what it tells. Out: what BIRD or FRR and a WireGuard device are told. The half itself is
//! the text of [`neighbour`](super::neighbour), with the names of devices filled in, so that it is tried as it is.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::super::file::line;
use super::neighbour::neighbour_held;
use crate::keys::PrivateKey;
use crate::network::Neighbour;
use crate::plan::Plan;

/// What stands for the operator's own in the texts that he gets.
const DEVICE: &str = "wgDEVICE";
const KEY: &str = "YOUR-PRIVATE-KEY";

/// The program that plays a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// BIRD 2 or 3.
    Bird,
    /// FRR's zebra and bgpd.
    Frr,
}

/// A router in a neighbour's place.
#[derive(Debug, Clone)]
pub struct StandIn<'a> {
    /// Whose place it takes.
    pub neighbour: &'a Neighbour,
    /// Its device of the tunnel.
    pub device: &'a str,
    /// Its device to what it tells of.
    pub behind: &'a str,
    /// Prefixes that it tells of.
    pub announced: &'a [IpNet],
    /// Seconds of silence after which a session has ended.
    pub hold_s: u16,
}

impl StandIn<'_> {
    /// The wg-quick file of its tunnel, with its key.
    pub fn wg_quick(&self, plan: &Plan, key: &PrivateKey) -> Zeroizing<String> {
        Zeroizing::new(self.half(plan, "-wg-quick.conf").replace(KEY, &key.reveal()))
    }

    /// What its router is told.
    pub fn router(&self, plan: &Plan, router: Router) -> String {
        match router {
            Router::Bird => self.bird(plan),
            Router::Frr => self.frr(plan),
        }
    }

    fn half(&self, plan: &Plan, end: &str) -> String {
        let files = neighbour_held(plan, self.neighbour, self.hold_s);
        let half = files.iter().find(|file| file.name.ends_with(end));
        half.map_or_else(String::new, |half| half.text.replace(DEVICE, self.device))
    }

    fn bird(&self, plan: &Plan) -> String {
        let mut out = String::new();
        line(&mut out, format_args!("log stderr {{ info, remote, warning, error, auth, fatal, bug }};"));
        line(&mut out, format_args!("router id {};\nprotocol device {{ }}", self.router_id()));
        if self.neighbour.bfd {
            line(&mut out, format_args!("protocol bfd {{\n\tinterface \"{}\" {{", self.device));
            line(&mut out, format_args!("\t\tinterval 300 ms;\n\t\tmultiplier 5;\n\t}};\n}}"));
        }
        for family in ["ipv4", "ipv6"] {
            line(
                &mut out,
                format_args!(
                    "protocol kernel {{\n\t{family} {{\n\t\timport none;\n\t\texport where source = RTS_BGP;\n\t}};\n}}"
                ),
            );
        }
        for is_v4 in [true, false] {
            let own = self.announced.iter().filter(|prefix| prefix.addr().is_ipv4() == is_v4);
            let family = if is_v4 { 4 } else { 6 };
            line(&mut out, format_args!("protocol static told{family} {{\n\tipv{family};"));
            for prefix in own {
                line(&mut out, format_args!("\troute {prefix} via \"{}\";", self.behind));
            }
            out.push_str("}\n");
        }
        out + "\n" + &self.half(plan, "-bird.conf")
    }

    /// The half ends inside `router bgp`, which goes on here.
    fn frr(&self, plan: &Plan) -> String {
        let mut out = format!("hostname {}\nlog stdout\n", self.neighbour.name) + &self.half(plan, "-frr.conf");
        line(&mut out, format_args!(" bgp router-id {}\n no bgp network import-check", self.router_id()));
        for (is_v4, family) in [(true, "ipv4"), (false, "ipv6")] {
            line(&mut out, format_args!(" !\n address-family {family} unicast"));
            for prefix in self.announced.iter().filter(|prefix| prefix.addr().is_ipv4() == is_v4) {
                line(&mut out, format_args!("  network {prefix}"));
            }
            line(&mut out, format_args!(" exit-address-family"));
        }
        out
    }

    /// An address of its own, or something of its AS number and name that no other has.
    fn router_id(&self) -> Ipv4Addr {
        let own = self.neighbour.addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        let name = self.neighbour.name.as_str().bytes();
        let made = || name.fold(self.neighbour.asn, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        // Never 0, which is none (RFC 6286).
        own.unwrap_or_else(|| Ipv4Addr::from(made() | 1))
    }
}

/// Route origins in BIRD's words: each prefix with what is inside it, and the AS that may originate it.
pub fn origins(authorised: &[(IpNet, u32)]) -> String {
    let mut out = String::new();
    for (prefix, asn) in authorised {
        line(&mut out, format_args!("route {prefix} max {} as {asn};", prefix.max_prefix_len()));
    }
    out
}
