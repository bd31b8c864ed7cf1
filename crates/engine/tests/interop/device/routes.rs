//! Where a host with two ways to its peer answers from: what the kernel does when routes change under a session.
//!
//! Two engines, the hosts joined twice: `out` with 10.99.0.1 and .2, `more` with 10.98.0.1 and .2. What the right one sees as the
//! left one's endpoint is the address that its datagrams came from. Each change is followed by one ping, so it counts at once.

use wayleave_engine::Timing;

use crate::ends::Engine;
use crate::{Namespace, needs_machine, pair, peer, ping, set_peer};

struct Ends {
    left: Namespace,
    right: Namespace,
    a: Engine,
    b: Engine,
}

/// Two hosts with two ways between them, and a session that takes the first.
fn with_two_ways() -> Ends {
    let (left, right) = pair();
    left.command(&format!("ip link add more type veth peer name more netns {}", right.path()));
    for (namespace, host) in [(&left, 1), (&right, 2)] {
        namespace.command(&format!("ip addr add 10.98.0.{host}/24 dev more"));
        namespace.command("ip link set more up");
        // What comes in by the one may be answered by the other.
        namespace.command(
            "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.out.rp_filter=0 net.ipv4.conf.more.rp_filter=0",
        );
    }
    let a = Engine::start(&left, "10.77.0.1/24", Timing::default());
    let b = Engine::start(&right, "10.77.0.2/24", Timing::default());
    set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32"]));
    set_peer(&a, peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32"]));
    ping(&left, "10.77.0.2", 1);
    let ends = Ends { left, right, a, b };
    assert_eq!(ends.left_seen_from_right(), "10.99.0.1");
    ends
}

impl Ends {
    fn left_seen_from_right(&self) -> String {
        self.b.device.describe().unwrap().peers[0].endpoint.unwrap().ip().to_string()
    }

    fn right_seen_from_left(&self) -> String {
        self.a.device.describe().unwrap().peers[0].endpoint.unwrap().ip().to_string()
    }

    /// One ping after a change; where the right one sees the left one then.
    fn left_after(&self, change: &str) -> String {
        self.left.command(change);
        ping(&self.left, "10.77.0.2", 1);
        self.left_seen_from_right()
    }
}

#[test]
fn a_better_route_takes_its_own_source_address_at_once_and_gives_it_back() {
    needs_machine!("sysctl");
    let ends = with_two_ways();
    assert_eq!(ends.left_after("ip route add 10.99.0.2/32 dev more src 10.98.0.1"), "10.98.0.1");
    assert_eq!(ends.left_after("ip route del 10.99.0.2/32 dev more"), "10.99.0.1");
    // By a rule and another table, and by a link that goes down.
    ends.left.command("ip route add 10.99.0.2/32 dev more src 10.98.0.1 table 77");
    assert_eq!(ends.left_after("ip rule add to 10.99.0.2 lookup 77"), "10.98.0.1");
    assert_eq!(ends.left_after("ip link set more down"), "10.99.0.1");
    assert_eq!(ends.a.device.describe().unwrap().counters.handshakes, 1);
}

#[test]
fn routes_that_lead_out_where_packets_came_in_change_no_source_address() {
    needs_machine!("sysctl");
    let ends = with_two_ways();
    ends.right.command("ip addr add 10.99.0.77/24 dev out");
    set_peer(&ends.a, peer(ends.b.public_key, Some(&format!("10.99.0.77:{}", ends.b.port())), &["10.77.0.2/32"]));
    ping(&ends.left, "10.77.0.2", 1);
    for change in [
        "ip route add 10.99.0.0/28 dev out src 10.99.0.2",
        "ip route add 192.0.2.0/24 dev more",
        "ip addr add 10.98.0.9/24 dev more",
        "ip addr add 10.99.0.9/24 dev out",
    ] {
        ends.right.command(change);
        ping(&ends.left, "10.77.0.2", 1);
        assert_eq!(ends.right_seen_from_left(), "10.99.0.77", "after {change}");
    }
    // An address of another interface's is answered from as well, as long as its packets come in by the way out.
    ends.left.command("ip route add 10.98.0.2/32 dev out");
    set_peer(&ends.a, peer(ends.b.public_key, Some(&format!("10.98.0.2:{}", ends.b.port())), &["10.77.0.2/32"]));
    ping(&ends.left, "10.77.0.2", 1);
    assert_eq!(ends.right_seen_from_left(), "10.98.0.2");
}

#[test]
fn a_mark_takes_the_source_address_of_its_own_route() {
    needs_machine!("sysctl");
    let ends = with_two_ways();
    ends.left.command("ip route add 10.99.0.2/32 dev more src 10.98.0.1 table 77");
    assert_eq!(ends.left_after("ip rule add fwmark 7 lookup 77"), "10.99.0.1");
    assert_eq!(ends.left_after(&format!("wg set {} fwmark 7", ends.a.name)), "10.98.0.1");
    assert_eq!(ends.left_after(&format!("wg set {} fwmark off", ends.a.name)), "10.99.0.1");
}
