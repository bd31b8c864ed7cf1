//! What `show protocols all` says, as values; pure.
//!
//! A line of code 1002 begins a protocol, lines of 1006 describe it: first itself, then each channel, told apart by their
//! words rather than by their indentation, which differs between BIRD 2 and 3. What is unknown is left out: newer versions say more.

use super::reply::Reply;

/// A protocol of BIRD's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Protocol {
    /// Its name.
    pub name: String,
    /// Its kind, as BIRD writes it: `BGP`, `Kernel`.
    pub kind: String,
    /// `up`, `start`, `down`, `stop`, `flush`.
    pub state: String,
    /// Since when, as BIRD writes it.
    pub since: String,
    /// What BIRD says beside it: for BGP its state and the last error.
    pub words: String,
    /// Its description, as configured.
    pub description: Option<String>,
    /// What only BGP has.
    pub bgp: Option<Bgp>,
    /// Its channels.
    pub channels: Vec<Channel>,
}

/// A BGP session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bgp {
    /// `Established`, `Active`, `Connect`, `OpenSent`, `OpenConfirm`, `Idle`, `Down`, `Passive`.
    pub state: String,
    /// The neighbour's address, with its device if it is link-local: `fe80::2%wg1`.
    pub neighbour: String,
    /// The neighbour's ASN; 0 if BIRD does not say.
    pub neighbour_asn: u32,
    /// Our ASN.
    pub local_asn: u32,
    /// The neighbour's router id, while the session is up.
    pub neighbour_id: Option<String>,
    /// `external AS4`, `internal multihop AS4`.
    pub session: Option<String>,
    /// Our address, while the session is up.
    pub source: Option<String>,
    /// Seconds left of the hold time, and all of them.
    pub hold_s: Option<(f64, f64)>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl Bgp {
    /// Whether both ends have the same ASN.
    pub fn is_internal(&self) -> bool {
        match &self.session {
            Some(words) => words.starts_with("internal"),
            None => self.local_asn != 0 && self.local_asn == self.neighbour_asn,
        }
    }
}

/// A protocol's way to and from one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Channel {
    /// `ipv4`, `ipv6`.
    pub name: String,
    /// `UP`, `DOWN`.
    pub state: String,
    /// BIRD's table.
    pub table: String,
    /// Routes that it gave and that were accepted.
    pub imported: Option<u64>,
    /// Routes that it gave and that were refused, if BIRD keeps them.
    pub filtered: Option<u64>,
    /// Routes that it was given.
    pub exported: Option<u64>,
    /// Accepted routes that are the best ones.
    pub preferred: Option<u64>,
    /// How many routes it may give, at which of the two places that BIRD counts.
    pub limit: Option<Limit>,
    /// Updates that came: received, and refused by the filter.
    pub updates: Option<(u64, u64)>,
    /// Routes given that were withdrawn.
    pub withdrawals: Option<u64>,
}

/// A limit of routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limit {
    /// Of what: `Import`, `Receive`.
    pub of: String,
    /// How many.
    pub routes: u64,
    /// Whether it was reached.
    pub is_hit: bool,
    /// What BIRD does then: `disable`, `restart`, `block`, `warn`.
    pub action: String,
}

/// Reads an answer to `show protocols` or `show protocols all`.
pub fn read(reply: &Reply) -> Vec<Protocol> {
    let mut protocols: Vec<Protocol> = Vec::new();
    let mut columns = Vec::new();
    for line in &reply.lines {
        match (line.code, protocols.last_mut()) {
            (1_002, _) if line.text.trim().is_empty() => {}
            (1_002, _) => protocols.extend(heading(&line.text)),
            (1_006, Some(protocol)) => describe(protocol, &mut columns, line.text.trim()),
            _ => {}
        }
    }
    protocols
}

