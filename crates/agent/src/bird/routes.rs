//! What `show route ... all` says, as values, and why the best route is the best one; pure.
//!
//! A line of code 1007 begins a route, tells of a next hop, or names the table; 1008 says of which kind a route is, 1012 has its
//! attributes, which BIRD 2 calls `BGP.as_path` and BIRD 3 `bgp_path`. Routes of one prefix are listed under it, the best one first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reply::Reply;

/// A route that BIRD knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// BIRD's table.
    pub table: String,
    /// Its prefix.
    pub prefix: String,
    /// `unicast`, `blackhole`, `unreachable`, `prohibit`.
    pub kind: String,
    /// The protocol that it is from.
    pub protocol: String,
    /// Since when, as BIRD writes it.
    pub since: String,
    /// From which neighbour of a reflector's it is, if another one's address is its next hop.
    pub from: Option<String>,
    /// Whether BIRD uses it.
    pub is_best: bool,
    /// Before all other things that routes are compared by.
    pub preference: u32,
    /// The cost of the way to the next hop; none if there is no such way.
    pub igp_metric: Option<u32>,
    /// Whether the next hop can't be reached.
    pub is_unreachable: bool,
    /// Where packets go.
    pub next_hops: Vec<NextHop>,
    /// What BGP says of it, if it is from there.
    pub bgp: Option<Attributes>,
}

/// Where packets go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// The router; none: whoever is on the device.
    pub via: Option<String>,
    /// The device.
    pub device: String,
}

/// What BGP says of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// ASNs on the way, the neighbour's first.
    pub path: Vec<String>,
    /// `IGP`, `EGP`, `Incomplete`.
    pub origin: String,
    /// The next hop as BGP says it.
    pub next_hop: String,
    /// Local preference.
    pub local_preference: Option<u32>,
    /// Multi-exit discriminator.
    pub med: Option<u32>,
    /// `(64511,3)`.
    pub communities: Vec<String>,
    /// `(64511, 1, 2)`.
    pub large_communities: Vec<String>,
    /// `(rt, 1, 2)`.
    pub extended_communities: Vec<String>,
    /// The router that a reflector has it from.
    pub originator: Option<String>,
    /// Everything else, by BIRD's name of it.
    pub others: BTreeMap<String, String>,
}

/// How many routes a table has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// BIRD's table.
    pub table: String,
    /// Routes.
    pub routes: u64,
    /// Prefixes.
    pub prefixes: u64,
}

/// Reads an answer to `show route ... all`.
pub fn read(reply: &Reply) -> Vec<Candidate> {
    let (mut routes, mut table) = (Vec::<Candidate>::new(), String::new());
    for line in &reply.lines {
        let text = line.text.as_str();
        match line.code {
            1_007 if text.trim().is_empty() => {}
            1_007 if text.starts_with("Table ") => text["Table ".len()..].trim_end_matches(':').clone_into(&mut table),
            1_007 if text.starts_with('\t') => {
                if let Some(route) = routes.last_mut() {
                    route.next_hops.extend(next_hop(text));
                }
            }
            1_007 => {
                let prefix = if text.starts_with(' ') { routes.last().map(|route| route.prefix.clone()) } else { None };
                routes.extend(heading(text, prefix, &table));
            }
            1_008 | 1_012 => {
                if let Some(route) = routes.last_mut() {
                    attribute(route, text.trim());
                }
            }
            _ => {}
        }
    }
    routes
}

