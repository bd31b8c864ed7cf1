//! `wayleave looking-glass`: lets others ask this host's BIRD over HTTP, and change nothing.
//!
//! Answers what the front ends of bird-lg ask, until it is ended. It listens where only this host or the overlay can reach it, unless
//! it is told that everybody may.

use std::io::Write as _;
use std::net::{IpAddr, TcpListener};

use anyhow::Context as _;
use wayleave_agent::bird::glass::serve;

use super::bgp::of_agent;
use crate::args::GlassArgs;
use crate::exit::Exit;
use crate::files;

/// Listens and answers.
pub fn run(args: &GlassArgs) -> anyhow::Result<Exit> {
    if !args.public && !is_private(args.listen.ip()) {
        return Err(files::usage(format!(
            "{} can be reached from anywhere; listen at 127.0.0.1 or an overlay address, or say --public",
            args.listen.ip()
        )));
    }
    let socket = match &args.socket {
        Some(socket) => socket.clone(),
        None => of_agent(args.network.as_deref())?.socket,
    };
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listening at {}", args.listen))?;
    writeln!(std::io::stderr(), "answering at http://{}/bird?q=show+protocols", listener.local_addr()?)?;
    serve(&listener, socket);
    Ok(Exit::Fine)
}

/// Whether an address is one that the internet does not lead to.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
