//! `wayleave render`: configuration files for hosts that run nothing of ours.
//!
//! Everything is rendered before the first file is written, so that a missing key or a mistake in the network file leaves
//! all files as they were. Files with private keys are readable by their owner only. What an earlier run left behind is
//! [`leftovers`]' business.

mod leftovers;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::network::Platform;
use wayleave_core::plan::{Member, Plan};
use wayleave_core::render::{self, KeySource, RenderedFile};

use zeroize::Zeroizing;

use super::key;
use crate::args::RenderArgs;
use crate::exit::Exit;
use crate::files::{self, Earlier, Locking};
use crate::qr;
use crate::report::count;

/// A file and the folder it goes into, if it is one member's.
type Placed = (Option<Name>, RenderedFile);

/// Renders some members to stdout, or some or all of them below a directory; or what is about the whole network.
pub fn run(args: &RenderArgs) -> anyhow::Result<Exit> {
    let is_whole = args.routes || args.names || args.ingress || args.neighbour.is_some();
    if args.members.is_empty() && args.output.is_none() && !is_whole {
        let usage = "name a node or client, `wayleave render network.toml NAME`, or a directory for all with -o DIR";
        return Err(files::usage(usage.to_owned()));
    }
    let planned = files::plan(&args.file)?;
    let plan = planned.accept()?;
    let named =
        args.members.iter().map(|name| super::plan::find(plan, name)).collect::<anyhow::Result<Vec<Member>>>()?;
    let members: Vec<Member> = if named.is_empty() { plan.members().collect() } else { named };
    let earlier = if is_whole { None } else { earlier(plan, &members, args)? };
    if !is_whole {
        check_keys(plan, &members, args)?;
    }
    let locking = if args.locked { Locking::Locked } else { Locking::Update };
    files::record(&args.file, &planned, plan, locking)?;
    let whole = whole(plan, args)?.into_iter().map(|file| Ok(vec![(None, file)]));
    let parts = members.iter().filter(|_| !is_whole).map(|member| {
        let name = plan.name(*member);
        let files = render(plan, *member, earlier.as_ref(), args)?;
        Ok(files.into_iter().map(|file| (Some(name.clone()), file)).collect())
    });
    match &args.output {
        Some(directory) => {
            let written = write_all(whole.chain(parts), directory)?;
            if !is_whole {
                leftovers::remove(directory, plan, &members, &written)?;
            }
        }
        None => print_all(whole.chain(parts), args)?,
    }
    Ok(Exit::Fine)
}

/// Files about the whole network.
fn whole(plan: &Plan, args: &RenderArgs) -> anyhow::Result<Vec<RenderedFile>> {
    let routes = if args.routes { render::lan_routes(plan) } else { Vec::new() };
    let names = if args.names { render::names(plan) } else { Vec::new() };
    let ingress = args.ingress.then(|| render::ingress(plan));
    let half = args.neighbour.as_deref().map(|name| half(plan, name)).transpose()?.unwrap_or_default();
    Ok(routes.into_iter().chain(names).chain(ingress).chain(half).collect())
}

/// What the operator of a foreign router is given.
fn half(plan: &Plan, name: &str) -> anyhow::Result<Vec<RenderedFile>> {
    let all = &plan.network.neighbours;
    let Some(neighbour) = all.iter().find(|neighbour| neighbour.name.as_str() == name) else {
        let meant = files::meant(name, all.iter().map(|neighbour| neighbour.name.as_str()));
        return Err(files::usage(format!(
            "there is no neighbour {name} in {}; {meant}see [neighbours]",
            plan.network.name
        )));
    };
    Ok(render::neighbour(plan, neighbour))
}

/// What was planned before, where a router is among the members: only routers are told differences.
fn earlier(plan: &Plan, members: &[Member], args: &RenderArgs) -> anyhow::Result<Option<Earlier>> {
    let is_router = |member: &Member| {
        matches!(platform(plan, *member, args), Platform::Edgeos | Platform::Vyos | Platform::Routeros)
    };
    if !members.iter().any(is_router) {
        return Ok(None);
    }
    let recorded = files::plan_path(&args.file);
    let path = args.previous.as_ref().or_else(|| Some(&recorded).filter(|path| path.exists()));
    path.map(|path| files::earlier(path)).transpose()
}

fn platform(plan: &Plan, member: Member, args: &RenderArgs) -> Platform {
    let own = match member {
        Member::Node(ix) => plan.network.node(ix).platform,
        Member::Client(at) => plan.network.clients[at as usize].platform,
    };
    // What a camera reads is for the apps, whatever else runs on the member.
    if args.qr { Platform::App } else { args.platform.unwrap_or(own) }
}

