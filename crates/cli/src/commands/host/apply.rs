//! `wayleave apply` and `wayleave down`: this host brought to the plan once, and everything of ours removed again.
//!
//! `--dry-run` prints each change as a sentence and as the command that a person would have typed, and changes nothing. With
//! `--confirm` everything goes back by itself unless somebody confirms in time: for changes over the very tunnel that is
//! changed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use wayleave_agent::bird;
use wayleave_agent::control::{ProposedChange, Request, Response};
use wayleave_agent::reconcile::{Proposal, Reconciler, place};
use wayleave_core::host::{Backend, Change, HostState, KeyPaths, wanted};
use wayleave_core::names::Name;
use wayleave_core::plan::{KeyKind, NodePlan};

use super as host;
use crate::args::{ApplyArgs, DownArgs};
use crate::exit::Exit;
use crate::files;
use crate::report::count;

/// How often a confirmation is looked for.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(200);
/// How long an agent may take to remove what it made.
const END_MAX: Duration = Duration::from_secs(30);

/// Looks, and carries out what is different.
pub fn run(args: &ApplyArgs) -> anyhow::Result<Exit> {
    let planned = files::plan(&args.host.network)?;
    let plan = planned.accept()?;
    let node_plan = plan.of(host::member(&args.host, plan)?);
    let key_paths: KeyPaths = node_plan
        .keys()
        .filter(|need| need.kind != KeyKind::Preshared)
        .map(|need| (need.device.clone(), host::key_path(&args.host, need).display().to_string()))
        .collect();
    if super::agent::runs(&node_plan.network) {
        let file = whole(&args.host.network)?;
        if args.dry_run {
            return ask_what_would_change(&node_plan.network, file, key_paths);
        }
        let reload = Request::Reload { file: Some(file), confirm_s: args.confirm.map(|time| time.as_secs()) };
        return super::agent::tell(Some(node_plan.network.as_str()), reload);
    }
    let mut reconciler = Reconciler::open(&node_plan.network, host::choice(&args.host))?;
    if reconciler.backend() == Backend::Engine && !args.dry_run {
        bail!(
            "this kernel has no WireGuard, and the engine's devices live as long as the program that runs them: \
             run `wayleave agent`, which stays"
        );
    }
    let (resolved, complaints) = host::resolve(&node_plan);
    for complaint in complaints {
        eprintln!("can't find an address of {complaint}; it will not be dialled");
    }
    for need in node_plan.keys().filter(|need| need.kind == KeyKind::Preshared) {
        reconciler.set_key(need.kind, need.device.clone(), host::key(&args.host, need)?);
    }
    let wanted = reconciler.fit(wanted(&node_plan, reconciler.backend(), &resolved));
    let proposal = reconciler.propose(&wanted, None)?;
    if args.dry_run {
        return dry_run(&proposal, &key_paths);
    }
    for need in node_plan.keys() {
        reconciler.set_key(need.kind, need.device.clone(), host::key(&args.host, need)?);
    }
    if args.confirm.is_some() && proposal.changes.iter().any(|change| changes_key(change, &proposal)) {
        bail!(
            "--confirm could not go back: the private key of {} changes, and the old one is not known",
            node_plan.device
        );
    }
    reconciler.carry_out(&wanted, &proposal, |change| println!("{change}"))?;
    let rest = reconciler.propose(&wanted, Some(&wanted))?;
    if !rest.changes.is_empty() {
        bail!("{} left, such as: {}", count(rest.changes.len(), "change"), rest.changes[0]);
    }
    eprintln!("{} made; {} is as planned", count(proposal.changes.len(), "change"), node_plan.name);
    match args.confirm {
        Some(time) if !proposal.changes.is_empty() => confirm(&mut reconciler, &wanted, &proposal, &node_plan, time),
        _ => Ok(Exit::Fine),
    }
}

/// A path as another process finds it, whose working directory is another.
fn whole(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
}

/// As the agent sees it, who alone knows what its engine does and which links work.
fn ask_what_would_change(network: &Name, file: PathBuf, key_paths: KeyPaths) -> anyhow::Result<Exit> {
    match super::agent::request(Some(network.as_str()), Request::Propose { file, key_paths })? {
        (_, Response::Changes(changes)) => print_proposed(&changes),
        (_, other) => bail!("the agent answered something else: {other:?}"),
    }
}

fn dry_run(proposal: &Proposal, key_paths: &KeyPaths) -> anyhow::Result<Exit> {
    let said = |change: &Change| ProposedChange { change: change.to_string(), command: change.command(key_paths) };
    print_proposed(&proposal.changes.iter().map(said).collect::<Vec<_>>())
}

