//! The tables of a network file, as written: every one and every key is declared here, once.
//!
//! The doc comments are the reference for users (`docs/network-file.md`) and the descriptions in the JSON Schema.

use std::net::IpAddr;

use ipnet::IpNet;

use super::decode::{Map, OneOrMore};
use super::record::{REQUIRED, record};
use super::scalars::{
    Asn, Cloud, Code, Date, Days, Domain, EndpointText, Family, Hops, HostPath, InterfaceAddress, Megabits,
    Milliseconds, Mtu, OutsideText, PathPrefix, PolicyText, Port, Routes, Seconds, Selector, ServerText, SourcePath,
    Survives, TableNumber, Within,
};
use super::tree::Spanned;
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};
use crate::network::{Carrier, Exports, FirewallForm, Platform, Ports, Profile, Sessions};

/// A list with the place of each item.
pub type List<T> = Vec<Spanned<T>>;

record! {
    /// One source file. All keys may be spread over several files by `include`; `[network]` stands in one of them.
    "file" SourceTable {
        /// Other files that belong to this network, relative to this file. They may be TOML, YAML or JSON.
        include: List<SourcePath> = "none";
        /// The network as a whole, and defaults for its nodes.
        network: NetworkTable = "required in one of the files";
        /// Regions: nodes near each other.
        regions: Map<RegionTable> = "none";
        /// Nodes: machines in the network.
        nodes: Map<NodeTable> = "none";
        /// Sites: prefixes behind one or more gateways.
        sites: Map<SiteTable> = "none";
        /// Clients: road warriors, which dial and are never dialled.
        clients: Map<ClientTable> = "none";
        /// What all entry nodes have in common, for clients that roam between them.
        entry: EntryTable = "none: clients don't roam";
        /// The network's own part in BGP.
        bgp: BgpTable = "none: no BGP";
        /// Foreign routers with which BGP is spoken, each joined to one of the nodes.
        neighbours: Map<NeighbourTable> = "none";
        /// Which pairs of nodes are linked directly. Rules add up; their order does not matter.
        links: List<LinkRule> = "with hubs: every node with every hub; without: every node with every other";
        /// Pairs of nodes that must not reach each other.
        isolate: List<IsolateRule> = "none";
        /// Names for lists of selectors, for `[[allow]]`, `[services]`, `[[isolate]]` and `[[assert]]`.
        groups: Map<List<Selector>> = "none";
        /// Who may open connections to whom, and on which ports. Rules add up; their order does not matter.
        allow: List<AllowRule> = "none";
        /// Services: ports of nodes that are open inside the overlay and closed to the world.
        services: Map<ServiceTable> = "none";
        /// What `wayleave prove` must find true, or else exit with 4.
        assert: List<AssertRule> = "none";
        /// Round-trip times in milliseconds between nodes, regions or clients, the same both ways. They weigh paths
        /// and are the lab's latencies. The entry that names nodes wins over the one that names their regions.
        rtt_ms: Map<Map<Milliseconds>> = "1 within a region, 50 elsewhere";
    }
}

