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
fn what_an_earlier_run_rendered_goes_and_what_is_somebody_elses_stays() {
    let desk = office();
    desk.wayleave("render -o out").expect(0);
    // Another platform: the old file is removed, and said to be.
    let ran = desk.wayleave("render network.toml server -o out --platform networkd").expect(0);
    assert!(ran.err.contains("out/server/wg0.conf removed: it was rendered for server earlier"), "{ran}");
    assert!(!desk.path("out/server/wg0.conf").exists() && desk.path("out/server/30-wg0.netdev").exists());
    assert!(desk.path("out/printer/wg0.conf").exists(), "only who was rendered is looked after");
    // What was edited, what has no header, another member's and another network's files, and links stay.
    let other = desk.read("out/printer/wg0.conf");
    let edited = desk.read("out/server/30-wg0.netdev").replace("ListenPort=51820", "ListenPort=51821");
    desk.write("out/server/30-wg0.netdev", edited);
    desk.write("out/server/notes.txt", "mine");
    desk.write("out/server/printer.conf", &other);
    desk.write("out/server/far.conf", desk.read("out/server/30-wg0.network").replace("of network ", "of network x"));
    std::os::unix::fs::symlink(desk.path("out/printer/wg0.conf"), desk.path("out/server/link.conf")).unwrap();
    let ran = desk.wayleave("render -o out").expect(0);
    assert!(ran.err.contains("out/server/30-wg0.netdev is left where it is"), "{ran}");
    for kept in ["30-wg0.netdev", "notes.txt", "printer.conf", "far.conf", "link.conf", "wg0.conf"] {
        assert!(fs::symlink_metadata(desk.path(&format!("out/server/{kept}"))).is_ok(), "{kept} is gone");
    }
    assert!(!desk.path("out/server/30-wg0.network").exists());
    // A member that the network has no more, once all are rendered.
    let without = desk.read("network.toml").replace("[nodes.archive]", "[nodes.vault]");
    desk.write("network.toml", without);
    desk.wayleave("key make").expect(0);
    let ran = desk.wayleave("render -o out").expect(0);
    assert!(ran.err.contains("out/archive/wg0.conf removed") && ran.err.contains("has it no more"), "{ran}");
    assert!(!desk.path("out/archive").exists() && desk.path("out/vault/wg0.conf").exists());
    let ran = desk.wayleave("render -o out").expect(0);
    assert!(!ran.err.contains("removed"), "{ran}");
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
            desk.wayleave(&format!("render {folder}.toml --platform wg-quick -o {folder}")).expect(0);
        }
        for member in fs::read_dir(desk.path(&folder)).unwrap() {
            for file in fs::read_dir(member.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                // Beside the device's file there may be a firewall, snippets of web servers, and what BIRD is told.
                let name = path.file_name().unwrap().to_str().unwrap();
                if !name.ends_with(".conf") || name.contains(".nginx-") || name == "bird.conf" {
                    continue;
                }
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

/// Neighbours of every kind, origins from files and servers, a reflector; nodes of two families.
const ROUTERS: &str = r#"[network]
name = "routers"
prefixes = ["172.22.132.160/28", "fd42:4242::/64"]

[bgp]
asn = 4242421869
own = ["172.22.132.160/27", "fd42:4242::/48"]
profile = "dn42"
reflectors = ["a"]
roa_v4 = "roa4.conf"
roa_v6 = "roa6.conf"
rtr = ["192.0.2.9:8323", "rtr.example.org"]

[nodes.a]
endpoint = "192.0.2.1"

[nodes.b]
bgp = true
service_addresses = ["172.22.132.180", "fd42:4242:1::1"]

[neighbours.kioubit-de2]
node = "a"
asn = 4242423914
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
latency_ms = 12
bandwidth_mbit = 250
export = "all"

[neighbours.both]
node = "a"
asn = 4242420119
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
own_addresses = ["172.22.132.161", "fe80::1869/64"]
addresses = ["172.20.229.116", "fe80::119"]
export = "nothing"

[neighbours.six]
node = "a"
asn = 64513
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
own_addresses = ["fd42:4242:0:1::1/64"]
addresses = ["fd42:4242:0:1::2"]
sessions = "v6"
accept = ["::/0"]

[neighbours.home]
node = "b"
asn = 4242421869
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
endpoint = "192.0.2.7"
own_addresses = ["10.132.0.1/30"]
addresses = ["10.132.0.2"]
"#;

#[test]
fn bird_takes_what_it_is_told_of_every_kind_of_neighbour() {
    if !can_run("bird_takes_what_it_is_told_of_every_kind_of_neighbour", false, &["bird"]) {
        return;
    }
    let desk = Desk::with("network.toml", ROUTERS);
    desk.wayleave("key make").expect(0);
    desk.wayleave("check --strict network.toml").expect(0);
    desk.wayleave("render network.toml -o out").expect(0);
    desk.write("out/a/roa4.conf", "route 172.20.0.0/24 max 28 as 4242420000;\n");
    desk.write("out/a/roa6.conf", "route fd42:d42:d42::/48 max 64 as 4242420000;\n");
    desk.write("out/b/roa4.conf", "");
    desk.write("out/b/roa6.conf", "");
    for (node, protocols) in [("a", 8), ("b", 5)] {
        let ran = desk.program(&format!("bird -p -c out/{node}/bird.conf"), "").expect(0);
        assert_eq!(ran.err, "", "{ran}");
        let text = desk.read(&format!("out/{node}/bird.conf"));
        assert_eq!(text.matches("protocol bgp ").count() + text.matches("protocol rpki ").count(), protocols, "{text}");
    }
    // The other side's halves are taken as well.
    desk.wayleave("render network.toml --neighbour both -o half").expect(0);
    desk.write("half/router.conf", "router id 192.0.2.7;\nprotocol device {}\ninclude \"both-bird.conf\";\n");
    desk.program("bird -p -c half/router.conf", "").expect(0);
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

/// A hub on a router and three others.
const ROUTER: &str = r#"[network]
name = "routers"
prefixes = ["10.9.0.0/24", "fd09::/64"]
domain = "corp.example"

[nodes.router]
endpoint = "192.0.2.1"
platform = "edgeos"
hub = true

[nodes.archive]
[nodes.mail]
[nodes.printer]
prefixes = ["192.168.5.0/24"]
"#;

#[test]
fn a_router_is_told_to_forget_what_the_plan_forgot() {
    let desk = Desk::with("network.toml", ROUTER);
    desk.wayleave("key make").expect(0);
    let before = desk.wayleave("render network.toml router").expect(0).out;
    assert!(!before.contains("delete"), "{before}");
    desk.wayleave("render network.toml router").expect(0);
    let recorded = desk.read("network.plan");
    let public = desk.wayleave("key public keys/mail.key").expect(0).out;
    let without = ROUTER.replace("[nodes.mail]\n", "").replace("prefixes = [\"192.168.5.0/24\"]\n", "");
    desk.write("network.toml", without);
    let after = desk.wayleave("render network.toml router").expect(0).out;
    assert!(after.contains(&format!("delete interfaces wireguard wg0 peer {}\n", public.trim())), "{after}");
    assert!(after.contains("allowed-ips 192.168.5.0/24\n"), "{after}");
    assert_eq!(after.matches("delete ").count(), 2, "{after}");
    // The new plan is the recorded one by now; a plan kept from before says what the router has.
    assert!(!desk.wayleave("render network.toml router").expect(0).out.contains("delete"));
    desk.write("kept.plan", recorded);
    let again = desk.wayleave("render network.toml router --previous kept.plan").expect(0).out;
    assert_eq!(again, after);
}

#[test]
fn every_platform_can_be_asked_for_and_others_are_refused() {
    let desk = Desk::with("network.toml", ROUTER);
    desk.wayleave("key make").expect(0);
    for (platform, file) in [
        ("wg-quick", "wg0.conf"),
        ("networkd", "30-wg0.netdev"),
        ("commands", "wg0.sh"),
        ("cloud-init", "user-data.yaml"),
        ("container", "entrypoint.sh"),
        ("edgeos", "wg0.edgeos"),
        ("vyos", "wg0.vyos"),
        ("routeros", "wg0.rsc"),
    ] {
        desk.wayleave(&format!("render network.toml router mail --platform {platform} -o {platform}")).expect(0);
        for member in ["router", "mail"] {
            assert!(desk.path(&format!("{platform}/{member}/{file}")).exists(), "{platform}");
        }
        assert!(!desk.path(&format!("{platform}/printer")).exists());
    }
    let ran = desk.wayleave("render network.toml router --platform windows").expect(64);
    assert!(ran.err.contains("wg-quick") && ran.err.contains("routeros"), "{ran}");
    let both = desk.wayleave("render network.toml router mail").expect(0).out;
    assert!(both.contains("# ==> router/wg0.edgeos <==\n") && both.contains("\n# ==> mail/wg0.conf <==\n"), "{both}");
}

#[test]
fn named_checkzone_loads_every_zone() {
    if !can_run("named_checkzone_loads_every_zone", false, &["named-checkzone"]) {
        return;
    }
    // Prefixes that end between labels become several zones.
    let wide = ROUTER.replace("10.9.0.0/24", "10.9.0.0/20").replace("fd09::/64", "fd09::/61");
    let wide = wide.replace("[nodes.mail]\n", "[nodes.mail]\naddresses = [\"10.9.7.1\", \"fd09:0:0:5::1\"]\n");
    let edge = fs::read_to_string(crate::desk::root().join("examples/edgeproxy.toml")).unwrap();
    for (text, zones) in [(ROUTER.to_owned(), 3), (wide, 5), (edge, 2)] {
        let desk = Desk::with("network.toml", &text);
        desk.wayleave("key make").expect(0);
        desk.wayleave("render --names -o names").expect(0);
        let names = fs::read_dir(desk.path("names")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut loaded = 0;
        for name in names.map(|name| name.into_string().unwrap()).filter(|name| name != "hosts") {
            let zone = name.strip_suffix(".zone").unwrap();
            let ran = desk.program(&format!("named-checkzone {zone} names/{name}"), "").expect(0);
            assert!(ran.out.ends_with("OK\n") && !ran.out.contains("ignor"), "{ran}");
            loaded += 1;
        }
        assert_eq!(loaded, zones);
    }
}

#[test]
fn cloud_init_accepts_user_data() {
    if !can_run("cloud_init_accepts_user_data", false, &["cloud-init"]) {
        return;
    }
    let desk = office();
    desk.wayleave("render -o out --platform cloud-init --keys keys").expect(0);
    for member in ["server", "laptop"] {
        let ran = desk.program(&format!("cloud-init schema -c out/{member}/user-data.yaml"), "").expect(0);
        assert!(ran.out.contains("Valid"), "{ran}");
        // A file with what it does not know is refused.
        let wrong = desk.read(&format!("out/{member}/user-data.yaml")).replace("permissions:", "permission:");
        desk.write("wrong.yaml", wrong);
        assert_eq!(desk.program("cloud-init schema -c wrong.yaml", "").code, Some(1));
    }
}
