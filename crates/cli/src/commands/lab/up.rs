//! `wayleave lab up`: builds the lab, measures every pair, prints the table, and stays until it is told to end.
//!
//! Where the network has a hub, everything is measured twice: first with only the links of the main hub, which shows
//! what that hub alone would cost, then as planned. Both are real packets.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ipnet::IpNet;
use serde_json::json;
use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::plan::LinkStates;
use wayleave_core::render::Router;
use wayleave_lab::control::server::{Signals, serve, watch_while};
use wayleave_lab::scenario::NatChoice;
use wayleave_lab::session::{Agents, ClientReport, Lab, LabOptions, PairReport, Routers};
use wayleave_lab::wire::NatMapping;

use super::clients::{self, Watch};
use super::{is_lost, pair_table, parse_name};
use crate::args::{LabUpArgs, NatKind, RouterKind};
use crate::exit::Exit;
use crate::files;
use crate::report::count;

/// Wire lateness beyond which measurements are not to be trusted.
const LATENESS_TRUSTED: Duration = Duration::from_millis(5);

/// How long agents may take until they find everybody: some initiations are repeated after five seconds.
const AGENTS_MAX: Duration = Duration::from_secs(40);

/// How long BGP sessions may take: the first try comes after seconds, and the next half a minute later.
const SESSIONS_MAX: Duration = Duration::from_secs(60);

/// Progress on stderr: one line that changes on a terminal, whole lines elsewhere.
struct Progress {
    start: Instant,
    is_terminal: bool,
    is_open: bool,
}

impl Progress {
    /// Shows a step that may be replaced by the next.
    fn step(&mut self, text: &str) {
        if self.is_terminal {
            eprint!("\r\x1b[K{text}");
            let _ = std::io::stderr().flush();
            self.is_open = true;
        }
    }

    /// Shows something that stays.
    fn done(&mut self, text: &str) {
        if std::mem::take(&mut self.is_open) {
            eprint!("\r\x1b[K");
        }
        eprintln!("{:5.1} s  {text}", self.start.elapsed().as_secs_f64());
    }
}

/// Builds, measures, prints, stays.
pub fn run(args: &LabUpArgs) -> anyhow::Result<Exit> {
    // The lab makes keys of its own.
    let planned = files::plan(&args.file)?.without_missing_keys();
    let plan = planned.accept()?;
    let network = plan.network.clone();
    let options = options(args, &network)?;
    // Before any thread exists: only a process with one thread may enter a user namespace, and threads inherit the mask.
    wayleave_lab::host::user_namespace::enter_if_needed().context("preparing to make network namespaces")?;
    let signals = Signals::block().context("preparing to be interrupted")?;
    let is_terminal = std::io::stderr().is_terminal();
    let mut progress = Progress { start: Instant::now(), is_terminal, is_open: false };
    let mut lab = Lab::up(&network, &planned.ledger, &options, &mut |text| progress.step(text))?;
    progress.done(&format!("{} built", count(lab.places().len(), "host")));
    if let Some(words) = foreign(args, &network, options.routers.is_some()) {
        progress.done(&words);
    }
    if let Some(words) = runners(args, &lab) {
        progress.done(&words);
    }
    let end = lab.last_words();
    let interrupted = || {
        end();
        eprintln!("\ninterrupted");
        std::process::exit(Exit::Failed.code().into());
    };
    let pairs = watch_while(&signals, interrupted, || measure_all(&mut lab, args.count, &mut progress))?;
    let clients = lab.clients();
    let lost = print(args, &lab, &pairs, &clients)?;
    if !args.once && !signals.is_raised() {
        print_hints(args.name.as_deref(), !clients.is_empty(), lab.neighbours().first().map(|host| host.name.as_str()));
        let _watch = lab.client_agents().map(|agents| Watch::start(agents, &clients, progress.start));
        serve(&mut lab, options.name.as_str(), &signals).context("serving the lab's control socket")?;
        eprintln!("\nending the lab");
    }
    Ok(if lost == 0 { Exit::Fine } else { Exit::Degraded })
}