record! {
    /// The network as a whole. Port, MTU, keepalive, device and platform are defaults for all nodes.
    "network" NetworkTable {
        /// The network's name.
        name: Name = REQUIRED;
        /// The overlay's own prefixes, at most one IPv4 and one IPv6. Every node and client has an address of each.
        prefixes: List<IpNet> = REQUIRED;
        /// Ranges inside the overlay prefixes from which clients get their addresses.
        client_prefixes: List<IpNet> = "the overlay prefixes";
        /// Range of the link addresses, one per node, over which links are probed whatever the routes are.
        link_prefix: IpNet = "an fd00::/8 prefix made from the network's name";
        /// UDP port on which nodes listen.
        port: Port = "51820";
        /// MTU of the WireGuard devices in bytes.
        mtu: Mtu = "1420";
        /// Seconds between keepalives where NAT makes them necessary; 0 sends none.
        keepalive_s: Seconds = "25";
        /// Name of the WireGuard device on each host.
        device: DeviceName = "wg0";
        /// What runs on the hosts, and so what is rendered for them: `wg-quick`, `agent`, `networkd`, `commands`,
        /// `cloud-init`, `container`, `edgeos`, `vyos`, `routeros` or `app`.
        platform: Platform = "wg-quick";
        /// What is allowed inside the overlay that no rule is about: `open` allows everything, `deny` nothing but what
        /// `[[allow]]` and `[services]` allow. Answers to what is allowed always are.
        policy: PolicyText = "`open`";
        /// How the hosts' firewalls are set: `nftables`, `iptables` or `ufw`, or `none`.
        firewall: FirewallForm = "`nftables` where there is something to enforce, or else `none`";
        /// DNS domain under which nodes have names.
        domain: Domain = "none";
        /// Allows prefixes of public addresses as overlay, client or site prefixes.
        allow_public_prefixes: bool = "false";
        /// MTU in bytes of the lines that nodes and clients are on, which bounds that of their devices: 1492 with PPPoE.
        underlay_mtu: Mtu = "1500";
        /// In whose cloud the nodes run: `aws`, `gcp` or `azure`. Clouds drop what an instance passes on for others.
        cloud: Cloud = "none";
        /// Days after which a key is old; its age is counted from `key_created`.
        key_max_age_days: Days = "no limit";
        /// Codes of warnings and notes that are meant so, and are not shown: see docs/findings.md.
        accept: List<Code> = "none";
    }
}

record! {
    /// A region: nodes near each other. Its other keys are defaults for its nodes.
    "region" RegionTable {
        /// The prefix from which its nodes get their addresses, inside the overlay prefix.
        prefix: IpNet = "the overlay prefixes";
        /// The same for IPv4 and IPv6, instead of `prefix`.
        prefixes: List<IpNet> = "the overlay prefixes";
        /// UDP port on which its nodes listen.
        port: Port = "the network's";
        /// MTU of its nodes' devices in bytes.
        mtu: Mtu = "the network's";
        /// Seconds between its nodes' keepalives.
        keepalive_s: Seconds = "the network's";
        /// Name of its nodes' devices.
        device: DeviceName = "the network's";
        /// What runs on its nodes.
        platform: Platform = "the network's";
        /// MTU in bytes of the lines that its nodes are on.
        underlay_mtu: Mtu = "the network's";
        /// In whose cloud its nodes run.
        cloud: Cloud = "the network's";
        /// How its nodes' firewalls are set.
        firewall: FirewallForm = "the network's";
    }
}

