//! A client's watch over its server, beside a WireGuard device that somebody else has set up.
//!
//! For clients without an agent behind a load balancer that keeps them with a dead server: [`wayleave_core::host::ServerWatch`]
//! decides, here the device is looked at, the server is asked for an echo, and the port is changed. Nothing else of the device is
//! touched, and nothing needs to be undone when this ends. A device that goes away is waited for.

mod stock;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use wayleave_core::host::{ServerWatch, Step};
use wayleave_engine::{PeerDescription, PublicKey};

pub use stock::{Stock, StockError, redialled};

use crate::limits::RACE_MAX;
use crate::ping::{Echoes, PingError, accepting};
use crate::system::signals::Signals;

/// Between two looks at the device, in milliseconds: a fraction of what `core` waits for.
const LOOK_MS: i32 = 250;
/// Between two tries to find a device that has gone.
const FIND_AGAIN: Duration = Duration::from_secs(2);

/// What is watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device.
    pub interface: String,
    /// The server; none: the only peer.
    pub peer: Option<PublicKey>,
    /// An address of the server inside the tunnel; none: the first one that is routed to it.
    pub ping: Option<IpAddr>,
    /// Where the server is dialled, the preferred one first; none: where it was when the watch began.
    pub endpoints: Vec<SocketAddr>,
    /// The TCP port that servers open while they are ready: of several endpoints the first that accepts a connection there is dialled.
    pub ready_port: u16,
}

/// Why nothing is watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The device.
    #[error(transparent)]
    Stock(#[from] StockError),
    /// Echo requests.
    #[error(transparent)]
    Ping(#[from] PingError),
    /// The kernel.
    #[error("can't wait for answers")]
    Wait(#[source] io::Error),
    /// Which peer is the server?
    #[error("{interface} has {count} peers{}: say which is the server with --peer KEY", if *.count == 0 { ", so no server" } else { "" })]
    WhichPeer {
        /// The device.
        interface: String,
        /// How many.
        count: usize,
    },
    /// The named peer is not there.
    #[error("{interface} has no peer {peer}")]
    NoPeer {
        /// The device.
        interface: String,
        /// Its key.
        peer: PublicKey,
    },
    /// Echoes would go somewhere else.
    #[error(
        "{address} is not among what {interface} sends to the server (allowed-ips: {allowed}); name one that is with --ping"
    )]
    NotThere {
        /// The address.
        address: IpAddr,
        /// The device.
        interface: String,
        /// What is.
        allowed: String,
    },
    /// Nothing, or anything, is routed to the server.
    #[error("{interface} has no allowed-ips that say what the server's address may be: name it with --ping ADDRESS")]
    NoPrefix {
        /// The device.
        interface: String,
    },
    /// The server is not dialled at all.
    #[error("{interface} does not know where the server is; name it with --endpoint ADDRESS:PORT")]
    NoEndpoint {
        /// The device.
        interface: String,
    },
}

/// Watches until a signal comes; `say` is told what people should know.
///
/// # Errors
/// If there is nothing to watch at the start. Later it goes on, whatever happens.
pub fn watch(options: &Options, signals: &Signals, say: &mut dyn FnMut(&str)) -> Result<(), WatchError> {
    let echoes = Echoes::open()?;
    let begin = Instant::now();
    let mut watched = Watched::find(options, Duration::ZERO)?;
    say(&format!("watching {} over {} by echoes from {}", watched.endpoints[0], options.interface, watched.target));
    while !signals.is_raised() {
        let answers = echoes.wait(LOOK_MS).map_err(WatchError::Wait)?;
        if !answers.is_empty() {
            let heard = watched.watch.handle_echo(begin.elapsed());
            watched.say_heard(heard, begin.elapsed(), say);
        }
        if let Err(error) = watched.look(&echoes, begin, say) {
            say(&format!("{}; waiting for it", crate::node::chain(&error)));
            match find_again(options, signals, begin) {
                Some(again) => watched = again,
                None => return Ok(()),
            }
            say(&format!("{} is there again", options.interface));
        }
    }
    Ok(())
}

