//! What a link costs, and when that is worth telling everybody.
//!
//! The cost is the round-trip time plus what waiting for lost packets adds. It is told only if it differs from what
//! everybody believes (the network file's time, or what was told last) by both a part and an amount, for some time; that it
//! is better again, not within a minute of what was told before: each change may move traffic. What has got worse does not
//! wait for that minute, or packets would be lost for so long; being told only by a part and an amount more, it is told
//! a few times at most. Near the file's time, the file is followed.

use std::time::Duration;

use crate::limits::{
    COST_EVERY_S, COST_MARGIN_PERCENT, COST_MARGIN_US, COST_SETTLE_FIRST_MS, COST_SETTLE_MS, LOSS_IGNORED_PERMILLE,
    LOSS_WAIT_US,
};
use crate::node::Time;
use crate::node::exchange::record::View;

/// A link's cost as told.
#[derive(Debug, Default)]
pub struct Cost {
    told_us: Option<u32>,
    /// When something was last told.
    told_at: Option<Time>,
    /// Whether it loses more than chance explains.
    loses: bool,
    /// Since when it has been worth telling something else.
    off_since: Option<Time>,
}

impl Cost {
    /// Takes what was measured.
    pub fn handle(&mut self, rtt_us: u64, loss_permille: u32, stated_us: u64, now: Time) {
        self.loses = loss_permille > LOSS_IGNORED_PERMILLE;
        let cost_us = cost_us(rtt_us, if self.loses { loss_permille } else { 0 });
        let stated_us = u32::try_from(stated_us).unwrap_or(u32::MAX);
        let believed_us = self.told_us.unwrap_or(stated_us);
        if !is_off(cost_us, believed_us) {
            self.off_since = None;
            return;
        }
        let since = *self.off_since.get_or_insert(now);
        let settle = if self.told_at.is_none() && !self.loses { COST_SETTLE_FIRST_MS } else { COST_SETTLE_MS };
        let is_soon = cost_us < believed_us && self.told_at.is_some_and(|at| now.since(at).as_secs() < COST_EVERY_S);
        if is_soon || now.since(since) < Duration::from_millis(settle) {
            return;
        }
        self.told_us = is_off(cost_us, stated_us).then_some(cost_us);
        self.told_at = Some(now);
        self.off_since = None;
    }

    /// What is told of a link that works.
    pub fn view(&self) -> View {
        self.told_us.map_or(View::AsStated, |us| View::Takes { us })
    }

    /// Whether it may soon be told otherwise, and so should be measured.
    pub fn is_unsettled(&self) -> bool {
        self.off_since.is_some() || self.loses
    }
}

/// Microseconds that a packet and its answer take, waiting for lost ones included: of packets of which a part `p` is
/// lost, each is sent 1/(1-p) times on average, and each loss costs a retransmission's wait.
fn cost_us(rtt_us: u64, loss_permille: u32) -> u32 {
    let lost = u64::from(loss_permille.min(950));
    let wait = LOSS_WAIT_US * lost / (1_000 - lost);
    u32::try_from(rtt_us.saturating_add(wait)).unwrap_or(u32::MAX)
}

fn is_off(cost_us: u32, believed_us: u32) -> bool {
    let difference = cost_us.abs_diff(believed_us);
    difference > COST_MARGIN_US && u64::from(difference) * 100 > u64::from(believed_us) * COST_MARGIN_PERCENT
}
