//! One node's firewall: who in the overlay may open what at it and through it, and what it lets in from outside.
//!
//! Rules are about packets that open connections; answers always pass. They are asked in order, wherever a packet enters
//! or leaves the overlay at this host, and the first that matches decides. A node protects itself, the sites it stands
//! before, the clients that come in through it, and parties anywhere that no firewall of their own protects. What it
//! merely relays is judged where it arrives.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Plan, host, merge};
use crate::network::{FirewallForm, Host, NodeIx, Parties, Party, Platform, Ports};
use crate::node::CONTROL_PORT;

/// What a host's firewall does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// How it is set.
    pub form: FirewallForm,
    /// From where WireGuard's port can be reached; none: from everywhere.
    pub wireguard_from: Option<Vec<IpNet>>,
    /// Rules inside the overlay, the first that matches decides.
    pub rules: Vec<FirewallRule>,
    /// Whether what comes from the overlay to the host itself is refused if no rule matches. What it passes on is not.
    pub refuses_rest: bool,
    /// Ports of services, and who may use them that does not come through the overlay.
    pub services: Vec<OutsidePorts>,
    /// Whether everything else is refused that does not come through the overlay.
    pub closed: bool,
    /// Prefixes whose hosts are the network's own without coming through the overlay: those of its sites.
    pub inside: Vec<IpNet>,
    /// Whose source is replaced by the host's own address, on the way to which prefixes.
    pub masquerade: Vec<Masquerade>,
}

/// A rule about packets inside the overlay that open connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRule {
    /// Sources; none: all.
    pub from: Option<Vec<IpNet>>,
    /// Destinations; none: all.
    pub to: Option<Vec<IpNet>>,
    /// Kinds of traffic.
    pub ports: Ports,
    /// Whether they pass.
    pub accept: bool,
    /// The rule of the network file that it comes from.
    pub label: String,
}

/// Ports that are closed to the outside but for some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsidePorts {
    /// The service.
    pub label: String,
    /// The ports.
    pub ports: Ports,
    /// Who may use them.
    pub from: Vec<IpNet>,
}

/// Packets that get the host's own address as their source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masquerade {
    /// Their sources, of one family.
    pub from: Vec<IpNet>,
    /// Their destinations.
    pub to: Vec<IpNet>,
}

impl Plan {
    /// A node's firewall; none if nobody sets it.
    pub fn firewall(&self, node: NodeIx) -> Option<Firewall> {
        let wish = &self.network.node(node).firewall;
        if wish.form == FirewallForm::None {
            return None;
        }
        let inside = self.site_prefixes(node).to_vec();
        Some(Firewall {
            form: wish.form,
            wireguard_from: wish.wireguard_from.as_deref().map(|also| self.callers(node, also)),
            rules: self.firewall_rules(node),
            refuses_rest: self.network.policy.denies_by_default,
            services: self.outside_ports(node),
            closed: wish.closed,
            masquerade: self.masquerade(node),
            inside,
        })
    }

    /// Addresses from which a node is dialled: its peers' endpoints, and others that the file names.
    fn callers(&self, node: NodeIx, also: &[IpNet]) -> Vec<IpNet> {
        let peers = self.peers(super::Member::Node(node)).iter().filter_map(|peer| match peer.who {
            super::Member::Node(ix) => Some(ix),
            super::Member::Client(_) => None,
        });
        let endpoints = peers.flat_map(|peer| &self.network.node(peer).endpoints);
        let known = endpoints.filter_map(|endpoint| match endpoint.host {
            Host::Ip(address) => Some(host(address)),
            Host::Dns(_) => None,
        });
        merge(known.chain(also.iter().copied()).collect())
    }

    fn firewall_rules(&self, node: NodeIx) -> Vec<FirewallRule> {
        let policy = &self.network.policy;
        if !policy.refuses() && self.network.isolated.is_empty() {
            return Vec::new();
        }
        let guarded = self.guarded(node);
        let mut rules = self.denials(node, &guarded);
        // Link addresses are nobody's in the policy, and are probed over every link; agents talk to each other there.
        let is_agent = self.network.node(node).platform == Platform::Agent;
        let control = is_agent.then_some((CONTROL_PORT, CONTROL_PORT));
        // Other entry nodes pass on what clients bring that have just left this one.
        let entry = self.network.entry.as_ref().filter(|_| self.network.node(node).entry);
        let udp: Vec<_> = control.into_iter().chain(entry.map(|entry| (entry.port, entry.port))).collect();
        rules.extend(self.addresses.node_links[node.at()].map(|address| FirewallRule {
            from: None,
            to: Some(vec![host(address)]),
            ports: Ports { icmp: true, udp: udp.clone(), ..Ports::default() },
            accept: true,
            label: "probes of links".to_owned(),
        }));
        for allowed in &policy.allowed {
            let to = among(&guarded, &allowed.to);
            if to.is_empty() || allowed.ports.is_empty() || (allowed.from.list.is_empty() && !allowed.from.everybody) {
                continue;
            }
            let every = to.len() == guarded.len() && allowed.to.everybody;
            rules.push(FirewallRule {
                from: self.sources(&allowed.from),
                to: (!every).then(|| self.prefixes_of(&to)),
                ports: allowed.ports.clone(),
                accept: true,
                label: allowed.label.clone(),
            });
        }
        let refusal = |to: &[Party], ports: Ports| FirewallRule {
            from: None,
            to: Some(self.prefixes_of(to)),
            ports,
            accept: false,
            label: "policy".to_owned(),
        };
        if policy.denies_by_default {
            rules.push(refusal(&guarded, Ports::all()));
        } else {
            let restricted = guarded.iter().map(|party| (party, policy.restricted(*party)));
            rules.extend(restricted.filter(|(_, ports)| !ports.is_empty()).map(|(to, ports)| refusal(&[*to], ports)));
        }
        rules
    }

