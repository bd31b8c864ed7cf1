//! Files that an earlier run rendered and this one did not: another platform's, a firewall's that is gone, a gone member's.
//!
//! Only what carries the header of this network and of the member whose folder it is in is looked at. It is removed if it
//! is as it was rendered, and left where it is, and told of, if somebody edited it. Everything else is somebody else's.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wayleave_core::plan::{Member, Plan};
use wayleave_core::render::recognised;
use zeroize::Zeroizing;

/// Bytes of a file that is looked at: what is rendered for a hub of 10,000 peers has 3 MB.
const BYTES_MAX: u64 = 16 << 20;

/// A file that was rendered earlier.
enum Leftover {
    Untouched,
    Edited,
}

/// Removes them from the folders of the members that were rendered; if these are all, also from those of gone members.
pub fn remove(directory: &Path, plan: &Plan, members: &[Member], written: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let rendered: BTreeSet<&str> = members.iter().map(|member| plan.name(*member).as_str()).collect();
    let is_all = rendered.len() == plan.members().count();
    let looking = || format!("looking for files of earlier runs in {}", directory.display());
    for entry in fs::read_dir(directory).with_context(looking)? {
        let entry = entry.with_context(looking)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())) else { continue };
        let is_gone = plan.members().all(|member| plan.name(member).as_str() != name);
        if rendered.contains(name) || (is_all && is_gone) {
            folder(&entry.path(), name, plan, is_gone, written)?;
        }
    }
    Ok(())
}

fn folder(path: &Path, member: &str, plan: &Plan, is_gone: bool, written: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let why = if is_gone { "the network has it no more" } else { "it is told otherwise by now" };
    let mut removed = false;
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| !written.contains(*file)) {
        match leftover(file, member, plan.network.name.as_str()) {
            Some(Leftover::Untouched) => {
                fs::remove_file(file).with_context(|| format!("removing {}", file.display()))?;
                eprintln!("{} removed: it was rendered for {member} earlier, and {why}", file.display());
                removed = true;
            }
            Some(Leftover::Edited) => {
                eprintln!(
                    "{} is left where it is: it was rendered for {member} earlier, and {why}; but it was edited since. Remove it \
                     if nobody needs it",
                    file.display()
                );
            }
            None => {}
        }
    }
    if removed {
        // It stays if anything else is in it.
        let _ = fs::remove_dir(path);
    }
    Ok(())
}

fn leftover(path: &Path, member: &str, network: &str) -> Option<Leftover> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > BYTES_MAX {
        return None;
    }
    let mut text = Zeroizing::new(String::new());
    fs::File::open(path).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    let found = recognised(&text).filter(|found| found.member == member && found.network == network)?;
    Some(if found.untouched { Leftover::Untouched } else { Leftover::Edited })
}