fn options(args: &LabUpArgs, network: &Network) -> anyhow::Result<LabOptions> {
    let roams = network.clients.iter().any(|client| client.roams);
    let routers = routers(args, network)?;
    let runs_agents = args.agents || roams || routers.is_some();
    if args.record.is_some() && !runs_agents {
        return Err(files::usage("--record is for agents: say --agents, too".to_owned()));
    }
    if !(0.0..=100.0).contains(&args.loss) || !(0.0..=10_000.0).contains(&args.jitter_ms) {
        return Err(files::usage("--loss is between 0 and 100 %, --jitter-ms between 0 and 10000".to_owned()));
    }
    if args.rate_mbit.is_some_and(|rate| !(0.001..=1_000_000.0).contains(&rate)) {
        return Err(files::usage("--rate-mbit is between 0.001 and 1000000".to_owned()));
    }
    Ok(LabOptions {
        name: parse_name(args.name.as_deref().unwrap_or(network.name.as_str()))?,
        jitter: Duration::from_secs_f64(args.jitter_ms / 1_000.0),
        loss: args.loss / 100.0,
        rate_bit_per_s: args.rate_mbit.map(|mbit| (mbit * 1e6) as u64),
        nat: if args.nat == NatKind::None { NatChoice::Open } else { NatChoice::Nat },
        nat_mapping: match args.nat {
            NatKind::Symmetric => NatMapping::Symmetric,
            NatKind::EndpointIndependent | NatKind::None => NatMapping::EndpointIndependent,
        },
        nat_timeout: Duration::from_secs(args.nat_timeout_s),
        agents: runs_agents.then(|| agents(args)).transpose()?,
        told: told(args, network)?,
        routers,
        client_program: args.clients.as_deref().map(find_program).transpose()?,
        program: std::env::current_exe().context("finding this program")?,
    })
}

/// A client's WireGuard, before anything is built that it would fail in.
fn find_program(program: &Path) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
    let found = if program.components().count() > 1 { Some(program.to_owned()) } else { places.find(|p| p.is_file()) };
    let found = found.with_context(|| format!("there is no program {} to run clients with", program.display()))?;
    found.canonicalize().with_context(|| format!("finding {}", program.display()))
}

/// What plays foreign routers: what is asked for, which must be there, or BIRD, if it is.
fn routers(args: &LabUpArgs, network: &Network) -> anyhow::Result<Option<Routers>> {
    if network.neighbours.is_empty() || args.router == Some(RouterKind::None) {
        return Ok(None);
    }
    let router = if args.router == Some(RouterKind::Frr) { Router::Frr } else { Router::Bird };
    // The nodes' own side is BIRD's in any case.
    let found = Routers::find(Router::Bird, args.hold_time_s).and_then(|_| Routers::find(router, args.hold_time_s));
    match (found, args.router) {
        (Ok(routers), _) => Ok(Some(routers)),
        (Err(_), None) => Ok(None),
        (Err(words), Some(_)) => anyhow::bail!("neighbours can't be played: {words}"),
    }
}

/// What is given for foreign routers to tell of.
fn told(args: &LabUpArgs, network: &Network) -> anyhow::Result<BTreeMap<Name, Vec<IpNet>>> {
    let mut told: BTreeMap<Name, Vec<IpNet>> = BTreeMap::new();
    let all = || network.neighbours.iter().map(|neighbour| &neighbour.name);
    for (name, prefixes) in &args.announce {
        let Some(found) = all().find(|known| known.as_str() == name) else {
            let meant = files::meant(name, all().map(Name::as_str));
            return Err(files::usage(format!(
                "there is no neighbour {name} in {}; {meant}see [neighbours]",
                network.name
            )));
        };
        told.entry(found.clone()).or_default().extend(prefixes);
    }
    Ok(told)
}

