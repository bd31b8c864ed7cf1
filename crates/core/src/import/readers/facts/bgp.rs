//! BGP sessions of BIRD, FRR and Quagga: as much as tells whether next hops can be used.
//!
//! BIRD's templates are filled in; filters and functions are passed over. A session whose AS numbers are not plain numbers
//! (constants, `external`) is internal only if it says so.

use std::collections::BTreeMap;

use super::super::lines::Line;
use crate::check::Span;
use crate::import::facts::{Facts, Session};

/// A neighbour as its lines say.
#[derive(Debug, Clone)]
pub(super) struct Neighbour {
    pub remote_as: Option<String>,
    pub next_hop_self: bool,
    pub extended_next_hop: bool,
    pub v4_routes: Option<Span>,
    place: Span,
}

impl Neighbour {
    pub fn new(place: Span) -> Neighbour {
        Neighbour { remote_as: None, next_hop_self: false, extended_next_hop: false, v4_routes: None, place }
    }
}

/// Sessions of a router with its own AS.
pub(super) fn sessions(own: Option<&str>, neighbours: BTreeMap<String, Neighbour>) -> Vec<Session> {
    let session = |(name, neighbour): (String, Neighbour)| {
        let internal = neighbour.remote_as.as_deref().map(|remote| Some(remote) == own || remote == "internal");
        Session {
            over_v6: name.contains(':'),
            name,
            internal,
            v4_routes: neighbour.v4_routes,
            extended_next_hop: neighbour.extended_next_hop,
            next_hop_self: neighbour.next_hop_self,
            place: neighbour.place,
        }
    };
    neighbours.into_iter().map(session).collect()
}

/// FRR and Quagga.
pub(super) fn frr<'t>(lines: impl Iterator<Item = Line<'t>>, facts: &mut Facts) {
    let (mut own, mut in_v4) = (None, false);
    let mut neighbours: BTreeMap<String, Neighbour> = BTreeMap::new();
    for line in lines {
        let text = line.trimmed();
        let place = line.part(text).span;
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["router", "bgp", number, ..] => own = Some((*number).to_owned()),
            ["address-family", "ipv4", ..] => in_v4 = true,
            ["exit-address-family"] | ["address-family", ..] => in_v4 = false,
            ["neighbor", name, rest @ ..] => {
                let neighbour = neighbours.entry((*name).to_owned()).or_insert_with(|| Neighbour::new(place));
                match rest {
                    ["remote-as", number] => neighbour.remote_as = Some((*number).to_owned()),
                    ["next-hop-self", ..] => neighbour.next_hop_self = true,
                    ["capability", "extended-nexthop"] => neighbour.extended_next_hop = true,
                    ["activate"] if in_v4 => neighbour.v4_routes = Some(place),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    facts.sessions.extend(sessions(own.as_deref(), neighbours));
}

/// What a `protocol bgp` or a `template bgp` of BIRD says.
#[derive(Debug, Clone)]
struct Protocol {
    name: String,
    is_template: bool,
    own: Option<String>,
    remote: Option<String>,
    over_v6: bool,
    v4_routes: Option<Span>,
    extended_next_hop: bool,
    next_hop_self: bool,
    place: Span,
}

/// BIRD 2 and 1.6.
pub(super) fn bird<'t>(lines: impl Iterator<Item = Line<'t>>, facts: &mut Facts) {
    let mut templates: BTreeMap<String, Protocol> = BTreeMap::new();
    let mut open: Option<(Protocol, usize)> = None;
    let mut depth = 0_usize;
    for line in lines {
        let text = line.text.split('#').next().unwrap_or_default().trim();
        let words: Vec<&str> = text.split([' ', '\t', ';', '{', '}']).filter(|word| !word.is_empty()).collect();
        if let [kind @ ("protocol" | "template"), "bgp", rest @ ..] = words.as_slice() {
            open = Some((protocol(*kind == "template", rest, &templates, line.part(text).span), depth));
        }
        if let Some((protocol, _)) = &mut open {
            statements(protocol, text, line.part(text).span);
        }
        depth += text.matches('{').count();
        depth = depth.saturating_sub(text.matches('}').count());
        if let Some((protocol, _)) = open.take_if(|(_, at)| depth <= *at && text.contains('}')) {
            if protocol.is_template {
                templates.insert(protocol.name.clone(), protocol);
            } else {
                facts.sessions.push(session(protocol));
            }
        }
    }
}

fn protocol(is_template: bool, rest: &[&str], templates: &BTreeMap<String, Protocol>, place: Span) -> Protocol {
    let name = rest.first().filter(|name| **name != "from").copied().unwrap_or("bgp").to_owned();
    let from = rest.iter().skip_while(|word| **word != "from").nth(1);
    let base = from.and_then(|from| templates.get(*from)).cloned();
    let fresh = || Protocol {
        name: String::new(),
        is_template,
        own: None,
        remote: None,
        over_v6: false,
        v4_routes: None,
        extended_next_hop: false,
        next_hop_self: false,
        place,
    };
    Protocol { name, is_template, place, ..base.unwrap_or_else(fresh) }
}

/// All statements of a line; a channel may be opened and closed in it.
fn statements(protocol: &mut Protocol, text: &str, place: Span) {
    for statement in text.split_inclusive([';', '{', '}']) {
        let words: Vec<&str> =
            statement.split(|c: char| c.is_whitespace() || ";{}".contains(c)).filter(|word| !word.is_empty()).collect();
        let number =
            |at: usize| words.iter().skip(at).skip_while(|word| **word != "as").nth(1).map(|n| (*n).to_owned());
        match words.as_slice() {
            ["local", ..] => protocol.own = number(0).or(protocol.own.take()),
            ["neighbor", address, ..] => {
                protocol.over_v6 = address.contains(':');
                protocol.remote = number(0).or_else(|| words.contains(&"internal").then(|| "internal".to_owned()));
            }
            ["ipv4", ..] if statement.contains('{') || text.contains('{') => {
                protocol.v4_routes = Some(place);
            }
            ["next", "hop", "self", ..] => protocol.next_hop_self = true,
            ["extended", "next", "hop", rest @ ..] => {
                protocol.extended_next_hop = !matches!(rest.first(), Some(&"off" | &"no"));
            }
            _ => {}
        }
    }
}

fn session(protocol: Protocol) -> Session {
    let same = |own: &String, remote: &String| own == remote || remote == "internal";
    Session {
        internal: protocol
            .remote
            .as_ref()
            .map(|remote| remote == "internal" || protocol.own.as_ref().is_some_and(|own| same(own, remote))),
        name: protocol.name,
        over_v6: protocol.over_v6,
        v4_routes: protocol.v4_routes,
        extended_next_hop: protocol.extended_next_hop,
        next_hop_self: protocol.next_hop_self,
        place: protocol.place,
    }
}