/// `172.20.3.0/24        unicast [good 18:34:31.665] * (100) [AS64513i]`, where the prefix may be that of the line before.
fn heading(text: &str, prefix: Option<String>, table: &str) -> Option<Candidate> {
    let (before, rest) = text.split_once('[')?;
    let (origin, after) = rest.split_once(']')?;
    let mut before = before.split_whitespace();
    let prefix = prefix.or_else(|| before.next().map(str::to_owned))?;
    let kind = before.next()?.to_owned();
    let (origin, from) = match origin.split_once(" from ") {
        Some((origin, from)) => (origin, Some(from.trim().to_owned())),
        None => (origin, None),
    };
    let (protocol, since) = origin.split_once(' ').unwrap_or((origin, ""));
    let mut route = Candidate {
        table: table.to_owned(),
        prefix,
        kind,
        protocol: protocol.to_owned(),
        since: since.trim().to_owned(),
        from,
        is_best: after.trim_start().starts_with('*'),
        ..Candidate::default()
    };
    let numbers = after.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(numbers, _)| numbers);
    let (preference, metric) = numbers.split_once('/').unwrap_or((numbers, ""));
    // A stale route has a letter behind its preference.
    route.preference = preference.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default();
    route.is_unreachable = metric == "-";
    route.igp_metric = metric.parse().ok();
    Some(route)
}

/// `via 10.9.0.2 on va onlink` or `dev va`.
fn next_hop(text: &str) -> Option<NextHop> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["via", via, "on", device, ..] => Some(NextHop { via: Some((*via).to_owned()), device: (*device).to_owned() }),
        ["dev", device, ..] => Some(NextHop { via: None, device: (*device).to_owned() }),
        _ => None,
    }
}

fn attribute(route: &mut Candidate, text: &str) {
    let Some((name, value)) = text.split_once(':') else { return };
    let value = value.trim();
    let (name, is_bgp) = match name.strip_prefix("BGP.").or_else(|| name.strip_prefix("bgp_")) {
        Some(name) => (name, true),
        None => (name, name == "igp_metric"),
    };
    if name == "igp_metric" {
        route.igp_metric = value.parse().ok().or(route.igp_metric);
        return;
    }
    if !is_bgp {
        return;
    }
    let bgp = route.bgp.get_or_insert_default();
    match name {
        "as_path" | "path" => bgp.path = as_path(value),
        "origin" => bgp.origin = value.to_owned(),
        "next_hop" => bgp.next_hop = value.to_owned(),
        "local_pref" => bgp.local_preference = value.parse().ok(),
        "med" => bgp.med = value.parse().ok(),
        "community" => bgp.communities = tuples(value),
        "large_community" => bgp.large_communities = tuples(value),
        "ext_community" => bgp.extended_communities = tuples(value),
        "originator_id" => bgp.originator = Some(value.to_owned()),
        _ => drop(bgp.others.insert(name.to_owned(), value.to_owned())),
    }
}

/// ASNs; a set, `{1 2}`, is one step.
fn as_path(text: &str) -> Vec<String> {
    let (mut path, mut set) = (Vec::<String>::new(), false);
    for word in text.split_whitespace() {
        match path.last_mut().filter(|_| set) {
            Some(last) => *last = format!("{last} {word}"),
            None => path.push(word.to_owned()),
        }
        set = (set || word.starts_with('{')) && !word.ends_with('}');
    }
    path
}

/// `(1,2) (3,4)` as its parts.
fn tuples(text: &str) -> Vec<String> {
    let parts = text.split_inclusive(')').map(str::trim);
    parts.filter(|part| part.starts_with('(')).map(str::to_owned).collect()
}

/// Reads an answer to `show route ... count`.
pub fn counts(reply: &Reply) -> Vec<Count> {
    let count = |text: &str| {
        // 11 of 11 routes for 6 networks in table master4
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [_, "of", routes, "routes", "for", prefixes, "networks", "in", "table", table] => Some(Count {
                table: (*table).to_owned(),
                routes: routes.parse().ok()?,
                prefixes: prefixes.parse().ok()?,
            }),
            _ => None,
        }
    };
    reply.lines.iter().filter_map(|line| count(&line.text)).collect()
}

