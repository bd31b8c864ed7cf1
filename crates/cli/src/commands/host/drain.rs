//! `wayleave drain`: has other entry nodes take this host's clients, and says when none is left.
//!
//! The agent does it, whether or not anybody waits; here it is asked how many are left. Clients that are with another node and
//! still come through this one are named apart: they lose it when it ends.

use std::time::{Duration, Instant};

use anyhow::bail;
use wayleave_agent::control::{ReadySnapshot, Request, Response};

use super::agent::request;
use crate::args::DrainArgs;
use crate::exit::Exit;

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(100);

/// Drains, and waits.
pub fn run(args: &DrainArgs) -> anyhow::Result<Exit> {
    let begin = Instant::now();
    let (network, answer) = request(args.network.as_deref(), Request::Drain { on: true })?;
    if let Response::Done(words) = answer {
        eprintln!("{words}");
    }
    if args.wait_s == 0 {
        return Ok(Exit::Fine);
    }
    loop {
        let (_, answer) = request(Some(network.as_str()), Request::Status)?;
        let (ready, bgp) = match answer {
            Response::Status(snapshot) => (snapshot.ready, snapshot.bgp),
            _ => (None, None),
        };
        // Without clients there is nobody to wait for: neighbours go other ways as soon as they have heard of it.
        if ready.is_none() && bgp.is_some_and(|bgp| bgp.is_leaving) {
            return Ok(Exit::Fine);
        }
        let Some(ready) = ready.filter(|ready| ready.is_draining) else {
            bail!("it no longer drains: somebody has taken that back, or the agent has started anew");
        };
        if ready.clients == 0 {
            eprintln!("empty after {:.1} s: no client is here", begin.elapsed().as_secs_f64());
            eprint!("{}", passing(&ready));
            return Ok(Exit::Fine);
        }
        if begin.elapsed() >= Duration::from_secs(args.wait_s) {
            eprintln!("{} still here after {} s; they are served, and it goes on draining", ready.clients, args.wait_s);
            return Ok(Exit::Degraded);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// What there is to say about clients that only come through here.
fn passing(ready: &ReadySnapshot) -> String {
    if ready.passing == 0 {
        return String::new();
    }
    format!(
        "{} of those that are with others now still come through here, since their NAT lets in nobody else.\n\
         When this node ends they have to call anew, which `wayleave client-watch` or an agent on them does at once.\n",
        ready.passing
    )
}
