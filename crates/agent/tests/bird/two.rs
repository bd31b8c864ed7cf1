//! Two BIRDs at the ends of a wire, each in a network namespace of its own, which ends with it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whether this machine has what these tests need; else it is noted that one did not run, or it fails.
pub fn can_run(test: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&str| {
        std::env::split_paths(&paths).chain([PathBuf::from("/usr/sbin")]).any(|dir| dir.join(program).exists())
    };
    // SAFETY: takes nothing, can't fail.
    let user = unsafe { libc::geteuid() };
    let reason = match ["bird", "ip", "unshare", "nsenter"].iter().find(|program| !is_there(program)) {
        Some(missing) => format!("needs {missing}"),
        None if user != 0 => "needs root".to_owned(),
        None => return true,
    };
    let Some(list) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else { panic!("{test} can't run: {reason}") };
    let mut list = File::options().append(true).create(true).open(list).unwrap();
    list.write_all(format!("wayleave-agent {test}: {reason}\n").as_bytes()).unwrap();
    false
}

/// Asks again and again until there is an answer, for twenty seconds.
pub fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A directory of the test's own.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("wayleave-bird-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with the test, and a network namespace with it.
pub struct Host {
    child: Child,
}

impl Host {
    /// A namespace with its loopback up, held by a process that waits.
    pub fn new() -> Host {
        let hold = ["-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"];
        let mut child = Command::new("unshare").args(hold).stdout(Stdio::piped()).spawn().unwrap();
        let mut byte = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        Host { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A command that will run in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg(program);
        command
    }

    pub fn ip(&self, line: &str) {
        let output = self.command("ip").args(line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two hosts on a wire: 10.9.N.1 and fe80::1 on `va`, 10.9.N.2 and fe80::2 on `vb`, for N from 0 to 2.
pub fn wire() -> (Host, Host) {
    let (a, b) = (Host::new(), Host::new());
    a.ip(&format!("link add va type veth peer name vb netns {}", b.pid()));
    for (host, device, at) in [(&a, "va", 1), (&b, "vb", 2)] {
        for net in 0..3 {
            host.ip(&format!("addr add 10.9.{net}.{at}/30 dev {device}"));
        }
        host.ip(&format!("addr add fe80::{at}/64 dev {device} nodad"));
        host.ip(&format!("link set {device} up"));
    }
    (a, b)
}

/// The text of a configuration.
pub fn configuration(router_id: &str, protocols: &str) -> String {
    format!("router id {router_id};\nlog stderr all;\nprotocol device {{ scan time 60; }}\n{protocols}\n")
}

/// Starts a BIRD on a host, and waits until it listens.
pub fn bird(host: &Host, configuration: &Path) -> Running {
    let (socket, log) = (configuration.with_extension("ctl"), configuration.with_extension("log"));
    let running = Running(
        host.command("bird")
            .args(["-f", "-c"])
            .arg(configuration)
            .arg("-s")
            .arg(&socket)
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap(),
    );
    let deadline = Instant::now() + Duration::from_secs(5);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(Instant::now() < deadline, "BIRD does not start: {}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

/// Two of them that speak with one another.
pub struct Two {
    // Processes end before their namespaces and files do.
    _ours: Running,
    _theirs: Running,
    _hosts: (Host, Host),
    place: Place,
}

impl Two {
    pub fn start(name: &str, ours: &str, theirs: &str) -> Two {
        let (place, hosts) = (Place::new(name), wire());
        std::fs::write(place.path("a.conf"), configuration("10.0.0.1", ours)).unwrap();
        std::fs::write(place.path("b.conf"), configuration("10.0.0.2", theirs)).unwrap();
        let theirs = bird(&hosts.1, &place.path("b.conf"));
        let ours = bird(&hosts.0, &place.path("a.conf"));
        Two { _ours: ours, _theirs: theirs, _hosts: hosts, place }
    }

    pub fn socket(&self) -> PathBuf {
        self.place.path("a.ctl")
    }
}