record! {
    /// A node: a machine in the network. Without an endpoint it is behind NAT and dials the others.
    "node" NodeTable {
        /// The region it is in.
        region: Name = "none";
        /// Words by which rules select it, as `tag:WORD`.
        tags: List<Name> = "none";
        /// Whether it relays between other nodes.
        hub: bool = "false";
        /// Whether clients connect to it.
        entry: bool = "false";
        /// Where it can be dialled from anywhere: `host:port`, `[v6]:port`, or without the port.
        endpoint: EndpointText = "none: behind NAT";
        /// Where it can be dialled, by network: `public` is everywhere, any other name is a private network that only
        /// nodes on it can use. One endpoint or a list of them each. Instead of `endpoint`.
        endpoints: Map<OneOrMore<EndpointText>> = "none: behind NAT";
        /// Private networks it is on without being dialled there.
        underlays: List<Name> = "those of its endpoints";
        /// Its WireGuard public key.
        public_key: PublicKey = "none: to be made";
        /// Its overlay address.
        address: IpAddr = "allocated, and kept in the lock file";
        /// Its IPv4 and IPv6 overlay addresses, instead of `address`.
        addresses: List<IpAddr> = "allocated, and kept in the lock file";
        /// Prefixes behind it. They make a site with the node's name, with the node as its gateway.
        prefixes: List<IpNet> = "none";
        /// Its own addresses in the prefixes behind it: where those prefixes' routers are to send packets for the network.
        lan_addresses: List<IpAddr> = "none: to be filled in by hand";
        /// The routers in the prefixes behind it to which hosts there send everything else.
        lan_routers: List<IpAddr> = "none: DHCP options are not rendered";
        /// UDP port on which it listens.
        port: Port = "the region's, or the network's";
        /// MTU of its device in bytes.
        mtu: Mtu = "the region's, or the network's";
        /// Seconds between its keepalives where NAT makes them necessary; 0 sends none.
        keepalive_s: Seconds = "the region's, or the network's";
        /// Name of its device.
        device: DeviceName = "the region's, or the network's";
        /// What runs on it.
        platform: Platform = "the region's, or the network's";
        /// MTU in bytes of the line that it is on.
        underlay_mtu: Mtu = "the region's, or the network's";
        /// In whose cloud it runs.
        cloud: Cloud = "the region's, or the network's";
        /// Whether its cloud drops what it passes on for others; `false` says that this check is switched off.
        source_check: bool = "true in a cloud";
        /// A name for the NAT that it is behind; nodes with the same name are behind the same router.
        nat: Name = "none";
        /// Prefixes that its device gives to peers, by the peer's name, instead of what would be planned; for hosts that are to
        /// stay as they are. `wayleave prove` says whether packets still arrive.
        allowed: Map<List<IpNet>> = "planned";
        /// Whether its host routes what its peers are allowed into the device. `false` leaves that to a routing daemon (BIRD, FRR, a
        /// router's own BGP); `wayleave prove` takes it that the daemon routes the same.
        install_routes: bool = "true";
        /// Whether it speaks BGP with the other nodes that do.
        bgp: bool = "true with a neighbour, or as a reflector";
        /// Its BGP router id, an IPv4 address.
        router_id: IpAddr = "its first IPv4 service address, or its IPv4 overlay address";
        /// Addresses of its own besides the overlay's, from which it speaks to the networks that BGP tells it of. They are on its
        /// device, since that is always there.
        service_addresses: List<IpAddr> = "none: the overlay addresses, where they are in `own` of `[bgp]`";
        /// The BIRD that its administrator runs, and that includes what Wayleave has to say: see docs/bird.md.
        bird: BirdTable = "one of Wayleave's own, beside any other";
        /// The day on which its key was made.
        key_created: Date = "none";
        /// The last day on which it belongs to the network.
        expires: Date = "none";
        /// How its firewall is set: `nftables`, `iptables` or `ufw`, or `none`.
        firewall: FirewallForm = "the region's, or the network's";
        /// From where its WireGuard port can be reached besides the endpoints of its peers; an empty list lets nobody else.
        wireguard_from: List<IpNet> = "everywhere";
        /// `closed`: from outside the overlay its firewall lets in nothing but WireGuard, ICMP, answers, its own sites,
        /// and services as they say.
        outside: OutsideText = "`open`: what is not about WireGuard or a service is left to other firewalls";
        /// Families in which packets from the overlay get its own address as their source before they enter its sites'
        /// networks, for hosts there that can't be given a route back.
        masquerade: OneOrMore<Family> = "none";
    }
}

record! {
    /// A BIRD that the node's administrator runs. Wayleave writes a file that its configuration includes, and asks it to read that;
    /// it never starts or ends it.
    "bird" BirdTable {
        /// The configuration that it runs with. It includes `part`.
        configuration: HostPath = REQUIRED;
        /// The file that Wayleave writes.
        part: HostPath = "`wayleave-` and the device's name, with `.conf`, beside `configuration`";
        /// Its control socket.
        socket: HostPath = "`/run/bird/bird.ctl`";
        /// Whether its BGP sessions have `strict bind`: those of one BIRD all have it or none has, since either listens in the
        /// other's way.
        strict_bind: bool = "false";
    }
}

