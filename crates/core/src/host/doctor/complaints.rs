//! What can be wrong with a host, one function each: from a plan and what was seen to remarks.
//!
//! Each is about something that has cost somebody an evening. A complaint that can't be judged by what was seen says nothing.

use ipnet::IpNet;

use super::{Hook, Remark, SessionSeen, Symptoms};
use crate::host::mtu::overhead;
use crate::host::state::Backend;
use crate::plan::NodePlan;

type Complaint = fn(&NodePlan, &Symptoms) -> Vec<Remark>;

/// All of them.
pub(super) const ALL: [Complaint; 17] = [
    no_wireguard,
    no_rights,
    no_nft,
    no_bird,
    sessions,
    clock,
    name_taken,
    port_taken,
    forwarding,
    closed,
    reverse_path,
    lost_routers,
    no_ipv6,
    shadowed_prefixes,
    site_elsewhere,
    two_origins,
    ways,
];

/// No clock that is right says less: 2024-01-01.
const CLOCK_LEAST_S: u64 = 1_704_067_200;

fn no_wireguard(_: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let broken = || {
        Remark::broken(
            "neither the kernel has WireGuard nor is there /dev/net/tun for the engine",
            "modprobe wireguard, or modprobe tun; in a container, pass the device in with --device /dev/net/tun",
        )
    };
    seen.backend.is_none().then(broken).into_iter().collect()
}

fn no_rights(_: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let broken = || {
        Remark::broken(
            "this program may not change interfaces and routes (no CAP_NET_ADMIN)",
            "run it as root; in a container, add --cap-add NET_ADMIN",
        )
    };
    (!seen.may_change).then(broken).into_iter().collect()
}

fn no_nft(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let broken = || Remark::broken("the node has a firewall in the plan, and there is no nft", "apt install nftables");
    (plan.firewall.is_some() && !seen.has_nft).then(broken).into_iter().collect()
}

fn no_bird(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let missing = || Remark::broken("the node speaks BGP, and there is no bird", "apt install bird2");
    let stuck = |problem: &String| {
        Remark::broken(format!("BIRD: {problem}"), "`wayleave bgp` says how it is; its text is in bird.conf")
    };
    let has_bird = seen.has_bird || plan.bgp.is_none();
    if has_bird { seen.bird_problem.iter().map(stuck).collect() } else { vec![missing()] }
}

fn sessions(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let remark = |session: &SessionSeen| {
        let SessionSeen { name, state, reason, .. } = session;
        let is_neighbour = plan.bgp.iter().flat_map(|bgp| &bgp.neighbours).any(|other| other.name.as_str() == name);
        let remedy = match is_neighbour {
            true => format!(
                "`wayleave bgp` shows it; `wayleave render FILE --neighbour {name}` has the half of its operator, to compare"
            ),
            false => format!(
                "`wayleave status` says whether {name} can be reached, `wayleave doctor` there what is wrong with it"
            ),
        };
        match session.is_down {
            true => Remark::broken(format!("no BGP session with {name} ({state}): {reason}"), remedy),
            false => Remark::doubtful(format!("the BGP session with {name} ({state}): {reason}"), remedy),
        }
    };
    seen.sessions.iter().map(remark).collect()
}

/// WireGuard takes no handshake that is older than the last one, by the clock of whoever begins it.
fn clock(_: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let broken = || {
        Remark::broken(
            "the clock is years behind: peers that have heard of this node before refuse its handshakes",
            "set the clock; run a time service such as systemd-timesyncd",
        )
    };
    (seen.clock_s < CLOCK_LEAST_S).then(broken).into_iter().collect()
}

fn name_taken(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let broken = || {
        Remark::broken(
            format!("there is a device {} already, and it is not ours", plan.device),
            format!(
                "remove it (wg-quick down {0}; ip link del {0}), or give ours another name with `device`",
                plan.device
            ),
        )
    };
    seen.is_name_taken.then(broken).into_iter().collect()
}

fn port_taken(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let port = plan.port.unwrap_or(0);
    let broken = || {
        Remark::broken(
            format!("another program has UDP port {port}"),
            format!("find it with `ss -ulpn sport = :{port}`, or give the node another `port`"),
        )
    };
    seen.is_port_taken.then(broken).into_iter().collect()
}

fn forwarding(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    // Whoever makes the device sets these as well.
    if !plan.forwards || !seen.has_device {
        return Vec::new();
    }
    let mut remarks = Vec::new();
    for (v6, name) in [(false, "net/ipv4/ip_forward"), (true, "net/ipv6/conf/all/forwarding")] {
        let is_needed = plan.routes.iter().any(|prefix| prefix.addr().is_ipv6() == v6);
        if is_needed && seen.settings.get(name).is_some_and(|value| value == "0") {
            let setting = name.replace('/', ".");
            remarks.push(Remark::broken(
                format!("packets of others are not passed on: {setting} is 0"),
                format!("somebody has reset it; a running agent sets it again, and so does: sysctl -w {setting}=1"),
            ));
        }
    }
    remarks
}

/// Firewalls of others that drop what no rule of theirs accepts. A planned firewall makes its way through them.
fn closed(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let doubtful = |(chain, hook): &(String, Hook)| match (hook, plan.port) {
        (Hook::Forward, _) if plan.forwards => Some(Remark::doubtful(
            format!("{chain} drops packets that are passed on, unless a rule of its own accepts them"),
            format!(
                "see that it accepts what comes from and goes to {}; for Docker, in its chain DOCKER-USER",
                plan.device
            ),
        )),
        (Hook::Input, Some(port)) => Some(Remark::doubtful(
            format!("{chain} drops packets for this host, unless a rule of its own accepts them"),
            format!("see that it accepts UDP port {port}, and from {} whatever members may use here", plan.device),
        )),
        _ => None,
    };
    let all = seen.dropping.iter().filter(|_| plan.firewall.is_none());
    all.filter_map(doubtful).collect()
}

