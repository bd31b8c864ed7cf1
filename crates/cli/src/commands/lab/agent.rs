//! `wayleave lab agent`: one member's agent in a lab, started by the lab itself.
//!
//! The same agent as on a host, after this process has moved into the member's namespaces; the network file is the lab's,
//! with the lab's throw-away keys in it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use wayleave_agent::host::Choice;
use wayleave_agent::node::{Options, Reading, Recording, run as run_agent};
use wayleave_agent::system::signals::Signals;
use wayleave_core::plan::KeyKind;
use wayleave_lab::control::enter::{enter, put_over};
use wayleave_lab::session::agents::{Briefing, entry_key_path, key_path};
use wayleave_lab::session::group_path;
use wayleave_lab::session::stock::entry_path;

use crate::commands::key;
use crate::exit::Exit;
use crate::files;
use crate::report;

/// Enters the member and runs its agent.
pub fn run(directory: &Path) -> anyhow::Result<Exit> {
    let path = Briefing::path(directory);
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let briefing: Briefing = serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?;
    enter(&briefing.entry)?;
    let signals = Signals::block().context("preparing to be interrupted")?;
    let directory = directory.to_owned();
    let node = briefing.member.clone();
    let recording = briefing.recording.as_deref().map(open_recording).transpose()?;
    let options = Options {
        node,
        choice: Choice::Engine,
        cleanup: false,
        http: None,
        recording,
        read: Box::new(move |file| {
            read(&briefing, file.unwrap_or(&briefing.file)).map_err(|error| format!("{error:#}"))
        }),
        key: Box::new(move |need| {
            let path = match need.kind {
                KeyKind::Entry => entry_key_path(&directory),
                KeyKind::Member => key_path(&directory),
                KeyKind::Neighbour | KeyKind::Preshared => {
                    directory.join(format!("{}.{}", need.file, need.kind.ending()))
                }
            };
            key::read_private(&path).map_err(|error| format!("{error:#}"))
        }),
    };
    run_agent(options, signals)?;
    Ok(Exit::Fine)
}

/// Enters the member and becomes a program there: a client's own WireGuard, a foreign router.
pub fn become_program(directory: &Path, command: &[std::ffi::OsString]) -> anyhow::Result<Exit> {
    let path = entry_path(directory);
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    enter(&serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?)?;
    if group_path(directory).exists() {
        put_over(&group_path(directory), "/etc/group")?;
    }
    let Some((program, arguments)) = command.split_first() else { anyhow::bail!("no program is named") };
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("running {}", program.display()))
}

/// Opens a recording, or goes on with one that is there.
pub fn open_recording(path: &Path) -> anyhow::Result<Recording> {
    Recording::open(path).with_context(|| format!("recording in {}", path.display()))
}

fn read(briefing: &Briefing, file: &Path) -> anyhow::Result<Reading> {
    let planned = files::plan(file)?.without_missing_keys();
    let plan = planned.plan.as_ref().filter(|_| planned.findings.errors() == 0);
    let plan = plan.with_context(|| report::errors_text(&planned.findings, &planned.sources))?;
    let network = Arc::new(briefing.network(&plan.network)?);
    let sources = planned.sources.0.iter().map(|source| (&source.name).into());
    let files = sources.chain([files::ledger_path(file)]).collect();
    Ok(Reading { network, files, texts: files::texts(&planned.sources), ledger: planned.ledger })
}