fn print_proposed(changes: &[ProposedChange]) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    for ProposedChange { change, command } in changes {
        writeln!(out, "{change}\n    {command}")?;
    }
    eprintln!("{} to make; nothing was changed", count(changes.len(), "change"));
    Ok(if changes.is_empty() { Exit::Fine } else { Exit::Differences })
}

fn changes_key(change: &Change, proposal: &Proposal) -> bool {
    let Change::SetKey { device, .. } = change else { return false };
    proposal.actual.state.devices.get(device).is_some_and(|found| found.public_key.is_some())
}

/// Waits for a confirmation; without one, goes back to what there was.
fn confirm(
    reconciler: &mut Reconciler,
    wanted: &HostState,
    proposal: &Proposal,
    plan: &NodePlan,
    time: Duration,
) -> anyhow::Result<Exit> {
    // The terminal may be gone with the network.
    // SAFETY: SIG_IGN is a valid disposition, and nothing else in this program handles SIGHUP.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    let sign = reconciler.place().join("confirmed");
    let _ = std::fs::remove_file(&sign);
    eprintln!("confirm within {} s with `wayleave confirm {}`; all goes back otherwise", time.as_secs(), plan.network);
    let begin = Instant::now();
    while begin.elapsed() < time {
        if sign.exists() {
            let _ = std::fs::remove_file(&sign);
            eprintln!("confirmed");
            return Ok(Exit::Fine);
        }
        std::thread::sleep(CONFIRM_INTERVAL);
    }
    let before = &proposal.actual.state;
    let back = reconciler.propose(before, Some(wanted))?;
    reconciler.carry_out(before, &back, |_| {})?;
    // A terminal that is gone is no reason not to have gone back.
    let _ = writeln!(std::io::stderr(), "not confirmed: gone back, {}", count(back.changes.len(), "change"));
    Ok(Exit::Failed)
}

/// Tells an agent, or an `apply --confirm`, that all is well.
pub fn confirmed(network: Option<&str>) -> anyhow::Result<Exit> {
    let network = one_network(network)?;
    let place = place(&network);
    if super::agent::runs(&network) {
        return super::agent::tell(Some(network.as_str()), Request::Confirm);
    }
    if !wayleave_agent::system::directory::is_locked(&place) {
        bail!("nothing waits for a confirmation on {network}");
    }
    std::fs::write(place.join("confirmed"), "").with_context(|| format!("confirming in {}", place.display()))?;
    Ok(Exit::Fine)
}

/// Removes everything.
pub fn down(args: &DownArgs) -> anyhow::Result<Exit> {
    let network = one_network(args.network.as_deref())?;
    if super::agent::runs(&network) {
        super::agent::tell(Some(network.as_str()), Request::Stop { cleanup: true })?;
        return ended(&network);
    }
    let mut reconciler = Reconciler::open(&network, wayleave_agent::host::Choice::Auto)?;
    let mut changes = 0;
    let show = !args.quiet;
    // One that outlived its agent goes first, and takes its routes along.
    for left in bird::left(&place(&network), &bird::program()) {
        let what = match left.mode() {
            bird::Mode::Own => "end BIRD, which an agent has left".to_owned(),
            bird::Mode::Included => format!("take {} out of the administrator's BIRD", left.configuration.display()),
        };
        bird::end_left(left).map_err(|trouble| anyhow::anyhow!("can't {what}: {trouble}"))?;
        changes += 1;
        if show {
            println!("{what}");
        }
    }
    reconciler.remove(|change| {
        changes += 1;
        if show {
            println!("{change}");
        }
    })?;
    eprintln!("{} made; nothing of {network} is left on this host", count(changes, "change"));
    Ok(Exit::Fine)
}

/// Waits until the agent that was told to end has removed everything and is gone.
fn ended(network: &Name) -> anyhow::Result<Exit> {
    let begin = Instant::now();
    while wayleave_agent::system::directory::is_locked(&place(network)) {
        if begin.elapsed() > END_MAX {
            bail!("the agent of {network} does not end; its log says why");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Exit::Fine)
}

/// The network that is meant: the named one, or the only one on this host.
pub fn one_network(named: Option<&str>) -> anyhow::Result<Name> {
    if let Some(word) = named {
        return Name::new(word).map_err(|error| files::usage(format!("{word:?} can't be a network: {error}")));
    }
    let entries = std::fs::read_dir(wayleave_agent::reconcile::networks()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| Name::new(entry.file_name().to_str()?).ok());
    let mut names: Vec<Name> = names.collect();
    names.sort();
    match names.as_slice() {
        [] => bail!("no network of wayleave's is on this host"),
        [only] => Ok(only.clone()),
        several => {
            let list = several.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
            Err(files::usage(format!("several networks are on this host: {list}; name one")))
        }
    }
}
