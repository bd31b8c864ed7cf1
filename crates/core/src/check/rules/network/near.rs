//! Rules over distances: who is told to go by somebody far away although somebody nearer would do.
//!
//! Only times that the file states are compared, and only differences that people feel: half the time, and some
//! milliseconds.

use super::View;
use crate::check::{Finding, Findings, Hazard};
use crate::network::NodeIx;

/// Microseconds that must be saved: fewer are noise in what people measure.
const SAVED_US_MIN: u64 = 10_000;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let network = view.network;
    let servers: Vec<NodeIx> = network
        .node_numbers()
        .filter(|ix| network.node(*ix).is_public() && (network.node(*ix).hub || network.node(*ix).entry))
        .collect();
    for (at, client) in network.clients.iter().enumerate() {
        let Some((first, written)) = client.via.first().zip(view.via_place(client)) else { continue };
        let Some(us) = network.client_rtt_stated_us(at, *first) else { continue };
        let others = servers.iter().filter(|server| !client.via.contains(server));
        let stated = others.filter_map(|server| Some((network.client_rtt_stated_us(at, *server)?, server)));
        let Some((nearer_us, nearer)) = stated.min() else { continue };
        if nearer_us * 2 > us || us - nearer_us < SAVED_US_MIN {
            continue;
        }
        let name = |ix: NodeIx| network.node(ix).name.to_string();
        let kind = Hazard::NearerNode {
            client: client.name.to_string(),
            via: name(*first),
            via_ms: us / 1_000,
            nearer: name(*nearer),
            nearer_ms: nearer_us / 1_000,
        };
        let fix = format!("Put {} first in via, or remove via.", name(*nearer));
        findings.push(
            Finding::new(kind, written).with_related(network.node(*nearer).place, "the nearer one").with_fix(fix),
        );
    }
}
