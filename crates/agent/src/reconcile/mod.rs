//! One network on one host: from what is wanted to what is there.
//!
//! Looks at the host, asks `core` for the difference, carries it out, and says what it did. Holds the lock of the network's
//! directory, so that two programs never work on one network at a time; remembers settings before it changes them, and puts
//! them back when the network goes.

mod originals;

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wayleave_core::host::{Actual, Change, HostState, Sysctl, diff, nothing};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::plan::KeyKind;

use crate::host::{Choice, Host, HostError, Keys, Refused, sysctl};
use crate::system::directory::{self, DirectoryError};
use originals::Originals;

/// The name of the control socket in a network's directory.
pub const SOCKET: &str = "control.sock";

/// How long a program that ends may take to let go of its network.
const ENDING_MAX: Duration = Duration::from_secs(5);

/// Why a host was not brought to where it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Another program of ours does it.
    #[error("wayleave runs on network {0} of this host already; ask it with `wayleave status`, or end it first")]
    Busy(Name),
    /// The directory below `/run`.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The host can't be looked at, or something is in the way.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A change was refused; those before it are done.
    #[error(transparent)]
    Refused(#[from] Box<Refused>),
}

/// A network on this host, for as long as its lock is held.
#[derive(Debug)]
pub struct Reconciler {
    network: Name,
    place: PathBuf,
    host: Host,
    originals: Originals,
    keys: Keys,
    _lock: File,
}

/// What there is, and what to change.
#[derive(Debug)]
pub struct Proposal {
    /// What there is.
    pub actual: Actual,
    /// The changes, in their order.
    pub changes: Vec<Change>,
}

/// Where a network's directory is.
pub fn place(network: &Name) -> PathBuf {
    networks().join(network.as_str())
}

/// Where all networks' directories are.
pub fn networks() -> PathBuf {
    directory::root().join("networks")
}

impl Reconciler {
    /// Takes a network on this host.
    ///
    /// # Errors
    /// If another program has it, or the kernel can't be talked to.
    pub fn open(network: &Name, choice: Choice) -> Result<Reconciler, ReconcileError> {
        let place = place(network);
        let lock = lock(&place)?.ok_or_else(|| ReconcileError::Busy(network.clone()))?;
        let originals = Originals::load(&place)?;
        let host = Host::open(choice)?.with_firewalls(&place);
        Ok(Reconciler { network: network.clone(), place, host, originals, keys: Keys::default(), _lock: lock })
    }

    /// The network's directory.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// What runs WireGuard here.
    pub fn backend(&self) -> wayleave_core::host::Backend {
        self.host.backend()
    }

    /// The host.
    pub fn host(&mut self) -> &mut Host {
        &mut self.host
    }

    /// Hands over a device's key.
    pub fn set_key(&mut self, kind: KeyKind, device: DeviceName, key: PrivateKey) {
        let keys = match kind {
            KeyKind::Preshared => &mut self.keys.preshared,
            KeyKind::Member | KeyKind::Entry | KeyKind::Neighbour => &mut self.keys.private,
        };
        keys.insert(device, key);
    }

    /// What is wanted on a host as this one is: interfaces keep the IPv6 routers that they have from the network they are in, and
    /// preshared keys are those that were handed over.
    pub fn fit(&self, mut wanted: HostState) -> HostState {
        let kept = |name: &str| self.originals.before(&Sysctl::router_advertisements(name)).is_some();
        let is_ours = |name: &str| wanted.devices.keys().any(|device| device.as_str() == name);
        let hears = |name: &String| !is_ours(name) && (kept(name) || sysctl::hears_routers(name));
        let interfaces: Vec<String> = sysctl::interfaces().filter(hears).collect();
        wanted.keep_routers(interfaces.iter().map(String::as_str));
        wanted.set_preshared(|device| self.keys.preshared.get(device).map(PrivateKey::mark));
        wanted
    }

    /// Looks, and says what to change. Changes nothing.
    ///
    /// # Errors
    /// If the host can't be looked at, or something of somebody else's is in the way.
    pub fn propose(&mut self, wanted: &HostState, earlier: Option<&HostState>) -> Result<Proposal, ReconcileError> {
        let actual = self.host.look(&self.network, wanted)?;
        let changes = diff(&actual, wanted, earlier).map_err(HostError::Obstacles)?;
        Ok(Proposal { actual, changes })
    }

    /// Carries a proposal out; `done` is told of each change.
    ///
    /// # Errors
    /// If a change is refused. Those before it are done: propose again to go on.
    pub fn carry_out(
        &mut self,
        wanted: &HostState,
        proposal: &Proposal,
        done: impl FnMut(&Change),
    ) -> Result<(), ReconcileError> {
        self.originals.remember(wanted, &proposal.actual.state.sysctls, &proposal.changes)?;
        Ok(self.host.apply(&proposal.changes, &self.keys, done)?)
    }

    /// Lets in for a while what peers may send soon, where the device can do that; see [`wayleave_core::host::expected`].
    ///
    /// # Errors
    /// If the device refuses.
    pub fn expect(&mut self, changes: &[Change]) -> Result<(), ReconcileError> {
        Ok(self.host.apply(changes, &self.keys, |_| {})?)
    }

    /// Removes everything of this network from the host and sets back what was changed.
    ///
    /// # Errors
    /// If a change is refused; what is left can be removed by another call.
    pub fn remove(&mut self, done: impl FnMut(&Change)) -> Result<(), ReconcileError> {
        let mut wanted = nothing(&self.originals.release(&networks())?);
        // Interfaces may have gone, and their settings with them.
        wanted.sysctls.retain(|name, _| sysctl::exists(name));
        let proposal = self.propose(&wanted, None)?;
        self.host.apply(&proposal.changes, &self.keys, done)?;
        self.originals.forget()?;
        Ok(())
    }
}

/// Whether an agent answers at a network's directory.
pub fn is_asked(place: &Path) -> bool {
    UnixStream::connect(place.join(SOCKET)).is_ok()
}

/// Makes and locks a directory. A program that is just ending holds its lock longer than its socket answers: the kernel takes its
/// interfaces down first, which can take a while on a busy machine. It may remove the directory at its end.
fn lock(place: &Path) -> Result<Option<File>, DirectoryError> {
    let begin = Instant::now();
    loop {
        directory::make(place)?;
        match directory::lock(place)? {
            None if begin.elapsed() < ENDING_MAX && !is_asked(place) => std::thread::sleep(ENDING_MAX / 100),
            outcome => return Ok(outcome),
        }
    }
}

impl Drop for Reconciler {
    /// Leaves no directory behind where nothing of the network is on the host.
    fn drop(&mut self) {
        if !Originals::is_in(&self.place) {
            let _ = std::fs::remove_dir_all(&self.place);
        }
    }
}
