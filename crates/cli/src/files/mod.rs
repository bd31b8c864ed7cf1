//! The files of a network: the network file and its includes, the ledger beside it, the plan last recorded.
//!
//! Reading never changes anything. [`record`] writes ledger and plan only after everything was found good, each by
//! writing a new file and renaming it, so a crash leaves the old or the new, never half of one. A recorded plan
//! (`network.plan`) holds what it was made of, sources and ledger: the same inputs give the same plan again, and the
//! plan itself can be a hundred times as large.

mod staged;

pub use staged::Staged;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use wayleave_core::check::rules::accepted;
use wayleave_core::check::{Findings, Sources};
use wayleave_core::file::{NetworkFile, load_with, nearest};
use wayleave_core::limits::SOURCE_BYTES_MAX;
use wayleave_core::names::Name;
use wayleave_core::network::{Network, resolve::resolve};
use wayleave_core::plan::{self, Ledger, LinkStates, NodePlan, Plan, PlanFile};

use crate::exit::Exit;
use crate::report;

/// A network file read to the end: as much as could be made of it, and what is wrong.
pub struct Planned {
    /// The network file as written.
    pub written: NetworkFile,
    /// The plan, unless the network could not even be made sense of.
    pub plan: Option<Plan>,
    /// The ledger to keep.
    pub ledger: Ledger,
    /// Whether it differs from the one on disk.
    ledger_is_new: bool,
    /// Everything found.
    pub findings: Findings,
    /// The sources that findings point into.
    pub sources: Sources,
}

/// The network file when none is named.
const DEFAULT_FILE: &str = "network.toml";
/// What a recorded plan calls itself.
const RECORD_SCHEMA: &str = "wayleave.record";
/// The format of recorded plans that this code writes and reads.
const RECORD_VERSION: u32 = 1;

/// A recorded plan: its inputs.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: String,
    version: u32,
    digest: String,
    sources: Vec<(String, String)>,
    ledger: String,
}

/// What to do about a ledger that would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Write it.
    Update,
    /// Fail.
    Locked,
}