/// Tries to find a device until it is there, or a signal comes.
fn find_again(options: &Options, signals: &Signals, begin: Instant) -> Option<Watched> {
    loop {
        let until = Instant::now() + FIND_AGAIN;
        while Instant::now() < until {
            if signals.is_raised() {
                return None;
            }
            std::thread::sleep(FIND_AGAIN / 10);
        }
        if let Ok(watched) = Watched::find(options, begin.elapsed()) {
            return Some(watched);
        }
    }
}

/// A device with its server.
struct Watched {
    stock: Stock,
    watch: ServerWatch,
    server: PeerDescription,
    target: IpAddr,
    endpoints: Vec<SocketAddr>,
    ready_port: u16,
    /// What the race that was begun last has to tell.
    race: Option<Receiver<usize>>,
    /// The mark of encrypted packets, which must not go into the tunnel.
    mark: u32,
    lost_at: Option<Duration>,
}

impl Watched {
    fn find(options: &Options, now: Duration) -> Result<Watched, WatchError> {
        let interface = || options.interface.clone();
        let mut stock = Stock::open(&options.interface)?;
        let device = stock.describe()?;
        let server = match options.peer {
            Some(key) => device.peers.iter().find(|peer| peer.public_key == key),
            None => device.peers.first().filter(|_| device.peers.len() == 1),
        };
        let server = server.cloned().ok_or_else(|| match options.peer {
            Some(peer) => WatchError::NoPeer { interface: interface(), peer },
            None => WatchError::WhichPeer { interface: interface(), count: device.peers.len() },
        })?;
        let target = target(options, &server)?;
        // The one it is dialled at may be a server's own, to which the device has followed its packets: the first is kept.
        let mut endpoints = options.endpoints.clone();
        if endpoints.is_empty() {
            endpoints.extend(server.endpoint);
        }
        if endpoints.is_empty() {
            return Err(WatchError::NoEndpoint { interface: interface() });
        }
        let watch = ServerWatch::new(endpoints.len(), now);
        let (ready_port, mark) = (options.ready_port, device.fwmark);
        Ok(Watched { stock, watch, server, target, endpoints, ready_port, race: None, mark, lost_at: None })
    }

    /// Looks at the device, and does what is due.
    fn look(&mut self, echoes: &Echoes, begin: Instant, say: &mut dyn FnMut(&str)) -> Result<(), WatchError> {
        let device = self.stock.describe()?;
        let now = begin.elapsed();
        match device.peers.iter().find(|peer| peer.public_key == self.server.public_key) {
            Some(peer) => {
                let heard = self.watch.handle_counters(peer.tx_bytes, peer.rx_bytes, now);
                self.say_heard(heard, now, say);
                self.server = peer.clone();
            }
            None => {
                let (interface, peer) = (device.name, self.server.public_key);
                return Err(WatchError::NoPeer { interface, peer });
            }
        }
        let answered: Vec<usize> = self.race.iter().flat_map(Receiver::try_iter).collect();
        answered.into_iter().for_each(|endpoint| self.watch.handle_answer(endpoint));
        while let Some(step) = self.watch.poll(now) {
            match step {
                Step::Race => self.race_endpoints(),
                // What can't be sent is not answered either.
                Step::Check => drop(echoes.send(self.target, 0)),
                Step::Rebind { attempt, endpoint } => {
                    self.lost_at.get_or_insert(now.saturating_sub(self.watch.silent_for(now)));
                    let (endpoint, silent) = (self.endpoints[endpoint], self.watch.silent_for(now).as_secs_f64());
                    say(&format!(
                        "no answer for {silent:.1} s: dialling {endpoint} from another port (attempt {attempt})"
                    ));
                    self.stock.redial(&self.server, Some(endpoint))?;
                }
            }
        }
        Ok(())
    }

