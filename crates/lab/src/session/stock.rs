//! Clients whose WireGuard is anybody's, such as `wireguard-go`: a program in the place of the embedded engine.
//!
//! It is started once as `PROGRAM DEVICE` inside the member's namespaces, makes the device, and is told everything over the socket on which
//! `wg` speaks to it too. It never learns that it is in a lab, and ends with it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use wayleave_engine::uapi::Client;
use wayleave_engine::{ConfigureDevice, DeviceDescription};

use super::agents::end_with_parent;
use crate::control::Entry;
use crate::limits::STOCK_START_MAX;

/// A running program.
pub(super) struct Stock {
    socket: PathBuf,
    child: Child,
}

/// Where a program reads how it gets into the member, in the member's directory.
pub fn entry_path(directory: &Path) -> PathBuf {
    directory.join("entry.json")
}

impl Stock {
    /// Starts a program and waits until it can be spoken to.
    pub(super) fn start(
        own_program: &Path,
        program: &Path,
        device: &str,
        directory: &Path,
        entry: &Entry,
    ) -> io::Result<Stock> {
        std::fs::write(entry_path(directory), serde_json::to_vec(entry)?)?;
        let log = std::fs::File::options().append(true).create(true).open(directory.join("wireguard.log"))?;
        let mut command = Command::new(own_program);
        command.args(["lab", "become"]).arg(directory).arg(program).arg(device);
        // Else it would leave this process for the background.
        command.env("WG_PROCESS_FOREGROUND", "1");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_parent(&mut command);
        let mut stock = Stock { socket: directory.join(format!("{device}.sock")), child: command.spawn()? };
        let begin = Instant::now();
        while Client::connect(&stock.socket).is_err() {
            if let Some(status) = stock.child.try_wait()? {
                let said = std::fs::read_to_string(directory.join("wireguard.log")).unwrap_or_default();
                return Err(io::Error::other(format!("{} ended with {status}: {}", program.display(), said.trim())));
            }
            if begin.elapsed() > STOCK_START_MAX {
                return Err(io::Error::other(format!("{} does not answer at its socket", program.display())));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(stock)
    }

    pub(super) fn configure(&self, change: &ConfigureDevice) -> io::Result<()> {
        Client::connect(&self.socket)?.configure(change)
    }

    pub(super) fn describe(&self) -> io::Result<DeviceDescription> {
        Client::connect(&self.socket)?.describe()
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
