//! Three agents on the kernel's own WireGuard, in an emulated machine whose kernel has it: `kernel/three-nodes.sh` has the story.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod desk;

use std::process::Command;

use desk::{WAYLEAVE, can_run};

/// What `scripts/kernel-test` exits with where there can be no machine.
const NO_MACHINE: i32 = 77;

#[test]
fn three_agents_keep_the_kernels_wireguard_true() {
    let test = "three_agents_keep_the_kernels_wireguard_true";
    if !can_run(test, false, &["timeout", "bash"]) {
        return;
    }
    let here = env!("CARGO_MANIFEST_DIR");
    let script = format!("{here}/tests/kernel/three-nodes.sh");
    // The machine has a limit of its own; this one also ends what makes it.
    let output = Command::new("timeout")
        .args(["-k", "5", "400", &format!("{here}/../../scripts/kernel-test"), "run", "bash ./three-nodes.sh"])
        .args([WAYLEAVE, &script])
        .env("KERNEL_TEST_LIMIT_S", "360")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}{err}");
    if output.status.code() == Some(NO_MACHINE) {
        return desk::note_not_run(test, err.trim());
    }
    assert!(
        output.status.success() && out.lines().filter(|line| line.starts_with("ok: ")).count() == 7,
        "{}",
        output.status
    );
}
