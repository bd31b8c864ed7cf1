//! What a lab leaves behind, however it ends: nothing.

use std::fs;
use std::path::Path;

use crate::desk::{Desk, WAYLEAVE, can_run};
use crate::running::Running;

/// Processes that are in a network namespace or hold it open, by its name in /proc: `net:[4026532000]`.
fn holders(namespace: &str) -> Vec<String> {
    let is_it = |path: &Path| fs::read_link(path).is_ok_and(|target| target.as_os_str() == namespace);
    let holds = |process: &Path| {
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        is_it(&process.join("ns/net")) || descriptors.into_iter().any(|entry| is_it(&entry.path()))
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let all = processes.filter(|path| path.join("ns").exists());
    all.filter(|path| holds(path)).map(|path| path.display().to_string()).collect()
}

#[test]
fn a_killed_lab_leaves_nothing_once_the_next_has_started() {
    if !can_run("a_killed_lab_leaves_nothing_once_the_next_has_started", true, &["readlink"]) {
        return;
    }
    let desk = Desk::with_examples();
    // For once where labs are found without being told: no other test uses that name.
    let name = format!("killed-{}", std::process::id());
    let start = |desk| {
        let mut command = std::process::Command::new(WAYLEAVE);
        command.args(["lab", "up", "--name", &name, "edgeproxy.toml"]);
        Running::started(desk, &name, &mut command)
    };
    let at_large = |line: &str| {
        let mut command = std::process::Command::new("env");
        command.args(["-u", "WAYLEAVE_RUNTIME_DIR", WAYLEAVE, "lab"]).args(line.split_whitespace());
        desk.run(&mut command, "")
    };
    let directory = Path::new("/run/wayleave/lab").join(&name);
    let mut lab = start(&desk);
    assert!(directory.join("control.sock").exists());
    let namespaces: Vec<String> = ["hkg", "gru"]
        .map(|member| at_large(&format!("exec --name {name} {member} readlink /proc/self/ns/net")).expect(0).out)
        .map(|link| link.trim().to_owned())
        .into();
    assert_ne!(namespaces[0], namespaces[1]);
    assert_eq!(holders(&namespaces[0]), [format!("/proc/{}", lab.pid())]);
    lab.kill();
    for namespace in &namespaces {
        assert!(holders(namespace).is_empty(), "{:?}", holders(namespace));
    }
    // What needs a live lab says so rather than wait for an answer.
    let ran = at_large(&format!("status --name {name}")).expect(1);
    assert!(ran.err.contains("no lab named"), "{ran}");

    let mut lab = start(&desk);
    at_large(&format!("ping --name {name} hkg nrt -c 2")).expect(0);
    at_large(&format!("down --name {name}")).expect(0);
    assert_eq!(lab.wait().code(), Some(0));
    assert!(!directory.exists());
}

#[test]
fn another_lab_sweeps_up_what_a_killed_one_left() {
    if !can_run("another_lab_sweeps_up_what_a_killed_one_left", true, &[]) {
        return;
    }
    let desk = Desk::with_examples();
    Running::start(&desk, "killed", "two-offices.toml").kill();
    assert!(desk.path("run/lab/killed").exists());
    desk.wayleave("lab up edge-router.toml --once").expect(0);
    assert_eq!(fs::read_dir(desk.path("run/lab")).unwrap().count(), 0);
}
