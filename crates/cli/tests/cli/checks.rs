//! `wayleave check` on other people's files, on dates and on codes; as text, JSON and SARIF.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::OFFICE;
use crate::desk::{Desk, can_run};

const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

/// A host with a hook at a fixed position, and a peer that keeps alive what has no endpoint.
fn host() -> String {
    format!(
        "[Interface]\nPrivateKey = {KEY}\nAddress = 10.0.0.1/24\nListenPort = 51820\nPostUp = iptables -I FORWARD 2 -i %i -j ACCEPT\n\n\
         [Peer]\n# laptop\nPublicKey = 9ZK9FzSzihxrRX9gktc99Oj0WFSJMa0mf33pP2LJ/lU=\nAllowedIPs = 10.0.0.2/32\nPersistentKeepalive = 25\n"
    )
}

/// A desk with `etc/wireguard` as hosts have it.
fn etc() -> Desk {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.path("etc/wireguard")).unwrap();
    desk.write("etc/wireguard/wg0.conf", host());
    std::fs::set_permissions(desk.path("etc/wireguard/wg0.conf"), Permissions::from_mode(0o600)).unwrap();
    desk
}

#[test]
fn a_folder_of_a_host_is_checked_as_it_is() {
    let desk = etc();
    let ran = desk.wayleave("check etc/wireguard").expect(0);
    assert!(ran.err.contains("WL414") && ran.err.contains("etc/wireguard/wg0.conf:5:10"), "{ran}");
    assert!(ran.err.contains("WL411"), "{ran}");
    assert!(ran.err.ends_with("etc/wireguard: 1 host, 1 device: 0 errors, 1 warning\n"), "{ran}");
    assert!(ran.out.is_empty() && !ran.err.contains(KEY), "{ran}");
    desk.wayleave("check --strict etc/wireguard").expect(3);
    let accepted = desk.wayleave("check --strict --accept wl414,WL411 etc/wireguard").expect(0);
    assert!(!accepted.err.contains("WL4"), "{accepted}");
    // One file, and the same as an argument.
    assert!(desk.wayleave("check etc/wireguard/wg0.conf").expect(0).err.contains("WL414"));
}

