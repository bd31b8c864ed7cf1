//! What runs WireGuard: the kernel where it can, or the embedded engine; the same calls for both.
//!
//! An enum and not a trait: there are two, and there will not be a third. The engine's devices live in this process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wayleave_core::host::Backend;
use wayleave_engine::{
    ConfigureDevice, Device, DeviceDescription, DeviceOptions, Events, PeerDescription, PeerTraffic, Tun,
};

use super::HostError;
use crate::netlink::{Netlink, NetlinkError, WireGuard};

/// How long packets of a path that was left are still taken, and those of one that will be: two spreads of news through the
/// network and the longest way. The kernel's WireGuard has no such thing, and drops what is under way when a path changes.
const SOURCE_GRACE: Duration = Duration::from_secs(2);

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
            Devices::Engine(Engines { devices, folder }) => {
                let tun = Tun::create(name).map_err(|source| HostError::Tun { device: name.into(), source })?;
                let usual = wayleave_engine::uapi::default_path(name);
                let socket = folder.as_ref().map_or(usual, |folder| folder.join(format!("{name}.sock")));
                let mut options = DeviceOptions::new(tun).with_uapi(socket);
                options.timing.source_grace = SOURCE_GRACE;
                let device =
                    Device::start(options).map_err(|source| HostError::Engine { device: name.into(), source })?;
                devices.insert(name.into(), device);
                Ok(())
            }
        }
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
            Devices::Kernel(kernel) => Ok(kernel.describe(name)?.peers.iter().map(traffic).collect()),
            Devices::Engine(engines) => {
                let device = engines.devices.get(name).ok_or_else(|| HostError::NoDevice { device: name.into() })?;
                device.traffic_news().map_err(|source| HostError::Engine { device: name.into(), source })
            }
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
                    let whole = whole_lists(change, &kernel.describe(name)?);
                    Ok(kernel.configure(name, &whole)?)
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

fn traffic(peer: &PeerDescription) -> PeerTraffic {
    let PeerDescription { public_key, last_handshake, rx_bytes, tx_bytes, .. } = *peer;
    PeerTraffic { public_key, last_handshake, rx_bytes, tx_bytes }
}

/// Kernels before 6.16 know no flag that takes one prefix away.
fn cannot_take_single_prefixes(error: &NetlinkError, change: &ConfigureDevice) -> bool {
    let takes = change.peers.iter().any(|peer| !peer.remove_allowed_ips.is_empty());
    takes && matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// The same change, with each peer's whole list of prefixes where one is taken away.
fn whole_lists(change: &ConfigureDevice, present: &DeviceDescription) -> ConfigureDevice {
    let mut change = change.clone();
    for peer in change.peers.iter_mut().filter(|peer| !peer.remove_allowed_ips.is_empty()) {
        let has = present.peers.iter().find(|found| found.public_key == peer.public_key);
        let kept = has.into_iter().flat_map(|found| &found.allowed_ips);
        let kept: Vec<_> = kept.filter(|prefix| !peer.remove_allowed_ips.contains(prefix)).copied().collect();
        peer.allowed_ips.extend(kept);
        peer.remove_allowed_ips.clear();
        peer.replace_allowed_ips = true;
    }
    change
}
