//! A few nodes on a wire, for tests.
//!
//! Every node is a namespace with one TUN, its addresses on it and a default route out of it. Tests run one after another: two
//! measurements at once would measure each other. Where the machine can't run them, a test fails and says why, or is listed in the
//! file that `WAYLEAVE_NOT_RUN_FILE` names; it never passes.
#![allow(dead_code, reason = "every test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "this is part of tests, though not of a test function")]

use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wayleave_agent::ping::{PingOptions, PingResult, PingTarget, ping_many};
use wayleave_lab::host::{Namespace, Netlink, Route, tun};
use wayleave_lab::wire::{PortId, UnderlayId, Wire, WireOptions};

static MACHINE: Mutex<()> = Mutex::new(());

pub struct Bed {
    pub wire: Wire,
    _turn: MutexGuard<'static, ()>,
}

pub struct Node {
    pub namespace: Namespace,
    pub port: PortId,
}

/// The turn of one test, or `None` if the machine can't run it and that has been written down.
pub fn turn(test: &str) -> Option<MutexGuard<'static, ()>> {
    let ready = Namespace::create().map_err(describe).and_then(|namespace| {
        let device = namespace.run(|| tun::create("probe").map_err(describe)).map_err(describe)?;
        device.map(drop)
    });
    match ready {
        Ok(()) => Some(MACHINE.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(reason) => {
            let Some(list) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else {
                panic!("this machine can't run {test}: {reason}");
            };
            let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
            writeln!(list, "lab {test}: {reason}").unwrap();
            None
        }
    }
}

pub fn describe(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}

pub fn bed(test: &str) -> Option<Bed> {
    let _turn = turn(test)?;
    Some(Bed { wire: Wire::start(WireOptions::default()).unwrap(), _turn })
}

impl Bed {
    /// A node with public addresses.
    pub fn public(&self, addresses: &[&str]) -> Node {
        let entries: Vec<_> = addresses.iter().map(|&address| (address, UnderlayId::PUBLIC)).collect();
        self.node(&entries)
    }

    pub fn node(&self, addresses: &[(&str, UnderlayId)]) -> Node {
        let namespace = Namespace::create().unwrap();
        let addresses: Vec<(IpAddr, UnderlayId)> = addresses.iter().map(|&(a, u)| (a.parse().unwrap(), u)).collect();
        let device = namespace
            .run(|| {
                let device = tun::create("wire0").unwrap();
                let mut netlink = Netlink::open().unwrap();
                for (address, _) in &addresses {
                    netlink.add_address("wire0", (*address).into()).unwrap();
                }
                netlink.set_up("wire0").unwrap();
                netlink.add_route(&Route::new("0.0.0.0/0".parse().unwrap(), "wire0")).unwrap();
                netlink.add_route(&Route::new("::/0".parse().unwrap(), "wire0")).unwrap();
                device
            })
            .unwrap();
        let port = self.wire.add_port(device).unwrap();
        for (address, underlay) in addresses {
            self.wire.add_address(port, address, underlay).unwrap();
        }
        Node { namespace, port }
    }
}

impl Node {
    pub fn ping(&self, destination: &str, count: u32, interval: Duration) -> PingResult {
        let target = PingTarget { source: None, destination: destination.parse().unwrap() };
        let options = PingOptions { count, interval, timeout: Duration::from_secs(1) };
        self.namespace.run(|| ping_many(&[target], &options).unwrap()).unwrap().remove(0)
    }

    pub fn answers(&self, destination: &str) -> bool {
        let target = PingTarget { source: None, destination: destination.parse().unwrap() };
        let options =
            PingOptions { count: 3, interval: Duration::from_millis(10), timeout: Duration::from_millis(200) };
        self.namespace.run(|| ping_many(&[target], &options).unwrap()).unwrap()[0].received > 0
    }

    /// A socket in this node's namespace that gives up waiting after a fifth of a second.
    pub fn socket(&self, address: &str) -> UdpSocket {
        let socket = self.namespace.run(|| UdpSocket::bind(address).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket
    }
}

/// Sends a word and returns the sender as the receiver sees it, if it arrives.
pub fn seen_by(receiver: &UdpSocket, sender: &UdpSocket, to: &str) -> Option<SocketAddr> {
    sender.send_to(b"word", to).unwrap();
    receive(receiver)
}

pub fn receive(receiver: &UdpSocket) -> Option<SocketAddr> {
    let mut buffer = [0; 2048];
    receiver.recv_from(&mut buffer).ok().map(|(_, from)| from)
}