fn reverse_path(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let device = format!("net/ipv4/conf/{}/rp_filter", plan.device);
    let value = |name: &str| seen.settings.get(name).and_then(|value| value.parse::<u8>().ok());
    // The kernel takes the larger of the two (ip-sysctl.rst).
    let strict = value(&device).is_some_and(|own| own.max(value("net/ipv4/conf/all/rp_filter").unwrap_or(0)) == 1);
    let doubtful = || {
        Remark::doubtful(
            format!("{} drops packets whose answers would leave by another device (rp_filter is 1)", plan.device),
            format!("the agent sets it; by hand: sysctl -w net.ipv4.conf.{}.rp_filter=2", plan.device),
        )
    };
    strict.then(doubtful).into_iter().collect()
}

fn lost_routers(_: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let lost = seen.interfaces.iter().filter(|(_, interface)| interface.lost_routers);
    let doubtful = |name: &String| {
        Remark::doubtful(
            format!("{name} takes no IPv6 router from router advertisements any more, since the host forwards"),
            format!("if that is where its default route came from: sysctl -w net.ipv6.conf.{name}.accept_ra=2"),
        )
    };
    lost.map(|(name, _)| doubtful(name)).collect()
}

fn no_ipv6(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let is_off = match seen.settings.get("net/ipv6/conf/all/disable_ipv6") {
        Some(value) => value == "1",
        None => !seen.settings.is_empty(),
    };
    let is_needed = plan.addresses.iter().chain(&plan.link_address).any(|address| address.is_ipv6());
    let doubtful = || {
        Remark::doubtful(
            "IPv6 is switched off, and the node has IPv6 addresses: links are tried over such ones even in IPv4 networks",
            "sysctl -w net.ipv6.conf.all.disable_ipv6=0, and no ipv6.disable=1 among the kernel's parameters",
        )
    };
    (is_off && is_needed).then(doubtful).into_iter().collect()
}

/// A prefix that the plan sends to a peer, and that is also a network of this host's: one of the two is not reached.
fn shadowed_prefixes(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for planned in &plan.routes {
        let is_own = |own: &IpNet| plan.local_prefixes.iter().any(|local| local.contains(own));
        let clashes = |own: &IpNet| planned.contains(own) && !is_own(own);
        for (own, interface) in seen.routes.iter().filter(|(own, _)| clashes(own)) {
            let whose = plan.peers.iter().find(|peer| peer.allowed.iter().any(|prefix| prefix.contains(own)));
            let whose = whose.map_or_else(String::new, |peer| format!(" to {}", peer.name));
            remarks.push(Remark::doubtful(
                format!("{own} leads into {interface} on this host, and the plan sends {planned}{whose}"),
                format!("what is in {own} is not reached through the network; renumber one of them, or leave it out of the plan"),
            ));
        }
    }
    remarks
}

/// A gateway that is not in the network that it is the gateway of.
fn site_elsewhere(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let reaches = |site: &IpNet| {
        let on = |address: &IpNet| site.contains(&address.addr()) || address.contains(site);
        seen.interfaces.values().any(|interface| interface.addresses.iter().any(on))
            || seen.routes.iter().any(|(route, _)| route.contains(site) || site.contains(route))
    };
    let elsewhere = plan.local_prefixes.iter().filter(|site| !reaches(site));
    let doubtful = |site: &IpNet| {
        Remark::doubtful(
            format!("the node stands in front of {site}, and this host has neither an address nor a route there"),
            format!(
                "packets for {site} go where the default route leads; give an interface an address in it, or correct `prefixes`"
            ),
        )
    };
    elsewhere.map(doubtful).collect()
}

/// The kernel's WireGuard lets in a source only from the peer that packets to it go to.
fn two_origins(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let prefix = plan.bgp.as_ref().and_then(|bgp| bgp.two_origins);
    let by_kernel = seen.carries.or(seen.backend) == Some(Backend::Kernel);
    let doubtful = |prefix| {
        Remark::doubtful(
            format!(
                "two nodes may learn ways to the same prefixes in {prefix}, and the kernel's WireGuard drops what comes by the one that answers don't go to"
            ),
            "start the agents of all nodes that speak BGP with --device engine",
        )
    };
    prefix.filter(|_| by_kernel).map(doubtful).into_iter().collect()
}

fn ways(plan: &NodePlan, seen: &Symptoms) -> Vec<Remark> {
    let mut remarks: Vec<Remark> = seen
        .unresolved
        .iter()
        .map(|(name, why)| {
            Remark::broken(format!("{name} has no address: {why}"), "correct the endpoint, or the name service")
        })
        .collect();
    for way in &seen.ways {
        let (peer, endpoint) = (&way.peer, way.endpoint);
        let inside = way.bytes.map(|bytes| bytes.saturating_sub(overhead(endpoint.ip())));
        match inside {
            None => remarks.push(Remark::broken(
                format!("there is no route to {endpoint}, where {peer} is dialled"),
                format!("see `ip route get {}`", endpoint.ip()),
            )),
            Some(inside) if inside < plan.mtu => remarks.push(Remark::doubtful(
                format!(
                    "packets of more than {} bytes don't {} {endpoint} of {peer}, so the MTU of {} can be {inside} at most, not {}",
                    way.bytes.unwrap_or_default(),
                    if way.is_measured { "reach" } else { "fit the first hop to" },
                    plan.device,
                    plan.mtu
                ),
                format!("the agent lowers it; without an agent, write mtu = {inside} for {}", plan.name),
            )),
            Some(_) => {}
        }
    }
    remarks
}
