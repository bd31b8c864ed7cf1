//! Members that are run by the real agent, each in a process of its own, in the place of the lab's own hands.
//!
//! The lab writes down what an agent needs that is not in the network file (throw-away keys, and the addresses that names have
//! in the lab), starts one process for each member, and starts it again when it ends, as a service manager would. The processes
//! are this program itself, asked for `lab agent`; they end with the lab.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wayleave_agent::control::{Request, Response, Snapshot, client::ask};
use wayleave_core::keys::{PrivateKey, PublicKey};
use wayleave_core::names::Name;
use wayleave_core::network::{Host, Network};

use crate::control::Entry;
use crate::scenario::{NatChoice, Underlay, UnderlayError, keep_apart};

/// Until an agent that has ended is started again.
const RESTART: Duration = Duration::from_millis(200);

/// What a member's agent is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Briefing {
    /// The network file.
    pub file: PathBuf,
    /// Which member.
    pub member: Name,
    /// Where its namespace is.
    pub entry: Entry,
    /// Whether members without endpoint are behind NAT, which gives them their addresses.
    pub behind_nat: bool,
    /// Everybody's public keys.
    pub public_keys: Vec<(Name, PublicKey)>,
    /// The public keys of foreign routers, in the order of the network; empty if nobody plays them.
    pub neighbours: Vec<PublicKey>,
    /// The folder in which the lab's route origins are.
    pub origins: PathBuf,
    /// Where it records, if it is to.
    pub recording: Option<PathBuf>,
}

impl Briefing {
    /// Where it is in a member's directory.
    pub fn path(directory: &Path) -> PathBuf {
        directory.join("briefing.json")
    }

    /// The network of the file with the lab's keys, and addresses of the lab instead of names.
    ///
    /// # Errors
    /// If the underlay can't be laid out.
    pub fn network(&self, network: &Network) -> Result<Network, UnderlayError> {
        let key = |name: &Name| self.public_keys.iter().find(|(owner, _)| owner == name).map(|(_, key)| *key);
        let mut network = network.clone();
        network.neighbours.truncate(self.neighbours.len());
        network.neighbours.iter_mut().zip(&self.neighbours).for_each(|(neighbour, key)| neighbour.public_key = *key);
        network.bgp.iter_mut().for_each(|bgp| keep_apart(bgp, &self.origins));
        network.nodes.iter_mut().for_each(|node| node.public_key = key(&node.name));
        network.clients.iter_mut().for_each(|client| client.public_key = key(&client.name));
        network.entry.iter_mut().for_each(|entry| entry.public_key = key(&entry.name));
        let underlay = Underlay::new(&network, if self.behind_nat { NatChoice::Nat } else { NatChoice::Open })?;
        let shared = network.entry.iter_mut().flat_map(|entry| &mut entry.endpoints);
        let foreign = network.neighbours.iter_mut().filter_map(|neighbour| neighbour.endpoint.as_mut());
        for endpoint in network.nodes.iter_mut().flat_map(|node| &mut node.endpoints).chain(shared).chain(foreign) {
            if let (Host::Dns(_), Some(address)) = (&endpoint.host, underlay.resolve(endpoint)) {
                endpoint.host = Host::Ip(address);
            }
        }
        Ok(network)
    }
}

/// Where the private key is in a member's directory.
pub fn key_path(directory: &Path) -> PathBuf {
    directory.join("private.key")
}

/// Where the private key that entry nodes share is in a member's directory.
pub fn entry_key_path(directory: &Path) -> PathBuf {
    directory.join("entry.key")
}

fn write_key(path: &Path, key: &PrivateKey) -> io::Result<()> {
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, key.reveal().as_bytes())
}

/// A member's agent: a process, and a thread that starts it again.
pub(super) struct AgentProcess {
    directory: PathBuf,
    network: Name,
    child: Arc<Mutex<Option<Child>>>,
}

impl AgentProcess {
    /// Writes down what it needs, and starts it.
    pub(super) fn start(
        program: &Path,
        directory: &Path,
        briefing: &Briefing,
        network: Name,
        (key, entry_key): (&PrivateKey, Option<&PrivateKey>),
    ) -> io::Result<AgentProcess> {
        std::fs::write(Briefing::path(directory), serde_json::to_vec(briefing)?)?;
        write_key(&key_path(directory), key)?;
        entry_key.map_or(Ok(()), |key| write_key(&entry_key_path(directory), key))?;
        let log = std::fs::File::options().append(true).create(true).open(directory.join("agent.log"))?;
        let (program, place) = (program.to_owned(), directory.to_owned());
        let spawn = move || -> io::Result<Child> {
            let mut command = Command::new(&program);
            command.args(["lab", "agent"]).arg(&place).env("WAYLEAVE_RUNTIME_DIR", &place);
            // Each in a place of its own: what it writes without being told where is nobody else's.
            command.current_dir(&place).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?);
            end_with_parent(&mut command);
            command.spawn()
        };
        let child = Arc::new(Mutex::new(Some(spawn()?)));
        let watched = child.clone();
        std::thread::Builder::new().name("agents".into()).spawn(move || watch(&watched, spawn))?;
        Ok(AgentProcess { directory: directory.to_owned(), network, child })
    }

    /// Where it answers.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("networks").join(self.network.as_str()).join("control.sock")
    }

    /// What it reports; none while it is not there.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        match ask(&self.socket(), Request::Status) {
            Ok(Response::Status(snapshot)) => Some(*snapshot),
            _ => None,
        }
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts the agent again whenever it has ended, until the lab takes it.
fn watch(child: &Mutex<Option<Child>>, spawn: impl Fn() -> io::Result<Child>) {
    loop {
        std::thread::sleep(RESTART);
        let mut guard = child.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(present) = guard.as_mut() else { return };
        if let Ok(Some(_)) = present.try_wait()
            && let Ok(next) = spawn()
        {
            *guard = Some(next);
        }
    }
}

/// The kernel ends the process when the lab's ends, however that happens (prctl(2), `PR_SET_PDEATHSIG`).
pub(super) fn end_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    let parent = std::process::id();
    let before_exec = move || {
        // SAFETY: both calls take and touch no memory.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                return Err(io::Error::last_os_error());
            }
            // The lab may be gone already.
            if libc::getppid() as u32 != parent {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, which allocate nothing.
    unsafe { command.pre_exec(before_exec) };
}
