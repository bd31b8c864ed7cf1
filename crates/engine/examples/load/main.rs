//! A crowd of WireGuard clients, and an attacker, over real sockets: what `bench/load` sets upon an engine, ours or another.
//!
//! `load keys --count N --pad M` prints what the server has to know of N clients and of M peers that never come, for `wg setconf`.
//! `load clients --count N --server ADDR:PORT --key KEY [--rate ECHOES_PER_S | --window ECHOES] [--size BYTES] [--seconds S]
//! [--keepalive S] [--record FILE]` is N clients at once, 10.66.0.0 and on, which ping through their tunnels. `load roam --count N --servers ADDR:PORT,... --key KEY
//! [--moves N] [--rate PER_S] [--keepalive S]` is N clients of servers that share a key, of which one after the other goes elsewhere once
//! a line has come on the standard input. `load stay --count N --server ADDR:PORT --key KEY --inside ADDR [--rate ECHOES_PER_S] [--closed-every N]
//! [--seconds S]` is N clients that ping all the time, of which every Nth is behind a NAT that lets in answers only. `load flood --to ADDR:PORT --key KEY
//! [--kind initiations|hostile] [--rate PER_S] [--sources N] [--seconds S] [--corpus FILE]` sends from forged addresses, 10.67.0.0
//! and on. `load receive --at ADDR:PORT` and `load send --to ADDR:PORT [--mbit N] [--seconds S]` are a steady stream, each of
//! whose datagrams is accounted for. The network namespace has to be one where these addresses harm nobody. Figures are printed as `name value`.

#![allow(clippy::unwrap_used, reason = "a tool for measuring ends where it can't go on")]

mod clients;
mod flood;
mod roam;
mod stay;
mod stream;

use std::collections::HashMap;
use std::net::Ipv4Addr;

use wayleave_engine::{PrivateKey, Rng, SeededRng};

fn main() {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let mut options = Options(HashMap::new());
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        options.0.insert(name.trim_start_matches('-').to_owned(), value);
    }
    match command.as_str() {
        "keys" => print_keys(options.number("count", 1000), options.number("pad", 0)),
        "clients" => clients::run(&options),
        "roam" => roam::run(&options),
        "stay" => stay::run(&options),
        "flood" => flood::run(&options),
        "receive" => stream::receive(&options),
        "send" => stream::send(&options),
        _ => {
            eprintln!("usage: load keys|clients|roam|stay|flood|receive|send --NAME VALUE ... (the source says which)");
            std::process::exit(2);
        }
    }
}

/// The words of the command line.
struct Options(HashMap<String, String>);

impl Options {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("--{name} is missing"))
    }

    fn number(&self, name: &str, default: u32) -> u32 {
        self.0
            .get(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("--{name}: not a number: {text}")))
    }
}

/// The key of client number `at`, the same in each process.
fn key_of(at: u32) -> PrivateKey {
    let mut key = [0; 32];
    SeededRng::new(0x6c6f_6164 + u64::from(at)).fill(&mut key);
    PrivateKey::new(key)
}

/// The address of client number `at` inside its tunnel.
fn inner_address(at: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from_be_bytes([10, 70, 0, 0]) + 256 + at)
}

fn print_keys(count: u32, pad: u32) {
    for at in 0..count + pad {
        println!("[Peer]\nPublicKey = {}\nAllowedIPs = {}/32", key_of(at).public_key(), inner_address(at));
    }
}

/// Prints a list's percentiles; the list is sorted by it.
fn print_percentiles(name: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    if values.is_empty() {
        return;
    }
    for (suffix, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        println!("{name}_{suffix} {:.3}", values[((values.len() - 1) as f64 * share).round() as usize]);
    }
}
