//! Real hosts: network namespaces of the test's own, changed by the agent's hands and looked at with `ip`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use wayleave_agent::host::{Choice, Host, Keys};
use wayleave_core::file::load_with;
use wayleave_core::host::{Actual, Backend, Change, HostState, Resolved, diff, nothing, wanted};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{Ledger, LinkStates, plan};

/// Runs in a network namespace of its own, which ends with it.
fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        // SAFETY: unshare takes flags only, and concerns this thread alone, which ends after the work.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "needs root: {}", std::io::Error::last_os_error());
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        work()
    };
    std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

fn test() -> Name {
    Name::new("test").unwrap()
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The firewall.
fn firewall() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All that a person could see of the namespace.
fn seen() -> String {
    let shown = ["-o link", "-o address", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule"];
    let mut text: String = shown.iter().map(|arguments| ip(arguments)).collect();
    text += &firewall();
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/src_valid_mark"] {
        text += &std::fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap();
    }
    text
}

const KEY: [u8; 32] = [0x58; 32];

/// The state of node `hub` in a network, with its own key.
fn hub(policy: &str, members: &str) -> HostState {
    let own = PrivateKey::from_random(KEY).public_key();
    let text = format!(
        "[network]\nname = \"test\"\nprefixes = [\"10.0.0.0/16\", \"fd10::/48\"]\n{policy}\n\
         [nodes.hub]\nhub = true\nendpoints = {{ public = \"192.0.2.1:51820\", vpc = \"10.99.0.1:51820\" }}\npublic_key = \"{own}\"\n{members}"
    );
    let loaded = load_with("test.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let network = resolution.network.unwrap_or_else(|| panic!("{:?}", resolution.findings.sorted()));
    let plan = plan(network.into(), &Ledger::default(), &LinkStates::default()).0;
    let node_plan = plan.of(plan.find(&Name::new("hub").unwrap()).unwrap());
    let endpoint: SocketAddr = "127.0.0.1:4242".parse().unwrap();
    let dialled = node_plan.peers.iter().filter(|peer| !peer.endpoints.is_empty());
    let resolved: Resolved = dialled.map(|peer| (peer.name.clone(), endpoint)).collect();
    let backend = if on_the_kernels_own() { Backend::Kernel } else { Backend::Engine };
    wanted(&node_plan, backend, &resolved)
}

/// Whether the devices are to be the kernel's: in a machine whose kernel has WireGuard, made by `scripts/kernel-test agent`.
fn on_the_kernels_own() -> bool {
    std::env::var("WAYLEAVE_TEST_DEVICE").is_ok_and(|device| device == "kernel")
}

fn member(kind: &str, name: &str, key: u8, more: &str) -> String {
    let key = PrivateKey::from_random([key; 32]).public_key();
    format!("[{kind}.{name}]\npublic_key = \"{key}\"\n{more}\n")
}

fn small() -> HostState {
    hub("", &[member("nodes", "a", 1, "prefixes = [\"192.168.1.0/24\"]"), member("nodes", "b", 2, "")].concat())
}

fn large() -> HostState {
    let a = member("nodes", "a", 1, "prefixes = [\"192.168.2.0/24\"]\nendpoint = \"192.0.2.2\"");
    let cloud = member("nodes", "c", 3, "endpoints = { vpc = \"10.20.0.3:51820\" }\nprefixes = [\"10.20.0.0/16\"]");
    let state = hub("policy = \"deny\"", &[a, cloud, member("clients", "laptop", 4, "")].concat());
    assert_eq!(state.firewalls.len(), 1);
    state
}

struct Bench {
    host: Host,
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let folder = std::env::temp_dir().join(format!("wayleave-host-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let host = match on_the_kernels_own() {
            true => Host::open(Choice::Kernel).unwrap(),
            false => Host::open(Choice::EngineAt(folder.clone())).unwrap(),
        };
        let host = host.with_firewalls(&folder);
        Bench { host, folder }
    }

    fn changes(&mut self, wanted: &HostState) -> Vec<Change> {
        let actual: Actual = self.host.look(&test(), wanted).unwrap();
        diff(&actual, wanted, None).unwrap()
    }

    fn apply(&mut self, changes: &[Change]) {
        let private = BTreeMap::from([(DeviceName::new("wg0").unwrap(), PrivateKey::from_random(KEY))]);
        let keys = Keys { private, ..Keys::default() };
        let mut done = 0;
        self.host.apply(changes, &keys, |_| done += 1).unwrap();
        assert_eq!(done, changes.len());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What `scripts/kernel-test` exits with where there can be no machine.
const NO_MACHINE: i32 = 77;

/// All tests here once more, on the kernel's own WireGuard: in an emulated machine whose kernel has one.
#[test]
fn all_of_it_holds_on_the_kernels_own_wireguard_too() {
    if on_the_kernels_own() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kernel-test");
    let line = format!("WAYLEAVE_TEST_DEVICE=kernel ./{name} --test-threads 1");
    let output = Command::new(script).args(["run", &line]).arg(&program).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}{stderr}");
    if output.status.code() == Some(NO_MACHINE) {
        return note_not_run("all_of_it_holds_on_the_kernels_own_wireguard_too", stderr.trim());
    }
    assert!(output.status.success() && stdout.contains(" 0 failed"), "{}", output.status);
}

/// Notes that a test did not run, and why; fails it where nobody reads such notes.
fn note_not_run(test: &str, reason: &str) {
    use std::io::Write as _;
    let Some(list) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else { panic!("{test} can't run: {reason}") };
    let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
    list.write_all(format!("wayleave-agent {test}: {reason}\n").as_bytes()).unwrap();
}

#[test]
fn a_bare_host_becomes_the_plan_and_a_second_look_finds_nothing_to_do() {
    in_namespace(|| {
        let mut bench = Bench::new("bare");
        for state in [small(), large(), small()] {
            let changes = bench.changes(&state);
            assert!(!changes.is_empty());
            bench.apply(&changes);
            assert_eq!(bench.changes(&state), vec![]);
        }
        let routes = ip("-4 route show proto 87");
        assert!(routes.contains("192.168.1.0/24 dev wg0"), "{routes}");
        assert!(ip("-d link show wg0").contains("alias wayleave:test"));
    });
}

#[test]
fn a_private_endpoint_inside_a_routed_prefix_gets_a_table_and_rules() {
    in_namespace(|| {
        let mut bench = Bench::new("table");
        let state = large();
        let changes = bench.changes(&state);
        bench.apply(&changes);
        let rules = ip("rule");
        assert!(rules.contains("8700:") && rules.contains("not from all fwmark"), "{rules}");
        assert!(ip("route show table 51800").contains("10.20.0.0/16 dev wg0"));
        let changes = bench.changes(&small());
        bench.apply(&changes);
        assert!(!ip("rule").contains("8700:"));
    });
}

#[test]
fn whoever_is_stopped_after_any_number_of_changes_arrives_all_the_same() {
    in_namespace(|| {
        let mut bench = Bench::new("stopped");
        let states = [small(), large()];
        for step in 0..60 {
            let state = &states[step % 2];
            let changes = bench.changes(state);
            bench.apply(&changes[..changes.len() * (step % 7) / 7]);
            let rest = bench.changes(state);
            bench.apply(&rest);
            assert_eq!(bench.changes(state), vec![], "in step {step}");
        }
    });
}

#[test]
fn what_somebody_else_took_away_or_changed_comes_back_and_theirs_stays() {
    in_namespace(|| {
        let mut bench = Bench::new("repair");
        let state = large();
        let changes = bench.changes(&state);
        bench.apply(&changes);
        ip("route del 192.168.2.0/24 dev wg0 table 51800");
        ip("link set wg0 mtu 1300");
        assert!(Command::new("nft").args(["flush", "ruleset"]).status().unwrap().success());
        let own = ip("-4 -o address show dev wg0");
        let own = own.split_whitespace().nth(3).unwrap();
        ip(&format!("address del {own} dev wg0"));
        ip("address add 10.99.0.1/32 dev wg0");
        ip("route add 10.77.0.0/16 dev wg0");
        let changes = bench.changes(&state);
        let sentences: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert!(sentences.contains(&"route 192.168.2.0/24 into wg0".to_owned()), "{sentences:?}");
        assert!(sentences.contains(&"remove address 10.99.0.1/32 from wg0".to_owned()), "{sentences:?}");
        bench.apply(&changes);
        assert_eq!(bench.changes(&state), vec![]);
        assert!(firewall().contains("chain"), "the firewall is back");
        assert!(ip("route").contains("10.77.0.0/16"), "a route without our mark is not ours to remove");
    });
}

#[test]
fn a_device_of_somebody_else_is_left_alone() {
    in_namespace(|| {
        ip("tuntap add dev wg0 mode tun");
        ip("address add 10.1.2.3/24 dev wg0");
        let before = seen();
        let mut bench = Bench::new("foreign");
        let state = small();
        let actual = bench.host.look(&test(), &state).unwrap();
        let obstacles = diff(&actual, &state, None).unwrap_err();
        assert_eq!(obstacles[0].to_string(), "device wg0 is there already and is not ours");
        assert_eq!(seen(), before);
    });
}

#[test]
fn removal_leaves_the_host_as_it_was() {
    in_namespace(|| {
        ip("route add 10.250.0.0/16 dev lo");
        let before = seen();
        let mut bench = Bench::new("removal");
        for state in [small(), large()] {
            let originals = bench.host.look(&test(), &state).unwrap().state.sysctls;
            let originals = originals.into_iter().filter(|(name, _)| !name.0.contains("/wg0/")).collect();
            let changes = bench.changes(&state);
            bench.apply(&changes);
            assert_ne!(seen(), before);
            let changes = bench.changes(&nothing(&originals));
            bench.apply(&changes);
            assert_eq!(seen(), before);
        }
    });
}
