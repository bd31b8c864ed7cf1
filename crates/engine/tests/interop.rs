//! The engine against itself, against other engines and the kernel's, and with the real `wg`, over veth between namespaces of the
//! test's own.
//!
//! Needs root, /dev/net/tun, and the programs named in `NEEDED`; some tests need more. Where one is missing a test fails; with
//! WAYLEAVE_NOT_RUN_FILE set it writes its name and the reason to that file instead, so that what was not run is listed, never
//! silently passed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "interop/device/mod.rs"]
mod device;
#[path = "interop/ends.rs"]
mod ends;
#[path = "interop/limit.rs"]
mod limit;
#[path = "interop/linux.rs"]
mod linux;
#[path = "interop/load.rs"]
mod load;
#[path = "interop/net.rs"]
mod net;
#[path = "interop/offload.rs"]
mod offload;
#[path = "interop/others.rs"]
mod others;
#[path = "interop/refusal.rs"]
mod refusal;
#[path = "interop/scenarios.rs"]
mod scenarios;
#[path = "interop/threads.rs"]
mod threads;
#[path = "interop/tools.rs"]
mod tools;

use std::collections::HashSet;
use std::net::SocketAddr;

use ends::Engine;
use net::{Namespace, join};
use wayleave_engine::{ConfigureDevice, ConfigurePeer, PublicKey};

const NEEDED: [&str; 3] = ["ip", "ping", "wg"];

/// Leaves the test if it can't run here: what is always needed is missing, or a program that is named. Ends it if it hangs.
macro_rules! needs_machine {
    ($($program:literal),*) => {
        if !crate::can_run(&[$($program),*]) {
            return;
        }
        let _limit = crate::limit::Limit::of_any_test();
    };
}
use needs_machine;

/// Whether this test can run here. Panics if not, unless there is a file to say so in.
fn can_run(programs: &[&str]) -> bool {
    let Some(reason) = what_is_missing(programs) else { return true };
    note_not_run(&reason);
    false
}

/// Says that this test could not run here. Panics unless there is a file to say so in.
fn note_not_run(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    let Some(file) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else { panic!("interop::{test} can't run: {reason}") };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    std::io::Write::write_all(&mut file, format!("interop::{test}: {reason}\n").as_bytes()).unwrap();
}

fn what_is_missing(programs: &[&str]) -> Option<String> {
    // SAFETY: takes nothing, can't fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root".to_owned());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun".to_owned());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &&&str| std::env::split_paths(&paths).any(|directory| directory.join(program).exists());
    NEEDED.iter().chain(programs).find(|program| !found(program)).map(|program| format!("needs {program}"))
}

/// Two namespaces joined by a veth pair: the engine's side and the other's.
fn pair() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    join(&a, &b);
    (a, b)
}

fn peer(public_key: PublicKey, endpoint: Option<&str>, allowed: &[&str]) -> ConfigurePeer {
    let mut peer = ConfigurePeer::new(public_key);
    peer.endpoint = endpoint.map(|text| text.parse::<SocketAddr>().unwrap());
    peer.allowed_ips = allowed.iter().map(|text| text.parse().unwrap()).collect();
    peer
}

fn set_peer(engine: &Engine, peer: ConfigurePeer) {
    engine.device.configure(&ConfigureDevice { peers: vec![peer], ..ConfigureDevice::default() }).unwrap();
}

/// Pings from inside; panics if any of the pings is not answered. Returns how many were sent: so many at least.
fn ping(namespace: &Namespace, address: &str, count: u32) -> u64 {
    ping_losing(namespace, address, count, 0)
}

/// Pings from inside, twenty times a second; panics if more than so many of the pings are not answered.
///
/// Without `-w`, ping counts as lost what comes later than two round trips, or 50 ms, after the last ping: on a machine whose
/// processors are taken, that is late and not lost. With it, ping goes on until there are as many answers as were asked for. It
/// gives up sooner than a handshake is repeated.
fn ping_losing(namespace: &Namespace, address: &str, count: u32, lost_max: u32) -> u64 {
    let deadline_s = count / 20 + 4;
    let output = namespace.output(&format!("ping -n -i 0.05 -w {deadline_s} -c {count} {address}"));
    let report = String::from_utf8_lossy(&output.stdout);
    let answers = report.lines().filter(|line| line.contains(" bytes from "));
    let answered: HashSet<u32> = answers
        .filter_map(|line| line.split_once(" icmp_seq=")?.1.split(' ').next()?.parse().ok())
        .filter(|number| *number <= count)
        .collect();
    let lost = count as usize - answered.len();
    assert!(lost <= lost_max as usize, "{lost} of {count} lost: {report}{}", String::from_utf8_lossy(&output.stderr));
    let sent = report.lines().find_map(|line| line.split_once(" packets transmitted")?.0.parse().ok());
    sent.unwrap_or_else(|| panic!("no count of pings sent in {report}"))
}

/// Waits for the first ping to be answered: the handshake is done.
fn ping_until_answered(namespace: &Namespace, address: &str) {
    ends::wait_for("an answer to a ping", || {
        namespace.output(&format!("ping -q -n -W 1 -c 1 {address}")).status.success()
    });
}
