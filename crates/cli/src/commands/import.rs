//! `wayleave import`: other people's WireGuard files in, a network file out.
//!
//! One host per folder; nothing that exists is overwritten. Private keys go to key files
//! only where a directory for them is named. With `--verify` the network is planned and each host's part held against what
//! was read. The table is on stdout, talk on stderr; without `-o` the network file is on stdout instead.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use wayleave_core::check::{Findings, Sources};
use wayleave_core::file::load_with;
use wayleave_core::import::{self, Difference, Inferred, Read, Taken};
use wayleave_core::names::Name;
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{Ledger, LinkStates, plan};

use super::key;
use crate::args::ImportArgs;
use crate::exit::Exit;
use crate::foreign;
use crate::report::{self, count};
use crate::table::{Align, layout};

/// Imports, writes what was asked for, and verifies.
pub fn run(args: &ImportArgs) -> anyhow::Result<Exit> {
    if let Some(output) = args.output.as_deref().filter(|output| output.exists()) {
        bail!("{} exists already and is not overwritten; name another file with -o", output.display());
    }
    let read = foreign::read(&args.paths)?;
    let name = Name::suggest(&args.name).with_context(|| format!("{:?} can't be made a network's name", args.name))?;
    let inferred = import::infer(&read, &name);
    let mut findings = read.findings.clone();
    findings.extend(inferred.findings.clone());
    if read.hosts.is_empty() {
        report::print_findings(&findings, &read.sources);
        bail!("no WireGuard device was found in what was named");
    }
    let differences = if args.verify { Some(verify(&read, &inferred)?) } else { None };
    if let Some(directory) = &args.keys {
        write_keys(&read, &inferred, directory)?;
    }
    if let Some(output) = &args.output {
        write_new(output, inferred.text.as_bytes(), 0o644)?;
    }
    if args.json {
        println!("{:#}", as_json(&inferred, &findings, &read.sources, differences.as_deref()));
    } else {
        show(args, &read, &inferred, differences.as_deref());
        report::print_findings(&findings, &read.sources);
        summary(&read, &inferred, &findings, differences.as_deref());
    }
    Ok(if differences.is_some_and(|list| !list.is_empty()) { Exit::Differences } else { Exit::Fine })
}

fn verify(read: &Read, inferred: &Inferred) -> anyhow::Result<Vec<Difference>> {
    let loaded = load_with("network.toml", |_| Ok(inferred.text.clone().into_bytes()));
    let network = resolve(&loaded.file).network.context("the network that was inferred can't be planned")?;
    let (plan, ..) = plan(Arc::new(network), &Ledger::default(), &LinkStates::default());
    Ok(import::verify(read, &inferred.taken, &plan))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let about = || format!("making {} (nothing is overwritten)", path.display());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).with_context(about)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    // Half a file would be in the way of the next attempt.
    written.inspect_err(|_| drop(fs::remove_file(path))).with_context(about)
}

/// Writes each private key that was read to a file of its member's name.
fn write_keys(read: &Read, inferred: &Inferred, directory: &Path) -> anyhow::Result<()> {
    let keys: Vec<_> = inferred
        .taken
        .iter()
        .filter_map(|taken| {
            let device = read.hosts.get(taken.host)?.devices.get(taken.device)?;
            Some((key::path(directory, &taken.name), &device.private_key.as_ref()?.value))
        })
        .collect();
    if let Some((path, _)) = keys.iter().find(|(path, _)| path.exists()) {
        bail!("{} exists already; key files are never overwritten", path.display());
    }
    if keys.is_empty() {
        eprintln!("no private key is in these files: hosts read theirs from files of their own, and go on doing so");
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("making {}", directory.display()))?;
    for (path, private) in &keys {
        let mut text = private.reveal();
        text.push('\n');
        write_new(path, text.as_bytes(), 0o600)?;
    }
    eprintln!("{} written to {}", count(keys.len(), "private key"), directory.display());
    Ok(())
}

fn show(args: &ImportArgs, read: &Read, inferred: &Inferred, differences: Option<&[Difference]>) {
    if let Some(differences) = differences.filter(|list| !list.is_empty()) {
        let row = |one: &Difference| {
            let peer = one.peer.clone().unwrap_or_else(|| "-".to_owned());
            vec![one.member.to_string(), peer, one.aspect.to_string(), one.read.clone(), one.rendered.clone()]
        };
        let rows: Vec<Vec<String>> = differences.iter().map(row).collect();
        print!("{}", layout(&["member", "peer", "what", "read", "rendered"].map(|title| (title, Align::Left)), &rows));
        return;
    }
    if args.output.is_none() && differences.is_none() {
        print!("{}", inferred.text);
        return;
    }
    let row = |taken: &Taken| {
        let host = &read.hosts[taken.host];
        let device = &host.devices[taken.device];
        let peers = device.peers.len().to_string();
        vec![taken.name.to_string(), host.name.clone(), device.name.clone(), device.format.to_string(), peers]
    };
    let rows: Vec<Vec<String>> = inferred.taken.iter().map(row).collect();
    let header = ["member", "host", "device", "format"].map(|title| (title, Align::Left));
    print!("{}", layout(&[&header[..], &[("peers", Align::Right)]].concat(), &rows));
}

fn summary(read: &Read, inferred: &Inferred, findings: &Findings, differences: Option<&[Difference]>) {
    let (files, warnings) = (count(read.sources.0.len(), "file"), count(findings.warnings(), "warning"));
    eprintln!("{} from {files}, {warnings}", count(inferred.taken.len(), "member"));
    match differences {
        Some([]) => eprintln!("every host would be told what was read"),
        Some(list) => eprintln!("{} from what was read", count(list.len(), "difference")),
        None => {}
    }
}

fn as_json(inferred: &Inferred, findings: &Findings, sources: &Sources, differences: Option<&[Difference]>) -> Value {
    let difference = |one: &Difference| {
        let place = sources.position(one.place);
        let place = place.map(|(file, line, column)| json!({ "file": file, "line": line, "column": column }));
        json!({
            "member": one.member, "peer": one.peer, "what": one.aspect.to_string(),
            "read": one.read, "rendered": one.rendered, "place": place,
        })
    };
    let members: Vec<&Name> = inferred.taken.iter().map(|taken| &taken.name).collect();
    json!({
        "schema": "wayleave.import",
        "version": 1,
        "network": inferred.text,
        "members": members,
        "differences": differences.map(|list| list.iter().map(difference).collect::<Vec<_>>()),
        "findings": report::findings_json(findings, sources)["findings"],
    })
}
