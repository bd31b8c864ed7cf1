//! A gateway's way into a site that has other gateways too: whether this one still gets there.
//!
//! It is told to the others like a link whose other end is the site, down at once and up when it has worked for a while, so
//! that another gateway takes over. What is known of it is what the host's own interfaces say ([`is_reached`]).

use ipnet::IpNet;

use super::Health;
use super::damping::Damping;
use crate::node::Time;
use crate::node::exchange::record::View;

/// One gateway's way into one site.
#[derive(Debug)]
pub struct Way {
    health: Health,
    /// Since when it has worked, while it does not count as up.
    clear_since: Option<Time>,
    damping: Damping,
}

impl Way {
    /// A way that was found working or not.
    pub fn new(works: bool) -> Way {
        Way { health: if works { Health::Up } else { Health::Down }, clear_since: None, damping: Damping::default() }
    }

    /// It works, or it does not.
    pub fn handle(&mut self, works: bool, now: Time) {
        match (self.health, works) {
            (Health::Down, true) => self.clear_since = self.clear_since.or(Some(now)),
            (Health::Down, false) => self.clear_since = None,
            (_, true) => {}
            (_, false) => {
                self.damping.handle_failure(now);
                (self.health, self.clear_since) = (Health::Down, None);
            }
        }
    }

    /// Lets it count as up again when it has worked for long enough.
    pub fn step(&mut self, now: Time) {
        if self.wake() <= now {
            (self.health, self.clear_since) = (Health::Up, None);
        }
    }

    /// When [`Way::step`] has something to do.
    pub fn wake(&self) -> Time {
        self.clear_since.map_or(Time::NEVER, |since| since.plus(self.damping.hold(true)))
    }

    /// What everybody is to be told.
    pub fn view(&self) -> View {
        if self.health == Health::Down { View::Down } else { View::AsStated }
    }
}

/// Whether a host gets into a site, by the networks of its interfaces, each with whether it is up and connected: not if all
/// interfaces that a prefix of the site is on are out of work. Where no interface has the whole prefix, some router does, of
/// which the interfaces say nothing.
pub fn is_reached(prefixes: &[IpNet], interfaces: &[(IpNet, bool)]) -> bool {
    prefixes.iter().all(|prefix| {
        let mut on = interfaces.iter().filter(|(network, _)| network.contains(prefix)).peekable();
        on.peek().is_none() || on.any(|(_, works)| *works)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::HOLD_MS;

    #[test]
    fn a_site_is_out_of_reach_only_if_all_interfaces_that_it_is_on_are_out_of_work() {
        let net = |text: &str| text.parse::<IpNet>().expect("it is one");
        let office = [net("192.168.7.0/24"), net("fd07::/64")];
        // Interfaces, and whether the site is reached.
        let rows: [(&[(&str, bool)], bool); 7] = [
            (&[], true),
            (&[("192.168.7.1/24", true)], true),
            (&[("192.168.7.1/24", false)], false),
            (&[("192.168.7.1/24", false), ("192.168.0.9/16", true)], true),
            (&[("192.168.7.1/24", true), ("fd07::1/64", false)], false),
            // A part of the prefix: the rest is behind a router somewhere else.
            (&[("192.168.7.1/26", false)], true),
            (&[("10.0.0.1/8", false)], true),
        ];
        for (interfaces, reached) in rows {
            let interfaces: Vec<_> = interfaces.iter().map(|(network, works)| (net(network), *works)).collect();
            assert_eq!(is_reached(&office, &interfaces), reached, "{interfaces:?}");
        }
    }

    #[test]
    fn a_way_that_comes_and_goes_is_down_at_once_and_up_when_it_is_steady() {
        let at = |ms: u64| Time::default().plus(Duration::from_millis(ms));
        let mut way = Way::new(true);
        way.handle(false, at(100));
        assert_eq!(way.view(), View::Down);
        way.handle(true, at(200));
        way.handle(false, at(300));
        way.handle(true, at(400));
        way.step(at(399 + HOLD_MS));
        assert_eq!(way.view(), View::Down, "it has not worked for long enough");
        way.step(way.wake());
        assert_eq!((way.view(), way.wake()), (View::AsStated, Time::NEVER));
    }
}
