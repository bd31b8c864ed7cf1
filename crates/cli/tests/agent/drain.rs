//! An entry node with many clients gives them away: `bench/drain` with fewer of them, and limits that a debug build beside others keeps.

use std::path::Path;
use std::process::Command;

use crate::desk::{WAYLEAVE, can_run, root};

#[test]
fn a_server_with_forty_clients_of_which_half_hear_nobody_else_gives_them_all_away() {
    let test = "a_server_with_forty_clients_of_which_half_hear_nobody_else_gives_them_all_away";
    if !can_run(test, true, &["ip", "python3"]) {
        return;
    }
    let load = load();
    let options = "--servers 3 --clients 40 --closed-every 2 --rate 400 --seconds 15 --empty-s 15 --silence-ms 3000";
    let mut command = Command::new(root().join("bench/drain"));
    command.args(options.split(' ')).env("WAYLEAVE", WAYLEAVE).env("LOAD", &load);
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}{stderr}");
    assert!(output.status.success(), "{stdout}{stderr}");
    // Those that hear all are called from other servers' own addresses, the others go on by the one that they know.
    assert!(stdout.contains(" 20 at 198.51.100.1:51821\n"), "{stdout}");
    assert!(stdout.contains("clients at each server: s00 0, "), "{stdout}");
}

/// The program that plays the clients, an example of the engine's, beside the program under test.
fn load() -> std::path::PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    let built = cargo.args(["build", "-q", "-p", "wayleave-engine", "--example", "load"]).current_dir(root()).status();
    assert!(built.unwrap().success());
    Path::new(WAYLEAVE).with_file_name("examples").join("load")
}
