//! Kernel settings, by their files under `/proc/sys`.
//!
//! Each thread sees the settings of its own network namespace there. In: a name. Out: its value as text without the newline.

use std::fs;
use std::io;
use std::path::PathBuf;

use wayleave_core::host::Sysctl;

use super::HostError;

fn path(name: &Sysctl) -> PathBuf {
    PathBuf::from("/proc/sys").join(&name.0)
}

/// A setting's value; none if there is no such setting (a device that is not there yet, IPv6 switched off).
pub(super) fn read(name: &Sysctl) -> Result<Option<String>, HostError> {
    match fs::read_to_string(path(name)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HostError::Sysctl { what: "read", name: name.to_string(), source }),
    }
}

/// Sets it.
pub(super) fn write(name: &Sysctl, value: &str) -> Result<(), HostError> {
    fs::write(path(name), value).map_err(|source| HostError::Sysctl { what: "set", name: name.to_string(), source })
}
