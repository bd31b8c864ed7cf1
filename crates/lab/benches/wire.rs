//! How exact and how fast the wire is on this machine: `cargo bench -p wayleave-lab --bench wire`.
//!
//! For each delay, the error of the round trip as the pinger sees it, beside the wire's own lateness; then the packets a flood of
//! small datagrams gets through. With `load` as an argument every processor is kept busy meanwhile, with `ordinary` the wire runs
//! without realtime scheduling. Numbers depend on the machine; nothing is asserted.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wayleave_agent::ping::{PingOptions, PingTarget, ping_many};
use wayleave_lab::host::{Namespace, Netlink, Route, tun};
use wayleave_lab::wire::{LinkModel, PortId, UnderlayId, Wire, WireOptions};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let given = |word: &str| std::env::args().any(|argument| argument == word);
    let busy = Arc::new(AtomicBool::new(given("load")));
    let spinners = std::thread::available_parallelism()?.get() * 3;
    for _ in 0..if given("load") { spinners } else { 0 } {
        let busy = Arc::clone(&busy);
        std::thread::spawn(move || {
            while busy.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    }
    let wire = Wire::start(WireOptions { realtime: !given("ordinary"), ..WireOptions::default() })?;
    let a = node(&wire, "192.0.2.1")?;
    let b = node(&wire, "192.0.2.2")?;
    println!("{}", wire.stats()?.scheduling);
    println!("{:>8} {:>26} {:>26}", "rtt", "error p50 / p99 / max", "wire late p50 / p99 / max");
    for rtt_ms in [0_u32, 1, 10, 50, 150, 400] {
        accuracy(&wire, &a, &b, Duration::from_millis(rtt_ms.into()))?;
    }
    flood(&wire, &a, &b)?;
    busy.store(false, Ordering::Relaxed);
    Ok(())
}

fn node(wire: &Wire, address: &str) -> Result<(Namespace, PortId), Failure> {
    let address: IpAddr = address.parse()?;
    let namespace = Namespace::create()?;
    let device = namespace.run(|| {
        let make = || -> Result<_, Failure> {
            let device = tun::create("wire0")?;
            let mut netlink = Netlink::open()?;
            netlink.add_address("wire0", address.into())?;
            netlink.set_up("wire0")?;
            netlink.add_route(&Route::new("0.0.0.0/0".parse()?, "wire0"))?;
            Ok(device)
        };
        make().map_err(|failure| failure.to_string())
    })??;
    let port = wire.add_port(device)?;
    wire.add_address(port, address, UnderlayId::PUBLIC)?;
    Ok((namespace, port))
}

fn accuracy(wire: &Wire, a: &(Namespace, PortId), b: &(Namespace, PortId), rtt: Duration) -> Result<(), Failure> {
    wire.set_links_between(a.1, b.1, &LinkModel::with_delay(rtt / 2))?;
    wire.reset_lateness()?;
    let target = PingTarget { source: None, destination: "192.0.2.2".parse()? };
    let options = PingOptions { count: 300, interval: Duration::from_millis(7), timeout: Duration::from_secs(2) };
    let mut errors = a.0.run(|| ping_many(&[target], &options))??.remove(0).rtts;
    errors.iter_mut().for_each(|measured| *measured = measured.saturating_sub(rtt));
    errors.sort_unstable();
    let at = |percent: usize| errors.get((errors.len() * percent / 100).min(errors.len().saturating_sub(1)));
    let show = |value: Option<&Duration>| value.map_or("-".into(), |value| format!("{value:.1?}"));
    let late = wire.stats()?.lateness;
    println!(
        "{:>8} {:>26} {:>26}",
        format!("{rtt:?}"),
        format!("{} / {} / {}", show(at(50)), show(at(99)), show(at(100))),
        format!("{:.1?} / {:.1?} / {:.1?}", late.p50, late.p99, late.max),
    );
    Ok(())
}

/// Small datagrams one way, as fast as one thread sends them, for two seconds.
fn flood(wire: &Wire, a: &(Namespace, PortId), b: &(Namespace, PortId)) -> Result<(), Failure> {
    wire.set_links_between(a.1, b.1, &LinkModel::with_delay(Duration::from_millis(20)))?;
    let before = wire.stats()?;
    let delivered = |stats: &wayleave_lab::wire::WireStats| {
        stats.links.iter().find(|link| (link.from, link.to) == (a.1, b.1)).map_or(0, |link| link.delivered_packets)
    };
    let sender = a.0.run(|| UdpSocket::bind("192.0.2.1:1000"))??;
    let _receiver = b.0.run(|| UdpSocket::bind("192.0.2.2:1000"))??;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        // A full queue is what a flood is about.
        let _ = sender.send_to(&[0; 1200], "192.0.2.2:1000");
    }
    let elapsed = start.elapsed();
    let packets = delivered(&wire.stats()?) - delivered(&before);
    println!("flood: {:.0} packets of 1228 bytes per second", packets as f64 / elapsed.as_secs_f64());
    Ok(())
}
