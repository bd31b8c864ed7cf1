//! `wayleave client-watch`: keeps a WireGuard interface that somebody else has set up on a server that answers.
//!
//! In: the interface and what is to be known of its server. Out: a line whenever something changes; runs until it is told to end,
//! and leaves the interface as it is.

use anyhow::Context as _;
use wayleave_agent::client::{Options, watch};
use wayleave_agent::system::signals::Signals;
use wayleave_agent::system::systemd;
use wayleave_engine::PublicKey;

use crate::args::ClientWatchArgs;
use crate::exit::Exit;

/// Watches.
pub fn run(args: ClientWatchArgs) -> anyhow::Result<Exit> {
    let signals = Signals::block().context("preparing to be interrupted")?;
    let peer = args.peer.map(|key| PublicKey(*key.as_bytes()));
    let (ping, endpoints, ready_port) = (args.ping, args.endpoints, args.ready_port);
    let options = Options { interface: args.interface, peer, ping, endpoints, ready_port };
    let mut say = |line: &str| {
        eprintln!("{line}");
        systemd::notify("READY=1");
    };
    watch(&options, &signals, &mut say).with_context(|| format!("watching {}", options.interface))?;
    Ok(Exit::Fine)
}
