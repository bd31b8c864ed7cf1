//! Entering a user namespace as an ordinary user.
//!
//! A program of its own, because it takes a process with one thread. The parent starts itself once per case; the child, still root,
//! makes a mount namespace with a `/dev/net/tun` of its own (everybody's, or nobody's) so that the machine's stays as it
//! is, becomes nobody, and does what an ordinary user's lab does. A machine that forbids any of this gives a reason for not
//! having run, with an exit code of its own; it's no success.

use std::ffi::CStr;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;
use wayleave_agent::ping::{PingOptions, PingTarget, ping_many};
use wayleave_lab::host::user_namespace::{Privilege, UserNamespaceError, enter_if_needed};
use wayleave_lab::host::{Namespace, Netlink, Route, tun};
use wayleave_lab::wire::{LinkModel, UnderlayId, Wire, WireOptions};

const CASE: &str = "WAYLEAVE_TEST_CASE";
const CASES: [&str; 2] = ["works", "closed_device"];
const NOBODY: u32 = 65_534;
/// Exit code of a case that this machine can't run.
const CANNOT_RUN: u8 = 77;

/// Why a case didn't succeed.
enum Failure {
    /// The machine forbids it.
    CannotRun(String),
    Wrong(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

fn main() -> ExitCode {
    let outcome = match std::env::var(CASE).as_deref() {
        Ok("works") => works(),
        Ok("closed_device") => closed_device(),
        _ => return parent(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::CannotRun(reason)) => {
            eprint!("{reason}");
            ExitCode::from(CANNOT_RUN)
        }
        Err(Failure::Wrong(reason)) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn parent() -> ExitCode {
    // As libtest does for test runners that ask: none is ignored, and a case may be named.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    if has("--list") {
        if !has("--ignored") {
            CASES.iter().for_each(|case| println!("{case}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let is_named = |case: &&&str| has(case) || !CASES.iter().any(|case| has(case));
    // SAFETY: takes nothing and can't fail.
    if unsafe { libc::geteuid() } != 0 {
        let reason = "it has to start as root, to become nobody with a TUN device of its own";
        let listed: Vec<ExitCode> = CASES.iter().filter(is_named).map(|case| not_run(case, reason)).collect();
        return listed.into_iter().find(|code| *code != ExitCode::SUCCESS).unwrap_or(ExitCode::SUCCESS);
    }
    let mut code = ExitCode::SUCCESS;
    for case in CASES.iter().filter(is_named) {
        let program = std::env::current_exe().expect("the test knows its own program");
        let output = Command::new(program).env(CASE, case).output().expect("the test can start itself");
        if output.status.code() == Some(i32::from(CANNOT_RUN)) {
            if not_run(case, &String::from_utf8_lossy(&output.stderr)) != ExitCode::SUCCESS {
                code = ExitCode::FAILURE;
            }
            continue;
        }
        let verdict = if output.status.success() { "ok" } else { "FAILED" };
        println!("test {case} ... {verdict}");
        if !output.status.success() {
            print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn not_run(case: &str, reason: &str) -> ExitCode {
    let Some(list) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else {
        eprintln!("this machine can't run user_namespace::{case}: {reason}");
        return ExitCode::FAILURE;
    };
    let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).expect("the list can be written");
    writeln!(list, "lab user_namespace::{case}: {reason}").expect("the list can be written");
    ExitCode::SUCCESS
}

/// Two nodes and a wire, all as nobody.
fn works() -> Result<(), Failure> {
    become_nobody(0o666).map_err(Failure::CannotRun)?;
    let privilege = enter_if_needed().map_err(refused)?;
    assert_eq!(privilege, Privilege::UserNamespace);
    assert_eq!(enter_if_needed().map_err(describe)?, Privilege::Present, "the second time there is nothing to do");
    let wire = Wire::start(WireOptions::default()).map_err(describe)?;
    wire.set_default_link(LinkModel::with_delay(Duration::from_millis(5))).map_err(describe)?;
    let mut nodes = Vec::new();
    for address in ["192.0.2.1", "192.0.2.2"] {
        let address: std::net::IpAddr = address.parse().expect("it is an address");
        let namespace = Namespace::create().map_err(describe)?;
        let device = namespace.run(|| -> Result<_, String> {
            let device = tun::create("wire0").map_err(describe)?;
            let mut netlink = Netlink::open().map_err(describe)?;
            netlink.add_address("wire0", address.into()).map_err(describe)?;
            netlink.set_up("wire0").map_err(describe)?;
            let everything = "0.0.0.0/0".parse().expect("it is a prefix");
            netlink.add_route(&Route::new(everything, "wire0")).map_err(describe)?;
            Ok(device)
        });
        let port = wire.add_port(device.map_err(describe)??).map_err(describe)?;
        wire.add_address(port, address, UnderlayId::PUBLIC).map_err(describe)?;
        nodes.push(namespace);
    }
    let target = PingTarget { source: None, destination: "192.0.2.2".parse().expect("it is an address") };
    let results = nodes[0].run(|| ping_many(&[target], &PingOptions::default())).map_err(describe)?;
    let results = results.map_err(describe)?;
    println!("{}", wire.stats().map_err(describe)?.scheduling);
    if results[0].received == 5 { Ok(()) } else { Err(Failure::Wrong(format!("{results:?}"))) }
}

/// A device file that only root may open is the first thing to be said.
fn closed_device() -> Result<(), Failure> {
    become_nobody(0o600).map_err(Failure::CannotRun)?;
    match enter_if_needed() {
        Ok(privilege) => Err(Failure::Wrong(format!("got {privilege:?} without a TUN device"))),
        Err(error) => {
            let text = describe(error);
            let hint = text.contains("chmod 0666 /dev/net/tun");
            if hint { Ok(()) } else { Err(Failure::Wrong(format!("no hint in: {text}"))) }
        }
    }
}

/// A machine's prohibition isn't this program's mistake; everything else is.
fn refused(error: UserNamespaceError) -> Failure {
    use UserNamespaceError as E;
    match error {
        E::SwitchedOff | E::Limit { .. } | E::AppArmor | E::Forbidden(_) => Failure::CannotRun(describe(error)),
        E::Threads | E::Map { .. } | E::Mounts(_) | E::Tun(_) => Failure::Wrong(describe(error)),
    }
}

fn become_nobody(mode: libc::mode_t) -> Result<(), String> {
    let check = |what: &str, result: libc::c_int| {
        if result < 0 { Err(format!("{what}: {}", std::io::Error::last_os_error())) } else { Ok(()) }
    };
    let mount = |source: &CStr, target: &CStr, kind: &CStr, flags| {
        // SAFETY: the strings live through the call; there are no options.
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) }
    };
    // SAFETY: no pointers; this process has one thread and nothing to lose.
    check("unshare", unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    check("private mounts", mount(c"none", c"/", c"none", libc::MS_REC | libc::MS_PRIVATE))?;
    check("tmpfs", mount(c"none", c"/dev/net", c"tmpfs", 0))?;
    let path = c"/dev/net/tun";
    // SAFETY: the path lives through both calls.
    let made = unsafe {
        libc::mknod(path.as_ptr(), libc::S_IFCHR | mode, libc::makedev(10, 200)) | libc::chmod(path.as_ptr(), mode)
    };
    check("mknod", made)?;
    // SAFETY: no pointers but an empty list of groups.
    let changed = unsafe {
        libc::setgroups(0, std::ptr::null())
            | libc::setresgid(NOBODY, NOBODY, NOBODY)
            | libc::setresuid(NOBODY, NOBODY, NOBODY)
    };
    check("become nobody", changed)?;
    // Changing users makes /proc/self root's; a process that was started as nobody has its own.
    // SAFETY: no pointer.
    check("dumpable", unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1_u64, 0_u64, 0_u64, 0_u64) })
}

fn describe(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}
