//! An entry node that drains, and one that is stopped, where BGP tells of clients: another one calls them, and claims them by BGP.

use super::{epoch, table, until_all_know};
use crate::desk::{Desk, WAYLEAVE, can_run};
use crate::running::Running;

/// Two entry nodes with a link of their own, over which clients are handed over.
const NETWORK: &str = r#"[network]
name = "claims"
prefixes = ["10.50.0.0/24"]
platform = "agent"

[bgp]
asn = 4200000001
exchange = "bgp"
reflectors = ["r1"]

[entry]
endpoint = "198.51.100.1"

[regions.ireland]
[regions.singapore]

[nodes.ie]
region = "ireland"
entry = true
address = "10.50.0.1"
endpoint = "203.0.113.10"

[nodes.r1]
region = "ireland"
hub = true
address = "10.50.0.2"
endpoint = "203.0.113.31"

[nodes.sg]
region = "singapore"
entry = true
address = "10.50.0.3"
endpoint = "203.0.113.20"

[clients.penang]
region = "singapore"

[[links]]
mesh = ["*"]

[rtt_ms]
ireland = { singapore = 60 }
"#;

#[test]
fn a_client_leaves_an_entry_node_that_drains_or_is_stopped_and_bgp_tells_so() {
    let test = "a_client_leaves_an_entry_node_that_drains_or_is_stopped_and_bgp_tells_so";
    if !can_run(test, true, &["ping", "ip", "bird", "sh"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let lab = Running::start(&desk, "claims", "network.toml --agents");
    let all = ["ie", "r1", "sg"];
    until_all_know(&lab, &all, "sg");
    let own = |node: &str| table(&lab, node, 50_160);
    let first = epoch(&own("sg")[0]);

    desk.write("ping.sh", "ping -n -i 0.05 -c 160 -W 2 10.50.0.2 >out.pings 2>&1 </dev/null &\n");
    lab.lab("exec penang sh ping.sh").expect(0);
    lab.lab(&format!("exec sg {WAYLEAVE} drain")).expect(0);
    until_all_know(&lab, &all, "ie");
    assert!(own("sg").is_empty(), "{:?}", own("sg"));
    let second = epoch(&own("ie")[0]);
    assert!(second > first, "{second} after {first}");
    while !desk.read("out.pings").contains("packets transmitted") {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let answered = desk.read("out.pings").lines().filter(|line| line.contains("bytes from")).count();
    assert!(answered >= 156, "{answered} of 160: {}", desk.read("out.pings"));
    lab.lab(&format!("exec sg {WAYLEAVE} undrain")).expect(0);

    // It is told to end, and takes its device with it. A new one starts, which has nobody.
    let status = lab.lab(&format!("exec ie {WAYLEAVE} status --json"));
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    lab.lab(&format!("exec ie kill -TERM {}", status["pid"])).expect(0);
    until_all_know(&lab, &["r1", "sg"], "sg");
    until_all_know(&lab, &all, "sg");
    assert!(epoch(&own("sg")[0]) > second, "{:?} after {second}", own("sg"));
    assert!(own("ie").is_empty(), "{:?}", own("ie"));
}
