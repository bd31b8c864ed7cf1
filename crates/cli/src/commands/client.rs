//! `wayleave client`: road warriors come and go by one command each.
//!
//! The network file is edited where it stands, and every other byte of it stays. What would come of the edit is planned
//! first; with any error nothing is written. A private key that is made here is shown or written once, and kept nowhere:
//! everything that is to be kept is written beside its place first, then the key leaves this program, and then all takes
//! effect, so that no key is shown for nothing and there is never a client whose key is lost.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wayleave_core::check::{Finding, Findings, Severity, Span};
use wayleave_core::file::{with_table, without_table};
use wayleave_core::keys::{PrivateKey, PublicKey};
use wayleave_core::names::Name;
use wayleave_core::network::Platform;
use wayleave_core::plan::{Member, Plan};
use wayleave_core::render::{self, KeySource};
use zeroize::Zeroizing;

use super::key;
use crate::args::{ClientAddArgs, ClientCommand, ClientRemoveArgs};
use crate::exit::Exit;
use crate::files::{self, Edit, Locking, Planned, Staged};
use crate::{qr, report};

/// Adds or removes a client.
pub fn run(command: &ClientCommand) -> anyhow::Result<Exit> {
    match command {
        ClientCommand::Add(args) => add(args),
        ClientCommand::Remove(args) => remove(args),
    }
}

fn add(args: &ClientAddArgs) -> anyhow::Result<Exit> {
    let name = Name::new(&args.name).map_err(|error| {
        let meant = Name::suggest(&args.name).map_or(String::new(), |name| format!("; {name} would do"));
        files::usage(format!("{:?} can't be a client's name: {error}{meant}", args.name))
    })?;
    let _alone = alone(&args.network)?;
    let before = files::plan(&args.network)?;
    let plan = good(&before)?;
    if let Some(member) = plan.find(&name) {
        let kind = if matches!(member, Member::Node(_)) { "node" } else { "client" };
        bail!("{name} is a {kind} of {} already; nothing was changed", plan.network.name);
    }
    let private = if args.public_key.is_some() { None } else { Some(key::new_private()?) };
    let public = match (&args.public_key, &private) {
        (Some(given), _) => *given,
        (None, Some(made)) => made.public_key(),
        (None, None) => bail!("there is no key"),
    };
    let edit = entry(&before, &name, &public, args)?;
    let mut after = files::plan_edited(&args.network, &edit)?;
    // What the ledger may remember of an earlier client of this name is not this one's.
    after.forget_key(&name);
    let expected = members(plan).into_iter().chain([name.clone()]).collect();
    let known = edited(&after, &expected, &edit, &before)?;
    let file = configuration(known, &name, private.as_ref())?;
    // All that is to be kept is on the disk before a key is shown, and takes effect when it has been.
    let staged = stage(&args.network, &before, &after, &edit)?;
    let shown = Shown::new(args, &file)?;
    staged.commit().context("nothing was changed").inspect_err(|_| shown.take_back())?;
    report::print_findings(&news(&before, &after), &after.sources);
    say_added(known, &name, args);
    Ok(Exit::Fine)
}

fn remove(args: &ClientRemoveArgs) -> anyhow::Result<Exit> {
    let _alone = alone(&args.network)?;
    let before = files::plan(&args.network)?;
    let plan = good(&before)?;
    let member = super::plan::find(plan, &args.name)?;
    let Member::Client(at) = member else {
        return Err(files::usage(format!("{} is a node, no client; nothing was changed", args.name)));
    };
    let client = &plan.network.clients[at as usize];
    let (source, line) = source_of(&before, client.place)?;
    let by_hand = || format!("the entry of {} can't be cut out of {line}; remove it by hand", client.name);
    let text = without_table(&source.text, client.place.start as usize).with_context(by_hand)?;
    let edit = Edit { name: source.name.clone(), text };
    let mut after = files::plan_edited(&args.network, &edit)?;
    after.forget_key(&client.name);
    let expected: BTreeSet<Name> = members(plan).into_iter().filter(|name| *name != client.name).collect();
    edited(&after, &expected, &edit, &before).with_context(|| {
        format!("{} can't be removed: it is still named elsewhere, or more would change", client.name)
    })?;
    stage(&args.network, &before, &after, &edit)?.commit().context("nothing was changed")?;
    report::print_findings(&news(&before, &after), &after.sources);
    let servers: Vec<String> = plan.peers(member).iter().map(|peer| plan.name(peer.who).to_string()).collect();
    let key = plan.public_key(member).map_or(String::new(), |key| format!(" Its key was {key}."));
    eprintln!(
        "{} is no client of {} any more.{key}\nIt is refused as soon as {} {} told: agents by this network file, others by new files (`wayleave render {} -o DIR`).",
        client.name,
        plan.network.name,
        servers.join(", "),
        if servers.len() == 1 { "is" } else { "are" },
        args.network.display(),
    );
    Ok(Exit::Fine)
}