/// Why a route was not chosen, in a few words: the first thing by which it and the best one differ, in BIRD's order (its manual, BGP,
/// "Route selection rules"). `is_internal` says of a protocol whether its session is with a router of the same ASN.
pub fn why_not(best: &Candidate, other: &Candidate, is_internal: impl Fn(&str) -> bool) -> String {
    if best.preference != other.preference {
        return format!("preference {} is below {}", other.preference, best.preference);
    }
    let (Some(chosen), Some(bgp)) = (&best.bgp, &other.bgp) else {
        return "of equal preference, BIRD keeps the one that it has".to_owned();
    };
    if other.is_unreachable && !best.is_unreachable {
        return "its next hop can't be reached".to_owned();
    }
    let preference = |bgp: &Attributes| bgp.local_preference.unwrap_or(100);
    if preference(chosen) != preference(bgp) {
        return format!("local preference {} is below {}", preference(bgp), preference(chosen));
    }
    if chosen.path.len() != bgp.path.len() {
        return format!("its AS path has {}, the best one {}", asns(bgp.path.len()), chosen.path.len());
    }
    if chosen.origin != bgp.origin {
        return format!("origin {} is worse than {}", bgp.origin, chosen.origin);
    }
    // BIRD takes a missing one for 0, and compares routes of one neighbour AS only.
    let med = |bgp: &Attributes| bgp.med.unwrap_or(0);
    if chosen.path.first() == bgp.path.first() && med(chosen) != med(bgp) {
        return format!("MED {} is above {}", med(bgp), med(chosen));
    }
    match (is_internal(&best.protocol), is_internal(&other.protocol)) {
        (false, true) => return "learned inside the own AS, the best one from outside".to_owned(),
        (true, false) => return "BIRD prefers the other session".to_owned(),
        _ => {}
    }
    match (best.igp_metric, other.igp_metric) {
        (Some(near), Some(far)) if near != far => format!("its next hop is farther: IGP metric {far}, not {near}"),
        _ => "equal in all that counts; the lower router id, or the lower address, wins".to_owned(),
    }
}

