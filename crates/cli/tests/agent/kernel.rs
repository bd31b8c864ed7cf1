//! Three agents on the kernel's own WireGuard, in an emulated machine whose kernel has one: `scripts/kernel-test` makes it.

use std::process::Command;

use crate::desk::{WAYLEAVE, can_run, note_not_run, root};

/// What `scripts/kernel-test` exits with where there can be no machine.
const NO_MACHINE: i32 = 77;

#[test]
fn three_agents_hold_on_the_kernels_own_wireguard() {
    let test = "three_agents_hold_on_the_kernels_own_wireguard";
    if !can_run(test, false, &["qemu-system-x86_64", "busybox", "nft", "wg", "ip", "ping"]) {
        return;
    }
    let script = root().join("crates/cli/tests/kernel/three-nodes.sh");
    let mut command = Command::new(root().join("scripts/kernel-test"));
    let output = command.args(["run", "bash ./three-nodes.sh"]).args([WAYLEAVE.as_ref(), &*script]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}{stderr}");
    if output.status.code() == Some(NO_MACHINE) {
        return note_not_run(test, stderr.trim());
    }
    let parts = stdout.lines().filter(|line| line.starts_with("ok: ")).count();
    assert!(output.status.success() && parts == 7, "{} after {parts} parts of 7", output.status);
}