record! {
    /// A site: prefixes behind gateways, such as an office's LAN or a cloud's VPC.
    "site" SiteTable {
        /// Its prefixes.
        prefixes: List<IpNet> = REQUIRED;
        /// The nodes in front of it, the preferred one first.
        gateways: List<Name> = REQUIRED;
        /// Families in which packets from the overlay get their gateway's address as their source before they enter its
        /// prefixes, for hosts there that can't be given a route back.
        masquerade: OneOrMore<Family> = "none";
    }
}

record! {
    /// A client: a road warrior, which dials its nodes and is never dialled.
    "client" ClientTable {
        /// The nodes it connects to, the preferred one first; each needs a public endpoint.
        via: List<Name> = "with `[entry]` it roams between all entry nodes; without, all entry nodes by name, or all hubs";
        /// Words by which policy and assertions select it, as `tag:WORD`.
        tags: List<Name> = "none";
        /// The region it is usually in, for round-trip times.
        region: Name = "none";
        /// Its WireGuard public key.
        public_key: PublicKey = "none: to be made";
        /// Its overlay address.
        address: IpAddr = "allocated, and kept in the lock file";
        /// Its IPv4 and IPv6 overlay addresses, instead of `address`.
        addresses: List<IpAddr> = "allocated, and kept in the lock file";
        /// Prefixes behind it, such as a LAN at home.
        prefixes: List<IpNet> = "none";
        /// MTU of its device in bytes.
        mtu: Mtu = "the network's";
        /// Seconds between its keepalives; 0 sends none.
        keepalive_s: Seconds = "the network's";
        /// Name of its device.
        device: DeviceName = "the network's";
        /// What runs on it.
        platform: Platform = "wg-quick";
        /// MTU in bytes of the line that it is on.
        underlay_mtu: Mtu = "the network's";
        /// Prefixes that its device gives to peers, by the peer's name, instead of what would be planned; for hosts that are to
        /// stay as they are. `wayleave prove` says whether packets still arrive.
        allowed: Map<List<IpNet>> = "planned";
        /// The day on which its key was made.
        key_created: Date = "none";
        /// The last day on which it belongs to the network.
        expires: Date = "none";
    }
}

record! {
    /// What all nodes with `entry = true` have in common: one device for clients, the same on each of them, so that a client
    /// may be with any of them and roam. Clients that name no `via` connect to it. These nodes run the agent.
    "entry" EntryTable {
        /// Where clients dial: the one address that leads to all entry nodes (anycast, a load balancer), or several
        /// addresses of which clients with our agent choose.
        endpoint: OneOrMore<EndpointText> = REQUIRED;
        /// The device's WireGuard public key.
        public_key: PublicKey = "none: to be made, as that of `entry`";
        /// UDP port on which the device listens on every entry node.
        port: Port = "51821";
        /// Name of the device.
        device: DeviceName = "wg-clients";
        /// The device's overlay address, the same on every entry node: who asks it asks the node that he is with.
        address: IpAddr = "allocated, and kept in the lock file";
        /// Its IPv4 and IPv6 overlay addresses, instead of `address`.
        addresses: List<IpAddr> = "allocated, and kept in the lock file";
        /// MTU of the device in bytes.
        mtu: Mtu = "the network's";
        /// TCP port that an entry node opens while it is ready for clients, and closes before it stops: for the health checks
        /// of load balancers.
        ready_port: Port = "51819";
    }
}

