//! `wayleave engine IFACE`: the embedded engine by itself, a drop-in for `wireguard-go IFACE`.
//!
//! Without `--foreground` it starts itself again in the background and returns when the device can be configured, as
//! `wg-quick` expects of `WG_QUICK_USERSPACE_IMPLEMENTATION`.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use wayleave_core::names::DeviceName;

use crate::args::EngineArgs;
use crate::exit::Exit;
use crate::files;

/// How long the device may take to appear; making one takes milliseconds.
const START_MAX: Duration = Duration::from_secs(10);

/// Runs until the interface is deleted or the process is told to end.
pub fn run(args: &EngineArgs) -> anyhow::Result<Exit> {
    DeviceName::new(&args.interface)
        .map_err(|error| files::usage(format!("{:?} can't be an interface: {error}", args.interface)))?;
    if args.foreground {
        wayleave_engine::run(&args.interface).with_context(|| format!("running the engine on {}", args.interface))?;
    } else {
        start(&args.interface)?;
    }
    Ok(Exit::Fine)
}

fn start(interface: &str) -> anyhow::Result<()> {
    let socket = Path::new("/var/run/wireguard").join(format!("{interface}.sock"));
    // Otherwise the engine that has the socket already would be taken for the one that is started here.
    if UnixStream::connect(&socket).is_ok() {
        bail!("an engine runs on {interface} already: something answers at {}", socket.display());
    }
    let program = std::env::current_exe().context("finding this program")?;
    let mut child = Command::new(program)
        .args(["engine", "--foreground", interface])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the engine in the background")?;
    let begin = Instant::now();
    while begin.elapsed() < START_MAX {
        if let Some(status) = child.try_wait().context("watching the engine start")? {
            bail!("the engine ended at once ({status})");
        }
        if UnixStream::connect(&socket).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    bail!("the engine did not open {} within {} s", socket.display(), START_MAX.as_secs())
}
