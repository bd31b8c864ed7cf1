//! A WireGuard device of anybody's: the kernel's, or one that a program runs which speaks the configuration protocol of WireGuard.
//!
//! Looked at as often as is liked, and changed in one way only: a peer is spoken to from another port, by another handshake. All
//! that makes up the peer stays.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use wayleave_engine::uapi::{Client, default_path};
use wayleave_engine::{ConfigureDevice, ConfigurePeer, DeviceDescription, PeerDescription};

use crate::netlink::{NetlinkError, WireGuard};

/// A device, and how it is spoken with.
#[derive(Debug)]
pub struct Stock {
    name: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Kernel(WireGuard),
    Program { socket: PathBuf, client: Option<Client> },
}

/// Why a device can't be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
    /// The program does.
    #[error("speaking with {socket}")]
    Program {
        /// Its socket.
        socket: String,
        /// What came of it.
        #[source]
        source: io::Error,
    },
    /// Neither has it.
    #[error("there is no WireGuard device {0}: neither has the kernel one, nor answers a program for it")]
    Nobody(String),
}

impl Stock {
    /// Finds out who runs a device.
    ///
    /// # Errors
    /// If nobody does.
    pub fn open(name: &str) -> Result<Stock, StockError> {
        let socket = default_path(name);
        if let Ok(client) = Client::connect(&socket) {
            return Ok(Stock { name: name.into(), way: Way::Program { socket, client: Some(client) } });
        }
        let nobody = || StockError::Nobody(name.into());
        let mut kernel = WireGuard::open()?.ok_or_else(nobody)?;
        kernel.describe(name).map_err(|_| nobody())?;
        Ok(Stock { name: name.into(), way: Way::Kernel(kernel) })
    }

    /// The device as it is.
    ///
    /// # Errors
    /// If it is gone.
    pub fn describe(&mut self) -> Result<DeviceDescription, StockError> {
        match &mut self.way {
            Way::Kernel(kernel) => Ok(kernel.describe(&self.name)?),
            Way::Program { .. } => {
                let described = self.talk(Client::describe)?;
                Ok(DeviceDescription { name: self.name.clone(), ..described })
            }
        }
    }

    /// Speaks with a peer from another port and by another handshake, at `endpoint` if one is given.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn redial(&mut self, peer: &PeerDescription, endpoint: Option<SocketAddr>) -> Result<(), StockError> {
        let change = redialled(peer, endpoint);
        match &mut self.way {
            Way::Kernel(kernel) => Ok(kernel.configure(&self.name, &change)?),
            Way::Program { .. } => self.talk(|client| client.configure(&change)),
        }
    }

    /// Connects anew after anything went wrong: what is read next would be the answer to something else.
    fn talk<T>(&mut self, act: impl FnOnce(&mut Client) -> io::Result<T>) -> Result<T, StockError> {
        let Way::Program { socket, client } = &mut self.way else { return Err(StockError::Nobody(self.name.clone())) };
        let failed = |source| StockError::Program { socket: socket.display().to_string(), source };
        let mut connected = match client.take() {
            Some(connected) => connected,
            None => Client::connect(socket).map_err(failed)?,
        };
        let outcome = act(&mut connected).map_err(failed)?;
        *client = Some(connected);
        Ok(outcome)
    }
}

/// The change by which a peer is spoken to from another port. A session is bound to whoever holds it, and WireGuard goes on using
/// one that nobody answers for fifteen seconds; so the peer is made anew, which begins with a handshake.
pub fn redialled(peer: &PeerDescription, endpoint: Option<SocketAddr>) -> ConfigureDevice {
    let again = ConfigurePeer {
        preshared_key: Some(peer.preshared_key.clone()),
        endpoint: endpoint.or(peer.endpoint),
        persistent_keepalive_s: Some(peer.persistent_keepalive_s),
        allowed_ips: peer.allowed_ips.clone(),
        ..ConfigurePeer::new(peer.public_key)
    };
    let peers = vec![ConfigurePeer { remove: true, ..ConfigurePeer::new(peer.public_key) }, again];
    ConfigureDevice { listen_port: Some(0), peers, ..ConfigureDevice::default() }
}