record! {
    /// What the network has of BGP. BIRD speaks it, on nodes with the agent, or with wg-quick and the rendered `bird.conf`.
    /// Everything learned goes into a table of its own, which is asked after everything in the main table but its default route.
    "bgp" BgpTable {
        /// The network's AS number: 4242421869, or "AS4242421869".
        asn: Asn = REQUIRED;
        /// Prefixes of the network's own, which may be announced. Neighbours of other ASs may not announce them.
        own: List<IpNet> = "none: nothing is announced";
        /// `dn42`: that network's rules. Which prefixes are accepted, communities for lines, ports by AS number, link-local
        /// addresses by AS number.
        profile: Profile = "none";
        /// Nodes that pass on to the others what they have from one of them (route reflectors). They have sessions with all
        /// nodes that speak BGP, the others with them only.
        reflectors: List<Name> = "none: every node that speaks BGP has a session with every other";
        /// What spreads with which entry node each client is, and which gateway a site is behind: `links`, the agents' own exchange, in which all
        /// tell all; `bgp`, routes between BIRDs, with reflectors if there are any. Every node speaks BGP then that says nothing else.
        exchange: Carrier = "`links`";
        /// Files with route origin authorisations for BIRD to include, of IPv4: `route 172.20.0.0/24 max 28 as 4242420000;`.
        /// With any source for a family, only routes that it finds valid are accepted.
        roa_v4: SourcePath = "none";
        /// The same of IPv6.
        roa_v6: SourcePath = "none";
        /// Servers that tell route origin authorisations by RTR (RFC 8210), for both families; the port is 8282. One on the same host
        /// will do: `127.0.0.1`.
        rtr: List<ServerText> = "none";
        /// The kernel's routing table for what is learned.
        table: TableNumber = "one of its own, from 50180 to 50999, by the device's name";
    }
}

record! {
    /// A foreign router with which BGP is spoken. It has a device of its own at its node, into which nothing is routed but what
    /// BGP says. `wayleave render --neighbour` writes its half.
    "neighbour" NeighbourTable {
        /// Which of our nodes it is joined to.
        node: Name = REQUIRED;
        /// Its AS number; the network's own makes the session an internal one.
        asn: Asn = REQUIRED;
        /// Its WireGuard public key.
        public_key: PublicKey = REQUIRED;
        /// The public half of a key that our node has for this neighbour alone, in `wgn-NAME.key` beside its own.
        own_public_key: PublicKey = "the node's own key";
        /// Whether both sides have a preshared key for this tunnel, our node in `wgn-NAME.psk`. It is never in the network file.
        preshared: bool = "false";
        /// Where it is dialled.
        endpoint: EndpointText = "none: it dials";
        /// UDP port on which our node listens for it.
        port: Port = "with `dn42` 20000 plus the last four digits of its AS number";
        /// Name of our node's device for it.
        device: DeviceName = "`wgn-` and its name, cut to 15 characters";
        /// MTU of that device in bytes.
        mtu: Mtu = "the node's";
        /// Seconds between our node's keepalives; 0 sends none.
        keepalive_s: Seconds = "the node's, where the node can't be dialled";
        /// Our node's addresses on that device, with the lengths of the prefixes that are reached directly:
        /// `10.132.0.1/30`, `fe80::1869/64`.
        own_addresses: List<InterfaceAddress> = "with `dn42` fe80:: and the last four digits of our AS number";
        /// Its own addresses.
        addresses: List<IpAddr> = "with `dn42` fe80:: and the last four digits of its AS number";
        /// Which sessions are held: `v4`, `v6`, `both`, or `extended-next-hop`, one session over IPv6 for both families.
        sessions: Sessions = "by the addresses; with `dn42` and IPv6 alone `extended-next-hop`";
        /// Prefixes that it may announce, and all inside them, but no default route.
        accept: List<IpNet> = "with `dn42` that network's ranges, or else nothing";
        /// Routes of each family that it may announce; with more, the session is ended and tried again later.
        max_prefixes: Routes = "10000";
        /// What it is told: `own`, the network's own prefixes; `all`, all that is learned as well; `nothing`.
        export: Exports = "`own`";
        /// Whether both sides watch each other by BFD (RFC 5880), five packets in a second and a half, so that a dead line is noticed
        /// at once. For short clean lines only: elsewhere lost packets end good sessions.
        bfd: bool = "false";
        /// Round-trip time of the line to it in milliseconds, for DN42's communities.
        latency_ms: Milliseconds = "none: no community";
        /// Rate of the line to it in Mbit/s, of the slower way, for DN42's communities.
        bandwidth_mbit: Megabits = "none: no community";
    }
}

