//! The links' own wire: control messages and echo requests between link addresses.
//!
//! One UDP socket, bound to the own link address and to the WireGuard device, so that what comes out of it has been proved by
//! WireGuard to be from the peer whose link address it carries: nobody outside the tunnel can send to it. It is opened anew
//! when the device is made anew. Echo requests are for peers that run no agent. What is sent and what comes of it is decided
//! in `core`.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use socket2::SockRef;
use wayleave_core::node::CONTROL_PORT;
use wayleave_engine::{Event as DeviceEvent, Events};

use super::Event;
use crate::limits::LINK_MESSAGE_BYTES_MAX;
use crate::ping::Echoes;

/// How soon a receiver notices that its socket was replaced.
const NOTICE: Duration = Duration::from_millis(500);

/// Sockets of one device.
pub struct Links {
    socket: UdpSocket,
    echoes: Arc<Echoes>,
    ended: Arc<AtomicBool>,
}

impl Links {
    /// Opens the sockets, and hands over what comes in as events; what the device notices by itself (`news`) as well.
    ///
    /// # Errors
    /// What the kernel says: the device or its address is not there, or another program has the port.
    pub fn open(own: IpAddr, device: &str, news: Option<Arc<Events>>, events: &SyncSender<Event>) -> io::Result<Links> {
        let socket = UdpSocket::bind((own, CONTROL_PORT))?;
        bind_to_device(&socket, device)?;
        socket.set_read_timeout(Some(NOTICE))?;
        let echoes = Arc::new(Echoes::open().map_err(io::Error::other)?);
        let ended = Arc::new(AtomicBool::new(false));
        let (receiver, until, to) = (socket.try_clone()?, ended.clone(), events.clone());
        std::thread::Builder::new().name("links".into()).spawn(move || receive(&receiver, &until, &to))?;
        let (answers, until, to) = (echoes.clone(), ended.clone(), events.clone());
        std::thread::Builder::new().name("echoes".into()).spawn(move || hear(&answers, &until, &to))?;
        if let Some(news) = news {
            let (until, to) = (ended.clone(), events.clone());
            std::thread::Builder::new().name("device".into()).spawn(move || notice(&news, &until, &to))?;
        }
        Ok(Links { socket, echoes, ended })
    }

    /// Sends a control message to a peer's link address. What can't be sent is lost, as on the way.
    pub fn send(&self, to: IpAddr, bytes: &[u8]) {
        let _ = self.socket.send_to(bytes, (to, CONTROL_PORT));
    }

    /// Sends an echo request.
    pub fn echo(&self, to: IpAddr, tag: u32) {
        let _ = self.echoes.send(to, tag);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

fn receive(socket: &UdpSocket, ended: &AtomicBool, events: &SyncSender<Event>) {
    let mut buffer = [0; LINK_MESSAGE_BYTES_MAX];
    while !ended.load(Ordering::Acquire) {
        match socket.recv_from(&mut buffer) {
            // Whatever the loop can't take now is lost, as on the way.
            Ok((length, from)) if from.port() == CONTROL_PORT => {
                let bytes = buffer[..length].to_vec();
                let _ = events.try_send(Event::LinkMessage { from: from.ip(), bytes });
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // An ICMP error came back for something sent, or the device is going away.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn hear(echoes: &Echoes, ended: &AtomicBool, events: &SyncSender<Event>) {
    while !ended.load(Ordering::Acquire) {
        match echoes.wait(NOTICE.as_millis() as i32) {
            Ok(tags) => tags.into_iter().for_each(|tag| drop(events.try_send(Event::Echoed { tag }))),
            Err(_) => std::thread::sleep(NOTICE),
        }
    }
}

fn notice(news: &Events, ended: &AtomicBool, events: &SyncSender<Event>) {
    while !ended.load(Ordering::Acquire) {
        if let Some(DeviceEvent::SendingBegins { .. }) = news.wait(NOTICE) {
            let _ = events.try_send(Event::TrafficBegan);
        }
    }
}

/// From now on only packets of this device come in (`SO_BINDTODEVICE`, socket(7)).
pub(super) fn bind_to_device(socket: &UdpSocket, device: &str) -> io::Result<()> {
    SockRef::from(socket).bind_device(Some(device.as_bytes()))
}