/// A plan without errors, before anything is edited.
fn good(planned: &Planned) -> anyhow::Result<&Plan> {
    match &planned.plan {
        Some(plan) if planned.findings.errors() == 0 => Ok(plan),
        _ => planned.accept(),
    }
}

fn members(plan: &Plan) -> BTreeSet<Name> {
    plan.members().map(|member| plan.name(member).clone()).collect()
}

/// Keeps other such commands out of the directory of a network file until it is dropped.
fn alone(network: &Path) -> anyhow::Result<fs::File> {
    let directory = match network.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let handle = fs::File::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    // SAFETY: the descriptor is open; flock touches no memory.
    if unsafe { libc::flock(handle.as_raw_fd(), libc::LOCK_EX) } < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("locking {}", directory.display()));
    }
    Ok(handle)
}

/// The source in which something is written, which must be TOML, and its place for people.
fn source_of(planned: &Planned, place: Span) -> anyhow::Result<(&wayleave_core::check::Source, String)> {
    let source = planned.sources.0.get(place.source.0 as usize).context("the network file has no text")?;
    let line = planned.sources.position(place).map_or(source.name.clone(), |(name, line, _)| format!("{name}:{line}"));
    if !source.name.ends_with(".toml") {
        bail!("{line} is not TOML, and only TOML is edited here; change it by hand; nothing was changed");
    }
    Ok((source, line))
}

/// The text with the new client's entry: behind the last client in the same file, or at the end of the network file.
fn entry(before: &Planned, name: &Name, key: &PublicKey, args: &ClientAddArgs) -> anyhow::Result<Edit> {
    let quoted = |list: &[String]| list.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let mut table = format!("[clients.{name}]\npublic_key = \"{key}\"\n");
    for (word, list) in [("via", &args.via), ("tags", &args.tag)].into_iter().filter(|(_, list)| !list.is_empty()) {
        table += &format!("{word} = [{}]\n", quoted(list));
    }
    if let Some(day) = &args.expires {
        table += &format!("expires = {day}\n");
    }
    let places = before.written.clients.iter().map(|(name, _)| name.span);
    let last = places.max_by_key(|place| (place.source, place.start)).filter(|last| source_of(before, *last).is_ok());
    let place = last.unwrap_or_default();
    let (source, _) = source_of(before, place)
        .with_context(|| format!("adding this, for which `wayleave render` then makes files:\n{table}"))?;
    let text = with_table(&source.text, &table, last.map(|place| place.start as usize));
    Ok(Edit { name: source.name.clone(), text })
}

/// The plan of the edited text, if it is without errors and nobody else came or went. Errors are shown where they are in the
/// text as it is on the disk.
fn edited<'p>(
    after: &'p Planned,
    expected: &BTreeSet<Name>,
    edit: &Edit,
    before: &Planned,
) -> anyhow::Result<&'p Plan> {
    match &after.plan {
        Some(plan) if after.findings.errors() == 0 => {
            if members(plan) != *expected {
                bail!(
                    "{} is written in a way that can't be edited here; change it by hand; nothing was changed",
                    edit.name
                );
            }
            Ok(plan)
        }
        _ => {
            report::print_findings(&as_on_disk(&after.findings, edit, before), &before.sources);
            bail!("nothing was changed");
        }
    }
}

/// What is found now and was not before.
fn news(before: &Planned, after: &Planned) -> Findings {
    let known: BTreeSet<String> = before.findings.sorted().iter().map(|finding| finding.kind.to_string()).collect();
    let mut news = Findings::default();
    let found = after.findings.sorted().into_iter().filter(|finding| !known.contains(&finding.kind.to_string()));
    found.for_each(|finding| news.push(finding.clone()));
    news
}

