//! Names of endpoints and their addresses.
//!
//! Looked up in threads of their own, since a lookup can take half a minute; each name by one thread at a time, again and
//! again: soon where there is no address yet or the peer does not answer, seldom otherwise. An address once found stays until
//! another one is found, so that a dead name server changes nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::node::Event;

/// Until the next lookup of a name that has no address, or whose peer does not answer.
const SOON: Duration = Duration::from_secs(10);
/// Until the next lookup of a name whose peer answers.
const LATER: Duration = Duration::from_secs(600);

/// All names of one agent.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, Lookup>);

#[derive(Debug, Default)]
struct Lookup {
    addresses: Vec<IpAddr>,
    asked: Option<Instant>,
    is_under_way: bool,
    problem: Option<String>,
}

impl Names {
    /// Forgets names that are in use no longer and learns new ones.
    pub fn keep(&mut self, names: impl Iterator<Item = String>) {
        let mut old = std::mem::take(&mut self.0);
        self.0 = names.map(|name| (name.clone(), old.remove(&name).unwrap_or_default())).collect();
    }

    /// What is known of a name.
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        self.0.get(name).map_or(&[], |lookup| &lookup.addresses)
    }

    /// Why a name has no address, if it was looked up in vain.
    pub fn problem(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.problem.as_deref()
    }

    /// Starts the lookups that are due. `is_quiet` says of a name that nobody answers at its addresses.
    pub fn look_up(&mut self, now: Instant, is_quiet: impl Fn(&str) -> bool, events: &SyncSender<Event>) {
        for (name, lookup) in &mut self.0 {
            let wait = if lookup.addresses.is_empty() || is_quiet(name) { SOON } else { LATER };
            if lookup.is_under_way || lookup.asked.is_some_and(|asked| now < asked + wait) {
                continue;
            }
            (lookup.asked, lookup.is_under_way) = (Some(now), true);
            let (name, events) = (name.clone(), events.clone());
            let ask = move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                let addresses = found.map(|all| all.map(|address| address.ip()).collect()).map_err(|e| e.to_string());
                let _ = events.send(Event::Resolved { name, addresses });
            };
            // Without a thread it is tried again later.
            lookup.is_under_way = std::thread::Builder::new().name("lookup".into()).spawn(ask).is_ok();
        }
    }

    /// Takes the outcome of a lookup; whether anything is different now.
    pub fn handle(&mut self, name: &str, outcome: Result<Vec<IpAddr>, String>) -> bool {
        let Some(lookup) = self.0.get_mut(name) else { return false };
        lookup.is_under_way = false;
        match outcome {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.dedup();
                lookup.problem = None;
                // Name servers turn the order of addresses; that is no news.
                let same = addresses.len() == lookup.addresses.len()
                    && addresses.iter().all(|address| lookup.addresses.contains(address));
                if same {
                    return false;
                }
                lookup.addresses = addresses;
                true
            }
            Ok(_) => lookup.problem.replace("no address".into()).is_none(),
            Err(why) => lookup.problem.replace(why).is_none(),
        }
    }
}