fn asns(count: usize) -> String {
    if count == 1 { "1 ASN".to_owned() } else { format!("{count} ASNs") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reply::{Assembly, tests::reply};
    use super::*;

    const TWO: &str = "1007-Table master4:
 172.20.3.0/24        unicast [good 18:34:31.665] * (100) [AS64513i]
 	via 10.9.0.2 on va
1008-	Type: BGP univ
1012-	BGP.origin: IGP
 	BGP.as_path: 64513 64514 {65000 65001}
 	BGP.next_hop: 10.9.0.2
 	BGP.local_pref: 100
 	BGP.community: (64511,3) (65535,0)
 	BGP.ext_community: (rt, 1, 2)
 	BGP.large_community: (64511, 1, 2) (64511, 3, 4)
1007-                     unicast [six 2026-11-20 from 10.0.0.9] (100/?) [AS64513i]
 	via fe80::2 on va weight 1
 	via fe80::3 on vb weight 1
1008-	Type: BGP univ
1012-	BGP.origin: IGP
 	BGP.as_path: 64513 64514 1 2
 	BGP.next_hop: :: fe80::2
 	BGP.local_pref: 100
1007-
 Table master6:
 fd00:1::/48          blackhole [st 18:34:27.689] * (200)
1008-	Type: static univ
0000 
";

    #[test]
    fn every_route_of_a_prefix_is_read_with_its_attributes() {
        let routes = read(&reply(TWO));
        let [best, other, own] = routes.as_slice() else { panic!("{routes:?}") };
        assert_eq!(
            (best.table.as_str(), best.prefix.as_str(), best.protocol.as_str()),
            ("master4", "172.20.3.0/24", "good")
        );
        assert!(best.is_best && !other.is_best && own.is_best);
        let bgp = best.bgp.as_ref().unwrap();
        assert_eq!(bgp.path, ["64513", "64514", "{65000 65001}"]);
        assert_eq!(bgp.communities, ["(64511,3)", "(65535,0)"]);
        assert_eq!(bgp.large_communities, ["(64511, 1, 2)", "(64511, 3, 4)"]);
        assert_eq!((other.prefix.as_str(), other.from.as_deref()), ("172.20.3.0/24", Some("10.0.0.9")));
        assert_eq!((other.since.as_str(), other.next_hops.len(), other.igp_metric), ("2026-11-20", 2, None));
        assert_eq!(other.next_hops[0], NextHop { via: Some("fe80::2".into()), device: "va".into() });
        assert_eq!((own.table.as_str(), own.kind.as_str(), own.preference), ("master6", "blackhole", 200));
        assert!(own.bgp.is_none() && own.next_hops.is_empty());
    }

    #[test]
    fn the_names_of_bird_3_mean_the_same() {
        let text = "1007-Table master4:\n 10.0.0.0/8 unicast [n 18:34:31.665] * (100/20) [AS1i]\n \tvia 10.9.0.2 on va\n1008-\tType: \
                    BGP univ\n1012-\tpreference: 100\n \tbgp_origin: IGP\n \tbgp_path: 1 2\n \tbgp_local_pref: 90\n \tbgp_med: 7\n0000 \n";
        let route = &read(&reply(text))[0];
        let bgp = route.bgp.as_ref().unwrap();
        assert_eq!((bgp.path.len(), bgp.local_preference, bgp.med, route.igp_metric), (2, Some(90), Some(7), Some(20)));
    }

    #[test]
    fn what_speaks_against_a_route_is_the_first_difference_in_birds_order() {
        let path = |asns: &[&str]| asns.iter().map(ToString::to_string).collect();
        let base = Candidate {
            preference: 100,
            igp_metric: Some(10),
            bgp: Some(Attributes { path: path(&["1", "2"]), origin: "IGP".into(), ..Attributes::default() }),
            protocol: "a".into(),
            ..Candidate::default()
        };
        let check = |change: &dyn Fn(&mut Candidate, &mut Attributes), expected: &str| {
            let (mut other, mut bgp) = (base.clone(), base.bgp.clone().unwrap());
            change(&mut other, &mut bgp);
            other.bgp = other.bgp.map(|_| bgp);
            let words = why_not(&base, &other, |name| name == "inside");
            assert!(words.contains(expected), "{words} is not: {expected}");
        };
        check(&|route, bgp| (route.preference, bgp.local_preference) = (90, Some(1)), "preference 90 is below 100");
        check(
            &|_, bgp| (bgp.local_preference, bgp.path) = (Some(50), path(&["1"])),
            "local preference 50 is below 100",
        );
        check(&|_, bgp| bgp.path = path(&["1", "2", "3"]), "its AS path has 3 ASNs, the best one 2");
        check(&|_, bgp| bgp.origin = "Incomplete".into(), "origin Incomplete is worse than IGP");
        check(&|_, bgp| bgp.med = Some(5), "MED 5 is above 0");
        check(&|_, bgp| (bgp.med, bgp.path) = (Some(5), path(&["3", "2"])), "equal in all that counts");
        check(&|route, _| route.protocol = "inside".into(), "learned inside");
        check(&|route, _| route.igp_metric = Some(30), "IGP metric 30, not 10");
        check(&|route, _| route.is_unreachable = true, "can't be reached");
        check(&|route, _| route.bgp = None, "of equal preference");
    }

    #[test]
    fn tables_are_counted() {
        let text = "1007-11 of 11 routes for 6 networks in table master4\n 0 of 0 routes for 0 networks in table x\n\
                    0014 Total: 11 of 11 routes for 6 networks in 2 tables\n";
        let expected = [("master4", 11, 6), ("x", 0, 0)];
        let got = counts(&reply(text));
        let got: Vec<_> = got.iter().map(|count| (count.table.as_str(), count.routes, count.prefixes)).collect();
        assert_eq!(got, expected);
    }

    proptest! {
        #[test]
        fn an_answer_with_bytes_changed_is_read_or_refused(changes in proptest::collection::vec((0..TWO.len(), any::<u8>()), 1..8)) {
            let mut bytes = TWO.as_bytes().to_vec();
            changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
            if let Ok(Some(reply)) = Assembly::default().handle(&bytes) {
                let _ = (read(&reply), counts(&reply));
            }
        }
    }
}