/// Errors about an edited text, their places moved to where these are in the text before. What is about the new entry itself
/// has no place there.
fn as_on_disk(findings: &Findings, edit: &Edit, before: &Planned) -> Findings {
    let Some((ix, old)) = before.sources.0.iter().enumerate().find(|(_, source)| source.name == edit.name) else {
        return findings.clone();
    };
    let same = old.text.bytes().zip(edit.text.bytes()).take_while(|(a, b)| a == b).count();
    let grown = edit.text.len() as i64 - old.text.len() as i64;
    let moved = |place: Span| {
        if place.source.0 as usize != ix || (place.start as usize) < same {
            return Some(place);
        }
        let shift = |at: u32| u32::try_from(i64::from(at) - grown).ok();
        let is_new = grown > 0 && (place.start as usize) < same + grown as usize;
        Some(Span { start: shift(place.start)?, end: shift(place.end)?, ..place }).filter(|_| !is_new)
    };
    let mut errors = Findings::default();
    for finding in findings.sorted().into_iter().filter(|finding| finding.severity() == Severity::Error) {
        let related = finding.related.iter().filter_map(|(place, words)| Some((moved(*place)?, words.clone())));
        errors.push(Finding { place: finding.place.and_then(moved), related: related.collect(), ..finding.clone() });
    }
    errors
}

/// What the client is to be configured with.
fn configuration(plan: &Plan, name: &Name, private: Option<&PrivateKey>) -> anyhow::Result<Zeroizing<String>> {
    let member = plan.find(name).context("the client is not in the plan")?;
    let source = private.map_or(KeySource::File(render::key_path(Platform::WgQuick)), KeySource::Inline);
    let file = render::wg_quick(&plan.of(member), &source).with_context(|| "nothing was changed".to_owned())?;
    Ok(file.text)
}

/// Where a configuration went.
struct Shown {
    files: Vec<PathBuf>,
}

impl Shown {
    /// Hands a configuration out as asked: to new files that only their owner can read, to the terminal.
    fn new(args: &ClientAddArgs, text: &str) -> anyhow::Result<Shown> {
        let mut shown = Shown { files: Vec::new() };
        shown.hand_out(args, text).inspect_err(|_| shown.take_back())?;
        Ok(shown)
    }

    fn hand_out(&mut self, args: &ClientAddArgs, text: &str) -> anyhow::Result<()> {
        if let Some(path) = &args.output {
            self.write(path, text.as_bytes())?;
        }
        if let Some(path) = &args.png {
            self.write(path, &qr::as_png(text)?)?;
        }
        let printed = match (args.qr, args.output.is_none() && args.png.is_none()) {
            (true, _) => qr::on_terminal(text)?,
            (false, true) => Zeroizing::new(text.to_owned()),
            (false, false) => return Ok(()),
        };
        let mut out = std::io::stdout().lock();
        out.write_all(printed.as_bytes())
            .and_then(|()| if printed.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
            .and_then(|()| out.flush())
            .context("printing the configuration; nothing was changed")
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        let about = || format!("making {} (it is never overwritten); nothing was changed", path.display());
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(about)?;
        self.files.push(path.to_owned());
        file.write_all(bytes).and_then(|()| file.sync_all()).with_context(about)
    }

    /// The configuration is void: the network file does not know its key.
    fn take_back(&self) {
        self.files.iter().for_each(|path| drop(fs::remove_file(path)));
        if self.files.is_empty() {
            eprintln!("what was shown is void");
        }
    }
}

/// The edited text, and what was planned from it, ready to take effect together.
fn stage(network: &Path, before: &Planned, after: &Planned, edit: &Edit) -> anyhow::Result<Staged> {
    let plan = good(after)?;
    let path = Path::new(&edit.name);
    let old = before.sources.0.iter().find(|source| source.name == edit.name).context("the file was not read")?;
    let is = fs::read(path).with_context(|| format!("reading {}", edit.name))?;
    if is != old.text.as_bytes() {
        bail!("{} was changed by somebody else meanwhile; nothing was changed", edit.name);
    }
    let mut staged = Staged::default();
    let all = staged
        .rewrite(path, edit.text.as_bytes())
        .and_then(|()| files::stage_record(network, after, plan, Locking::Update, &mut staged));
    all.context("nothing was changed").map(|()| staged)
}

fn say_added(plan: &Plan, name: &Name, args: &ClientAddArgs) {
    let Some(member) = plan.find(name) else { return };
    let addresses: Vec<String> = plan.overlay_addresses(member).iter().map(ToString::to_string).collect();
    let servers: Vec<String> = plan.peers(member).iter().map(|peer| plan.name(peer.who).to_string()).collect();
    let (network, servers) = (args.network.display(), servers.join(", "));
    eprintln!("{name} is a client of {}: {}, by way of {servers}", plan.network.name, addresses.join(" and "));
    if args.public_key.is_none() {
        eprintln!("its private key is in what was handed out, and nowhere else");
    }
    eprintln!(
        "{servers} must be told: agents by {network} and its lock file, others by new files (`wayleave render {network} -o DIR`)"
    );
}
