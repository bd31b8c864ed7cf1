//! What foreign routers tell of, and how far they are: decided before anything is built.
//!
//! Each tells of one prefix of each family of its sessions, inside what is accepted of it, unless it is said what. Where route origins
//! are asked for, these are authorised, and the lab's own are the only ones: what the world says of prefixes is nothing to try here.

use ipnet::IpNet;
use wayleave_core::network::{Bgp, Neighbour, Network, PrefixRange, Roa};

/// The length of what is told of by default, where that is accepted.
const USUAL: [u8; 2] = [24, 48];
/// Prefixes that are looked at for a free one.
const TRIED_MAX: u128 = 65_536;
/// The round-trip time to a foreign router of which nothing is said.
const RTT_US: u64 = 20_000;

/// What each foreign router tells of, in the order of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told(pub Vec<Vec<IpNet>>);

impl Told {
    /// What is given, and else something that is accepted and that nobody else has.
    pub fn new(network: &Network, given: impl Fn(&Neighbour) -> Option<Vec<IpNet>>) -> Told {
        let mut told = Told::default();
        for neighbour in &network.neighbours {
            let made =
                || [true, false].into_iter().filter_map(|is_v4| free(network, neighbour, is_v4, &told)).collect();
            let own = given(neighbour).unwrap_or_else(made);
            told.0.push(own);
        }
        told
    }

    /// The prefixes with the AS numbers that tell of them.
    pub fn authorised(&self, network: &Network) -> Vec<(IpNet, u32)> {
        let all = network.neighbours.iter().zip(&self.0);
        all.flat_map(|(neighbour, told)| told.iter().map(|prefix| (*prefix, neighbour.asn))).collect()
    }
}

fn free(network: &Network, neighbour: &Neighbour, is_v4: bool, told: &Told) -> Option<IpNet> {
    if !neighbour.sessions.carry(is_v4) {
        return None;
    }
    let own = network.bgp.iter().flat_map(|bgp| &bgp.own);
    let used: Vec<IpNet> = (own.chain(&network.prefixes))
        .chain(network.neighbours.iter().flat_map(|other| &other.own_addresses))
        .chain(told.0.iter().flatten())
        .copied()
        .collect();
    let overlaps = |prefix: &IpNet| used.iter().any(|other| other.contains(prefix) || prefix.contains(other));
    let of_family = neighbour.accept.iter().filter(|range| range.prefix.addr().is_ipv4() == is_v4);
    of_family.flat_map(parts).find(|part| !overlaps(part))
}

/// Prefixes of the usual length, or of the nearest one that is accepted.
fn parts(range: &PrefixRange) -> impl Iterator<Item = IpNet> + use<> {
    let whole = range.prefix.trunc();
    let usual = USUAL[usize::from(whole.addr().is_ipv6())];
    let length = usual.clamp(range.min, range.max).max(whole.prefix_len());
    let count = 1_u128.checked_shl(u32::from(length - whole.prefix_len())).unwrap_or(u128::MAX);
    let wide = u32::from(whole.max_prefix_len() - length);
    (0..count.min(TRIED_MAX)).filter_map(move |number| {
        let offset = number.checked_shl(wide)?;
        let address = match whole.network() {
            std::net::IpAddr::V4(v4) => std::net::IpAddr::V4((u32::from(v4) + offset as u32).into()),
            std::net::IpAddr::V6(v6) => std::net::IpAddr::V6((u128::from(v6) + offset).into()),
        };
        IpNet::new(address, length).ok()
    })
}

/// Whether a neighbour's filter takes a prefix.
pub fn is_accepted(network: &Network, neighbour: &Neighbour, prefix: IpNet) -> bool {
    let Some(bgp) = &network.bgp else { return false };
    let is_own = bgp.own.iter().any(|own| own.contains(&prefix));
    let is_in =
        |range: &PrefixRange| range.prefix.contains(&prefix) && (range.min..=range.max).contains(&prefix.prefix_len());
    let is_internal = neighbour.asn == bgp.asn;
    prefix.prefix_len() > 0 && if is_own { is_internal } else { neighbour.accept.iter().any(is_in) }
}

/// Where route origins are looked up in the lab: in files of its own, where the network asks at all.
fn origins(roa: &Roa, folder: &std::path::Path) -> Roa {
    let file = |is_v4: bool| folder.join(if is_v4 { "origins4.conf" } else { "origins6.conf" }).display().to_string();
    Roa { files: [true, false].map(|is_v4| roa.covers(is_v4).then(|| file(is_v4))), servers: Vec::new() }
}

/// BGP as a lab has it: with origins of its own, and BIRDs of its own; the host's administrator has nothing to do with it.
pub fn keep_apart(bgp: &mut Bgp, folder: &std::path::Path) {
    bgp.roa = origins(&bgp.roa, folder);
    bgp.speakers.iter_mut().for_each(|speaker| speaker.bird = None);
}

/// The round-trip time to a foreign router, in microseconds: the longest of the class of its line.
pub fn tunnel_rtt_us(neighbour: &Neighbour) -> u64 {
    neighbour.line.latency.map_or(RTT_US, |class| (f64::from(class).exp() * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wayleave_core::file::load_with;
    use wayleave_core::network::resolve::resolve;

    fn network(neighbours: &str) -> Network {
        let text = format!(
            "[network]\nname = \"t\"\nprefixes = [\"172.20.0.0/24\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\n\
             [bgp]\nasn = 64512\nown = [\"172.20.0.0/23\"]\n{neighbours}"
        );
        let loaded = load_with("t.toml", |_| Ok(text.clone().into_bytes()));
        resolve(&loaded.file).network.unwrap_or_else(|| panic!("{:?}", loaded.findings.sorted()))
    }

    fn neighbour(name: &str, at: u8, more: &str) -> String {
        format!(
            "[neighbours.{name}]\nnode = \"a\"\nasn = 64513\npublic_key = \"P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=\"\n\
             port = {at}\nown_addresses = [\"10.9.{at}.1/30\"]\naddresses = [\"10.9.{at}.2\"]\n{more}\n"
        )
    }

    fn words(list: &[IpNet]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_tells_of_a_prefix_that_is_accepted_and_nobody_elses() {
        let accept = "accept = [\"172.20.0.0/14\"]";
        let network =
            network(&(neighbour("x", 1, accept) + &neighbour("y", 2, accept) + &neighbour("z", 3, "accept = []")));
        let told = Told::new(&network, |_| None);
        assert_eq!(
            told.0.iter().map(|own| words(own)).collect::<Vec<_>>(),
            [vec!["172.20.2.0/24"], vec!["172.20.3.0/24"], vec![]]
        );
        let accepted = |prefix: &str| is_accepted(&network, &network.neighbours[0], prefix.parse().unwrap());
        assert!(
            accepted("172.20.2.0/24")
                && !accepted("172.20.1.0/24")
                && !accepted("0.0.0.0/0")
                && !accepted("10.0.0.0/8")
        );
    }

    #[test]
    fn what_is_given_is_told_of_as_it_is() {
        let network = network(&neighbour("x", 1, "accept = [\"172.20.0.0/14\"]"));
        let given: Vec<IpNet> = vec!["10.7.0.0/16".parse().unwrap()];
        let told = Told::new(&network, |_| Some(given.clone()));
        assert_eq!(told.authorised(&network), [(given[0], 64_513)]);
    }
}
