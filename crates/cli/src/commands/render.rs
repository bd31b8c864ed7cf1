//! `wayleave render`: configuration files for hosts that run nothing of ours.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::plan::{Member, Plan};
use wayleave_core::render::{KeySource, RenderedFile, wg_quick};

use super::key;
use crate::args::RenderArgs;
use crate::exit::Exit;
use crate::files::{self, Locking};

/// Renders one member to stdout, or all of them below a directory.
pub fn run(args: &RenderArgs) -> anyhow::Result<Exit> {
    let planned = files::plan(&args.file)?;
    let plan = planned.accept()?;
    let member = args.member.as_deref().map(|name| super::plan::find(plan, name)).transpose()?;
    let members: Vec<Member> = member.map_or_else(|| plan.members().collect(), |member| vec![member]);
    // Everything is rendered before anything is written, unless that would be gigabytes: then twice.
    for member in &members {
        render(plan, *member, args)?;
    }
    let locking = if args.locked { Locking::Locked } else { Locking::Update };
    files::record(&args.file, &planned, plan, locking)?;
    match (&args.output, member) {
        (Some(directory), _) => write_all(plan, &members, directory, args)?,
        (None, Some(member)) => {
            let file = render(plan, member, args)?;
            if args.qr { print_qr(&file)? } else { print!("{}", *file.text) }
        }
        (None, None) => bail!("name a node or client, or a directory with -o"),
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

fn write_all(plan: &Plan, members: &[Member], directory: &Path, args: &RenderArgs) -> anyhow::Result<()> {
    for member in members {
        let file = render(plan, *member, args)?;
        let folder = directory.join(plan.name(*member).as_str());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&folder)
            .with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(&file.name);
        let mode = if file.secret { 0o600 } else { 0o644 };
        // A file that says the same already is left alone, so that its time tells when it last changed.
        let same = fs::read(&path).is_ok_and(|old| old == file.text.as_bytes())
            && fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o777 == mode);
        if !same {
            files::replace(&path, file.text.as_bytes(), mode)?;
        }
    }
    eprintln!("{} files below {}", members.len(), directory.display());
    Ok(())
}

fn print_qr(file: &RenderedFile) -> anyhow::Result<()> {
    let code = qrcode::QrCode::new(file.text.as_bytes())
        .with_context(|| format!("{} bytes are too much for a QR code", file.text.len()))?;
    let image = code
        .render::<qrcode::render::unicode::Dense1x2>()
        .dark_color(qrcode::render::unicode::Dense1x2::Light)
        .light_color(qrcode::render::unicode::Dense1x2::Dark)
        .build();
    println!("{image}");
    Ok(())
}