/// What becomes of foreign routers, if there are any.
fn foreign(args: &LabUpArgs, network: &Network, are_played: bool) -> Option<String> {
    let all = count(network.neighbours.len(), "neighbour");
    match (network.neighbours.len(), are_played) {
        (0, _) => None,
        (_, true) if args.router == Some(RouterKind::Frr) => {
            Some(format!("{all} played by FRR, the nodes run the agent and BIRD"))
        }
        (_, true) => Some(format!("{all} played by BIRD, the nodes run the agent and BIRD")),
        (_, false) if args.router == Some(RouterKind::None) => Some(format!("{all} left out")),
        (_, false) => Some(format!("{all} left out, since bird is not installed: apt install bird2")),
    }
}

/// What runs the members, where that is not what was asked for by name.
fn runners(args: &LabUpArgs, lab: &Lab) -> Option<String> {
    let clients =
        args.clients.as_ref().map_or("the embedded engine".to_owned(), |program| program.display().to_string());
    let roams = lab.plan.network.clients.iter().any(|client| client.roams);
    (roams && !args.agents).then(|| format!("clients roam: the nodes run the agent, the clients {clients}"))
}

fn agents(args: &LabUpArgs) -> anyhow::Result<Agents> {
    let find = |path: &Path| path.canonicalize().with_context(|| format!("finding {}", path.display()));
    let recordings = args.record.as_deref().map(find).transpose()?;
    Ok(Agents { on_clients: args.agents, file: find(&args.file)?, recordings })
}

/// Measured round-trip times in milliseconds by the names of both ends.
type HubRtts = BTreeMap<(String, String), f64>;

/// Runs and measures everything over the main hub, if there is one, and then as planned.
fn measure_all(lab: &mut Lab, probes: u32, progress: &mut Progress) -> anyhow::Result<Vec<PairReport>> {
    // Agents carry out the plan as it is, and no other.
    let hub_rtts = if lab.has_agents() { HubRtts::new() } else { measure_over_hub(lab, probes, progress)? };
    lab.apply(&LinkStates::default())?;
    wake(lab, progress)?;
    progress.step("measuring every pair");
    lab.wire().reset_lateness().ok();
    let mut pairs = lab.measure(probes)?;
    for pair in &mut pairs {
        pair.hub_rtt_ms = hub_rtts.get(&(pair.from.clone(), pair.to.clone())).copied();
    }
    progress.done(&format!("{} measured", count(pairs.len(), "pair")));
    Ok(pairs)
}

fn measure_over_hub(lab: &mut Lab, probes: u32, progress: &mut Progress) -> anyhow::Result<HubRtts> {
    let Some(hub) = lab.main_hub() else { return Ok(HubRtts::new()) };
    let name = lab.plan.network.node(hub).name.clone();
    lab.apply(&lab.only_over(hub))?;
    wake(lab, progress)?;
    progress.step(&format!("measuring every pair over {name} alone"));
    let places = lab.places();
    let all = places.iter().enumerate().flat_map(|(at, from)| places[at + 1..].iter().map(|to| (*from, *to)));
    let joined: Vec<_> = all.filter(|(from, to)| lab.planned_path(*from, *to).is_some()).collect();
    let pairs = lab.measure_pairs(&joined, probes)?;
    progress.done(&format!("{} measured over {name} alone", count(pairs.len(), "pair")));
    let rtts = pairs.into_iter().filter_map(|pair| Some(((pair.from, pair.to), pair.rtt_ms?)));
    Ok(rtts.collect())
}

fn wake(lab: &Lab, progress: &mut Progress) -> anyhow::Result<()> {
    let (up, all) = lab.wake_links(&mut |up, all| progress.step(&format!("links up {up}/{all}")))?;
    progress.done(&format!("{up} of {all} links up"));
    if lab.has_agents() {
        wait_for_agents(lab, progress);
    }
    if !lab.neighbours().is_empty() {
        wait_for_sessions(lab, progress);
    }
    Ok(())
}

