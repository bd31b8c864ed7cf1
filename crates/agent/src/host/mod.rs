//! One host's kernel: looked at as a whole, and changed one step at a time.
//!
//! [`Host::look`] reads links, addresses, routes, rules, settings and WireGuard devices into a
//! [`wayleave_core::host::Actual`], which holds only what carries our mark. [`Host::apply`] carries out
//! [`Change`]s in their order and stops at the first that the kernel refuses: whoever looks again and asks for the difference
//! again goes on from there. Works in the network namespace of the thread that opened it; holds the engine's devices where the
//! kernel has no WireGuard, so that they end with it.

mod apply;
mod backend;
mod firewall;
mod observe;
pub mod symptoms;
pub(crate) mod sysctl;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wayleave_core::host::{Change, Obstacle};
use wayleave_core::names::DeviceName;
use wayleave_engine::{CommonSources, ConfigureDevice, ConfigurePeer, DeviceError, PublicKey, Tai64N};

pub use apply::Keys;
pub use backend::{Choice, Devices};

use crate::netlink::{Netlink, NetlinkError};

/// A host's kernel, and what runs WireGuard on it.
#[derive(Debug)]
pub struct Host {
    netlink: Netlink,
    devices: Devices,
    /// Where the scripts of firewalls that are set are kept; none: firewalls are nobody's business here.
    directory: Option<PathBuf>,
}

