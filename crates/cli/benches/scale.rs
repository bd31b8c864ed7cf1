//! How the program scales: large networks checked, planned and rendered, and labs brought up, by the real binary.
//!
//! `cargo bench -p wayleave --bench scale [-- plan|check|lab]` prints a table with the target beside each figure. Wall time, CPU
//! time and peak memory are those of the child process (wait4(2)); each row is the median of five runs, or of one where
//! a run takes long. Rendering writes to a directory in memory (`/dev/shm`) if there is one, and says so.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run took.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak_kib: i64,
}

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wants = |what: &str| only.is_empty() || only.iter().any(|word| word == what);
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = base.join(format!("wayleave-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the temporary directory can be written");
    println!("in {}\n{:<58} {:>8} {:>8} {:>9}  target", directory.display(), "", "wall s", "cpu s", "peak MiB");
    if wants("plan") {
        plans(&directory);
    }
    if wants("check") {
        checks(&directory);
    }
    if wants("lab") {
        labs(&directory);
    }
    std::fs::remove_dir_all(&directory).expect("what was made can be removed");
}

fn plans(directory: &Path) {
    let thousand = write(directory, "regional-1000", &regional(1_000, 10));
    let mesh = write(directory, "mesh-1000", &mesh(1_000));
    let large = write(directory, "regional-10000", &regional(10_000, 100));
    let out = directory.join("out");
    let out = out.to_str().expect("the path is ours");
    let rows: [(&str, &Path, &[&str], usize, &str); 6] = [
        ("1,000 nodes, 10 regions: check", &thousand, &["check"], 5, ""),
        ("1,000 nodes, 10 regions: check, plan, render all", &thousand, &["render", "-o", out], 5, "1 s"),
        ("1,000-node full mesh: check and plan", &mesh, &["check"], 5, "2 s"),
        ("1,000-node full mesh: check, plan, write all", &mesh, &["render", "-o", out], 3, "10 s"),
        ("10,000 nodes, 100 regions: check and plan", &large, &["check"], 5, "15 s, 4096 MiB"),
        ("10,000 nodes, 100 regions: check, plan, write all", &large, &["render", "-o", out], 1, "15 s, 4096 MiB"),
    ];
    for (what, file, words, runs, target) in rows {
        let file = file.to_str().expect("the path is ours");
        let arguments: Vec<&str> = [&words[..1], &[file], &words[1..]].concat();
        let once = || {
            let _ = std::fs::remove_dir_all(out);
            run(&arguments)
        };
        print_row(what, median((0..runs).map(|_| once()).collect()), target);
    }
}

/// Other people's files, ten thousand of them.
fn checks(directory: &Path) {
    for (what, folder, each) in
        [("10,000 hosts, one hub of 9,999 peers", "spokes", 1), ("10,000 hosts in meshes of 20", "meshes", 20)]
    {
        let folder = directory.join(folder);
        for node in 0..10_000 {
            let home = folder.join(format!("n{node}"));
            std::fs::create_dir_all(&home).expect("the directory can be written");
            std::fs::write(home.join("wg0.conf"), host(node, each)).expect("the directory can be written");
        }
        let folder = folder.to_str().expect("the path is ours");
        for word in ["check", "import"] {
            let cost = median((0..5).map(|_| run(&[word, folder])).collect());
            print_row(&format!("{what}: {word}"), cost, if word == "check" { "5 s" } else { "" });
        }
    }
}

/// A wg-quick file: of a mesh with so many nodes, or with 1 of a hub with all others.
fn host(node: usize, mesh: usize) -> String {
    let address = |node: usize| format!("10.{}.{}.{}", 1 + node / 62_500, node / 250 % 250, 1 + node % 250);
    let mut text =
        format!("[Interface]\nPrivateKey = {}\nAddress = {}/8\nListenPort = 51820\n", private(node), address(node));
    let mut peer = |other: usize, allowed: &str| {
        let public = wayleave_core::keys::PrivateKey::parse(&private(other)).expect("it is a key").public_key();
        let _ = write!(
            text,
            "\n[Peer]\nPublicKey = {public}\nEndpoint = n{other}.example.org:51820\nAllowedIPs = {allowed}\n"
        );
    };
    match mesh {
        1 if node == 0 => (1..10_000).for_each(|other| peer(other, &format!("{}/32", address(other)))),
        1 => peer(0, "10.0.0.0/8"),
        _ => {
            let first = node / mesh * mesh;
            (first..first + mesh)
                .filter(|other| *other != node)
                .for_each(|other| peer(other, &format!("{}/32", address(other))));
        }
    }
    text
}

