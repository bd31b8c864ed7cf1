//! `import`: what it reads and what it leaves alone, what it writes and never overwrites, and how it ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use wayleave_core::keys::PrivateKey;

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};

const HUB: &str = "[Interface]\nAddress = 10.7.0.1/24\nListenPort = 51820\nPrivateKey = KEY1\nPostUp = sysctl -w net.ipv4.ip_forward=1\n\
                   [Peer]\n# laptop\nPublicKey = PUB2\nAllowedIPs = 10.7.0.2/32\n";
const LAPTOP: &str = "[Interface]\nAddress = 10.7.0.2/32\nPrivateKey = KEY2\n\
                      [Peer]\nPublicKey = PUB1\nEndpoint = 192.0.2.1:51820\nAllowedIPs = 10.7.0.0/24\nPersistentKeepalive = 25\n";
// Made for these tests, used nowhere else.
const KEYS: [(&str, &str); 2] = [
    ("KEY1", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="),
    ("KEY2", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="),
];

fn filled(text: &str) -> String {
    KEYS.iter().enumerate().fold(text.to_owned(), |text, (at, (name, private))| {
        let public = PrivateKey::parse(private).unwrap().public_key().to_string();
        text.replace(name, private).replace(&format!("PUB{}", at + 1), &public)
    })
}

/// Two hosts, a folder each, with private keys in their files.
fn hosts() -> Desk {
    let desk = Desk::new();
    for (name, text) in [("hub", HUB), ("laptop", LAPTOP)] {
        fs::create_dir_all(desk.path("hosts").join(name)).unwrap();
        let path = format!("hosts/{name}/wg0.conf");
        desk.write(&path, filled(text));
        fs::set_permissions(desk.path(&path), fs::Permissions::from_mode(0o600)).unwrap();
    }
    desk
}

fn is_secret(text: &str) -> bool {
    KEYS.iter().any(|(_, private)| text.contains(private))
}

#[track_caller]
fn says(ran: &Ran, text: &str) {
    assert!(ran.err.contains(text), "nothing about {text:?} in {ran}");
}

#[test]
fn the_network_file_is_on_stdout_or_where_it_is_wanted_and_never_over_another() {
    let desk = hosts();
    let ran = desk.wayleave("import hosts").expect(0);
    assert!(ran.out.contains("[nodes.hub]") && ran.out.contains("[clients.laptop]"), "{ran}");
    assert!(!is_secret(&ran.out) && !is_secret(&ran.err), "a private key is shown");
    desk.wayleave("import hosts -o net.toml --name office").expect(0);
    assert!(desk.read("net.toml").contains("name = \"office\"") && !is_secret(&desk.read("net.toml")));
    let ran = desk.wayleave("import hosts -o net.toml").expect(1);
    says(&ran, "net.toml exists already and is not overwritten");
    says(&desk.wayleave("import hosts -o there/is/no/net.toml").expect(1), "there/is/no/net.toml");
    says(&desk.wayleave("import hosts --name !!!").expect(1), "can't be made a network's name");
    desk.wayleave("check net.toml").expect(0);
}

#[test]
fn verify_is_0_if_hosts_would_be_told_the_same_and_2_if_not() {
    let desk = hosts();
    says(&desk.wayleave("import hosts --verify").expect(0), "every host would be told what was read");
    let text = desk.read("hosts/hub/wg0.conf").replace("10.7.0.2/32", "10.7.0.2/32\nPersistentKeepalive = 25");
    desk.write("hosts/hub/wg0.conf", text);
    let ran = desk.wayleave("import hosts --verify").expect(2);
    assert!(ran.out.contains("keepalive  25    -"), "{ran}");
    says(&ran, "1 difference from what was read");
    let ran = desk.wayleave("import hosts --verify --json").expect(2);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["schema"], &value["differences"][0]["what"]), (&"wayleave.import".into(), &"keepalive".into()));
    assert!(!is_secret(&ran.out));
}

