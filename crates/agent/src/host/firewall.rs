//! Firewalls, by the scripts that are rendered for hosts.
//!
//! A script sets a firewall (`up`) and takes it away (`down`), both as often as one likes. The one that was run last is kept in
//! the network's directory below `/run`: it says what is set, and it is what removes it, whatever later plans say. A firewall
//! whose table somebody has flushed counts as not set.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use wayleave_core::names::DeviceName;

use super::HostError;

/// What a script's name ends in.
const ENDING: &str = ".firewall";

/// The scripts whose firewalls are set.
pub(super) fn look(directory: &Path) -> BTreeMap<DeviceName, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let script = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let device = DeviceName::new(name.to_str()?.strip_suffix(ENDING)?).ok()?;
        let text = fs::read_to_string(entry.path()).ok()?;
        // Without its table it is not what it was; with no text it is found, and set again or removed.
        let text = if is_loaded(&device, &text) { text } else { String::new() };
        Some((device, text))
    };
    entries.filter_map(script).collect()
}

/// Whether the table of a script that has one is there.
fn is_loaded(device: &DeviceName, script: &str) -> bool {
    let table = format!("wayleave-{device}");
    if !script.contains(&format!("table inet {table}")) {
        return true;
    }
    let listed =
        tool("nft").args(["list", "table", "inet", &table]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    listed.is_ok_and(|status| status.success())
}

/// Runs a script's `up` in the place of the one before.
pub(super) fn set(directory: &Path, device: &DeviceName, script: &str) -> Result<(), HostError> {
    let path = directory.join(format!("{device}{ENDING}"));
    let before = fs::read_to_string(&path).ok();
    // Another form of firewall has other tables and chains: what is there goes first.
    if before.is_some_and(|before| !before.is_empty() && form(&before) != form(script)) {
        run(&path, "down", device)?;
    }
    fs::write(&path, script).map_err(|source| failed(device, source))?;
    run(&path, "up", device)
}

/// Runs the `down` of the script that was run last.
pub(super) fn remove(directory: &Path, device: &DeviceName) -> Result<(), HostError> {
    let path = directory.join(format!("{device}{ENDING}"));
    run(&path, "down", device)?;
    fs::remove_file(&path).map_err(|source| failed(device, source))
}

/// What a script calls, as far as it tells one form from another.
fn form(script: &str) -> (bool, bool) {
    (script.contains("ufw "), script.contains("table inet wayleave-"))
}

fn run(path: &Path, what: &str, device: &DeviceName) -> Result<(), HostError> {
    let mut command = tool("sh");
    command.arg(path).arg(what).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().map_err(|source| failed(device, source))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(device, io::Error::other(words)))
}

/// Programs of the system's may be out of a service's path.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin"));
    command
}

fn failed(device: &DeviceName, source: io::Error) -> HostError {
    HostError::Firewall { device: device.clone(), source }
}