#[test]
fn the_private_key_is_never_shown() {
    let desk = etc();
    desk.write("etc/wireguard/wg0.conf", host().replace("PrivateKey", "ListenPort = x\nPrivateKey"));
    std::fs::set_permissions(desk.path("etc/wireguard/wg0.conf"), Permissions::from_mode(0o644)).unwrap();
    for how in ["", " --json", " --sarif"] {
        let ran = desk.wayleave(&format!("check etc/wireguard{how}")).expect(0);
        assert!(
            (ran.err.contains("WL406") || ran.out.contains("WL406"))
                && !ran.err.contains(KEY)
                && !ran.out.contains(KEY),
            "{ran}"
        );
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named_and_the_rest_is_checked() {
    if !can_run("a_file_that_may_not_be_read_is_named_and_the_rest_is_checked", false, &["setpriv"]) {
        return;
    }
    let desk = etc();
    let closed = desk.path("etc/wireguard/wg1.conf");
    std::fs::write(&closed, host()).unwrap();
    std::fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(desk.path("etc/wireguard/wg0.conf"), Permissions::from_mode(0o644)).unwrap();
    // Root may read everything, so it is tried as nobody.
    let wayleave = crate::desk::WAYLEAVE;
    // SAFETY: takes nothing, can't fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let copied = std::env::temp_dir().join(format!("wayleave-nobody-{}", std::process::id()));
    std::fs::copy(wayleave, &copied).unwrap();
    let program = copied.display();
    let line = if is_root {
        format!("setpriv --reuid 65534 --clear-groups {program} check etc/wireguard")
    } else {
        format!("{program} check etc/wireguard")
    };
    let ran = desk.program(&line, "");
    std::fs::remove_file(&copied).unwrap();
    let ran = ran.expect(0);
    assert!(ran.err.contains("WL540") && ran.err.contains("wg1.conf is left out: Permission denied"), "{ran}");
    assert!(ran.err.contains("WL414"), "{ran}");
}

#[test]
fn what_is_neither_is_refused_with_what_would_be() {
    let desk = Desk::with("notes.txt", "nothing of the kind\n");
    let ran = desk.wayleave("check notes.txt").expect(1);
    assert!(ran.err.contains("neither a network file (it has no [network]) nor a WireGuard configuration"), "{ran}");
    assert!(desk.wayleave("check nowhere").expect(1).err.contains("nowhere"));
    // A network file by its content, whatever its name.
    desk.write("net", OFFICE);
    assert!(desk.wayleave("check net").expect(0).err.contains("net: 0 errors, 1 warning"));
}

#[test]
fn a_key_under_version_control_is_found() {
    if !can_run("a_key_under_version_control_is_found", false, &["git"]) {
        return;
    }
    let desk = etc();
    desk.program("git init -q .", "").expect(0);
    assert!(!desk.wayleave("check etc/wireguard").expect(0).err.contains("WL534"), "it is not tracked");
    desk.program("git add etc/wireguard/wg0.conf", "").expect(0);
    assert!(desk.wayleave("check etc/wireguard").expect(0).err.contains("WL534"));
    desk.program("git update-index --index-version 4", "").expect(0);
    assert!(desk.wayleave("check etc/wireguard").expect(0).err.contains("WL534"));
    // The key files of a network, too.
    desk.write("network.toml", OFFICE);
    desk.wayleave("key make").expect(0);
    assert!(!desk.wayleave("check").expect(0).err.contains("WL534"));
    desk.program("git add keys", "").expect(0);
    let ran = desk.wayleave("check").expect(0);
    assert!(ran.err.contains("WL534") && ran.err.contains("keys/server.key"), "{ran}");
}

#[test]
fn dates_are_judged_as_of_a_day() {
    let desk = Desk::with("network.toml", &format!("{OFFICE}expires = 2026-03-31\n"));
    for (today, said) in [("2026-03-01", ""), ("2026-03-31", "expires today"), ("2026-04-10", "expired 10 days ago")] {
        let ran = desk.wayleave(&format!("check --today {today}")).expect(0);
        assert_eq!(ran.err.contains("WL528"), !said.is_empty(), "{ran}");
        assert!(ran.err.contains(said), "{ran}");
    }
    desk.wayleave("check --today 2026-02-30").expect(64);
}

#[test]
fn a_code_is_explained() {
    let desk = Desk::new();
    let ran = desk.wayleave("check --explain wl012").expect(0);
    assert!(ran.out.starts_with("WL012 (error): ") && ran.err.is_empty(), "{ran}");
    let all = desk.wayleave("check --explain").expect(0).out;
    assert!(all.starts_with("code   severity  what\nWL001") && all.contains("WL535"), "{all}");
    for line in all.lines().skip(1) {
        let told = desk.wayleave(&format!("check --explain {}", &line[..5])).expect(0).out;
        let wide = told.lines().filter(|line| !line.starts_with("  ") || !line.contains('#'));
        assert!(wide.clone().all(|line| line.chars().count() <= 80), "{told}");
    }
    let near = desk.wayleave("check --explain 12").expect(64);
    assert!(near.err.contains("did you mean WL012?"), "{near}");
    desk.wayleave("check --accept WL103").expect(64);
    desk.wayleave("check --accept WL999").expect(64);
}

/// What SARIF 2.1.0 requires of a log (sections 3.13, 3.14, 3.18, 3.19, 3.27, 3.30), as far as we use it.
fn assert_sarif(log: &Value) -> &[Value] {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let [run] = log["runs"].as_array().unwrap().as_slice() else { panic!("one run: {log}") };
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "wayleave");
    let rules = driver["rules"].as_array().unwrap();
    let levels = ["error", "warning", "note"];
    for rule in rules {
        for text in [&rule["shortDescription"]["text"], &rule["fullDescription"]["text"], &rule["help"]["text"]] {
            assert!(!text.as_str().unwrap().is_empty(), "{rule}");
        }
        assert!(levels.contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
    }
    let results = run["results"].as_array().unwrap();
    for result in results {
        let at = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[at]["id"], result["ruleId"]);
        assert_eq!(rules[at]["defaultConfiguration"]["level"], result["level"]);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let places =
            result["locations"].as_array().unwrap().iter().chain(result["relatedLocations"].as_array().unwrap());
        for place in places {
            let place = &place["physicalLocation"];
            assert!(!place["artifactLocation"]["uri"].as_str().unwrap().contains(' '));
            let region = &place["region"];
            let number = |key: &str| region[key].as_u64().unwrap();
            assert!(number("startLine") >= 1 && number("startColumn") >= 1);
            assert!(
                (number("endLine"), number("endColumn")) >= (number("startLine"), number("startColumn")),
                "{region}"
            );
        }
    }
    results
}

#[test]
fn sarif_has_what_the_standard_requires() {
    let desk = etc();
    let ran = desk.wayleave("check etc/wireguard --sarif").expect(0);
    let log: Value = serde_json::from_str(&ran.out).unwrap();
    let results = assert_sarif(&log);
    assert_eq!(results.len(), 2);
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "etc/wireguard/wg0.conf");
    assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&Value::from(5), &Value::from(10)));
    // A network file with errors, and one without any finding.
    desk.write("bad.toml", OFFICE.replace("entry", "entree"));
    let log: Value = serde_json::from_str(&desk.wayleave("check bad.toml --sarif").expect(1).out).unwrap();
    assert_eq!(assert_sarif(&log)[0]["level"], "error");
    desk.wayleave("check bad.toml --sarif --json").expect(64);
}