/// `good       BGP        ---        up     18:34:31.660  Established`.
fn heading(text: &str) -> Option<Protocol> {
    let (name, rest) = word(text)?;
    let (kind, rest) = word(rest)?;
    let (_table, rest) = word(rest)?;
    let (state, rest) = word(rest)?;
    let (since, rest) = word(rest).unwrap_or(("", ""));
    // A date may be followed by the time of the day.
    let (since, words) = match word(rest) {
        Some((time, more)) if since.contains('-') && time.as_bytes().get(2) == Some(&b':') => {
            (format!("{since} {time}"), more)
        }
        _ => (since.to_owned(), rest),
    };
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let [name, kind, state] = [name, kind, state].map(str::to_owned);
    Some(Protocol { name, kind, state, since, words, ..Protocol::default() })
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// One line about a protocol: `Neighbor AS:      64513`.
fn describe(protocol: &mut Protocol, columns: &mut Vec<String>, text: &str) {
    if let Some(name) = text.strip_prefix("Channel ") {
        protocol.channels.push(Channel { name: name.trim().to_owned(), ..Channel::default() });
        return;
    }
    let Some((key, value)) = text.split_once(':') else { return };
    let value = value.trim();
    match protocol.channels.last_mut() {
        Some(channel) => describe_channel(channel, columns, key, value),
        None if key == "Description" => protocol.description = Some(value.to_owned()),
        None if key == "BGP state" => protocol.bgp = Some(Bgp { state: value.to_owned(), ..Bgp::default() }),
        None => {
            if let Some(bgp) = &mut protocol.bgp {
                describe_session(bgp, key, value);
            }
        }
    }
}

fn describe_session(bgp: &mut Bgp, key: &str, value: &str) {
    let said = || Some(value.to_owned()).filter(|value| !value.is_empty());
    match key {
        "Neighbor address" => bgp.neighbour = value.to_owned(),
        "Neighbor AS" => bgp.neighbour_asn = value.parse().unwrap_or_default(),
        "Local AS" => bgp.local_asn = value.parse().unwrap_or_default(),
        "Neighbor ID" => bgp.neighbour_id = said(),
        "Session" => bgp.session = said(),
        "Source address" => bgp.source = said(),
        "Last error" => bgp.last_error = said(),
        "Hold timer" => {
            let numbers = value.split_once('/').map(|(left, all)| (left.trim().parse(), all.trim().parse()));
            if let Some((Ok(left), Ok(all))) = numbers {
                bgp.hold_s = Some((left, all));
            }
        }
        _ => {}
    }
}

fn describe_channel(channel: &mut Channel, columns: &mut Vec<String>, key: &str, value: &str) {
    match key {
        "State" => channel.state = value.to_owned(),
        "Table" => channel.table = value.to_owned(),
        "Routes" => {
            for part in value.split(',') {
                let Some((Ok(count), of)) = word(part).map(|(count, of)| (count.parse::<u64>(), of.trim())) else {
                    continue;
                };
                match of {
                    "imported" => channel.imported = Some(count),
                    "filtered" => channel.filtered = Some(count),
                    "exported" => channel.exported = Some(count),
                    "preferred" => channel.preferred = Some(count),
                    _ => {}
                }
            }
        }
        "Import limit" | "Receive limit" => {
            let of = key.trim_end_matches(" limit").to_owned();
            let routes = word(value).and_then(|(routes, _)| routes.parse().ok());
            let is_hit = value.contains("[HIT]");
            // The one that is reached is the one to speak of.
            if let Some(routes) = routes.filter(|_| channel.limit.as_ref().is_none_or(|known| !known.is_hit)) {
                channel.limit = Some(Limit { of, routes, is_hit, action: String::new() });
            }
        }
        "Action" => {
            if let Some(limit) = channel.limit.as_mut().filter(|limit| limit.action.is_empty()) {
                limit.action = value.to_owned();
            }
        }
        // Newer versions have more columns, so each is found by its title.
        "Route change stats" => {
            *columns = value.replace("RX limit", "rx-limit").split_whitespace().map(str::to_owned).collect()
        }
        "Import updates" => {
            channel.updates = column(columns, value, "received").zip(column(columns, value, "filtered"));
        }
        "Import withdraws" => channel.withdrawals = column(columns, value, "received"),
        _ => {}
    }
}

fn column(columns: &[String], values: &str, title: &str) -> Option<u64> {
    let at = columns.iter().position(|column| column == title)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reply::{Assembly, tests::reply};
    use super::*;

    const ALL: &str = "2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     18:34:27.689  
1006-
1002-good       BGP        ---        up     18:34:31.660  Established   
1006-  Description:    a good one: really
   BGP state:          Established
     Neighbor address: 10.9.0.2
     Neighbor AS:      4200000001
     Local AS:         64512
     Neighbor ID:      10.0.0.2
     Local capabilities
       Multiprotocol
         AF announced: ipv4
     Neighbor capabilities
       Graceful restart
         Restart time: 120
     Session:          external AS4
     Source address:   10.9.0.1
     Hold timer:       195.392/240
     Keepalive timer:  69.353/80
   Channel ipv4
     State:          UP
     Table:          master4
     Preference:     100
     Import limit:   1000
       Action:       restart
     Routes:         5 imported, 2 filtered, 1 exported, 4 preferred
     Route change stats:     received   rejected   filtered    ignored   accepted
       Import updates:              7          0          2          0          5
       Import withdraws:            3          0        ---          0          0
       Export updates:              6          5          0        ---          1
     BGP Next hop:   10.9.0.1
   Channel ipv6
     State:          DOWN
     Table:          master6
 
1002-limited    BGP        ---        down   2026-11-20 18:34:32  Automatic shutdown: Route limit exceeded
1006-  BGP state:          Down
     Neighbor address: fe80::2%wg1
     Neighbor AS:      64514
     Local AS:         64514
     Last error:       Automatic shutdown: Route limit exceeded
   Channel ipv4
     State:          DOWN
     Import limit:   3 [HIT]
       Action:       disable
 
0000 
";

    #[test]
    fn a_session_and_its_channels_are_read() {
        let protocols = read(&reply(ALL));
        let names: Vec<&str> = protocols.iter().map(|protocol| protocol.name.as_str()).collect();
        assert_eq!(names, ["device1", "good", "limited"]);
        let (good, bgp) = (&protocols[1], protocols[1].bgp.as_ref().unwrap());
        assert_eq!((good.since.as_str(), good.words.as_str()), ("18:34:31.660", "Established"));
        assert_eq!(good.description.as_deref(), Some("a good one: really"));
        assert_eq!((bgp.state.as_str(), bgp.neighbour.as_str()), ("Established", "10.9.0.2"));
        assert_eq!((bgp.neighbour_asn, bgp.local_asn, bgp.is_internal()), (4_200_000_001, 64_512, false));
        assert_eq!((bgp.hold_s, bgp.last_error.as_deref()), (Some((195.392, 240.0)), None));
        let [four, six] = good.channels.as_slice() else { panic!("{good:?}") };
        assert_eq!((four.imported, four.filtered, four.exported, four.preferred), (Some(5), Some(2), Some(1), Some(4)));
        assert_eq!((four.updates, four.withdrawals), (Some((7, 2)), Some(3)));
        let limit = Limit { of: "Import".into(), routes: 1_000, is_hit: false, action: "restart".into() };
        assert_eq!((four.limit.as_ref(), six.state.as_str(), six.imported), (Some(&limit), "DOWN", None));
    }

    #[test]
    fn a_limit_that_was_reached_and_dates_are_read() {
        let limited = &read(&reply(ALL))[2];
        assert_eq!(limited.since, "2026-11-20 18:34:32");
        assert_eq!(limited.words, "Automatic shutdown: Route limit exceeded");
        let limit = limited.channels[0].limit.as_ref().unwrap();
        assert!(limit.is_hit && limit.action == "disable" && limited.bgp.as_ref().unwrap().is_internal());
    }

    #[test]
    fn the_columns_of_newer_versions_are_found_by_their_titles() {
        let text = "1002-a BGP --- up 18:34:31 Established\n1006-  BGP state:          Established\n   Channel ipv4\n     \
                    Route change stats:     received   rejected   filtered    ignored   RX limit      limit   accepted\n       \
                    Import updates:              9          1          2          3          4          5          6\n0000 \n";
        assert_eq!(read(&reply(text))[0].channels[0].updates, Some((9, 2)));
    }

    proptest! {
        #[test]
        fn nothing_that_is_framed_as_an_answer_makes_it_panic(
            texts in proptest::collection::vec("(1002|1006|1007)-[ a-zA-Z:/,.%0-9-]{0,60}", 0..30)
        ) {
            let text = texts.iter().map(|text| format!("{text}\n")).collect::<String>() + "0000 \n";
            let _ = read(&Assembly::default().handle(text.as_bytes()).unwrap().unwrap());
        }

        #[test]
        fn an_answer_with_bytes_changed_is_read_or_refused(changes in proptest::collection::vec((0..ALL.len(), any::<u8>()), 1..8)) {
            let mut bytes = ALL.as_bytes().to_vec();
            changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
            if let Ok(Some(reply)) = Assembly::default().handle(&bytes) {
                let _ = read(&reply);
            }
        }
    }
}
