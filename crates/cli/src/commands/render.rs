//! `wayleave render`: configuration files for hosts that run nothing of ours.
//!
//! Everything is rendered before the first file is written, so that a missing key or a mistake in the network file leaves
//! all files as they were. Files with private keys are readable by their owner only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::plan::{Member, Plan};
use wayleave_core::render::{KeySource, RenderedFile, wg_quick};

use zeroize::Zeroizing;

use super::key;
use crate::args::RenderArgs;
use crate::exit::Exit;
use crate::files::{self, Locking};
use crate::report::count;

/// Renders one member to stdout, or all of them below a directory.
pub fn run(args: &RenderArgs) -> anyhow::Result<Exit> {
    if args.member.is_none() && args.output.is_none() {
        let usage = "name a node or client, `wayleave render network.toml NAME`, or a directory for all with -o DIR";
        return Err(files::usage(usage.to_owned()));
    }
    let planned = files::plan(&args.file)?;
    let plan = planned.accept()?;
    let member = args.member.as_deref().map(|name| super::plan::find(plan, name)).transpose()?;
    let members: Vec<Member> = member.map_or_else(|| plan.members().collect(), |member| vec![member]);
    check_keys(plan, &members, args)?;
    let locking = if args.locked { Locking::Locked } else { Locking::Update };
    files::record(&args.file, &planned, plan, locking)?;
    match (&args.output, member) {
        (Some(directory), _) => write_all(plan, &members, directory, args)?,
        (None, Some(member)) => {
            let file = render(plan, member, args)?;
            if args.qr { print_qr(&file)? } else { print!("{}", *file.text) }
        }
        (None, None) => {}
    }
    Ok(Exit::Fine)
}

fn render(plan: &Plan, member: Member, args: &RenderArgs) -> anyhow::Result<RenderedFile> {
    let name = plan.name(member);
    let private = args.keys.as_deref().map(|directory| private_key(directory, name)).transpose()?;
    let source = private.as_ref().map_or(KeySource::File(&args.key_path), KeySource::Inline);
    wg_quick(&plan.of(member), &source).with_context(|| format!("rendering {name}"))
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
        let own = private_key(directory, name)?.public_key();
        if plan.public_key(*member).is_some_and(|public| public != own) {
            bail!("{} does not belong to the public key of {name}", key::path(directory, name).display());
        }
    }
    Ok(())
}

/// Writes all files under other names, makes sure that they are on the disk, and only then gives them their names: one
/// wait for the disk instead of one per file, and each file is whole at any moment.
fn write_all(plan: &Plan, members: &[Member], directory: &Path, args: &RenderArgs) -> anyhow::Result<()> {
    let mut pending: Vec<(PathBuf, PathBuf)> = Vec::new();
    let written = write_beside(plan, members, directory, args, &mut pending);
    if let Err(error) = written.and_then(|()| files::settle(directory, &pending)) {
        // Files that have their names already are whole; the others' former selves are untouched.
        pending.iter().for_each(|(temporary, _)| drop(fs::remove_file(temporary)));
        return Err(error);
    }
    let (all, changed) = (members.len(), pending.len());
    eprintln!("{} below {}, {changed} changed", count(all, "file"), directory.display());
    Ok(())
}

fn write_beside(
    plan: &Plan,
    members: &[Member],
    directory: &Path,
    args: &RenderArgs,
    pending: &mut Vec<(PathBuf, PathBuf)>,
) -> anyhow::Result<()> {
    for member in members {
        let file = render(plan, *member, args)?;
        let folder = directory.join(plan.name(*member).as_str());
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(&file.name);
        let mode = if file.secret { 0o600 } else { 0o644 };
        // A file that says the same already is left alone, so that its time tells when it last changed.
        let is_same = fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o777 == mode)
            && fs::read(&path).is_ok_and(|old| Zeroizing::new(old).as_slice() == file.text.as_bytes());
        if !is_same {
            let temporary = files::write_beside(&path, file.text.as_bytes(), mode)?;
            pending.push((temporary, path));
        }
    }
    Ok(())
}

fn print_qr(file: &RenderedFile) -> anyhow::Result<()> {
    // Without comments and with little redundancy it fits an 80-column terminal; screens don't get stained.
    let lines = file.text.lines().filter(|line| !line.starts_with('#'));
    let text = Zeroizing::new(lines.flat_map(|line| [line, "\n"]).collect::<String>());
    let code = qrcode::QrCode::with_error_correction_level(text.trim_start().as_bytes(), qrcode::EcLevel::L)
        .with_context(|| format!("{} bytes are too much for a QR code", file.text.len()))?;
    let image = code
        .render::<qrcode::render::unicode::Dense1x2>()
        .dark_color(qrcode::render::unicode::Dense1x2::Light)
        .light_color(qrcode::render::unicode::Dense1x2::Dark)
        .build();
    println!("{image}");
    Ok(())
}
