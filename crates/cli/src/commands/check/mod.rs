//! `wayleave check`: findings of a network file and of its plan, or of other people's files. Changes nothing.
//!
//! What was named is told apart by its content: one network file is planned; folders, several files and files of other
//! formats are read as hosts. Private keys are never shown. Findings are on stderr, as JSON or SARIF on stdout.

mod explain;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use wayleave_core::check::{Finding, Findings, Hazard, Kind, Severity, Sources, Span, rules};
use wayleave_core::file::Date;
use wayleave_core::import;

use crate::args::CheckArgs;
use crate::exit::Exit;
use crate::report::{self, count};
use crate::{files, foreign};

/// The finding that others can read a private key.
const EXPOSED: &str = "WL406";

/// What was looked at, and what was found.
struct Checked {
    what: String,
    findings: Findings,
    sources: Sources,
}

/// Prints all findings, worst first, and a summary.
pub fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    if let Some(code) = &args.explain {
        return explain::run(code.as_deref());
    }
    acceptable(&args.accept)?;
    let mut checked = match args.paths.as_slice() {
        [file] if !foreign::are(&args.paths) => network(file, args.today.unwrap_or_else(today))?,
        paths => hosts(paths)?,
    };
    for code in &args.accept {
        checked.findings = checked.findings.without(&code.to_ascii_uppercase());
    }
    let Checked { what, findings, sources } = &checked;
    if args.json {
        println!("{:#}", report::findings_json(findings, sources));
    } else if args.sarif {
        println!("{:#}", report::findings_sarif(findings, sources));
    } else {
        report::print_findings(findings, sources);
        report::print_summary(findings, what);
    }
    Ok(match (findings.errors(), findings.warnings()) {
        (1.., _) => Exit::Failed,
        (0, 1..) if args.strict => Exit::Warnings,
        _ => Exit::Fine,
    })
}

/// Whether all codes can be accepted; if not, the command line makes no sense.
fn acceptable(codes: &[String]) -> anyhow::Result<()> {
    for code in codes {
        match Kind::all().into_iter().find(|(known, _)| known.eq_ignore_ascii_case(code)) {
            None => return Err(explain::unknown(code)),
            Some((known, Severity::Error)) => {
                return Err(files::usage(format!("{known} is an error, and errors can't be accepted")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn network(file: &Path, today: Date) -> anyhow::Result<Checked> {
    let files::Planned { written, plan, mut findings, sources, .. } = files::plan(file)?;
    let accepted = rules::accepted(&written);
    // What can't even be planned is mended first.
    if let Some(plan) = plan.filter(|_| findings.errors() == 0) {
        let more = rules::network(&written, &plan.network, today);
        findings.extend(accepted.iter().fold(more, |more, code| more.without(code)));
    }
    let keys = beside(file).and_then(|keys| foreign::gather(&[keys]).ok()).unwrap_or_default();
    let read = import::read(keys.files);
    let exposed = read.findings.sorted().into_iter().filter(|finding| finding.kind.code() == EXPOSED);
    exposed.filter(|_| !accepted.contains(&EXPOSED)).for_each(|finding| findings.push(finding.clone()));
    let tracked = tracked(&read.key_files);
    findings.extend(accepted.iter().fold(tracked, |tracked, code| tracked.without(code)));
    Ok(Checked { what: file.display().to_string(), findings, sources })
}

/// Where the key files of a network are, unless another directory is named where they are used.
fn beside(file: &Path) -> Option<PathBuf> {
    let keys = file.parent()?.join("keys");
    keys.is_dir().then_some(keys)
}

/// Those of the files with private keys that are under version control.
fn tracked(files: &[(String, Option<Span>)]) -> Findings {
    let mut repositories = foreign::Repositories::default();
    rules::tracked_keys(files.iter().filter_map(|(file, place)| {
        let repository = repositories.tracking(Path::new(file))?;
        Some((file.clone(), *place, repository.display().to_string()))
    }))
}

/// The day it is, in UTC.
fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date(i32::try_from(since.as_secs() / 86_400).unwrap_or(i32::MAX))
}

fn hosts(paths: &[PathBuf]) -> anyhow::Result<Checked> {
    let gathered = foreign::gather(paths)?;
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let names = names.join(", ");
    if gathered.files.is_empty() && gathered.unreadable.is_empty() {
        bail!("there are no files in {names}");
    }
    let read = import::read(gathered.files);
    let mut findings = read.findings.clone();
    for (file, why) in gathered.unreadable {
        let kind = Hazard::Unreadable { file, why };
        findings.push(Finding::new(kind, None).with_fix("Run it as root, or as who may read the file."));
    }
    findings.extend(tracked(&read.key_files));
    findings.extend(rules::hosts(&read));
    findings.extend(rules::walked(&read));
    if read.hosts.is_empty() {
        report::print_findings(&findings, &read.sources);
        bail!(
            "{names}: neither a network file (it has no [network]) nor a WireGuard configuration that is known: \
             wg-quick, wg show dump, systemd-networkd, cloud-init, EdgeOS or VyOS, script"
        );
    }
    let devices: usize = read.hosts.iter().map(|host| host.devices.len()).sum();
    let what = format!("{names}: {}, {}", count(read.hosts.len(), "host"), count(devices, "device"));
    Ok(Checked { what, findings, sources: read.sources })
}