/// Until all foreign routers have told what they tell, or for so long.
fn wait_for_sessions(lab: &Lab, progress: &mut Progress) {
    let begin = Instant::now();
    loop {
        let (ready, all) = lab.sessions_ready();
        let (speakers, of) = lab.speakers_ready();
        if (ready == all && speakers == of) || begin.elapsed() > SESSIONS_MAX {
            if of > 0 {
                progress.done(&format!("{speakers} of {} know what the others lead to", count(of, "BGP node")));
            }
            return progress.done(&format!("{ready} of {} with neighbours up", count(all, "BGP session")));
        }
        progress.step(&format!("BGP sessions {ready}/{all}"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Until all agents are content, or for so long: whatever is wrong then is shown by the measurement.
fn wait_for_agents(lab: &Lab, progress: &mut Progress) {
    let begin = Instant::now();
    loop {
        let (ready, all) = lab.agents_ready();
        if ready == all || begin.elapsed() > AGENTS_MAX {
            return progress.done(&format!("{ready} of {all} agents find all nodes well"));
        }
        progress.step(&format!("agents ready {ready}/{all}"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Prints the table or its JSON and a summary; returns how many pairs are not as they should be.
fn print(args: &LabUpArgs, lab: &Lab, pairs: &[PairReport], clients: &[ClientReport]) -> anyhow::Result<usize> {
    let hub = lab.main_hub().map(|hub| lab.plan.network.node(hub).name.to_string());
    let lost = pairs.iter().filter(|pair| is_lost(pair)).count();
    let apart = pairs.iter().filter(|pair| pair.path.is_empty()).count();
    let leaks = pairs.iter().filter(|pair| pair.path.is_empty() && pair.received > 0).count();
    let lateness = lab.wire().stats().context("asking the wire for its lateness")?.lateness;
    let ms = |late: Duration| late.as_secs_f64() * 1_000.0;
    if args.json {
        let document = json!({
            "schema": "wayleave.lab.pairs",
            "version": 1,
            "network": lab.plan.network.name,
            "hub": hub,
            "lost": lost,
            "not_kept_apart": leaks,
            "wire_lateness_p99_ms": ms(lateness.p99),
            "wire_lateness_max_ms": ms(lateness.max),
            "pairs": pairs,
            "clients": clients,
        });
        println!("{document:#}");
    } else {
        print!("{}", pair_table(pairs, hub.as_deref()));
        if !clients.is_empty() {
            print!("\n{}", clients::table(clients));
        }
    }
    let joined = pairs.len() - lost - apart;
    let kept_apart = if apart > 0 { format!(", {apart} kept apart") } else { String::new() };
    eprintln!(
        "{} joined, {lost} lost{kept_apart}; wire late by {:.2} ms (p99)",
        count(joined, "pair"),
        ms(lateness.p99)
    );
    if lateness.p99 > LATENESS_TRUSTED {
        eprintln!("the machine was too busy: measure again, these times are not to be trusted");
    }
    if leaks > 0 {
        eprintln!("{} should be kept apart and reach each other", count(leaks, "pair"));
    }
    Ok(lost + leaks)
}

fn print_hints(name: Option<&str>, roams: bool, neighbour: Option<&str>) {
    let name = name.map_or(String::new(), |name| format!(" (this lab is --name {name})"));
    eprintln!("\nThe lab stays up until Ctrl-C. From another terminal{name}:");
    eprintln!("  wayleave lab status                 wayleave lab ping A [B]");
    eprintln!("  wayleave lab exec A wg show         wayleave lab fail A B | node A | region R");
    if let Some(neighbour) = neighbour {
        eprintln!("  wayleave lab fail neighbour {neighbour}");
    }
    if roams {
        eprintln!("  wayleave lab move CLIENT REGION     each move of a client is told here");
    }
}
