//! A steady stream of UDP, for what is lost of it on the way: the sender keeps its rate whatever happens, the receiver has a buffer
//! that holds a quarter of a second, so that what is missing was lost in the tunnel and not beside it.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::Options;

const DATAGRAM_BYTES: usize = 1300;
const BUFFER_BYTES: libc::c_int = 4 << 20;
/// The sender sends this again and again at its end: a number of datagrams that nobody sends.
const END: u64 = u64::MAX;

/// Receives until the sender's end; prints what came of what was sent.
pub fn receive(options: &Options) {
    let socket = UdpSocket::bind(options.text("at")).unwrap();
    let size = BUFFER_BYTES;
    // SAFETY: the option is one integer, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const size).cast(),
            size_of_val(&size) as u32,
        )
    };
    assert_eq!(result, 0, "a large buffer needs root");
    let (mut buffer, mut received, mut twice, mut seen) = ([0; 2048], 0u64, 0u64, Vec::new());
    let sent = loop {
        let len = socket.recv(&mut buffer).unwrap();
        let number = |at: usize| u64::from_be_bytes(buffer[at..at + 8].try_into().unwrap());
        if len < 16 {
            continue;
        }
        if number(0) == END {
            break number(8);
        }
        let at = number(0) as usize;
        seen.resize(seen.len().max(at + 1), false);
        twice += u64::from(std::mem::replace(&mut seen[at], true));
        received += 1;
    };
    println!("datagrams {sent}");
    println!("lost_percent {:.4}", (sent + twice).saturating_sub(received) as f64 * 100.0 / sent as f64);
    println!("twice {twice}");
}

/// Sends at a steady rate.
pub fn send(options: &Options) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(options.text("to")).unwrap();
    let per_s = f64::from(options.number("mbit", 100)) * 1e6 / 8.0 / DATAGRAM_BYTES as f64;
    let length = Duration::from_secs(options.number("seconds", 5).into());
    let mut datagram = [0; DATAGRAM_BYTES];
    let (begin, mut sent) = (Instant::now(), 0u64);
    while begin.elapsed() < length {
        let wanted = (begin.elapsed().as_secs_f64() * per_s) as u64;
        while sent < wanted {
            datagram[..8].copy_from_slice(&sent.to_be_bytes());
            // What the interface's queue has no room for is lost, and counts.
            let _ = socket.send(&datagram);
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    println!("mbit {:.1}", sent as f64 * DATAGRAM_BYTES as f64 * 8.0 / begin.elapsed().as_secs_f64() / 1e6);
    datagram[..8].copy_from_slice(&END.to_be_bytes());
    datagram[8..16].copy_from_slice(&sent.to_be_bytes());
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(20));
        let _ = socket.send(&datagram);
    }
}
