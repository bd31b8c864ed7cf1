//! What kernel settings were before we changed them, kept so that they can be put back.
//!
//! One file per network in its directory below `/run`, gone with the next boot as the settings are; written before a setting is
//! changed. Also holds settings that were found as we need them: when another network that had changed one goes, this one
//! takes over what it was, and the setting stays.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wayleave_core::host::{Change, HostState, Sysctl};

use crate::system::directory::{DirectoryError, refusal};

/// Its presence says that something of a network is, or was about to be, on the host.
const FILE: &str = "originals.json";
const SCHEMA: &str = "wayleave.originals";
const VERSION: u32 = 1;

/// The settings that a network uses, with what they were.
#[derive(Debug)]
pub struct Originals {
    path: PathBuf,
    held: Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    schema: String,
    version: u32,
    /// By path below `/proc/sys`: the value before ours, or none if it was found as it should be.
    settings: BTreeMap<String, Option<String>>,
}

impl Originals {
    /// What is remembered in a directory; nothing if there is no file.
    ///
    /// # Errors
    /// If there is one that can't be read: forgetting it would leave settings changed for ever.
    pub fn load(directory: &Path) -> Result<Originals, DirectoryError> {
        let path = directory.join(FILE);
        let held = match fs::read_to_string(&path) {
            Ok(text) => {
                serde_json::from_str(&text).map_err(io::Error::from).and_then(known).map_err(refusal("read", &path))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Held { schema: SCHEMA.into(), version: VERSION, settings: BTreeMap::new() }
            }
            Err(error) => return Err(refusal("read", &path)(error)),
        };
        Ok(Originals { path, held })
    }

    /// Whether a directory has any.
    pub fn is_in(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Remembers what is about to be changed, and what is used as it was found. A value once remembered stays.
    ///
    /// # Errors
    /// If it can't be written down; then nothing must be changed.
    pub fn remember(
        &mut self,
        wanted: &HostState,
        present: &BTreeMap<Sysctl, String>,
        changes: &[Change],
    ) -> Result<(), DirectoryError> {
        let mut held = self.held.clone();
        let of_devices = |name: &Sysctl| wanted.devices.keys().any(|device| name.is_of(device));
        for name in wanted.sysctls.keys().filter(|name| !of_devices(name)) {
            held.settings.entry(name.0.clone()).or_insert(None);
        }
        for change in changes {
            if let Change::SetSysctl { name, .. } = change
                && let Some(kept @ None) = held.settings.get_mut(&name.0)
            {
                *kept = present.get(name).cloned();
            }
        }
        self.keep(held)
    }

    /// What a setting was before this network changed it, if it has.
    pub fn before(&self, name: &Sysctl) -> Option<&str> {
        self.held.settings.get(&name.0)?.as_deref()
    }

    /// What to set back when this network goes. What another network below `root` still uses is handed to it instead.
    ///
    /// # Errors
    /// If the other network's file can't be written.
    pub fn release(&self, root: &Path) -> Result<BTreeMap<Sysctl, String>, DirectoryError> {
        let mut back = BTreeMap::new();
        let changed = self.held.settings.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let mut others = self.others(root);
        for (name, value) in changed {
            match others.iter_mut().find(|other| other.held.settings.contains_key(name)) {
                Some(other) => {
                    let mut held = other.held.clone();
                    held.settings.entry(name.clone()).and_modify(|kept| {
                        kept.get_or_insert_with(|| value.clone());
                    });
                    other.keep(held)?;
                }
                None => drop(back.insert(Sysctl(name.clone()), value.clone())),
            }
        }
        Ok(back)
    }

    /// Forgets everything: all has been set back.
    ///
    /// # Errors
    /// If the file can't be removed.
    pub fn forget(&mut self) -> Result<(), DirectoryError> {
        self.held.settings.clear();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refusal("remove", &self.path)(error)),
            _ => Ok(()),
        }
    }

    fn others(&self, root: &Path) -> Vec<Originals> {
        let own = self.path.parent();
        let entries = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| Some(path.as_path()) != own).filter_map(|path| Originals::load(&path).ok()).collect()
    }

    /// Writes a new file and gives it the old one's name, so that there is always a whole one.
    fn keep(&mut self, held: Held) -> Result<(), DirectoryError> {
        if held == self.held && self.path.exists() {
            return Ok(());
        }
        let beside = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&beside)?;
            file.write_all(&serde_json::to_vec_pretty(&held)?)?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(refusal("write", &self.path))?;
        self.held = held;
        Ok(())
    }
}

fn known(held: Held) -> io::Result<Held> {
    if held.schema == SCHEMA && held.version == VERSION {
        return Ok(held);
    }
    let what = format!("it is {} {}, and this program knows {SCHEMA} {VERSION}", held.schema, held.version);
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}
