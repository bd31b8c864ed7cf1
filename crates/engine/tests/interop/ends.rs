//! This engine as a tunnel's end, in the test's process: an interface in a namespace, an inner address, and a socket for `wg`.
//!
//! It goes away when dropped. `others` has the ends that it is tried against.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use wayleave_engine::{ConfigureDevice, Device, DeviceOptions, Offloads, PrivateKey, PublicKey, Timing, Tun, uapi};

use crate::net::{Namespace, unique_name};

/// A private key that no other end of this process has.
pub fn new_key() -> PrivateKey {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let mut bytes = [0x42; 32];
    bytes[7] = NEXT.fetch_add(1, Ordering::Relaxed);
    PrivateKey::new(bytes)
}

/// This engine.
pub struct Engine {
    pub device: Device,
    pub name: String,
    pub public_key: PublicKey,
}

impl Engine {
    /// An engine with a key, its interface up with the inner address, on a port chosen by the kernel.
    pub fn start(namespace: &Namespace, address: &str, timing: Timing) -> Engine {
        Engine::start_with(namespace, address, timing, Offloads::ALL)
    }

    /// The same with some offloads only.
    pub fn start_with(namespace: &Namespace, address: &str, timing: Timing, offloads: Offloads) -> Engine {
        let make = |name: &str| Tun::create(name).unwrap();
        Engine::start_on(namespace, address, make, timing, offloads, None)
    }

    /// The same with as many threads as are asked for.
    pub fn start_threads(namespace: &Namespace, address: &str, threads: usize) -> Engine {
        let make = |name: &str| Tun::create(name).unwrap();
        Engine::start_on(namespace, address, make, Timing::default(), Offloads::ALL, Some(threads))
    }

    /// The same on an interface without virtio headers.
    pub fn start_plain(namespace: &Namespace, address: &str) -> Engine {
        let make = |name: &str| Tun::from_fd(plain_tun(name)).unwrap();
        Engine::start_on(namespace, address, make, Timing::default(), Offloads::ALL, None)
    }

    /// The same on an interface made by `make`, on a thread of its own.
    pub fn start_on(
        namespace: &Namespace,
        address: &str,
        make: impl FnOnce(&str) -> Tun + Send,
        timing: Timing,
        offloads: Offloads,
        threads: Option<usize>,
    ) -> Engine {
        let name = unique_name();
        let device = namespace.enter(|| {
            let mut options = DeviceOptions::new(make(&name)).with_uapi(uapi::default_path(&name));
            options.timing = timing;
            options.offloads = offloads;
            options.threads = threads.or_else(threads_wanted).unwrap_or(options.threads);
            Device::start(options).unwrap()
        });
        let key = new_key();
        let public_key = key.public_key();
        device.configure(&ConfigureDevice { private_key: Some(key), ..ConfigureDevice::default() }).unwrap();
        let engine = Engine { device, name, public_key };
        bring_up(namespace, &engine.name, address);
        wait_for("the engine's port", || engine.device.describe().unwrap().listen_port != 0);
        engine
    }

    pub fn port(&self) -> u16 {
        self.device.describe().unwrap().listen_port
    }
}

/// How many threads the engines of all tests are to have, whatever the machine: `WAYLEAVE_ENGINE_THREADS`.
fn threads_wanted() -> Option<usize> {
    std::env::var("WAYLEAVE_ENGINE_THREADS").ok().map(|number| number.parse().unwrap())
}

/// An interface as owners make it who know nothing of virtio headers.
fn plain_tun(name: &str) -> OwnedFd {
    let file = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: `ifreq` is plain old data, valid when zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
    file.into()
}

/// A file that only its owner reads and that goes when dropped.
pub struct KeyFile(pub PathBuf);

impl KeyFile {
    pub fn new(name: &str, content: &str) -> KeyFile {
        let path = std::env::temp_dir().join(format!("{name}.{}", unique_name()));
        fs::write(&path, content).unwrap();
        KeyFile(path)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub fn base64(bytes: &[u8; 32]) -> String {
    PublicKey(*bytes).to_string()
}

pub fn bring_up(namespace: &Namespace, name: &str, address: &str) {
    namespace.command(&format!("ip addr add {address} dev {name}"));
    namespace.command(&format!("ip link set {name} mtu 1420 up"));
}

/// Waits for something that should come soon.
pub fn wait_for(what: &str, happened: impl FnMut() -> bool) {
    wait_for_s(15, what, happened);
}

/// Waits for something that comes within so many seconds.
pub fn wait_for_s(limit_s: u64, what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(limit_s);
    while !happened() {
        assert!(Instant::now() < deadline, "waited {limit_s} s for {what}");
        sleep(Duration::from_millis(10));
    }
}
