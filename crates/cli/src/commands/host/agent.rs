//! `wayleave agent`: runs until it is told to end; and the commands that tell it to read the file again or to end.

use std::path::PathBuf;

use anyhow::Context as _;
use wayleave_agent::control::{Request, Response, client::ask};
use wayleave_agent::node::{Options, Reading, run as run_agent};
use wayleave_agent::reconcile::{SOCKET, is_asked, place};
use wayleave_agent::system::signals::Signals;
use wayleave_core::names::Name;

use super::apply::one_network;
use crate::args::AgentArgs;
use crate::commands::lab::agent::open_recording;
use crate::exit::Exit;
use crate::files::{self, Planned};
use crate::report;

/// Runs the agent.
pub fn run(args: AgentArgs) -> anyhow::Result<Exit> {
    // Before any thread exists: threads inherit the mask.
    let signals = Signals::block().context("preparing to be interrupted")?;
    let planned = files::plan(&args.host.network)?;
    let plan = planned.accept()?;
    let node = plan.name(super::member(&args.host, plan)?).clone();
    let choice = super::choice(&args.host);
    let recording = args.record.as_deref().map(open_recording).transpose()?;
    let (cleanup, http, host) = (args.cleanup, args.http.0, args.host);
    let network = std::path::absolute(&host.network).with_context(|| format!("finding {}", host.network.display()))?;
    let mut first = Some(reading(&network, planned)?);
    let key_host = host;
    let options = Options {
        node,
        choice,
        cleanup,
        http,
        recording,
        read: Box::new(move |file| match (file, first.take()) {
            (None, Some(reading)) => Ok(reading),
            _ => read_again(file.unwrap_or(&network)),
        }),
        key: Box::new(move |need| super::key(&key_host, need).map_err(|error| format!("{error:#}"))),
    };
    run_agent(options, signals)?;
    Ok(Exit::Fine)
}

fn reading(network: &std::path::Path, planned: Planned) -> anyhow::Result<Reading> {
    let plan = planned.accept()?;
    let (files, texts) = (watched(network, &planned), files::texts(&planned.sources));
    Ok(Reading { network: plan.network.clone(), files, texts, ledger: planned.ledger })
}

/// What is watched: the network file, what it includes, its ledger.
fn watched(network: &std::path::Path, planned: &Planned) -> Vec<PathBuf> {
    let sources = planned.sources.0.iter().map(|source| PathBuf::from(&source.name));
    sources.chain([files::ledger_path(network)]).collect()
}

fn read_again(network: &std::path::Path) -> Result<Reading, String> {
    let planned = files::plan(network).map_err(|error| format!("{error:#}"))?;
    if planned.findings.errors() > 0 || planned.plan.is_none() {
        return Err(report::errors_text(&planned.findings, &planned.sources));
    }
    let (files, texts) = (watched(network, &planned), files::texts(&planned.sources));
    let network = planned.plan.as_ref().map(|plan| plan.network.clone());
    let network = network.ok_or("it makes no network")?;
    Ok(Reading { network, files, texts, ledger: planned.ledger })
}

/// Whether an agent runs on a network of this host: a dead one leaves its socket behind, but nobody listens there.
pub fn runs(network: &Name) -> bool {
    is_asked(&place(network))
}

/// Asks the agent of a network, the named one or the only one.
pub fn request(network: Option<&str>, request: Request) -> anyhow::Result<(Name, Response)> {
    let network = one_network(network)?;
    let answer = ask(&place(&network).join(SOCKET), request)?;
    Ok((network, answer))
}

/// Tells an agent something and prints what it says.
pub fn tell(network: Option<&str>, what: Request) -> anyhow::Result<Exit> {
    if let (_, Response::Done(words)) = request(network, what)? {
        eprintln!("{words}");
    }
    Ok(Exit::Fine)
}