/// Reads a file, at most as many bytes as a source may have and one more.
fn read_source(path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(SOURCE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Reads and resolves a network file. What it accepts is left out of the findings.
fn network(
    file: &Path,
    read: impl FnMut(&str) -> Result<Vec<u8>, String>,
) -> anyhow::Result<(NetworkFile, Option<Network>, Findings, Sources)> {
    let Some(name) = file.to_str() else { bail!("the name of {} is not UTF-8", file.display()) };
    // A member's name where the file's belongs: easily done, since the file has a default.
    let is_bare_word = file.extension().is_none() && file.components().count() == 1;
    if is_bare_word && !file.exists() && Path::new(DEFAULT_FILE).exists() {
        let hint =
            format!("there is no file {name}; if it is a node or client, name the file first: {DEFAULT_FILE} {name}");
        return Err(usage(hint));
    }
    let loaded = load_with(name, read);
    let mut findings = loaded.findings;
    let resolution = resolve(&loaded.file);
    findings.extend(resolution.findings);
    Ok((loaded.file, resolution.network, findings, loaded.sources))
}

/// Reads a network file and its ledger, and plans.
pub fn plan(file: &Path) -> anyhow::Result<Planned> {
    planned(file, read_source)
}

/// A source's text as it would be.
pub struct Edit {
    /// The source's name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Plans as if one of the sources had another text.
pub fn plan_edited(file: &Path, edit: &Edit) -> anyhow::Result<Planned> {
    planned(file, |path| if path == edit.name { Ok(edit.text.clone().into_bytes()) } else { read_source(path) })
}

fn planned(file: &Path, read: impl FnMut(&str) -> Result<Vec<u8>, String>) -> anyhow::Result<Planned> {
    let (written, network, mut findings, sources) = network(file, read)?;
    let before = ledger(file)?;
    let (mut plan, mut ledger, mut ledger_is_new) = (None, before, false);
    if let Some(network) = network {
        let (made, after, more) = plan::plan(Arc::new(network), &ledger, &LinkStates::default());
        findings.extend(more);
        ledger_is_new = after != ledger;
        (plan, ledger) = (Some(made), after);
    }
    let findings = accepted(&written).into_iter().fold(findings, |findings, code| findings.without(code));
    Ok(Planned { written, plan, ledger, ledger_is_new, findings, sources })
}

/// The finding that members lack public keys: of no interest where keys are about to be made.
const NO_KEY: &str = "WL201";

impl Planned {
    /// Forgets that members lack keys.
    #[must_use]
    pub fn without_missing_keys(mut self) -> Planned {
        self.findings = self.findings.without(NO_KEY);
        self
    }

    /// Forgets a key that was made for somebody who is gone.
    pub fn forget_key(&mut self, name: &Name) {
        self.ledger_is_new |= self.ledger.public_keys.remove(name).is_some();
    }

    /// Prints the findings; hands out the plan if there is no error.
    pub fn accept(&self) -> anyhow::Result<&Plan> {
        report::print_findings(&self.findings, &self.sources);
        match &self.plan {
            Some(plan) if self.findings.errors() == 0 => Ok(plan),
            _ => {
                let count = self.findings.errors();
                bail!("{count} error{} in the network file; nothing was changed", if count == 1 { "" } else { "s" })
            }
        }
    }
}

/// The texts of sources by their names.
pub fn texts(sources: &Sources) -> Vec<(String, String)> {
    sources.0.iter().map(|source| (source.name.clone(), source.text.to_string())).collect()
}

/// Writes ledger and plan where they changed.
pub fn record(file: &Path, planned: &Planned, plan: &Plan, locking: Locking) -> anyhow::Result<()> {
    let mut staged = Staged::default();
    stage_record(file, planned, plan, locking, &mut staged)?;
    staged.commit()
}

/// Stages ledger and plan where they changed.
pub fn stage_record(
    file: &Path,
    planned: &Planned,
    plan: &Plan,
    locking: Locking,
    staged: &mut Staged,
) -> anyhow::Result<()> {
    if planned.ledger_is_new && locking == Locking::Locked {
        bail!("{} would change, and --locked forbids it", ledger_path(file).display());
    }
    if planned.ledger_is_new || !plan_path(file).exists() {
        let sources = planned.sources.0.iter().map(|source| (source.name.clone(), source.text.to_string()));
        let record = Record {
            schema: RECORD_SCHEMA.into(),
            version: RECORD_VERSION,
            digest: plan.digest.clone(),
            sources: sources.collect(),
            ledger: planned.ledger.to_text(),
        };
        staged.replace(&plan_path(file), serde_json::to_string(&record)?.as_bytes(), 0o644)?;
    }
    // The ledger last: it alone says which generation is in force.
    if planned.ledger_is_new {
        staged.replace(&ledger_path(file), planned.ledger.to_text().as_bytes(), 0o644)?;
    }
    Ok(())
}

/// `network.lock` for `network.toml`.
pub fn ledger_path(file: &Path) -> PathBuf {
    file.with_extension("lock")
}

/// `network.plan` for `network.toml`.
pub fn plan_path(file: &Path) -> PathBuf {
    file.with_extension("plan")
}

/// The ledger beside a network file; an empty one if there is none.
pub fn ledger(file: &Path) -> anyhow::Result<Ledger> {
    let path = ledger_path(file);
    match fs::read_to_string(&path) {
        Ok(text) => Ledger::parse(&text).with_context(|| format!("reading {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Ledger::default()),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// A plan to compare with.
pub enum Earlier {
    /// Written by `plan --json`.
    File(PlanFile),
    /// Planned again from what was recorded, or from another network file.
    Plan(Box<Plan>),
}

impl Earlier {
    /// One member's part, if there was such a member.
    pub fn of(&self, name: &Name) -> Option<NodePlan> {
        match self {
            Earlier::File(file) => file.members.iter().find(|member| member.name == *name).cloned(),
            Earlier::Plan(plan) => plan.find(name).map(|member| plan.of(member)),
        }
    }
}

/// Reads an earlier plan: a recorded one, one written by `plan --json`, or a network file.
pub fn earlier(path: &Path) -> anyhow::Result<Earlier> {
    let about = || format!("reading {}", path.display());
    let text = fs::read_to_string(path).with_context(about)?;
    let head: String = text.chars().take(64).collect();
    if head.contains(RECORD_SCHEMA) {
        let record: Record = serde_json::from_str(&text).with_context(about)?;
        return recorded(record).with_context(about);
    }
    if head.contains("\"wayleave.plan\"") {
        return Ok(Earlier::File(PlanFile::parse(&text).with_context(about)?));
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !["toml", "yaml", "yml", "json"].contains(&extension) {
        bail!(
            "{} is no recorded plan and no `plan --json`, and by its name no network file (.toml, .yaml, .yml, .json)",
            path.display()
        );
    }
    let planned = plan(path)?;
    planned.accept().with_context(|| format!("planning {}", path.display()))?;
    planned.plan.map(|plan| Earlier::Plan(Box::new(plan))).context("the file has no plan")
}

/// Plans again what was recorded.
fn recorded(record: Record) -> anyhow::Result<Earlier> {
    anyhow::ensure!(record.version == RECORD_VERSION, "it is of version {}, not {RECORD_VERSION}", record.version);
    let root = record.sources.first().map(|(name, _)| name.clone()).context("it holds no sources")?;
    let read = |name: &str| {
        let found = record.sources.iter().find(|(source, _)| source == name);
        found.map(|(_, text)| text.clone().into_bytes()).ok_or_else(|| "not recorded".to_owned())
    };
    let network = resolve(&load_with(&root, read).file).network.context("this version refuses what was recorded")?;
    let (plan, ..) = plan::plan(Arc::new(network), &Ledger::parse(&record.ledger)?, &LinkStates::default());
    if plan.digest != record.digest {
        eprintln!(
            "the plan was recorded by another version of wayleave; what that version planned differently is not shown"
        );
    }
    Ok(Earlier::Plan(Box::new(plan)))
}

/// Replaces a file as a whole, or not at all.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let temporary = write_beside(path, bytes, mode)?;
    let rename = || -> std::io::Result<()> {
        fs::File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)
    };
    rename().inspect_err(|_| drop(fs::remove_file(&temporary))).with_context(|| format!("writing {}", path.display()))
}

/// Writes a new file beside the one it is to replace, and returns its name.
pub fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(temporary)
}

/// Waits until everything on a directory's file system is on the disk, then gives each new file its name.
pub fn settle(directory: &Path, pending: &[(PathBuf, PathBuf)]) -> anyhow::Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    let handle = fs::File::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    // SAFETY: the descriptor is open; syncfs touches no memory.
    if unsafe { libc::syncfs(handle.as_raw_fd()) } < 0 {
        let error = std::io::Error::last_os_error();
        return Err(error).with_context(|| format!("writing {} to the disk", directory.display()));
    }
    for (temporary, path) in pending {
        fs::rename(temporary, path).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// `did you mean X? ` where a known word is near enough, or nothing.
pub fn meant<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> String {
    nearest(word, known).map_or_else(String::new, |word| format!("did you mean {word}? "))
}

/// An error that makes the program exit with 64.
pub fn usage(message: String) -> anyhow::Error {
    anyhow::Error::new(Exit::Usage).context(message)
}
