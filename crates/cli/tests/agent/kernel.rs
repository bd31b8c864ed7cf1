//! Agents beside the kernel's own WireGuard, in an emulated machine whose kernel has one: `scripts/kernel-test` makes it.

use std::process::Command;

use crate::desk::{WAYLEAVE, can_run, note_not_run, root};

/// What `scripts/kernel-test` exits with where there can be no machine.
const NO_MACHINE: i32 = 77;

#[test]
fn three_agents_hold_on_the_kernels_own_wireguard() {
    run("three_agents_hold_on_the_kernels_own_wireguard", "three-nodes.sh", 7);
}

#[test]
fn clients_with_the_kernels_wireguard_roam_between_kernels_and_between_engines() {
    run("clients_with_the_kernels_wireguard_roam_between_kernels_and_between_engines", "roaming.sh", 2);
}

#[test]
fn entry_nodes_with_the_kernels_wireguard_give_their_clients_away_to_kernels_and_to_engines() {
    run("entry_nodes_with_the_kernels_wireguard_give_their_clients_away_to_kernels_and_to_engines", "drain.sh", 5);
}

#[test]
fn recorded_handshakes_and_clocks_that_are_wrong_leave_clients_of_kernels_where_they_are() {
    let test = "recorded_handshakes_and_clocks_that_are_wrong_leave_clients_of_kernels_where_they_are";
    run_with(test, &["ncat"], ("timestamps.sh", ""), 2);
}

#[test]
fn routes_of_bgp_lead_over_the_kernels_one_device_to_one_node_at_a_time() {
    let test = "routes_of_bgp_lead_over_the_kernels_one_device_to_one_node_at_a_time";
    run_with(test, &["bird"], ("next-hop.sh", ""), 3);
}

#[test]
fn clients_that_go_from_one_kernel_to_another_are_followed_also_where_bgp_tells_of_them() {
    let test = "clients_that_go_from_one_kernel_to_another_are_followed_also_where_bgp_tells_of_them";
    run_with(test, &["bird"], ("moves.sh", "EXCHANGE=bgp MOVES=20 "), 1);
}

/// Runs a script in the machine; each of so many parts prints that it is well.
fn run(test: &str, script: &str, parts: usize) {
    run_with(test, &[], (script, ""), parts);
}

/// The same with variables for the script, which needs more programs.
fn run_with(test: &str, programs: &[&str], (script, variables): (&str, &str), parts: usize) {
    let always = ["qemu-system-x86_64", "busybox", "nft", "wg", "ip", "ping"];
    if !can_run(test, false, &[&always, programs].concat()) {
        return;
    }
    let folder = root().join("crates/cli/tests/kernel");
    let mut command = Command::new(root().join("scripts/kernel-test"));
    command.env("KERNEL_TEST_LIMIT_S", "420").arg("run").arg(format!("{variables}bash ./{script}")).arg(WAYLEAVE);
    let output = command.args([folder.join("hosts.sh"), folder.join(script)]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}{stderr}");
    if output.status.code() == Some(NO_MACHINE) {
        return note_not_run(test, stderr.trim());
    }
    let well = stdout.lines().filter(|line| line.starts_with("ok: ")).count();
    assert!(output.status.success() && well == parts, "{} after {well} parts of {parts}", output.status);
}