    /// What a node protects: itself first, then what enters the overlay through it, then what nobody else protects.
    fn guarded(&self, node: NodeIx) -> Vec<Party> {
        let network = &self.network;
        let bare = |door: &NodeIx| network.node(*door).firewall.form == FirewallForm::None;
        let guards = |party: &Party| {
            let doors = network.doors(party);
            doors.contains(&node) || doors.iter().any(bare)
        };
        network.parties().filter(guards).collect()
    }

    /// Rules for who is kept apart, which come before all that allow.
    fn denials(&self, node: NodeIx, guarded: &[Party]) -> Vec<FirewallRule> {
        let network = &self.network;
        let mut rules = Vec::new();
        let mut refuse = |from: &[Party], to: &[Party]| {
            if !from.is_empty() && !to.is_empty() {
                rules.push(FirewallRule {
                    from: Some(self.prefixes_of(from)),
                    to: Some(self.prefixes_of(to)),
                    ports: Ports::all(),
                    accept: false,
                    label: "isolate".to_owned(),
                });
            }
        };
        for denial in &network.policy.denied {
            for (one, other) in [(&denial.one, &denial.other), (&denial.other, &denial.one)] {
                refuse(&one.list, &among(guarded, other));
            }
        }
        // All others are kept apart by the allowed addresses of the one that is no hub.
        let at = |door: NodeIx| -> Vec<Party> {
            network.parties().filter(|party| network.doors(party).first() == Some(&door)).collect()
        };
        let is_hub = |ix: NodeIx| network.node(ix).hub;
        let apart = network.node_numbers().filter(|other| is_hub(node) && is_hub(*other));
        let others: Vec<NodeIx> = apart.filter(|other| network.is_isolated(node, *other)).collect();
        if !others.is_empty() {
            let (here, there) = (at(node), others.into_iter().flat_map(at).collect::<Vec<Party>>());
            refuse(&there, &here);
            refuse(&here, &there);
        }
        rules
    }

    /// Addresses of the parties of a rule; none for everybody.
    fn sources(&self, parties: &Parties) -> Option<Vec<IpNet>> {
        (!parties.everybody).then(|| self.prefixes_of(&parties.list))
    }

    fn prefixes_of(&self, parties: &[Party]) -> Vec<IpNet> {
        let own = |addresses: &[IpAddr]| addresses.iter().copied().map(host).collect::<Vec<IpNet>>();
        let of = |party: &Party| match party {
            Party::Node(ix) => own(&self.addresses.nodes[ix.at()]),
            Party::Client(at) => {
                let mut all = own(&self.addresses.clients[*at as usize]);
                all.extend(&self.network.clients[*at as usize].prefixes);
                all
            }
            Party::Site(at) => self.network.sites[*at as usize].prefixes.clone(),
        };
        merge(parties.iter().flat_map(of).collect())
    }

    /// Ports of the services on a node, and who outside may use them.
    pub(crate) fn outside_ports(&self, node: NodeIx) -> Vec<OutsidePorts> {
        let here = self.network.policy.services.iter().filter(|service| service.on.binary_search(&node).is_ok());
        let everywhere = ["0.0.0.0/0", "::/0"].map(|text| text.parse().expect("both are prefixes"));
        let ports = |service: &crate::network::Service| OutsidePorts {
            label: format!("service {}", service.name),
            ports: service.ports.clone(),
            from: if service.is_public() { everywhere.to_vec() } else { merge(service.outside.clone()) },
        };
        here.map(ports).collect()
    }

    fn masquerade(&self, node: NodeIx) -> Vec<Masquerade> {
        let mut found = Vec::new();
        for (at, is_v4) in [true, false].into_iter().enumerate() {
            let of_family = |prefix: &IpNet| prefix.addr().is_ipv4() == is_v4;
            let sites = self.network.sites.iter().filter(|site| site.masquerade[at] && site.gateways.contains(&node));
            let to: Vec<IpNet> = sites.flat_map(|site| &site.prefixes).copied().filter(of_family).collect();
            let peers = self.peers(super::Member::Node(node)).iter();
            let from: Vec<IpNet> = peers.flat_map(|peer| peer.allowed.iter().copied()).filter(of_family).collect();
            if !to.is_empty() && !from.is_empty() {
                found.push(Masquerade { from: merge(from), to: merge(to) });
            }
        }
        found
    }
}

/// Those of a sorted list who are among some parties. The shorter list is walked: there may be thousands of rules.
fn among(list: &[Party], parties: &Parties) -> Vec<Party> {
    if parties.everybody || list.len() < parties.list.len() {
        return list.iter().copied().filter(|party| parties.has(*party)).collect();
    }
    parties.list.iter().copied().filter(|party| list.binary_search(party).is_ok()).collect()
}

impl Firewall {
    /// Whether it refuses anything inside the overlay.
    pub fn judges(&self) -> bool {
        self.refuses_rest || !self.rules.is_empty()
    }
}

impl FirewallRule {
    /// Whether it is about a packet's addresses.
    pub fn is_about(&self, source: IpAddr, destination: IpAddr) -> bool {
        let inside = |list: &Option<Vec<IpNet>>, address: IpAddr| {
            list.as_ref().is_none_or(|list| list.iter().any(|prefix| prefix.contains(&address)))
        };
        inside(&self.from, source) && inside(&self.to, destination)
    }
}
