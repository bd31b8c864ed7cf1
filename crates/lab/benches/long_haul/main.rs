//! TCP through the engine over a long and fast link: `cargo bench -p wayleave-lab --bench long_haul [-- SECONDS RATE...]`.
//!
//! Two hosts on the wire, 80 ms apart, with the socket buffers that such a path needs; rates are given in Mbit/s of IP packets. At
//! each rate iperf3 runs once past the tunnel, which shows what emulation and TCP can do alone, and once through it. The table says
//! how fast it was, whose processor time it took, and where packets were lost; the last column names the limit. What stood in
//! queues when measuring began arrives on top, so short runs may show a few per cent more than fits. Needs root and iperf3. Numbers
//! depend on the machine, which carries hosts, engines and wire at once; nothing is asserted.

mod host;
mod processor;

use std::error::Error;
use std::time::Duration;

use host::{Counts, Host};
use processor::Usage;
use serde_json::Value;
use wayleave_lab::wire::{LinkModel, Wire, WireOptions};

type Failure = Box<dyn Error + Send + Sync>;

const RTT: Duration = Duration::from_millis(80);
const RATES_MBIT: [u64; 5] = [200, 400, 600, 800, 1000];
const STREAMS: u32 = 4;
/// Slow start at 80 ms takes about a second; what comes after is measured.
const WARM_UP_S: u64 = 4;
const SECONDS: u64 = 8;
/// From this share of all processors on, nothing is left for anybody to run faster.
const PROCESSORS_FULL: f64 = 0.95;

fn main() -> Result<(), Failure> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let seconds = numbers.next().unwrap_or(SECONDS);
    let mut rates: Vec<u64> = numbers.collect();
    if rates.is_empty() {
        rates.extend(RATES_MBIT);
    }
    let wire = Wire::start(WireOptions::default())?;
    let left = Host::start(&wire, 1, 2)?;
    let right = Host::start(&wire, 2, 1)?;
    println!("round trip {RTT:?}, {STREAMS} streams, {seconds} s after {WARM_UP_S} s; {}", wire.stats()?.scheduling);
    println!(
        "{:>6} {:>7} {:>7} {:>6}   {:^31}   {:^47}",
        "rate", "way", "Mbit/s", "again", "processors, % of one", "lost"
    );
    println!(
        "{:>6} {:>7} {:>7} {:>6}   {:>7} {:>6} {:>6} {:>8}   {:>7} {:>7} {:>7} {:>7} {:>7} {:>9}   limit",
        "", "", "", "", "engines", "wire", "iperf3", "all", "queue", "wire", "device", "socket", "tunnel", "late ms"
    );
    for rate in rates {
        for (way, server) in [("plain", right.underlay), ("tunnel", right.overlay)] {
            let run = Run::measure(&wire, (&left, &right), rate, server, seconds)?;
            run.print(rate, way);
        }
    }
    Ok(())
}

/// What one run of iperf3 came to.
struct Run {
    mbit_per_s: f64,
    retransmits: u64,
    usage: Usage,
    iperf3: f64,
    lost: Lost,
    late: Duration,
}

/// Packets lost, by place.
struct Lost {
    /// In the link's queue, before the rate: what TCP is told to go slower by.
    queue: u64,
    /// Because the wire held too much.
    wire: u64,
    /// Between the hosts' kernels and the wire.
    device: u64,
    /// At the engines' UDP sockets.
    socket: u64,
    /// Between the hosts' kernels and the engines.
    tunnel: u64,
}

impl Run {
    fn measure(
        wire: &Wire,
        (left, right): (&Host, &Host),
        rate_mbit: u64,
        server: std::net::Ipv4Addr,
        seconds: u64,
    ) -> Result<Run, Failure> {
        // A queue of one round trip lets TCP fill the link between two losses.
        let queue_bytes = (rate_mbit * 1_000_000 / 8 * RTT.as_millis() as u64 / 1000) as u32;
        let model = LinkModel {
            rate_bit_per_s: Some(rate_mbit * 1_000_000),
            queue_bytes,
            queue_packets: queue_bytes / 100,
            ..LinkModel::with_delay(RTT / 2)
        };
        wire.set_links_between(left.port, right.port, &model)?;
        wire.reset_lateness()?;
        let before = Counts::of(wire, [left, right])?;
        let listening = right.iperf3_server()?;
        let client = left.iperf3_client(server, WARM_UP_S, seconds, STREAMS)?;
        std::thread::sleep(Duration::from_secs(WARM_UP_S));
        let usage = Usage::over(Duration::from_secs(seconds), [&left.threads, &right.threads])?;
        let report: Value = serde_json::from_slice(&client.wait_with_output()?.stdout)?;
        drop(listening);
        let after = Counts::of(wire, [left, right])?;
        let end = &report["end"];
        let bit_per_s = end["sum_received"]["bits_per_second"].as_f64();
        let busy = |who: &str| end["cpu_utilization_percent"][who].as_f64().unwrap_or(0.0) / 100.0;
        Ok(Run {
            mbit_per_s: bit_per_s.ok_or_else(|| format!("iperf3: {}", report["error"]))? / 1e6,
            retransmits: end["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
            usage,
            iperf3: busy("host_total") + busy("remote_total"),
            lost: after.since(&before),
            late: wire.stats()?.lateness.max,
        })
    }

    fn print(&self, rate_mbit: u64, way: &str) {
        let percent = |share: f64| format!("{:.0}", share * 100.0);
        let Usage { engines, wire, all, processors } = self.usage;
        let Lost { queue, wire: held, device, socket, tunnel } = self.lost;
        println!(
            "{rate_mbit:>6} {way:>7} {:>7.0} {:>6}   {:>7} {:>6} {:>6} {:>8}   {queue:>7} {held:>7} {device:>7} {socket:>7} \
             {tunnel:>7} {:>9.1}   {}",
            self.mbit_per_s,
            self.retransmits,
            percent(engines),
            percent(wire),
            percent(self.iperf3),
            format!("{}/{}", percent(all), processors * 100),
            self.late.as_secs_f64() * 1e3,
            self.limit(rate_mbit, way),
        );
    }

    /// What kept it from being faster, as far as the figures tell.
    fn limit(&self, rate_mbit: u64, way: &str) -> String {
        // Of each 1500 bytes on the link 1448 are TCP's content; in the tunnel, of 1480 bytes 1368.
        let share = if way == "plain" { 1448.0 / 1500.0 } else { 1368.0 / 1480.0 };
        let reached = self.mbit_per_s / (rate_mbit as f64 * share);
        let busy = self.usage.all / self.usage.processors as f64;
        let lost_here = self.lost.wire + self.lost.device + self.lost.socket + self.lost.tunnel;
        let limit = match () {
            () if reached > 0.97 => "the link's rate".to_owned(),
            () if self.usage.wire > PROCESSORS_FULL => "the wire's processor".to_owned(),
            () if busy > PROCESSORS_FULL => "the processors".to_owned(),
            () if lost_here > 0 => "losses on this machine".to_owned(),
            () if self.lost.queue > 0 => "TCP's answer to the link's full queue".to_owned(),
            () => "waiting: none of these".to_owned(),
        };
        format!("{limit} ({:.0} % of what fits)", reached * 100.0)
    }
}
