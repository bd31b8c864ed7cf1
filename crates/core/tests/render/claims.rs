//! What BIRD is told where it carries claims: of which sites, to whom, and whom it does not believe.

use wayleave_core::plan::Plan;
use wayleave_core::render::{BirdNow, bird_now};

use super::support::{network, planned};

fn plan(more: &str) -> Plan {
    planned(network(&format!(
        "[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/24\"]\nplatform = \"agent\"\n\
         [bgp]\nasn = 4200000001\nexchange = \"bgp\"\nreflectors = [\"r\"]\n{more}\
         [nodes.a]\nendpoint = \"192.0.2.1\"\naddress = \"10.50.0.1\"\n\
         [nodes.b]\nendpoint = \"192.0.2.2\"\naddress = \"10.50.0.2\"\n\
         [nodes.r]\nendpoint = \"192.0.2.3\"\naddress = \"10.50.0.3\"\nhub = true\n\
         [sites.office]\nprefixes = [\"192.168.7.0/24\", \"192.168.8.0/24\", \"fd77::/64\"]\ngateways = [\"a\", \"b\"]\n\
         [sites.one]\nprefixes = [\"192.168.9.0/24\"]\ngateways = [\"b\"]\n"
    )))
}

fn told(plan: &Plan, node: &str, now: &BirdNow) -> String {
    let member = plan.members().find(|member| plan.name(*member).as_str() == node).unwrap();
    bird_now(&plan.of(member), now).unwrap().text.to_string()
}

#[test]
fn a_site_with_several_gateways_is_told_by_its_gateways_as_far_as_there_are_sessions() {
    let plan = plan("");
    let [a, r] = ["a", "r"].map(|node| told(&plan, node, &BirdNow::default()));
    for text in [&a, &r] {
        let defined = "define CLAIMED4 = [ 10.50.0.0/24{32,32}, 192.168.7.0/24, 192.168.8.0/24 ];";
        assert!(text.contains(defined) && !text.contains("fd77") && !text.contains("192.168.9"), "{text}");
    }
    assert!(a.contains("protocol kernel claims4_own") && !r.contains("claims4_own"), "r has nothing to tell");
}

#[test]
fn what_neighbours_are_told_of_a_site_is_not_claimed() {
    let own = told(&plan("own = [\"192.168.7.0/24\"]\n"), "a", &BirdNow::default());
    assert!(own.contains("CLAIMED4 = [ 10.50.0.0/24{32,32}, 192.168.8.0/24 ]"), "{own}");
    let all = told(&plan("own = [\"192.168.7.0/24\", \"192.168.8.0/24\"]\n"), "a", &BirdNow::default());
    assert!(all.contains("CLAIMED4 = [ 10.50.0.0/24{32,32} ]") && !all.contains("claims4_own"), "{all}");
}

#[test]
fn who_is_not_reached_is_neither_spoken_with_nor_believed() {
    let plan = plan("");
    let now = BirdNow { lost: [plan.network.nodes[2].name.clone()].into(), ..BirdNow::default() };
    let [all, without] = [told(&plan, "a", &BirdNow::default()), told(&plan, "a", &now)];
    assert!(all.contains("route 10.50.0.3/32 via") && !all.contains("disabled"), "{all}");
    assert!(
        without.contains("route 10.50.0.3/32 unreachable") && without.contains("route 10.50.0.2/32 via"),
        "{without}"
    );
    let session = without.split("protocol bgp i_r_v4 {").nth(1).unwrap().split("\n}\n").next().unwrap();
    assert!(session.contains("\tdisabled yes;"), "{session}");
}
