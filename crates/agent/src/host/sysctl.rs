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
pub(crate) fn read(name: &Sysctl) -> Result<Option<String>, HostError> {
    match fs::read_to_string(path(name)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HostError::Sysctl { what: "read", name: name.to_string(), source }),
    }
}

/// Whether there is such a setting: an interface may have gone, and its settings with it.
pub(crate) fn exists(name: &Sysctl) -> bool {
    path(name).exists()
}

/// The host's interfaces that have IPv6, but for loopback.
pub(crate) fn interfaces() -> impl Iterator<Item = String> {
    let names = fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !matches!(name.as_str(), "all" | "default" | "lo"))
}

/// Whether an interface takes IPv6 routers from router advertisements as a host does, and would no more once it forwards.
pub(crate) fn hears_routers(interface: &str) -> bool {
    takes_routers_as_host(interface) && !forwards_v6(interface)
}

/// Whether an interface would take IPv6 routers from router advertisements if it did not forward.
pub(crate) fn lost_routers(interface: &str) -> bool {
    takes_routers_as_host(interface) && forwards_v6(interface)
}

fn takes_routers_as_host(interface: &str) -> bool {
    has(&Sysctl::router_advertisements(interface), "1")
}

fn forwards_v6(interface: &str) -> bool {
    has(&Sysctl(format!("net/ipv6/conf/{interface}/forwarding")), "1")
}

fn has(name: &Sysctl, value: &str) -> bool {
    read(name).ok().flatten().as_deref() == Some(value)
}

/// Sets it.
pub(super) fn write(name: &Sysctl, value: &str) -> Result<(), HostError> {
    fs::write(path(name), value).map_err(|source| HostError::Sysctl { what: "set", name: name.to_string(), source })
}
