//! Exit codes: one table for all commands.

use crate::OFFICE;
use crate::desk::Desk;

/// Runs one command line in a directory with a good file, one with a warning and a bad one.
#[track_caller]
fn check(arguments: &str, code: i32, said: &str) {
    let desk = Desk::with("network.toml", &OFFICE.replace("192.168.77.0", "192.168.178.0"));
    desk.write("bad.toml", OFFICE.replace("entry", "entree"));
    desk.wayleave("key make").expect(0);
    desk.write("warned.toml", OFFICE);
    let ran = desk.wayleave(arguments).expect(code);
    assert!(ran.err.contains(said) || ran.out.contains(said), "nothing about {said:?} in {ran}");
}

#[test]
fn fine_is_0() {
    check("check", 0, "no errors");
    check("check warned.toml", 0, "0 errors, 1 warning");
    check("plan", 0, "10.9.0.1");
    check("--help", 0, "Exit codes");
    check("--version", 0, "wayleave");
}

#[test]
fn failed_is_1() {
    check("check bad.toml", 1, "Did you mean \"entry\"");
    check("plan bad.toml", 1, "nothing was changed");
    check("render bad.toml server", 1, "nothing was changed");
    check("key make bad.toml", 1, "no key was made");
    check("lab up bad.toml --once", 1, "nothing was changed");
    check("check nowhere.toml", 1, "nowhere.toml");
    check("lab status --name nobody", 1, "no lab named nobody");
    check("plan --diff", 1, "no earlier plan");
    check("plan --diff=/etc/passwd", 1, "/etc/passwd is no recorded plan");
    check("render warned.toml server", 1, "key make");
}

#[test]
fn warnings_are_3_if_strict() {
    check("check --strict", 0, "no warnings");
    check("check --strict warned.toml", 3, "1 warning");
    check("check --strict bad.toml", 1, "error");
}

#[test]
fn a_wrong_command_line_is_64() {
    for (arguments, said) in [
        ("", "Usage"),
        ("plant", "plan"),
        ("check --stric", "--strict"),
        ("plan network.toml nobody", "archive, printer, server, laptop"),
        ("render network.toml nobody", "nobody"),
        ("render", "name a node or client"),
        ("render network.toml laptop --qr", "--keys"),
        ("lab up --loss 101", "--loss"),
        ("lab up --jitter-ms=-1", "jitter-ms"),
        ("lab up --rate-mbit 0", "--rate-mbit"),
        ("lab up --name a/b", "a/b"),
        ("lab status --name ..", ".."),
        ("lab ping --count 0 a", "--count"),
        ("lab fail hkg", "2 values required"),
        ("lab fail a b --loss -1", "a share is a number from 0 to 100"),
        ("lab fail a b --loss much", "a share is a number from 0 to 100"),
        ("plan network.toml prnter", "did you mean printer?"),
        ("explain network.toml archive laptp", "did you mean laptop?"),
        ("engine a-name-that-is-too-long", "a-name-that-is-too-long"),
        ("engine ../up", "../up"),
    ] {
        check(arguments, 64, said);
    }
}
