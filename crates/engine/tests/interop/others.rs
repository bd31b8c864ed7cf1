//! The other engines: wireguard-go as a process, boringtun as a library in the test's process, and the kernel's own.
//!
//! Each has an interface in a namespace and an inner address, is configured by the real `wg`, and goes away when dropped. Another
//! program that is started like wireguard-go takes its place if WAYLEAVE_INTEROP_PROGRAM names it with its arguments.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use boringtun::device::{DeviceConfig, DeviceHandle};
use wayleave_engine::{PrivateKey, PublicKey, uapi};

use crate::ends::{KeyFile, base64, bring_up, new_key, wait_for};
use crate::limit;
use crate::net::{Namespace, unique_name};

/// Which other engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The reference in Go.
    WireguardGo,
    /// Cloudflare's, in Rust.
    Boringtun,
    /// The kernel's module.
    Linux,
}

/// A tunnel's end that is not ours.
pub struct Other {
    pub name: String,
    pub public_key: PublicKey,
    // Held for being dropped.
    running: Running,
}

enum Running {
    Process(Child),
    Boringtun {
        _device: DeviceHandle,
    },
    /// Goes with its namespace.
    InKernel,
}

impl Other {
    /// An engine with a key, its interface up with the inner address, on a port chosen by the kernel.
    pub fn start(kind: Kind, namespace: &Namespace, address: &str) -> Other {
        let name = unique_name();
        let running = match kind {
            Kind::WireguardGo => start_program(namespace, &name),
            Kind::Boringtun => {
                let device = namespace.enter(|| DeviceHandle::new(&name, DeviceConfig::default()));
                Running::Boringtun { _device: device.unwrap_or_else(|error| panic!("boringtun: {error}")) }
            }
            Kind::Linux => {
                namespace.command(&format!("ip link add {name} type wireguard"));
                Running::InKernel
            }
        };
        if kind != Kind::Linux {
            // It is there before anybody listens to it.
            wait_for("the other engine's socket", || UnixStream::connect(uapi::default_path(&name)).is_ok());
        }
        let key = new_key();
        let other = Other { name, public_key: key.public_key(), running };
        other.set_private_key(namespace, &key);
        bring_up(namespace, &other.name, address);
        other
    }

    /// Gives it a private key. What `public_key` says is the caller's business.
    pub fn set_private_key(&self, namespace: &Namespace, key: &PrivateKey) {
        let file = KeyFile::new(&self.name, &base64(key.expose()));
        namespace.command(&format!("wg set {} private-key {}", self.name, file.0.display()));
    }

    /// The port it listens on.
    pub fn port(&self, namespace: &Namespace) -> u16 {
        namespace.command(&format!("wg show {} listen-port", self.name)).trim().parse().unwrap()
    }
}

fn start_program(namespace: &Namespace, name: &str) -> Running {
    let line = std::env::var("WAYLEAVE_INTEROP_PROGRAM").unwrap_or_else(|_| "wireguard-go".to_owned());
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(name).env("WG_PROCESS_FOREGROUND", "1").stdout(Stdio::null()).stderr(Stdio::null());
    let child = namespace.enter(move || command.spawn()).unwrap_or_else(|error| panic!("{line}: {error}"));
    limit::note_started(child.id());
    Running::Process(child)
}

impl Drop for Other {
    fn drop(&mut self) {
        if let Running::Process(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
            limit::note_ended(child.id());
            let _ = fs::remove_file(uapi::default_path(&self.name));
        }
    }
}