/// A private key made of a number.
fn private(node: usize) -> String {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(node as u64 + 1).to_le_bytes());
    wayleave_core::keys::PrivateKey::from_random(bytes).reveal().to_string()
}

fn labs(directory: &Path) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/edgeproxy.toml");
    let hundred = write(directory, "lab-100", &regional(100, 10));
    for (what, file, runs, target) in [
        ("lab: 12 nodes built, measured twice, ended", example, 5, "10 s"),
        ("lab: 100 nodes built, measured twice, ended", hundred, 1, "60 s"),
    ] {
        let name = format!("bench-{}", std::process::id());
        let file = file.to_str().expect("the path is ours");
        let arguments = ["lab", "up", file, "--once", "--name", &name];
        print_row(what, median((0..runs).map(|_| run(&arguments)).collect()), target);
    }
}

#[expect(clippy::zombie_processes, reason = "wait4 below waits, which also says what the child used")]
fn run(arguments: &[&str]) -> Cost {
    let begin = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_wayleave"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was built beside this one");
    // SAFETY: both structures are plain data for the call to fill in, and the process is a child of ours.
    let (status, usage) = unsafe {
        let (mut status, mut usage) = (0, std::mem::zeroed::<libc::rusage>());
        libc::wait4(child.id() as libc::pid_t, &raw mut status, 0, &raw mut usage);
        (status, usage)
    };
    assert_eq!(status, 0, "{arguments:?} failed");
    let time = |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1_000);
    Cost { wall: begin.elapsed(), cpu: time(usage.ru_utime) + time(usage.ru_stime), peak_kib: usage.ru_maxrss }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.wall);
    costs[costs.len() / 2]
}

fn print_row(what: &str, cost: Cost, target: &str) {
    let (wall, cpu) = (cost.wall.as_secs_f64(), cost.cpu.as_secs_f64());
    println!("{what:<58} {wall:>8.2} {cpu:>8.2} {:>9}  {target}", cost.peak_kib / 1_024);
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(format!("{name}.toml"));
    std::fs::write(&path, text).expect("the directory can be written");
    path
}

/// Nodes in regions, a full mesh in each, two hubs per region, all hubs meshed.
fn regional(nodes: usize, regions: usize) -> String {
    let each = nodes / regions;
    let mut text = "[network]\nname = \"regional\"\nprefixes = [\"10.0.0.0/8\"]\n".to_owned();
    for region in 0..regions {
        let _ = writeln!(text, "[regions.r{region}]\nprefix = \"10.{}.{}.0/24\"", region / 100, region % 100);
    }
    for node in 0..nodes {
        let hub = if node % each < 2 { "hub = true\n" } else { "" };
        let _ = writeln!(text, "[nodes.n{node}]\nregion = \"r{}\"\n{hub}{}", node / each, reachable(node));
    }
    text + "[[links]]\nmesh = [\"*\"]\nwithin = \"region\"\n[[links]]\nmesh = [\"role:hub\"]\n"
}

/// Every node linked with every other.
fn mesh(nodes: usize) -> String {
    let mut text = "[network]\nname = \"mesh\"\nprefixes = [\"10.0.0.0/16\"]\n".to_owned();
    for node in 0..nodes {
        let _ = writeln!(text, "[nodes.n{node}]\n{}", reachable(node));
    }
    text
}

/// An endpoint and a public key, both made up: 32 bytes that are a point of no small order.
fn reachable(node: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |place: usize| char::from(DIGITS[(node >> (6 * place)) % 64]);
    let key: String = (0..4).map(digit).collect::<String>() + &"k".repeat(38) + "k=";
    let key = format!("{}Y=", &key[..42]);
    format!("endpoint = \"100.{}.{}.{}\"\npublic_key = \"{key}\"\n", 64 + node / 65_536, node / 256 % 256, node % 256)
}
