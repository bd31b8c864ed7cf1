//! What runs WireGuard: the kernel where it can, or the embedded engine; the same calls for both.
//!
//! An enum and not a trait: there are two, and there will not be a third. The engine's devices live in this process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use wayleave_core::host::Backend;
use wayleave_engine::{
    CommonSources, ConfigureDevice, ConfigurePeer, Device, DeviceDescription, DeviceOptions, Events, PeerTraffic,
    PublicKey, Tun,
};

use super::HostError;
use crate::netlink::{Netlink, NetlinkError, WireGuard};

/// How long packets of a path that was left are still taken, and those of one that will be: two spreads of news through the
/// network and the longest way. The kernel's WireGuard has no such thing, and drops what is under way when a path changes.
const SOURCE_GRACE: Duration = Duration::from_secs(2);

/// The key of a peer that is there for a moment only; nobody has its private half.
const PASSING: PublicKey = PublicKey(*b"wayleave: a peer that goes again");

/// Which back end to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// The kernel's WireGuard where it has one, else the engine.
    #[default]
    Auto,
    /// The kernel's WireGuard, or not at all.
    Kernel,
    /// The embedded engine.
    Engine,
    /// The embedded engine, its sockets for `wg` in another folder than `wg` looks into: hosts that share a file system.
    EngineAt(PathBuf),
}

/// The WireGuard devices of a host.
#[derive(Debug)]
pub enum Devices {
    /// The kernel's.
    Kernel(WireGuard),
    /// The engine's.
    Engine(Engines),
}

/// The engine's devices of this process.
#[derive(Debug, Default)]
pub struct Engines {
    devices: BTreeMap<String, Device>,
    folder: Option<PathBuf>,
    /// Which one each is of several with the same key.
    numbers: BTreeMap<String, u8>,
    /// Peers of each that may send from one another's prefixes.
    common: BTreeMap<String, CommonSources>,
}

impl Devices {
    pub(super) fn open(choice: Choice) -> Result<Devices, HostError> {
        let engine = || Ok(Devices::Engine(Engines::default()));
        match choice {
            Choice::Engine => engine(),
            Choice::EngineAt(folder) => Ok(Devices::Engine(Engines { folder: Some(folder), ..Engines::default() })),
            Choice::Kernel => Ok(Devices::Kernel(WireGuard::open()?.ok_or(HostError::NoKernelWireGuard)?)),
            Choice::Auto => WireGuard::open()?.map_or_else(engine, |kernel| Ok(Devices::Kernel(kernel))),
        }
    }

    pub(super) fn backend(&self) -> Backend {
        match self {
            Devices::Kernel(_) => Backend::Kernel,
            Devices::Engine(_) => Backend::Engine,
        }
    }

    /// Makes a device, down and without key.
    pub(super) fn make(&mut self, netlink: &mut Netlink, name: &str) -> Result<(), HostError> {
        match self {
            Devices::Kernel(_) => Ok(netlink.add_wireguard(name)?),
            Devices::Engine(Engines { devices, folder, numbers, common }) => {
                let tun = Tun::create(name).map_err(|source| HostError::Tun { device: name.into(), source })?;
                let usual = wayleave_engine::uapi::default_path(name);
                let socket = folder.as_ref().map_or(usual, |folder| folder.join(format!("{name}.sock")));
                let mut options = DeviceOptions::new(tun).with_uapi(socket);
                options.timing.source_grace = SOURCE_GRACE;
                let device =
                    Device::start(options).map_err(|source| HostError::Engine { device: name.into(), source })?;
                let change = ConfigureDevice {
                    number: numbers.get(name).copied(),
                    common: common.get(name).cloned(),
                    ..ConfigureDevice::default()
                };
                devices.insert(name.into(), device);
                self.configure(name, &change)
            }
        }
    }

    /// Notes which one a device is of several with the same key, and tells it if it is there. The kernel's can't be told.
    pub(super) fn set_number(&mut self, name: &str, number: Option<u8>) -> Result<(), HostError> {
        let Devices::Engine(engines) = self else { return Ok(()) };
        match number {
            Some(number) => engines.numbers.insert(name.into(), number),
            None => engines.numbers.remove(name),
        };
        self.number(name, number)
    }

    /// Notes which peers of a device may send from one another's prefixes, and tells it if it is there. The kernel's can't be told.
    pub(super) fn set_common(&mut self, name: &str, common: CommonSources) -> Result<(), HostError> {
        let Devices::Engine(engines) = self else { return Ok(()) };
        let known = engines.common.get(name);
        if known.map_or(common == CommonSources::default(), |known| *known == common) {
            return Ok(());
        }
        let is_there = engines.devices.contains_key(name);
        engines.common.insert(name.into(), common.clone());
        match is_there {
            true => self.configure(name, &ConfigureDevice { common: Some(common), ..ConfigureDevice::default() }),
            false => Ok(()),
        }
    }

    fn number(&mut self, name: &str, number: Option<u8>) -> Result<(), HostError> {
        let is_there = matches!(self, Devices::Engine(engines) if engines.devices.contains_key(name));
        if number.is_none() || !is_there {
            return Ok(());
        }
        self.configure(name, &ConfigureDevice { number, ..ConfigureDevice::default() })
    }

