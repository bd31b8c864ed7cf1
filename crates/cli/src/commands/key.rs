//! `wayleave key`: private keys in files, compatible with `wg genkey`, `wg genpsk` and `wg pubkey`.
//!
//! A private key is printed only where printing it is what was asked for. Key files are made with mode 0600 and never
//! overwritten. What `make` makes is entered in the ledger, public halves only.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wayleave_core::keys::{KEY_BYTES, PrivateKey, PublicKey};
use wayleave_core::names::Name;
use zeroize::{Zeroize as _, Zeroizing};

use crate::args::KeyCommand;
use crate::exit::Exit;
use crate::files;
use crate::report;

/// Bytes of a key file that are read: a key, its newline and some slack, never a whole disk.
const KEY_FILE_BYTES_MAX: u64 = 256;

/// Runs one of the key commands.
pub fn run(command: KeyCommand) -> anyhow::Result<Exit> {
    match command {
        KeyCommand::Generate { preshared, output } => generate(preshared, output.as_deref()),
        KeyCommand::Public { file } => {
            println!("{}", read_private(&file)?.public_key());
            Ok(Exit::Fine)
        }
        KeyCommand::Show { file, show_secrets } => show(&file, show_secrets),
        KeyCommand::Check { file, keys } => check(&file, &keys),
        KeyCommand::Make { file, keys } => make(&file, &keys),
    }
}

/// The key file of a member.
pub fn path(directory: &Path, name: &Name) -> PathBuf {
    directory.join(format!("{name}.key"))
}

/// Reads a private key from a file, or from stdin for `-`.
pub fn read_private(path: &Path) -> anyhow::Result<PrivateKey> {
    let text = read_text(path)?;
    PrivateKey::parse(&text).with_context(|| format!("reading a private key from {}", path.display()))
}

/// Thirty-two bytes from the kernel, as a clamped private key.
pub fn new_private() -> anyhow::Result<PrivateKey> {
    Ok(PrivateKey::from_random(*random()?))
}

fn random() -> anyhow::Result<Zeroizing<[u8; KEY_BYTES]>> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(bytes.as_mut()).context("asking the kernel for random bytes")?;
    Ok(bytes)
}

fn read_text(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX as usize));
    let read = if path == Path::new("-") {
        std::io::stdin().take(KEY_FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("reading {}", path.display()))?;
    Ok(text)
}

fn generate(preshared: bool, output: Option<&Path>) -> anyhow::Result<Exit> {
    let key = if preshared { PrivateKey::preshared_from_random(*random()?) } else { new_private()? };
    match output {
        None => println!("{}", *key.reveal()),
        Some(path) => {
            write_new(path, &key)?;
            if !preshared {
                println!("{}", key.public_key());
            }
        }
    }
    Ok(Exit::Fine)
}

/// Writes a key to a file that does not exist yet.
fn write_new(path: &Path, key: &PrivateKey) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("making {} (key files are never overwritten)", path.display()))?;
    let mut text = key.reveal();
    text.push('\n');
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", path.display()))
}

fn show(file: &Path, show_secrets: bool) -> anyhow::Result<Exit> {
    let text = read_text(file)?;
    let key = PrivateKey::parse(&text).with_context(|| format!("reading a key from {}", file.display()))?;
    // A private key is clamped, and of public keys one in 32 looks as if it were.
    let mut clamped = PrivateKey::from_random(*key.as_bytes());
    let is_private = clamped == key;
    clamped.zeroize();
    if !is_private {
        println!("public key or preshared key: {}", if show_secrets { text.trim() } else { "(hidden)" });
        println!("  not a private key: its bits are not clamped as `wg genkey` does");
        return Ok(Exit::Fine);
    }
    println!("private key: {}", if show_secrets { text.trim() } else { "(hidden)" });
    println!("public key: {}", key.public_key());
    if file != Path::new("-") {
        let mode = fs::metadata(file).with_context(|| format!("reading {}", file.display()))?.mode() & 0o777;
        let verdict = if mode & 0o077 == 0 { "" } else { ", readable by others: chmod 600" };
        println!("file mode: {mode:04o}{verdict}");
    }
    Ok(Exit::Fine)
}

fn check(file: &Path, keys: &Path) -> anyhow::Result<Exit> {
    let planned = files::plan(file)?;
    let plan = planned.accept()?;
    let (mut good, mut bad, mut elsewhere) = (0, 0, 0);
    for (name, public) in plan.keys() {
        let path = path(keys, name);
        let mut complain = |what: String| {
            eprintln!("{}: {what}", path.display());
            bad += 1;
        };
        if !path.exists() {
            // A key that was made here belongs here; one that the network file states is on its own host.
            match planned.ledger.public_keys.contains_key(name) {
                true => {
                    complain(format!("missing, though it was made for {name}; without it the host needs a new key"))
                }
                false => elsewhere += 1,
            }
            continue;
        }
        let mode = fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            complain(format!("mode {mode:04o} lets others read it; run chmod 600"));
        }
        match (read_private(&path), public) {
            (Err(error), _) => complain(format!("{error:#}")),
            (Ok(key), Some(public)) if key.public_key() != public => {
                complain(format!("belongs to {}, but {name} has {public}", key.public_key()));
            }
            (Ok(_), None) => complain(format!("{name} has no public key yet; run `wayleave key make`")),
            (Ok(_), Some(_)) => good += 1,
        }
    }
    let not_here = if elsewhere > 0 { format!(", {elsewhere} kept elsewhere") } else { String::new() };
    eprintln!("{good} fit, {}{not_here}", report::count(bad, "problem"));
    Ok(if bad == 0 { Exit::Fine } else { Exit::Failed })
}

fn make(file: &Path, keys: &Path) -> anyhow::Result<Exit> {
    let mut planned = files::plan(file)?.without_missing_keys();
    report::print_findings(&planned.findings, &planned.sources);
    if planned.findings.errors() > 0 {
        bail!("the network file has errors; no key was made");
    }
    let Some(plan) = planned.plan.take() else { bail!("the network file has errors; no key was made") };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(keys)
        .with_context(|| format!("making {}", keys.display()))?;
    let mut ledger = files::ledger(file)?;
    let mut made: Vec<(Name, PublicKey)> = Vec::new();
    for (name, _) in plan.keys().filter(|(_, public)| public.is_none()) {
        let path = path(keys, name);
        // A key file without a public key in the ledger is what an interrupted run leaves: it is taken up.
        let key = if path.exists() { read_private(&path)? } else { new_private()? };
        if !path.exists() {
            write_new(&path, &key)?;
        }
        made.push((name.clone(), key.public_key()));
    }
    for (name, key) in &made {
        println!("{name}\t{key}");
        ledger.public_keys.insert(name.clone(), *key);
    }
    if !made.is_empty() {
        files::replace(&files::ledger_path(file), ledger.to_text().as_bytes(), 0o644)?;
    }
    eprintln!("{} made in {}", report::count(made.len(), "key"), keys.display());
    Ok(Exit::Fine)
}