/// Why a host could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel refused a request.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The embedded engine refused a request.
    #[error("the engine can't do this for {device}")]
    Engine {
        /// The device.
        device: String,
        /// Why.
        #[source]
        source: DeviceError,
    },
    /// The interface for the engine could not be made.
    #[error("can't make the TUN interface {device}")]
    Tun {
        /// Its name.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A kernel setting could not be read or written.
    #[error("can't {what} {name}")]
    Sysctl {
        /// `read` or `set`.
        what: &'static str,
        /// The setting.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A firewall's script failed.
    #[error("the script of {device}'s firewall failed")]
    Firewall {
        /// The device.
        device: DeviceName,
        /// Why, in the script's words.
        #[source]
        source: io::Error,
    },
    /// The kernel's WireGuard was asked for, and there is none.
    #[error("this kernel has no WireGuard (is the module loaded? `modprobe wireguard`); the engine needs none")]
    NoKernelWireGuard,
    /// A device that should be there is not.
    #[error("there is no device {device}")]
    NoDevice {
        /// Which.
        device: String,
    },
    /// A device has no private key, since none was handed in.
    #[error("{device} needs its private key, and there is none at hand")]
    NoKey {
        /// Which.
        device: DeviceName,
    },
    /// What was looked at changed all the time.
    #[error("the host changes faster than it can be read")]
    Restless,
    /// Something of somebody else's is in the way.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Obstacles(Vec<Obstacle>),
}

/// A change that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("can't {change}")]
pub struct Refused {
    /// The change.
    pub change: Box<Change>,
    /// Why.
    #[source]
    pub source: HostError,
}

impl Host {
    /// Opens the host of the calling thread's network namespace.
    ///
    /// # Errors
    /// If the kernel's WireGuard was chosen and there is none, or without a netlink socket.
    pub fn open(choice: Choice) -> Result<Host, HostError> {
        Ok(Host { netlink: Netlink::open()?, devices: Devices::open(choice)?, directory: None })
    }

    /// Also sets firewalls, and keeps their scripts in a directory.
    #[must_use]
    pub fn with_firewalls(mut self, directory: &Path) -> Host {
        self.directory = Some(directory.to_owned());
        self
    }

    /// The address of the socket by which routes are changed; see [`crate::netlink::Watch`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn port(&self) -> Result<u32, NetlinkError> {
        self.netlink.port()
    }

    /// The claims in a table that is for BIRD, by the clients' addresses and the sites' prefixes.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn claims(&mut self, table: u32) -> Result<std::collections::BTreeMap<ipnet::IpNet, u32>, HostError> {
        Ok(self.netlink.claims(table)?)
    }

    /// What a device of the engine notices by itself.
    pub fn events(&self, device: &str) -> Option<Arc<wayleave_engine::Events>> {
        self.devices.events(device)
    }

    /// What changes a device of the engine from other threads.
    pub fn handle(&self, device: &str) -> Option<wayleave_engine::DeviceHandle> {
        self.devices.handle(device)
    }

    /// Starts a handshake with a peer that is at an address, with a TAI64N label after `seen`. Not for the kernel's devices.
    ///
    /// # Errors
    /// If there is no such device, or it refuses.
    pub fn call(
        &mut self,
        device: &str,
        peer: PublicKey,
        endpoint: SocketAddr,
        seen: Option<Tai64N>,
    ) -> Result<(), HostError> {
        let peers = vec![ConfigurePeer { update_only: true, endpoint: Some(endpoint), ..ConfigurePeer::new(peer) }];
        self.devices.configure(device, &ConfigureDevice { peers, ..ConfigureDevice::default() })?;
        self.call_at(device, peer, None, seen)
    }

    /// The same with a peer that may be at an address: packets go there only when it has answered.
    ///
    /// # Errors
    /// If the device has ended.
    pub fn call_at(
        &mut self,
        device: &str,
        peer: PublicKey,
        place: Option<SocketAddr>,
        seen: Option<Tai64N>,
    ) -> Result<(), HostError> {
        let called = self.devices.handle(device).map(|handle| handle.call(&peer, place, seen));
        called.transpose().map(drop).map_err(|source| HostError::Engine { device: device.into(), source })
    }

    /// Sends the initiation for a peer to several places at once. Nothing with the kernel's devices, which know one place.
    ///
    /// # Errors
    /// If the device has ended.
    pub fn race(&mut self, device: &str, peer: PublicKey, places: Vec<SocketAddr>) -> Result<(), HostError> {
        let raced = self.devices.handle(device).map(|handle| handle.race(&peer, places));
        raced.transpose().map(drop).map_err(|source| HostError::Engine { device: device.into(), source })
    }

    /// Where the peers of a kernel's device are.
    ///
    /// # Errors
    /// If there is no such device.
    pub fn places(&mut self, device: &str) -> Result<HashMap<PublicKey, SocketAddr>, HostError> {
        self.devices.places(device)
    }

    /// Takes a peer out and puts it in again as it is given here: its sessions are forgotten, and if it gets an endpoint and
    /// keepalives, the kernel's WireGuard starts a handshake with it at once.
    ///
    /// # Errors
    /// If there is no such device, or it refuses.
    pub fn renew(&mut self, device: &str, peer: ConfigurePeer) -> Result<(), HostError> {
        let peers = vec![ConfigurePeer { remove: true, ..ConfigurePeer::new(peer.public_key) }, peer];
        self.devices.configure(device, &ConfigureDevice { peers, ..ConfigureDevice::default() })
    }

    /// Sends a peer a keepalive to an address, where it is from now on: the kernel's WireGuard does when keepalives are switched on.
    /// They stay on.
    ///
    /// # Errors
    /// If there is no such device, or it refuses.
    pub fn nudge(&mut self, device: &str, peer: PublicKey, endpoint: SocketAddr) -> Result<(), HostError> {
        let endpoint = Some(endpoint);
        let keepalives = |seconds| ConfigurePeer {
            update_only: true,
            persistent_keepalive_s: Some(seconds),
            ..ConfigurePeer::new(peer)
        };
        let peers = vec![ConfigurePeer { endpoint, ..keepalives(0) }, keepalives(1)];
        self.devices.configure(device, &ConfigureDevice { peers, ..ConfigureDevice::default() })
    }

    /// Sets how often a peer is sent keepalives.
    ///
    /// # Errors
    /// If there is no such device, or it refuses.
    pub fn set_keepalive(&mut self, device: &str, peer: PublicKey, seconds: u16) -> Result<(), HostError> {
        let persistent_keepalive_s = Some(seconds);
        let peers = vec![ConfigurePeer { update_only: true, persistent_keepalive_s, ..ConfigurePeer::new(peer) }];
        self.devices.configure(device, &ConfigureDevice { peers, ..ConfigureDevice::default() })
    }

    /// Which one a device of the engine is of several with the same key: told to it now, and whenever it is made anew.
    ///
    /// # Errors
    /// If the device has ended.
    pub fn set_number(&mut self, device: &str, number: Option<u8>) -> Result<(), HostError> {
        self.devices.set_number(device, number)
    }

    /// Which peers of an engine's device may send from one another's prefixes: told to it now, and whenever it is made anew.
    ///
    /// # Errors
    /// If the device has ended.
    pub fn set_common(&mut self, device: &str, common: CommonSources) -> Result<(), HostError> {
        self.devices.set_common(device, common)
    }

    /// What runs WireGuard here.
    pub fn backend(&self) -> wayleave_core::host::Backend {
        self.devices.backend()
    }
}
