//! Keys: the same as those of the real `wg`, in files of their owner's own, never shown unasked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::OFFICE;
use crate::desk::{Desk, can_run};

/// A key's 44 characters, and nothing else on the line.
fn key(text: &str) -> &str {
    let key = text.strip_suffix('\n').unwrap();
    assert!(key.len() == 44 && key.ends_with('='), "{key:?} is no key");
    key
}

#[test]
fn wg_and_wayleave_read_each_others_keys() {
    if !can_run("wg_and_wayleave_read_each_others_keys", false, &["wg"]) {
        return;
    }
    let desk = Desk::new();
    for generate in ["wg genkey", concat!(env!("CARGO_BIN_EXE_wayleave"), " key generate")] {
        let private = desk.program(generate, "").expect(0).out;
        key(&private);
        let theirs = desk.program("wg pubkey", &private).expect(0).out;
        for public in ["key public", "key public -"] {
            assert_eq!(desk.wayleave_fed(public, &private).expect(0).out, theirs);
        }
        desk.write("a.key", &private);
        assert_eq!(desk.wayleave("key public a.key").expect(0).out, theirs);
        // Without a newline at the end, as editors and secret stores leave it.
        assert_eq!(desk.wayleave_fed("key public", private.trim_end()).expect(0).out, theirs);
    }
    let preshared = desk.wayleave("key generate --preshared").expect(0).out;
    desk.program("wg pubkey", &preshared).expect(0);
}

#[test]
fn what_is_no_key_is_refused_without_repeating_it() {
    let desk = Desk::new();
    for text in ["", "\n", "hunter2-hunter2", &"A".repeat(44), &"A".repeat(1 << 20), "AAAA=\nAAAA=\n"] {
        let ran = desk.wayleave_fed("key public", text).expect(1);
        assert_eq!(ran.out, "");
        assert!(ran.err.len() < 300 && !ran.err.contains("hunter2"), "{ran}");
    }
}

#[test]
fn key_files_are_their_owners_and_never_overwritten() {
    let desk = Desk::new();
    let public = desk.wayleave("key generate -o a.key").expect(0).out;
    assert_eq!(desk.mode("a.key"), 0o600);
    let private = desk.read("a.key");
    assert_eq!(desk.wayleave("key public a.key").expect(0).out, public);
    let ran = desk.wayleave("key generate -o a.key").expect(1);
    assert!(ran.err.contains("never overwritten"), "{ran}");
    assert_eq!(desk.read("a.key"), private);
    // A link that leads elsewhere is not followed.
    std::os::unix::fs::symlink(desk.path("b.key"), desk.path("link.key")).unwrap();
    desk.wayleave("key generate -o link.key").expect(1);
    assert!(!desk.path("b.key").exists());
}

#[test]
fn show_hides_the_secret_until_asked() {
    let desk = Desk::new();
    let public = desk.wayleave("key generate -o a.key").expect(0).out;
    let private = desk.read("a.key");
    let ran = desk.wayleave("key show a.key").expect(0);
    assert!(ran.out.contains(key(&public)) && ran.out.contains("0600"), "{ran}");
    assert!(!ran.out.contains(key(&private)) && !ran.err.contains(key(&private)), "{ran}");
    let ran = desk.wayleave_fed("key show -", &private).expect(0);
    assert!(!ran.out.contains(key(&private)), "{ran}");
    assert!(desk.wayleave("key show a.key --show-secrets").expect(0).out.contains(key(&private)));
    fs::set_permissions(desk.path("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(desk.wayleave("key show a.key").expect(0).out.contains("readable by others"));
}

#[test]
fn make_gives_keys_to_all_who_lack_one_and_to_nobody_else() {
    let desk = Desk::with("network.toml", OFFICE);
    let made = desk.wayleave("key make").expect(0);
    let names: Vec<&str> = made.out.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["archive", "printer", "server", "laptop"]);
    let private: Vec<String> = names.iter().map(|name| desk.read(&format!("keys/{name}.key"))).collect();
    for (name, private) in names.iter().zip(&private) {
        assert_eq!(desk.mode(&format!("keys/{name}.key")), 0o600);
        assert!(!made.out.contains(key(private)) && !made.err.contains(key(private)));
    }
    assert_eq!(desk.mode("keys"), 0o700);
    let again = desk.wayleave("key make").expect(0);
    assert_eq!(again.out, "");
    desk.write("network.toml", format!("{OFFICE}[nodes.newcomer]\n"));
    assert!(desk.wayleave("key make").expect(0).out.starts_with("newcomer\t"));
    for (name, private) in names.iter().zip(&private) {
        assert_eq!(&desk.read(&format!("keys/{name}.key")), private);
    }
    desk.wayleave("key check").expect(0);
    for arguments in ["plan", "plan --json", "render -o out", "check --json", "plan network.toml server"] {
        let ran = desk.wayleave(arguments).expect(0);
        for private in &private {
            assert!(!ran.out.contains(key(private)) && !ran.err.contains(key(private)), "{arguments}");
        }
    }
}

#[test]
fn check_finds_foreign_open_and_broken_keys() {
    let desk = Desk::with("network.toml", OFFICE);
    desk.wayleave("key make").expect(0);
    desk.wayleave("key check").expect(0);
    let good = desk.read("keys/printer.key");
    for (name, text, mode, said) in [
        ("keys/printer.key", desk.read("keys/server.key"), 0o600, "belongs to"),
        ("keys/printer.key", good.clone(), 0o640, "0640"),
        ("keys/printer.key", "nonsense".to_owned(), 0o600, "printer.key"),
    ] {
        desk.write(name, &text);
        fs::set_permissions(desk.path(name), fs::Permissions::from_mode(mode)).unwrap();
        let ran = desk.wayleave("key check").expect(1);
        assert!(ran.err.contains(said), "no {said:?} in {ran}");
        assert!(!ran.err.contains(key(&good)), "{ran}");
    }
}