    /// Removes a device.
    pub(super) fn remove(&mut self, netlink: &mut Netlink, name: &str) -> Result<(), HostError> {
        if let Devices::Engine(engines) = self
            && let Some(device) = engines.devices.remove(name)
        {
            // Its interface goes with its descriptor.
            device.stop();
            return Ok(());
        }
        match netlink.remove_link(name) {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Everything there is to know about a device.
    pub(super) fn describe(&mut self, name: &str) -> Result<DeviceDescription, HostError> {
        match self {
            Devices::Kernel(kernel) => Ok(kernel.describe(name)?),
            Devices::Engine(engines) => {
                let device = engines.devices.get(name).ok_or_else(|| HostError::NoDevice { device: name.into() })?;
                device.describe().map_err(|source| HostError::Engine { device: name.into(), source })
            }
        }
    }

    /// What peers' counters and handshakes are: of those for which they have changed since this was last asked, at least.
    pub(super) fn traffic_news(&mut self, name: &str) -> Result<Vec<PeerTraffic>, HostError> {
        match self {
            // It has no way to ask for less than everything.
            Devices::Kernel(kernel) => Ok(kernel.traffic(name)?),
            Devices::Engine(engines) => {
                let device = engines.devices.get(name).ok_or_else(|| HostError::NoDevice { device: name.into() })?;
                device.traffic_news().map_err(|source| HostError::Engine { device: name.into(), source })
            }
        }
    }

    /// Where the peers of a kernel's device are.
    pub(super) fn places(&mut self, name: &str) -> Result<HashMap<PublicKey, SocketAddr>, HostError> {
        match self {
            Devices::Kernel(kernel) => Ok(kernel.places(name)?),
            Devices::Engine(_) => Ok(HashMap::new()),
        }
    }

    /// What a device notices by itself; the kernel's tell nothing.
    pub(super) fn events(&self, name: &str) -> Option<Arc<Events>> {
        match self {
            Devices::Kernel(_) => None,
            Devices::Engine(engines) => engines.devices.get(name).map(Device::events),
        }
    }

    /// What changes a device of the engine from other threads.
    pub(super) fn handle(&self, name: &str) -> Option<wayleave_engine::DeviceHandle> {
        match self {
            Devices::Kernel(_) => None,
            Devices::Engine(engines) => engines.devices.get(name).map(Device::handle),
        }
    }

    /// Changes a device.
    pub(super) fn configure(&mut self, name: &str, change: &ConfigureDevice) -> Result<(), HostError> {
        match self {
            Devices::Kernel(kernel) => match kernel.configure(name, change) {
                Err(error) if cannot_take_single_prefixes(&error, change) => {
                    Ok(kernel.configure(name, &taken_by_another(change))?)
                }
                result => Ok(result?),
            },
            Devices::Engine(engines) => {
                let device = engines.devices.get(name).ok_or_else(|| HostError::NoDevice { device: name.into() })?;
                device.configure(change).map_err(|source| HostError::Engine { device: name.into(), source })
            }
        }
    }

    /// Whether a device of this name is run from here.
    pub(super) fn runs(&self, name: &str) -> bool {
        match self {
            Devices::Kernel(_) => true,
            Devices::Engine(engines) => engines.devices.get(name).is_some_and(Device::is_running),
        }
    }
}

/// Kernels before 6.16 know no flag that takes one prefix away.
fn cannot_take_single_prefixes(error: &NetlinkError, change: &ConfigureDevice) -> bool {
    let takes = change.peers.iter().any(|peer| !peer.remove_allowed_ips.is_empty());
    takes && matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// The same change, with prefixes that are taken away given to a peer that goes at once and takes them along. To give the peer
/// that has them the rest of its list anew would leave it without for a moment, and take long where there are thousands.
fn taken_by_another(change: &ConfigureDevice) -> ConfigureDevice {
    let mut change = change.clone();
    let given: HashSet<IpNet> = change.peers.iter().flat_map(|peer| &peer.allowed_ips).copied().collect();
    let taken = change.peers.iter_mut().flat_map(|peer| std::mem::take(&mut peer.remove_allowed_ips));
    let taken: Vec<IpNet> = taken.filter(|prefix| !given.contains(prefix)).collect();
    change.peers.push(ConfigurePeer { allowed_ips: taken, ..ConfigurePeer::new(PASSING) });
    change.peers.push(ConfigurePeer { remove: true, ..ConfigurePeer::new(PASSING) });
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_go_with_a_peer_that_goes_unless_somebody_else_gets_them() {
        let [one, two]: [IpNet; 2] = ["10.0.0.1/32", "10.0.0.2/32"].map(|text| text.parse().unwrap());
        let peer = |key| ConfigurePeer::new(PublicKey([key; 32]));
        let give = ConfigurePeer { allowed_ips: vec![two], ..peer(2) };
        let take = ConfigurePeer { remove_allowed_ips: vec![one, two], ..peer(1) };
        let change = ConfigureDevice { peers: vec![give.clone(), take], ..ConfigureDevice::default() };
        let expected = vec![
            give,
            peer(1),
            ConfigurePeer { allowed_ips: vec![one], ..ConfigurePeer::new(PASSING) },
            ConfigurePeer { remove: true, ..ConfigurePeer::new(PASSING) },
        ];
        assert_eq!(format!("{:?}", taken_by_another(&change).peers), format!("{expected:?}"));
    }
}
