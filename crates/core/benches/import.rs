//! How importing scales: reading, inferring, verifying and proving the files of large networks.
//!
//! `cargo bench -p wayleave-core --bench import`. The files are those of leaves that hang on hubs, ten per region, with a LAN
//! behind every fourth; each figure is of one run. Files are made beforehand and are in memory.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use wayleave_core::file::load_with;
use wayleave_core::import::{File, infer, prove_read, read, verify};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::network::{Network, resolve::resolve};
use wayleave_core::plan::{Ledger, LinkStates, plan};

/// Up to here everything is proved, too: the proof is of all pairs.
const PROVED_MAX: usize = 1_000;

fn main() {
    println!(
        "{:>8} {:>8} {:>8} {:>8} {:>8} {:>12}",
        "files", "read s", "infer s", "verify s", "prove s", "differences"
    );
    for (hosts, hubs) in [(100, 2), (1_000, 4), (10_000, 10)] {
        measure(hosts, hubs);
    }
}

fn measure(hosts: usize, hubs: usize) {
    let files = files(hosts, hubs);
    let mut begin = Instant::now();
    let mut lap = || {
        let seconds = begin.elapsed().as_secs_f64();
        begin = Instant::now();
        seconds
    };
    let read = read(files);
    let reading = lap();
    let inferred = infer(&read, &Name::new("large").expect("a name"));
    let inferring = lap();
    let (plan, ..) = plan(Arc::new(network(&inferred.text)), &Ledger::default(), &LinkStates::default());
    let differences = verify(&read, &inferred.taken, &plan).len();
    let verifying = lap();
    let proving = (hosts <= PROVED_MAX).then(|| {
        drop(prove_read(&read));
        lap()
    });
    let proving = proving.map_or("-".to_owned(), |seconds| format!("{seconds:.2}"));
    println!("{hosts:>8} {reading:>8.2} {inferring:>8.2} {verifying:>8.2} {proving:>8} {differences:>12}");
}

fn network(text: &str) -> Network {
    let loaded = load_with("network.toml", |_| Ok(text.as_bytes().to_vec()));
    resolve(&loaded.file).network.expect("what import writes is valid")
}

fn key(at: usize) -> PrivateKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(at as u64 + 1).to_le_bytes());
    PrivateKey::from_random(bytes)
}

fn address(at: usize) -> String {
    format!("10.{}.{}.{}", 64 + at / 62_500, at / 250 % 250, 1 + at % 250)
}

/// Hubs first; every leaf hangs on one of them, and sends everything there.
fn files(hosts: usize, hubs: usize) -> Vec<File> {
    let public: Vec<String> = (0..hosts).map(|at| key(at).public_key().to_string()).collect();
    let lan = |at: usize| {
        (at.is_multiple_of(4) && at >= hubs).then(|| format!(", 172.{}.{}.0/24", 16 + at / 250 % 16, at % 250))
    };
    let mut files = Vec::with_capacity(hosts);
    for at in 0..hosts {
        let mut text =
            format!("[Interface]\nAddress = {}/32\nPrivateKey = {}\n", address(at), key(at).reveal().as_str());
        let mut peer = |to: usize, endpoint: bool, allowed: &str| {
            let _ =
                write!(text, "\n[Peer]\n# friendly_name = n{to}\nPublicKey = {}\nAllowedIPs = {allowed}\n", public[to]);
            if endpoint {
                let _ = writeln!(text, "Endpoint = 192.0.2.{}:51820\nPersistentKeepalive = 25", to + 1);
            }
        };
        let own = |to: usize| format!("{}/32{}", address(to), lan(to).unwrap_or_default());
        if at < hubs {
            for other in (0..hubs).filter(|other| *other != at) {
                let behind = (hubs..hosts).filter(|leaf| leaf % hubs == other).map(own);
                let all: Vec<String> = std::iter::once(own(other)).chain(behind).collect();
                peer(other, true, &all.join(", "));
            }
            (hubs..hosts).filter(|leaf| leaf % hubs == at).for_each(|leaf| peer(leaf, false, &own(leaf)));
        } else {
            let lans: Vec<String> = (hubs..hosts).filter(|leaf| *leaf != at).filter_map(lan).collect();
            peer(
                at % hubs,
                true,
                &format!("10.64.0.0/10{}", if hosts > 1_000 { String::new() } else { lans.concat() }),
            );
        }
        let path = format!("hosts/n{at}/wg0.conf");
        files.push(File { path, bytes: text.into_bytes(), mode: Some(0o600) });
    }
    files
}
