//! Rendered files: who may read them, what the real `wg-quick` makes of them, and what a telephone's camera sees.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::OFFICE;
use crate::desk::{Desk, can_run};

fn office() -> Desk {
    let desk = Desk::with("network.toml", OFFICE);
    desk.wayleave("key make").expect(0);
    desk
}

#[test]
fn files_with_keys_are_their_owners() {
    let desk = office();
    desk.wayleave("render -o plain").expect(0);
    desk.wayleave("render -o secret --keys keys").expect(0);
    for name in ["archive", "printer", "server", "laptop"] {
        let private = desk.read(&format!("keys/{name}.key"));
        let (plain, secret) = (format!("plain/{name}/wg0.conf"), format!("secret/{name}/wg0.conf"));
        assert_eq!(desk.mode(&plain), 0o644);
        assert_eq!(desk.mode(&secret), 0o600);
        assert!(!desk.read(&plain).contains(private.trim()));
        assert!(desk.read(&secret).contains(&format!("PrivateKey = {private}")));
    }
}

#[test]
fn a_file_that_says_the_same_is_left_alone_and_one_that_was_opened_is_closed() {
    let desk = office();
    desk.wayleave("render -o out --keys keys").expect(0);
    let inode = || fs::metadata(desk.path("out/server/wg0.conf")).unwrap().ino();
    let first = inode();
    desk.wayleave("render -o out --keys keys").expect(0);
    assert_eq!(inode(), first);
    fs::set_permissions(desk.path("out/server/wg0.conf"), fs::Permissions::from_mode(0o644)).unwrap();
    desk.wayleave("render -o out --keys keys").expect(0);
    assert_eq!(desk.mode("out/server/wg0.conf"), 0o600);
}

#[test]
fn a_wrong_or_missing_key_writes_nothing() {
    let desk = office();
    fs::copy(desk.path("keys/server.key"), desk.path("keys/printer.key")).unwrap();
    let ran = desk.wayleave("render -o out --keys keys").expect(1);
    assert!(ran.err.contains("printer") && !desk.path("out").exists(), "{ran}");
    fs::remove_file(desk.path("keys/printer.key")).unwrap();
    desk.wayleave("render -o out --keys keys").expect(1);
    assert!(!desk.path("out").exists());
}

#[test]
fn one_member_on_stdout_is_what_is_written_for_it() {
    let desk = office();
    desk.wayleave("render -o out").expect(0);
    for name in ["archive", "server", "laptop"] {
        let ran = desk.wayleave(&format!("render network.toml {name}")).expect(0);
        assert_eq!(ran.out, desk.read(&format!("out/{name}/wg0.conf")));
    }
    let ran = desk.wayleave("render network.toml server --key-path /run/credentials/%i").expect(0);
    assert!(ran.out.contains("private-key /run/credentials/%i\n"), "{ran}");
}

#[test]
fn wg_quick_strips_every_rendered_file_of_every_example() {
    if !can_run("wg_quick_strips_every_rendered_file_of_every_example", false, &["wg-quick"]) {
        return;
    }
    let desk = office();
    desk.wayleave("render -o office --keys keys").expect(0);
    let mut folders = vec!["office".to_owned()];
    for path in crate::desk::examples() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        fs::copy(&path, desk.path(&format!("{name}.toml"))).unwrap();
        folders.push(name);
    }
    let mut stripped = 0;
    for folder in folders {
        if folder != "office" {
            desk.wayleave(&format!("render {folder}.toml -o {folder}")).expect(0);
        }
        for member in fs::read_dir(desk.path(&folder)).unwrap() {
            for file in fs::read_dir(member.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                let ran = desk.program(&format!("wg-quick strip {}", path.display()), "").expect(0);
                assert_eq!(ran.err, "", "{ran}");
                assert!(ran.out.contains("[Interface]") && !ran.out.contains("PostUp"), "{ran}");
                stripped += 1;
            }
        }
    }
    assert!(stripped >= 30, "only {stripped} files");
}

#[test]
fn a_clients_file_is_a_qr_code() {
    let desk = office();
    let ran = desk.wayleave("render network.toml laptop --keys keys --qr").expect(0);
    let lines: Vec<&str> = ran.out.lines().filter(|line| !line.is_empty()).collect();
    let width = lines[0].chars().count();
    assert!(lines.iter().all(|line| line.chars().count() == width), "{ran}");
    assert!(lines.iter().all(|line| line.chars().all(|c| " \u{2580}\u{2584}\u{2588}".contains(c))), "{ran}");
    // Two rows of modules a line: a code is as high as it is wide.
    assert_eq!(lines.len(), width.div_ceil(2), "{ran}");
}
