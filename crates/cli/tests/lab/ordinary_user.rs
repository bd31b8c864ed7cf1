//! A lab of somebody who is not root: everything happens in a user namespace.
//!
//! The test, itself root, becomes nobody in a mount namespace where `/dev/net/tun` is open to everybody, as on most
//! machines; the machine's own device file stays as it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use serde_json::Value;

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};
use crate::running::Running;

const NOBODY: u32 = 65_534;
const PROGRAMS: [&str; 4] = ["unshare", "setpriv", "mount", "mknod"];

/// Examples and the program in a directory that belongs to nobody, for it may lie where nobody can't look.
fn desk() -> Desk {
    let desk = Desk::with_examples();
    fs::copy(WAYLEAVE, desk.path("wayleave")).unwrap();
    fs::create_dir(desk.path("run")).unwrap();
    for name in ["", "run", "wayleave"] {
        chown(desk.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(desk.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    desk
}

/// `wayleave` as nobody, with a TUN device file of this mode.
fn as_nobody(desk: &Desk, mode: &str, arguments: &str) -> Command {
    let script = "mount -t tmpfs none /dev/net && mknod -m \"$0\" /dev/net/tun c 10 200 && \
                  exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, mode]).arg(desk.path("wayleave"));
    command.args(arguments.split_whitespace()).env("WAYLEAVE_RUNTIME_DIR", desk.path("run"));
    command
}

/// Whether this machine lets ordinary users make user namespaces at all.
fn may_make_user_namespaces() -> bool {
    let allowed = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "unshare",
            "--user",
            "--map-root-user",
            "true",
        ])
        .output();
    allowed.is_ok_and(|output| output.status.success())
}

fn can_run_as_nobody(test: &str) -> bool {
    can_run(test, true, &PROGRAMS)
        && (may_make_user_namespaces() || can_run(test, true, &["user namespaces for ordinary users"]))
}

#[test]
fn an_ordinary_user_runs_a_lab() {
    if !can_run_as_nobody("an_ordinary_user_runs_a_lab") {
        return;
    }
    let desk = desk();
    let ran = desk.run(&mut as_nobody(&desk, "666", "lab up edgeproxy.toml --once --json"), "").expect(0);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["lost"], 0, "{ran}");
    assert_eq!(document["pairs"].as_array().unwrap().len(), 66);
    assert_eq!(fs::read_dir(desk.path("run/lab")).unwrap().count(), 0);
}

#[test]
fn an_ordinary_user_enters_and_cuts_a_lab_that_stays_up() {
    if !can_run_as_nobody("an_ordinary_user_enters_and_cuts_a_lab_that_stays_up") || !can_run("wg", false, &["wg"]) {
        return;
    }
    let desk = desk();
    let mut up = as_nobody(&desk, "666", "lab up two-offices.toml --name own");
    let mut lab = Running::started(&desk, "own", &mut up);
    let ask = |arguments: &str| -> Ran { desk.run(&mut as_nobody(&desk, "600", arguments), "") };
    ask("lab status").expect(0);
    ask("lab ping alpha beta -c 2").expect(0);
    let shown = ask("lab exec alpha wg show wg0 latest-handshakes").expect(0);
    assert_eq!(shown.out.lines().count(), 1, "{shown}");
    ask("lab exec alpha sh -c false").expect(1);
    ask("lab fail node beta").expect(0);
    ask("lab ping alpha beta -c 2").expect(4);
    ask("lab down").expect(0);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
}

#[test]
fn an_ordinary_user_without_a_tun_device_is_told_what_to_do() {
    if !can_run_as_nobody("an_ordinary_user_without_a_tun_device_is_told_what_to_do") {
        return;
    }
    let desk = desk();
    let ran = desk.run(&mut as_nobody(&desk, "600", "lab up edgeproxy.toml --once"), "").expect(1);
    assert!(ran.err.contains("chmod 0666 /dev/net/tun"), "{ran}");
}