    /// Asks all endpoints at once which of them takes clients; what an earlier race had to tell is not waited for any more.
    fn race_endpoints(&mut self) {
        let at_ready_port = |endpoint: &SocketAddr| SocketAddr::new(endpoint.ip(), self.ready_port);
        let targets: Vec<SocketAddr> = self.endpoints.iter().map(at_ready_port).collect();
        let (tell, told) = channel();
        let mark = self.mark;
        let work = move || {
            accepting(&targets, mark, RACE_MAX, |at| {
                let _ = tell.send(at);
            })
        };
        // Without a thread they take turns.
        self.race = std::thread::Builder::new().name("endpoints".into()).spawn(work).is_ok().then_some(told);
    }

    fn say_heard(&mut self, heard: Option<u32>, now: Duration, say: &mut dyn FnMut(&str)) {
        let Some(attempts) = heard else { return };
        let lost = self.lost_at.take().map_or(Duration::ZERO, |at| now.saturating_sub(at)).as_secs_f64();
        say(&format!("the server answers again, after {lost:.1} s and {attempts} change(s) of port"));
    }
}

/// Where echoes are asked for: only what the device sends to the server says anything of it.
fn target(options: &Options, server: &PeerDescription) -> Result<IpAddr, WatchError> {
    let interface = options.interface.clone();
    match options.ping {
        Some(address) if server.allowed_ips.iter().any(|prefix| prefix.contains(&address)) => Ok(address),
        Some(address) => {
            let allowed = server.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(WatchError::NotThere { address, interface, allowed })
        }
        None => {
            let mut some = server.allowed_ips.iter().filter(|prefix| prefix.prefix_len() > 0);
            some.next().map(first_host).ok_or(WatchError::NoPrefix { interface })
        }
    }
}

/// The first address of a prefix that a host may have.
fn first_host(prefix: &IpNet) -> IpAddr {
    match (prefix.network(), prefix.prefix_len() + 1 < prefix.max_prefix_len()) {
        (IpAddr::V4(network), true) => Ipv4Addr::from(u32::from(network).saturating_add(1)).into(),
        (IpAddr::V6(network), true) => Ipv6Addr::from(u128::from(network).saturating_add(1)).into(),
        (address, false) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_of_a_prefix_is_no_network_address() {
        let host = |text: &str| first_host(&text.parse().expect("a prefix")).to_string();
        assert_eq!(host("10.50.0.0/16"), "10.50.0.1");
        assert_eq!(host("10.50.0.9/32"), "10.50.0.9");
        assert_eq!(host("10.50.0.8/31"), "10.50.0.8");
        assert_eq!(host("fd00::/8"), "fd00::1");
    }

    #[test]
    fn a_peer_is_made_anew_with_all_that_it_has() {
        let peer = PeerDescription {
            public_key: PublicKey([1; 32]),
            preshared_key: wayleave_engine::PresharedKey::new([2; 32]),
            endpoint: Some(([192, 0, 2, 1], 5).into()),
            persistent_keepalive_s: 25,
            last_handshake: None,
            rx_bytes: 1,
            tx_bytes: 2,
            allowed_ips: vec!["10.0.0.0/8".parse().expect("a prefix")],
        };
        let other = ([192, 0, 2, 9], 5).into();
        let change = redialled(&peer, Some(other));
        assert_eq!(change.listen_port, Some(0));
        assert!(change.peers[0].remove && !change.peers[1].remove);
        let again = &change.peers[1];
        assert_eq!((again.endpoint, again.persistent_keepalive_s), (Some(other), Some(25)));
        assert_eq!((&again.allowed_ips, again.preshared_key.as_ref()), (&peer.allowed_ips, Some(&peer.preshared_key)));
        assert_eq!(redialled(&peer, None).peers[1].endpoint, peer.endpoint);
    }
}
