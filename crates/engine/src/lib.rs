//! WireGuard in user space: a protocol core without I/O or clock, and a device around it.
//!
//! Two layers, each usable by itself. [`tunnel::Tunnel`] is the whole protocol state of one device; time, randomness, datagrams
//! and packets are handed in and out, so that a simulation runs a week in a second. [`Device`] puts a TUN interface, UDP sockets
//! and threads around it, is configured by typed calls ([`ConfigureDevice`]) or by `wg` through the UAPI socket, and reports
//! what it notices as [`Event`]s. [`run`] is the drop-in for `wireguard-go IFACE`.
//!
//! ```no_run
//! use wayleave_engine::{ConfigureDevice, ConfigurePeer, Device, DeviceOptions, PrivateKey, PublicKey, Tun};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::start(DeviceOptions::new(Tun::create("wg0")?))?;
//! let mut peer = ConfigurePeer::new(PublicKey([1; 32]));
//! peer.endpoint = Some("192.0.2.1:51820".parse()?);
//! peer.allowed_ips = vec!["10.0.0.2/32".parse()?];
//! device.configure(&ConfigureDevice {
//!     private_key: Some(PrivateKey::new([2; 32])),
//!     peers: vec![peer],
//!     ..ConfigureDevice::default()
//! })?;
//! // Bring the interface up and give it an address by netlink or `ip`: the device follows its state.
//! # Ok(())
//! # }
//! ```

mod config;
mod device;
mod keys;
pub mod limits;
pub mod noise;
pub mod packet;
mod rng;
mod run;
mod time;
pub mod tunnel;
pub mod uapi;

pub use config::{
    CommonSources, ConfigureDevice, ConfigurePeer, Counters, DeviceDescription, Event, PeerDescription, PeerPlace,
    PeerTraffic,
};
pub use device::{Device, DeviceError, DeviceHandle, DeviceOptions, Events, Offloads, Tun};
pub use keys::{PresharedKey, PrivateKey, PublicKey};
pub use limits::Timing;
pub use rng::{Rng, SeededRng, SystemRng};
pub use run::{RunError, run};
pub use time::{Monotonic, Now, Tai64N};
