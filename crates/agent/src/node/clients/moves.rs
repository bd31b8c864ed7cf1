//! When clients moved, for people who measure how soon the network follows.
//!
//! In: the moments in which the clients' device tells of a client, and those in which a move has been carried out here. Out:
//! each client's latest move, for the snapshot. Nothing is decided by it.

use std::collections::BTreeMap;

use wayleave_core::names::Name;

use crate::control::MoveSnapshot;

/// Each client's latest move. Clients are those of the network file, so there are as many at most.
#[derive(Debug, Default)]
pub(in crate::node) struct Moves {
    /// When each client last came by what the device told, and when it told.
    told_us: BTreeMap<Name, (u64, u64)>,
    latest: BTreeMap<Name, MoveSnapshot>,
}

impl Moves {
    /// The device tells of a client that came then.
    pub(super) fn handle_sign(&mut self, client: &Name, came_us: u64, now_us: u64) {
        self.told_us.insert(client.clone(), (came_us, now_us));
    }

    /// A client's move has been carried out here; `came` is whether it came to this very node.
    pub(super) fn handle_followed(
        &mut self,
        client: &Name,
        ends: (Option<&Name>, Option<&Name>),
        came: bool,
        now_us: u64,
    ) {
        let (from, to) = ends;
        let told_us = self.told_us.get(client).copied().filter(|_| came);
        let moved = MoveSnapshot {
            client: client.to_string(),
            from: from.map(Name::to_string),
            to: to.map(Name::to_string),
            came_us: told_us.map(|(came_us, _)| came_us),
            noticed_us: told_us.map(|(_, noticed_us)| noticed_us),
            followed_us: now_us,
        };
        self.latest.insert(client.clone(), moved);
    }

    /// Clients that are not in the network file any more are forgotten.
    pub(in crate::node) fn keep(&mut self, is_known: impl Fn(&Name) -> bool) {
        self.told_us.retain(|client, _| is_known(client));
        self.latest.retain(|client, _| is_known(client));
    }

    /// All of them, by the clients' names.
    pub(in crate::node) fn all(&self) -> Vec<MoveSnapshot> {
        self.latest.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_node_that_a_client_came_to_says_when_it_came() {
        let [client, one, two] = ["laptop", "one", "two"].map(|name| Name::new(name).unwrap());
        let mut moves = Moves::default();
        moves.handle_sign(&client, 100, 110);
        moves.handle_followed(&client, (Some(&one), Some(&two)), true, 130);
        let latest = &moves.all()[0];
        assert_eq!((latest.from.as_deref(), latest.to.as_deref()), (Some("one"), Some("two")));
        assert_eq!((latest.came_us, latest.noticed_us, latest.followed_us), (Some(100), Some(110), 130));
        moves.handle_followed(&client, (Some(&two), Some(&one)), false, 500);
        assert_eq!((moves.all()[0].came_us, moves.all()[0].noticed_us, moves.all()[0].followed_us), (None, None, 500));
        moves.keep(|_| false);
        assert!(moves.all().is_empty());
    }
}
