//! The commands about this host, and what they have in common: which node it is, its private key, its peers' addresses.
//!
//! A key is read only from a file that nobody else can read, and only if it is this node's; what is wrong with it is said with
//! the way to mend it.

pub mod agent;
pub mod apply;
pub mod bgp;
pub mod client_watch;
pub mod doctor;
pub mod drain;
pub mod looking_glass;
pub mod ping;
pub mod route;
pub mod status;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wayleave_agent::host::Choice;
use wayleave_agent::host::symptoms::resolve as resolve_endpoint;
use wayleave_core::host::Resolved;
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::plan::{KeyKind, KeyNeed, Member, NodePlan, Plan};

use super::key as key_file;
use crate::args::{DeviceChoice, HostArgs};
use crate::files;

/// The credentials of systemd's that hold private keys: the host's own, and the one that all entry nodes share. Those for one
/// neighbour are called as their files.
const CREDENTIALS: [&str; 2] = ["wayleave-private-key", "wayleave-entry-key"];

/// The member that this host is.
pub fn member(args: &HostArgs, plan: &Plan) -> anyhow::Result<Member> {
    let word = match &args.node {
        Some(word) => word.clone(),
        None => hostname()?,
    };
    let found = Name::new(&word).ok().and_then(|name| plan.find(&name));
    let all = || plan.members().map(|member| plan.name(member).as_str());
    found.ok_or_else(|| match &args.node {
        Some(_) => files::usage(format!(
            "there is no node or client {word} in {}; {}see `wayleave plan`",
            args.network.display(),
            files::meant(&word, all())
        )),
        None => files::usage(format!(
            "this host is called {word}, and there is no such node in {}: say which it is with --node",
            args.network.display()
        )),
    })
}

fn hostname() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").context("reading this host's name")?;
    Ok(text.trim().split('.').next().unwrap_or_default().to_lowercase())
}

/// Which back end was chosen.
pub fn choice(args: &HostArgs) -> Choice {
    match args.device {
        DeviceChoice::Auto => Choice::Auto,
        DeviceChoice::Kernel => Choice::Kernel,
        DeviceChoice::Engine => Choice::Engine,
    }
}

/// Where a key is: where it is said to be, else the credential that systemd hands over, else where rendered files expect it. A
/// key for one neighbour is beside the node's own.
pub fn key_path(args: &HostArgs, need: KeyNeed<'_>) -> PathBuf {
    let name = format!("{}.{}", need.file, need.kind.ending());
    let said = match need.kind {
        KeyKind::Member => args.private_key.clone(),
        KeyKind::Entry => args.entry_key.clone(),
        KeyKind::Neighbour | KeyKind::Preshared => args.private_key.as_ref().map(|path| path.with_file_name(&name)),
    };
    let credential = || {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
        let name = match need.kind {
            KeyKind::Member => CREDENTIALS[0],
            KeyKind::Entry => CREDENTIALS[1],
            KeyKind::Neighbour | KeyKind::Preshared => &name,
        };
        Some(Path::new(&directory).join(name)).filter(|path| path.exists())
    };
    said.or_else(credential).unwrap_or_else(|| Path::new("/etc/wireguard").join(&name))
}

/// Reads a private key and checks that it is the right one and readable by nobody else.
pub fn key(args: &HostArgs, need: KeyNeed<'_>) -> anyhow::Result<PrivateKey> {
    let path = key_path(args, need);
    let wants = match need.kind {
        KeyKind::Member => "its private key; name its file with --private-key, or put it there",
        KeyKind::Entry => "its private key; name its file with --entry-key, or put it there",
        KeyKind::Neighbour => "a private key for it alone; put it there, beside the node's own",
        KeyKind::Preshared => "the preshared key that you both have; put it there, beside the node's own key",
    };
    let key = key_file::read_private(&path).with_context(|| format!("{} needs {wants}", need.owner))?;
    let mode = std::fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("{} can be read by others (mode {mode:04o}); run chmod 600 {0}", path.display());
    }
    match need.public_key {
        None if need.kind == KeyKind::Preshared => Ok(key),
        Some(public) if public != key.public_key() => bail!(
            "{} holds the private key of {}, and {} has {public} in the network file",
            path.display(),
            key.public_key(),
            need.owner
        ),
        Some(_) => Ok(key),
        None => bail!(
            "the network file has no public key for {}; write public_key = \"{}\" there",
            need.owner,
            key.public_key()
        ),
    }
}

/// The address of each peer that is dialled, and what could not be found out.
pub fn resolve(plan: &NodePlan) -> (Resolved, Vec<String>) {
    let (mut resolved, mut complaints) = (Resolved::new(), Vec::new());
    for (name, endpoints) in plan.dialled().filter(|(_, endpoints)| !endpoints.is_empty()) {
        let mut failed = Vec::new();
        let address = endpoints.iter().find_map(|endpoint| match resolve_endpoint(endpoint) {
            Ok(address) => Some(address),
            Err((name, why)) => {
                failed.push(format!("{name}: {why}"));
                None
            }
        });
        match address {
            Some(address) => drop(resolved.insert(name.clone(), address)),
            None => complaints.push(format!("{name}: {}", failed.join("; "))),
        }
    }
    (resolved, complaints)
}
