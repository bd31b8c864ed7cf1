//! A member's firewall: the table of its plan, loaded by `nft` inside its namespace.
//!
//! Whatever form a host's firewall has by the file, in the lab it is nftables: the same rules, in a namespace where
//! nothing else is.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::Namespace;

/// Why a table can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// No such program, most likely.
    #[error("can't run nft (Debian's package nftables has it)")]
    Run(#[source] std::io::Error),
    /// What it says.
    #[error("nft refuses the firewall: {0}")]
    Refused(String),
}

/// Loads a text of `nft` in a namespace.
pub fn load(namespace: &Namespace, text: &str) -> Result<(), FirewallError> {
    let inside = namespace.clone();
    let mut command = Command::new("nft");
    // Programs of the system's may be out of an ordinary user's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: between fork and exec only setns(2) is called, which allocates nothing.
    unsafe { command.pre_exec(move || inside.enter_for_good()) };
    let mut child = command.spawn().map_err(FirewallError::Run)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(FirewallError::Run)?;
    }
    let output = child.wait_with_output().map_err(FirewallError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    Err(FirewallError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