/// Prints files; where there are several, with their names before them.
fn print_all(files: impl Iterator<Item = anyhow::Result<Vec<Placed>>>, args: &RenderArgs) -> anyhow::Result<()> {
    let rendered = files.collect::<anyhow::Result<Vec<_>>>()?;
    let rendered: Vec<Placed> = rendered.into_iter().flatten().collect();
    let many = rendered.len() > 1;
    for (at, (folder, file)) in rendered.iter().enumerate() {
        if args.qr {
            println!("{}", *qr::on_terminal(&file.text)?);
            continue;
        }
        if many {
            let folder = folder.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
            println!("{}# ==> {folder}{} <==", if at == 0 { "" } else { "\n" }, file.name);
        }
        print!("{}", *file.text);
    }
    Ok(())
}

fn render(
    plan: &Plan,
    member: Member,
    earlier: Option<&Earlier>,
    args: &RenderArgs,
) -> anyhow::Result<Vec<RenderedFile>> {
    let name = plan.name(member);
    let platform = platform(plan, member, args);
    let private = args.keys.as_deref().map(|directory| private_key(directory, name)).transpose()?;
    let path = args.key_path.as_deref().unwrap_or_else(|| render::key_path(platform));
    let source = private.as_ref().map_or(KeySource::File(path), KeySource::Inline);
    let previous = earlier.and_then(|earlier| earlier.of(name));
    let part = plan.of(member);
    let rendered = render::files(&part, platform, &source, previous.as_ref());
    let mut files = rendered.with_context(|| format!("rendering {name}"))?;
    if args.output.is_some() {
        // What goes beside the device's file; where files are printed, there is only that.
        files.extend(render::beside(&part, platform));
        if let Member::Node(node) = member {
            files.extend(render::service_snippets(plan, node));
        }
    }
    Ok(files)
}

fn private_key(directory: &Path, name: &Name) -> anyhow::Result<PrivateKey> {
    key::read_private(&key::path(directory, name))
}

/// Everything that can make rendering fail, so that nothing is written when anything is missing.
fn check_keys(plan: &Plan, members: &[Member], args: &RenderArgs) -> anyhow::Result<()> {
    for member in members {
        let name = plan.name(*member);
        let peers = plan.peers(*member).iter().map(|peer| peer.who);
        if let Some(peer) = peers.into_iter().find(|who| plan.public_key(*who).is_none()) {
            bail!("{}, a peer of {name}, has no public key; run `wayleave key make`", plan.name(peer));
        }
        let Some(directory) = args.keys.as_deref() else { continue };
        let path = key::path(directory, name);
        if !path.exists() {
            bail!("{} is not there; name the members whose keys are, or render without --keys", path.display());
        }
        let own = private_key(directory, name)?.public_key();
        if plan.public_key(*member).is_some_and(|public| public != own) {
            bail!("{} does not belong to the public key of {name}", key::path(directory, name).display());
        }
    }
    Ok(())
}

/// Writes all files under other names, makes sure that they are on the disk, and only then gives them their names: one
/// wait for the disk instead of one per file, and each file is whole at any moment.
fn write_all(
    files: impl Iterator<Item = anyhow::Result<Vec<Placed>>>,
    directory: &Path,
) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut pending: Vec<(PathBuf, PathBuf)> = Vec::new();
    let written = write_beside(files, directory, &mut pending);
    let all = match written.and_then(|all| files::settle(directory, &pending).map(|()| all)) {
        Ok(all) => all,
        Err(error) => {
            // Files that have their names already are whole; the others' former selves are untouched.
            pending.iter().for_each(|(temporary, _)| drop(fs::remove_file(temporary)));
            return Err(error);
        }
    };
    eprintln!("{} below {}, {} changed", count(all.len(), "file"), directory.display(), pending.len());
    Ok(all)
}

/// Writes what changed beside what it is to replace; returns all files.
fn write_beside(
    files: impl Iterator<Item = anyhow::Result<Vec<Placed>>>,
    directory: &Path,
    pending: &mut Vec<(PathBuf, PathBuf)>,
) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for files in files {
        for (folder, file) in files? {
            let folder = folder.map_or_else(|| directory.to_owned(), |name| directory.join(name.as_str()));
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            let path = folder.join(&file.name);
            write_if_new(&path, &file, pending)?;
            all.insert(path);
        }
    }
    Ok(all)
}

/// A file that says the same already is left alone, so that its time tells when it last changed.
fn write_if_new(path: &Path, file: &RenderedFile, pending: &mut Vec<(PathBuf, PathBuf)>) -> anyhow::Result<()> {
    let is_same = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o777 == file.mode())
        && fs::read(path).is_ok_and(|old| Zeroizing::new(old).as_slice() == file.text.as_bytes());
    if !is_same {
        let temporary = files::write_beside(path, file.text.as_bytes(), file.mode())?;
        pending.push((temporary, path.to_owned()));
    }
    Ok(())
}