record! {
    /// A rule that links pairs of nodes, or with `remove` takes pairs away. Either `mesh`, or `from` and `to`.
    "link" LinkRule {
        /// Every pair among the nodes selected.
        mesh: List<Selector> = "none";
        /// Every pair of one of these nodes ...
        from: List<Selector> = "none";
        /// ... with one of these.
        to: List<Selector> = "none";
        /// `region`: only pairs within one region.
        within: Within = "no limit";
        /// Nodes that this rule leaves out.
        except: List<Selector> = "none";
        /// Pairs of nodes that this rule leaves out.
        except_pairs: List<List<Name>> = "none";
        /// Takes the pairs away from all other rules.
        remove: bool = "false";
    }
}

record! {
    /// A rule for what must not reach each other: nodes with all that is behind them, or single clients and sites. Nodes
    /// are kept apart by what addresses their peers are allowed, clients and sites by firewalls.
    "isolation" IsolateRule {
        /// Two lists of selectors: nothing of the first reaches anything of the second, nor the other way round.
        between: List<List<Selector>> = REQUIRED;
    }
}

record! {
    /// Who may open connections to whom. Selectors here name nodes, clients (`NAME`, `role:client`), sites (`site:NAME`,
    /// `role:site`), groups, regions and tags; `*` is everything. A node's name is the node without its sites. Rules are
    /// enforced by firewalls at the destination, and by allowed addresses where two never talk at all.
    "permission" AllowRule {
        /// Who opens connections ...
        from: List<Selector> = REQUIRED;
        /// ... and to whom.
        to: List<Selector> = REQUIRED;
        /// To which ports: `tcp/443`, `udp/53`, `tcp/8000-8100`, `tcp`, `udp` or `icmp`.
        ports: List<Ports> = "everything";
    }
}

record! {
    /// A service on some nodes: open inside the overlay, closed to everybody outside unless it says otherwise.
    "service" ServiceTable {
        /// The nodes it runs on.
        on: List<Selector> = REQUIRED;
        /// Its ports.
        ports: List<Ports> = REQUIRED;
        /// Who inside the overlay may use it; given, nobody else may, even where the network's policy is `open`.
        from: List<Selector> = "everybody inside the overlay";
        /// Addresses outside the overlay that may use it, too; `0.0.0.0/0` and `::/0` are everybody.
        outside: List<IpNet> = "none";
        /// For web servers: paths, and all below them, that are open to the world, such as
        /// `/.well-known/acme-challenge/`. The ports are then open to everybody, and the rendered nginx or Caddy snippet
        /// refuses what is not public.
        public_paths: List<PathPrefix> = "none";
    }
}

record! {
    /// Something that must be true of the planned network, for `wayleave prove`. Either `reach`, or `isolate`, or some of
    /// the others, which may be about the pairs of `between` only. Selectors here may name clients, sites and groups, too.
    "assertion" AssertRule {
        /// Two lists of selectors: each of the first and each of the second reach each other.
        reach: List<List<Selector>> = "none";
        /// Two lists of selectors: none of the first and none of the second reach each other.
        isolate: List<List<Selector>> = "none";
        /// For `reach` and `isolate`: only about connections to these ports, opened by the first and answered by the second.
        ports: List<Ports> = "reach: some, both ways; isolate: all, both ways";
        /// Two lists of selectors: the pairs that the following are about.
        between: List<List<Selector>> = "all nodes and clients";
        /// Round-trip time in milliseconds that no pair's path exceeds.
        rtt_ms_max: Milliseconds = "no limit";
        /// Links on a path that no pair's path exceeds.
        hops_max: Hops = "no limit";
        /// What may fail without any pair being lost that has not failed itself: `any 1 node`, `any 1 link`,
        /// `any 1 region`, or any 2 of them.
        survives: Survives = "nothing";
    }
}