#[test]
fn what_was_rendered_for_any_platform_that_can_be_read_is_told_the_same_again() {
    let desk = Desk::new();
    desk.write("network.toml", include_str!("../../../../examples/edgeproxy.toml"));
    for platform in ["wg-quick", "networkd", "commands", "cloud-init", "container", "edgeos", "vyos"] {
        desk.wayleave(&format!("render network.toml -o {platform} --platform {platform}")).expect(0);
        let ran = desk.wayleave(&format!("import {platform} --verify -o {platform}.toml")).expect(0);
        says(&ran, "every host would be told what was read");
        assert_eq!(ran.out.lines().count(), 13, "a header and twelve hosts: {ran}");
        if platform != "wg-quick" {
            let again = desk.read(&format!("{platform}.toml"));
            assert_eq!(again.matches(&format!("platform = \"{platform}\"")).count(), 12, "{again}");
        }
        desk.wayleave(&format!("prove {platform}")).expect(0);
    }
}

#[test]
fn a_key_in_user_data_is_its_hosts_and_is_never_shown() {
    let desk = Desk::new();
    desk.write(
        "network.toml",
        "[network]\nname = \"n\"\nprefixes = [\"10.7.0.0/24\"]\nplatform = \"cloud-init\"\n\
         [nodes.a]\nendpoint = \"192.0.2.1:51820\"\n[nodes.b]\n",
    );
    desk.wayleave("key make network.toml").expect(0);
    desk.wayleave("render network.toml -o hosts --keys keys").expect(0);
    let ran = desk.wayleave("import hosts --verify --keys again").expect(0);
    for name in ["a", "b"] {
        let private = desk.read(&format!("keys/{name}.key"));
        assert_eq!(desk.read(&format!("again/{name}.key")).trim(), private.trim());
        assert!(!ran.out.contains(private.trim()) && !ran.err.contains(private.trim()));
    }
    desk.wayleave("import hosts/a/user-data.yaml").expect(0);
    // A mistake in it is shown where it stands, with the key blotted out.
    let text = desk.read("hosts/b/user-data.yaml").replace("PersistentKeepalive = 25", "PersistentKeepalive = often");
    desk.write("hosts/b/user-data.yaml", text);
    let ran = desk.wayleave("check hosts").expect(0);
    says(&ran, "hosts/b/user-data.yaml:35:29");
    says(&ran, "PersistentKeepalive = often");
    assert!(!ran.err.contains(desk.read("keys/b.key").trim()), "a private key is shown");
}

#[test]
fn keys_go_to_files_of_their_owners_alone_and_only_when_asked_for() {
    let desk = hosts();
    desk.wayleave("import hosts -o net.toml --keys keys").expect(0);
    assert_eq!((desk.mode("keys"), desk.mode("keys/hub.key"), desk.mode("keys/laptop.key")), (0o700, 0o600, 0o600));
    assert_eq!(desk.read("keys/hub.key").trim(), KEYS[0].1);
    let ran = desk.wayleave("import hosts --keys keys").expect(1);
    says(&ran, "exists already; key files are never overwritten");
    assert!(!is_secret(&ran.out) && !is_secret(&ran.err));
    // With them, the files of the hosts can be made again.
    desk.wayleave("render net.toml --keys keys -o again").expect(0);
    assert!(desk.read("again/hub/wg0.conf").contains(KEYS[0].1));
}

#[test]
fn one_hosts_own_folder_and_one_file_are_read_too() {
    let desk = hosts();
    fs::create_dir_all(desk.path("etc/wireguard")).unwrap();
    fs::copy(desk.path("hosts/hub/wg0.conf"), desk.path("etc/wireguard/wg0.conf")).unwrap();
    for what in ["etc/wireguard", "etc", "hosts/hub/wg0.conf"] {
        let ran = desk.wayleave(&format!("import {what}")).expect(0);
        assert!(ran.out.contains("10.7.0.1") && ran.out.contains("laptop"), "{ran}");
    }
    desk.wayleave("import hosts/hub hosts/laptop/wg0.conf --verify").expect(0);
}

#[test]
fn strange_files_are_passed_over_and_named() {
    let desk = hosts();
    desk.write("hosts/hub/notes.txt", "remember the milk\n");
    desk.write("hosts/hub/core", [0_u8, 159, 146, 150, 0, 7].repeat(400));
    desk.write("hosts/hub/.wg0.conf.swp", "[Interface]\nAddress = 10.99.0.1/24\n");
    desk.write("hosts/hub/empty.conf", "");
    symlink(desk.path("hosts"), desk.path("hosts/hub/circle")).unwrap();
    symlink("nowhere", desk.path("hosts/hub/dangling.conf")).unwrap();
    desk.program("mkfifo hosts/hub/pipe", "").expect(0);
    let ran = desk.wayleave("import hosts").expect(0);
    says(&ran, "notes.txt");
    assert!(ran.out.contains("[nodes.hub]") && !ran.out.contains("10.99.0.1"), "{ran}");
}

