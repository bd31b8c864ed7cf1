//! Sites that have several gateways, where BGP tells which of them get in: what is known of each.
//!
//! In comes the gateway that BGP holds for the best of the others, and how much it is preferred; out comes which gateway others are to be sent
//! to, and whether what this node says itself is news. A gateway that gets in says so, the preferred one with the greatest preference, one
//! that is about to go with a smaller one than all others; one that does not get in says nothing. So there is nothing to count and nothing to
//! compare but numbers that the network file gives.
//!
//! What is heard counts at once. Whoever went on sending to the last gateway when it no longer gets in would have packets go in circles, since
//! that one sends them on to others.

use std::collections::BTreeMap;

use super::routes::Told;
use crate::limits::{SITE_PREFERENCE, SITE_PREFERENCE_LEAVING};
use crate::names::Name;

/// All sites of which anything is known.
#[derive(Debug, Default)]
pub struct Sites {
    all: BTreeMap<Name, Known>,
}

#[derive(Debug, Default)]
struct Known {
    heard: Option<Told>,
    /// What this node has said last, if it has said anything.
    said: Option<Option<u32>>,
}

impl Sites {
    /// The gateway that others tell of.
    pub fn gateway(&self, site: &Name) -> Option<&Name> {
        Some(&self.all.get(site)?.heard.as_ref()?.server)
    }

    /// How much the gateway that others tell of is preferred.
    pub fn preference(&self, site: &Name) -> Option<u32> {
        Some(self.all.get(site)?.heard.as_ref()?.epoch)
    }

    /// What BGP holds for the best of others' is this now.
    pub fn hear(&mut self, site: &Name, told: Option<Told>) {
        self.all.entry(site.clone()).or_default().heard = told;
    }

    /// This node gets in with this preference, or not at all. Says whether that is news.
    pub fn say(&mut self, site: &Name, preference: Option<u32>) -> bool {
        let known = self.all.entry(site.clone()).or_default();
        known.said.replace(preference) != Some(preference)
    }

    /// Forgets sites that are not told of any more.
    pub fn keep(&mut self, is_kept: impl Fn(&Name) -> bool) {
        self.all.retain(|site, _| is_kept(site));
    }
}

/// How much a gateway is preferred, by its place in the file's order.
pub fn preference(rank: usize, is_leaving: bool) -> u32 {
    let rank = u32::try_from(rank).unwrap_or(u32::MAX).min(SITE_PREFERENCE_LEAVING - 1);
    SITE_PREFERENCE - rank - if is_leaving { SITE_PREFERENCE_LEAVING } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn told(gateway: &str) -> Option<Told> {
        Some(Told { epoch: 1_000, server: name(gateway) })
    }

    #[test]
    fn who_leaves_comes_after_all_who_stay_however_many() {
        let all: Vec<u32> =
            [false, true].into_iter().flat_map(|leaves| [0, 1, 498].map(|no| preference(no, leaves))).collect();
        assert!(all.is_sorted_by(|a, b| a > b), "{all:?}");
        assert!(preference(usize::MAX, false) > preference(0, true) && preference(usize::MAX, true) > 0);
    }

    #[test]
    fn what_is_heard_counts_at_once() {
        let (site, mut sites) = (name("office"), Sites::default());
        assert_eq!(sites.gateway(&site), None);
        for gateway in ["g1", "g2"] {
            sites.hear(&site, told(gateway));
            assert_eq!((sites.gateway(&site), sites.preference(&site)), (Some(&name(gateway)), Some(1_000)));
        }
        sites.hear(&site, None);
        assert_eq!((sites.gateway(&site), sites.preference(&site)), (None, None));
    }

    #[test]
    fn the_same_is_said_once() {
        let (site, mut sites) = (name("office"), Sites::default());
        let said = [None, None, Some(1_000), Some(1_000), Some(500), None].map(|what| sites.say(&site, what));
        assert_eq!(said, [true, false, true, false, true, true], "that it never got in is news to who was here before");
    }
}
