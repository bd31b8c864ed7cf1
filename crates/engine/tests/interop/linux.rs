//! The engine against the kernel's own WireGuard: the scenarios, and a soak.
//!
//! A kernel that has WireGuard runs them here. Where there is none (most test machines), `scripts/kernel-test` boots one that has it,
//! in an emulated machine, with this very program in it: it is told by WAYLEAVE_IN_MACHINE that it is there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

use wayleave_engine::Timing;

use crate::limit::Limit;
use crate::others::Kind;
use crate::scenarios::{ALL, Ends};
use crate::{Namespace, note_not_run};

/// What `scripts/kernel-test` exits with where there can be no machine.
const NO_MACHINE: i32 = 77;

/// What a machine that shares its processors with others may be too slow for: only `scripts/kernel-test` runs these.
const NEED_A_QUIET_MACHINE: [&str; 4] = [
    "rekeying_under_traffic_loses_nothing",
    "rekeying_under_load_breaks_no_stream",
    "both_starting_at_once_settle_at_once",
    "the_other_gets_through_to_a_flooded_engine_with_a_cookie",
];

#[test]
fn scenarios_hold_against_the_kernels_wireguard() {
    if !crate::can_run(&[]) {
        return;
    }
    let soak_minutes = std::env::var("WAYLEAVE_SOAK_MINUTES").ok().map(|minutes| minutes.parse::<u64>().unwrap());
    let _limit = Limit::of(Duration::from_secs(10 * 60 + 60 * soak_minutes.unwrap_or(0)));
    if !kernel_has_wireguard() {
        return run_in_machine("linux::scenarios_hold_against_the_kernels_wireguard");
    }
    if let Some(minutes) = soak_minutes {
        return soak(Duration::from_secs(60 * minutes));
    }
    let wanted = std::env::var("WAYLEAVE_SCENARIOS").ok();
    let is_wanted = |name: &str| match wanted.as_deref() {
        Some("all") => true,
        Some(part) => name.contains(part),
        None => !NEED_A_QUIET_MACHINE.contains(&name),
    };
    let mut failed = Vec::new();
    for (name, scenario) in ALL.iter().filter(|(name, _)| is_wanted(name)) {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| scenario(Kind::Linux)));
        println!("{} {name} ({:.1} s)", if outcome.is_ok() { "ok" } else { "FAILED" }, start.elapsed().as_secs_f32());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// Both roles at once, at the protocol's own times, for as long as `scripts/kernel-test soak` says.
fn soak(length: Duration) {
    std::thread::scope(|scope| {
        for engine_calls in [true, false] {
            scope.spawn(move || soak_one(length, engine_calls));
        }
    });
}

fn soak_one(length: Duration, engine_calls: bool) {
    let count = length.as_millis() / 100;
    let ends = Ends::introduced(Kind::Linux, Timing::default(), engine_calls);
    let (from, to) = if engine_calls { (&ends.left, "10.77.0.2") } else { (&ends.right, "10.77.0.1") };
    let report = from.command(&format!("ping -q -n -i 0.1 -W 2 -c {count} {to}"));
    assert!(report.contains(&format!("{count} packets transmitted, {count} received,")), "{report}");
    let handshakes = ends.engine.device.describe().unwrap().counters.handshakes;
    let who = if engine_calls { "the engine" } else { "the kernel" };
    println!("{who} called: {count} pings in {length:?}, {handshakes} handshakes, none lost");
    // One for each 120 s, and the first.
    let expected = length.as_secs() / 120 + 1;
    assert!((expected - 1..=expected + 1).contains(&handshakes), "{handshakes} handshakes in {length:?}");
}

fn kernel_has_wireguard() -> bool {
    Namespace::new().output("ip link add wg0 type wireguard").status.success()
}

/// Runs one test of this program in a machine whose kernel has WireGuard.
fn run_in_machine(test: &str) {
    assert!(std::env::var_os("WAYLEAVE_IN_MACHINE").is_none(), "the machine's kernel has no WireGuard");
    let program = std::env::current_exe().unwrap();
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kernel-test");
    let line = format!("WAYLEAVE_IN_MACHINE=1 ./{name} --nocapture --exact {test}");
    let output = Command::new(script)
        .args(["run", &line])
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}{stderr}");
    if output.status.code() == Some(NO_MACHINE) {
        return note_not_run(stderr.trim());
    }
    assert!(output.status.success() && stdout.contains("1 passed"), "{}", output.status);
}