#[test]
fn names_and_values_reach_people_as_plain_text_and_shells_as_one_word() {
    use std::os::unix::ffi::OsStrExt as _;
    let desk = hosts();
    let text = desk.read("hosts/laptop/wg0.conf");
    let named = [&b"red\x1b[31m"[..], "turned\u{202e}".as_bytes(), b"latin\xe9", b"a;id $(id) 'x"];
    for name in named {
        let folder = desk.path("hosts").join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("wg0.conf"), text.replace("Endpoint = ", "Endpoint = \u{202e}\u{1b}[2J\u{200f}"))
            .unwrap();
        fs::set_permissions(folder.join("wg0.conf"), fs::Permissions::from_mode(0o644)).unwrap();
    }
    for command in ["check hosts", "prove hosts", "import hosts", "import hosts --verify", "check hosts --json"] {
        let ran = desk.wayleave(command);
        assert!(ran.code.is_some_and(|code| code < 5), "{ran}");
        let said = format!("{}{}", ran.out, ran.err);
        assert!(!said.contains(['\u{1b}', '\u{202e}', '\u{200f}']), "{command}: {said:?}");
    }
    says(&desk.wayleave("check hosts"), "chmod 600 'hosts/a;id $(id) '\\''x/wg0.conf'");
}

#[test]
fn nothing_to_read_is_an_error_that_names_it() {
    let desk = Desk::with("notes.txt", "remember the milk\n");
    fs::create_dir(desk.path("empty")).unwrap();
    says(&desk.wayleave("import empty").expect(1), "there are no files in what was named");
    says(&desk.wayleave("import notes.txt").expect(1), "no WireGuard device was found in what was named");
    desk.write("one.toml", "");
    says(&desk.wayleave("prove one.toml empty").expect(64), "one.toml is a network file, and one is proved alone");
    says(&desk.wayleave("import missing").expect(1), "reading missing");
    says(&desk.wayleave("import").expect(64), "PATHS");
    for command in ["prove empty", "survive empty", "explain empty a b", "prove missing.conf"] {
        desk.wayleave(command).expect(1);
    }
}

#[test]
fn a_file_that_may_not_be_read_is_an_error_that_names_it() {
    let desk = hosts();
    if !can_run("a_file_that_may_not_be_read_is_an_error_that_names_it", false, &["setpriv"]) {
        return;
    }
    fs::set_permissions(desk.path("hosts/hub/wg0.conf"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything, unless it gives its capabilities up.
    let drop = if is_root() { "setpriv --bounding-set=-all --inh-caps=-all " } else { "" };
    let ran = desk.program(&format!("{drop}{WAYLEAVE} import hosts"), "");
    says(&ran.expect(1), "reading hosts/hub/wg0.conf: Permission denied");
}

fn is_root() -> bool {
    // SAFETY: takes nothing, can't fail.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn a_full_disk_leaves_no_half_written_file() {
    let desk = hosts();
    // A file may grow to nothing at all: as a disk without room, in a place that needs no root.
    desk.write("limited", format!("ulimit -f 0\ntrap '' XFSZ\nexec {WAYLEAVE} import hosts -o net.toml --verify\n"));
    says(&desk.program("bash limited", "").expect(1), "making net.toml (nothing is overwritten)");
    assert!(!desk.path("net.toml").exists(), "half a file is left");
}

#[test]
fn stdin_is_a_file_like_any_other() {
    let desk = hosts();
    let text = desk.read("hosts/hub/wg0.conf");
    let ran = desk.wayleave_fed("import /dev/stdin", &text).expect(0);
    assert!(ran.out.contains("10.7.0.1"), "{ran}");
    let ran = desk.wayleave_fed("import -", &text).expect(0);
    assert!(ran.out.contains("10.7.0.1"), "{ran}");
    // What can be read once is not read to be told apart.
    says(&desk.wayleave_fed("check /dev/stdin", &text).expect(0), "1 host, 1 device");
}
