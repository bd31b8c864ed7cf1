//! What is to be proved: a network file's plan, or hosts as other programs' files have them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wayleave_core::check::{Findings, Severity, Sources};
use wayleave_core::import::prove_read;
use wayleave_core::network::Network;
use wayleave_core::plan::Plan;
use wayleave_core::prove::{Hosts, Proof, reachability, refuted};

use anyhow::{Context as _, bail};

use crate::files::{self, Planned};
use crate::{foreign, report};

/// A proof, and what it is of.
pub struct Subject {
    /// The network's name, or what was named.
    pub name: String,
    /// The proof.
    pub proof: Proof,
    /// All findings about it.
    pub findings: Findings,
    /// What they point into.
    pub sources: Sources,
    /// How many assertions the network file makes.
    pub assertions: usize,
    /// The network that was planned; none for other programs' files.
    pub network: Option<Arc<Network>>,
    /// Peers whose own files were not read.
    pub unread: Vec<String>,
}

/// Reads and proves.
pub fn prove(paths: &[PathBuf]) -> anyhow::Result<Subject> {
    if paths.len() > 1
        && let Some(file) = paths.iter().find(|path| foreign::is_network_file(path) && path.is_file())
    {
        let hint =
            format!("{} is a network file, and one is proved alone; others name folders and files", file.display());
        return Err(files::usage(hint));
    }
    if foreign::are(paths) { imported(paths) } else { planned(&paths[0]) }
}

fn planned(file: &Path) -> anyhow::Result<Subject> {
    let planned = files::plan(file)?;
    let plan = plan_of(&planned)?;
    let proof = reachability(Hosts::from_plan(plan));
    let mut findings = proof.findings();
    findings.extend(refuted(plan, &proof));
    let (name, assertions) = (plan.network.name.to_string(), plan.network.assertions.len());
    let network = Some(plan.network.clone());
    Ok(Subject { name, proof, findings, sources: planned.sources, assertions, network, unread: Vec::new() })
}

fn imported(paths: &[PathBuf]) -> anyhow::Result<Subject> {
    let read = foreign::read(paths)?;
    if read.hosts.is_empty() {
        report::print_findings(&read.findings, &read.sources);
        bail!("no WireGuard device was found in what was named");
    }
    let (proof, model, more) = prove_read(&read);
    // What is merely worth knowing of the files is `import`'s to say.
    let mut findings = more;
    let told = read.findings.sorted().into_iter().filter(|finding| finding.severity() != Severity::Note);
    told.for_each(|finding| findings.push(finding.clone()));
    let name = match paths {
        [only] => only.display().to_string(),
        _ => report::count(read.sources.0.len(), "file"),
    };
    let (sources, unread) = (read.sources, model.unread);
    Ok(Subject { name, proof, findings, sources, assertions: 0, network: None, unread })
}

/// The plan, even of a network in which some pairs have no path: that is what is to be shown.
pub fn plan_of(planned: &Planned) -> anyhow::Result<&Plan> {
    let no_path = |code: &str| code == "WL203";
    let errors = planned.findings.sorted().into_iter().filter(|finding| finding.severity() == Severity::Error);
    if errors.into_iter().any(|finding| !no_path(finding.kind.code())) {
        return planned.accept();
    }
    planned.plan.as_ref().context("the file has no plan")
}
