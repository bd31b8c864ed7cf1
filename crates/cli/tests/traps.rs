//! The traps in the configurations of the published texts, as `wayleave check` shows them: each is found, for ever.
//!
//! The texts are those of the import tests, as printed. What `traps/NAME.txt` holds is what people see; after a wanted
//! change, run with WAYLEAVE_BLESS=1 and read the difference before it is committed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod desk;

use std::fs;

use desk::Desk;

/// A printed text.
fn printed(name: &str) -> String {
    fs::read_to_string(desk::root().join("crates/core/tests/import/fixtures").join(name)).unwrap()
}

/// What the entrypoint of S1 writes on a node of Asia, or elsewhere: its here-documents with the variables filled in.
fn entrypoint(address: &str, in_asia: bool) -> String {
    let script = printed("s1/entrypoint.sh");
    let documents: Vec<&str> =
        script.split("<< WGEOF\n").skip(1).map(|rest| rest.split("WGEOF").next().unwrap()).collect();
    let mut text = documents[..if in_asia { 2 } else { 1 }].concat();
    for line in script.lines().filter(|line| line.contains("=\"")) {
        let (name, value) = line.split_once('=').unwrap();
        text = text.replace(&format!("${{{name}}}"), value.trim_matches('"'));
    }
    text.replace("${WG_IP}", address)
}

/// Checks what `wayleave check` shows of files, and that it names certain codes.
#[track_caller]
fn check(name: &str, files: &[(&str, String)], codes: &[&str]) {
    let desk = Desk::new();
    for (path, text) in files {
        fs::create_dir_all(desk.path(path).parent().unwrap()).unwrap();
        desk.write(path, text);
    }
    let ran = desk.wayleave(&format!("check {name}"));
    assert!(ran.out.is_empty() && ran.code != Some(64), "{ran}");
    for code in codes {
        assert!(ran.err.contains(&format!("[{code}]")), "{code} is not in {ran}");
    }
    let golden = desk::root().join("crates/cli/tests/traps").join(format!("{name}.txt"));
    if std::env::var_os("WAYLEAVE_BLESS").is_some() {
        fs::write(&golden, &ran.err).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert!(expected == ran.err, "{name} is shown as:\n{}", ran.err);
}

#[test]
fn the_full_mesh_of_s1_is_partial() {
    let nodes = [
        ("gru", "10.50.1.1/32", false),
        ("nrt", "10.50.4.1/32", true),
        ("sin", "10.50.4.2/32", true),
        ("syd", "10.50.4.3/32", true),
    ];
    let mut files = vec![
        ("s1-mesh/ec2/wg0.conf".to_owned(), printed("s1/ec2/wg0.conf")),
        ("s1-mesh/hkg/wg0.conf".to_owned(), printed("s1/hkg/wg0.conf")),
    ];
    files.extend(
        nodes.map(|(name, address, in_asia)| (format!("s1-mesh/{name}/wg0.conf"), entrypoint(address, in_asia))),
    );
    let files: Vec<(&str, String)> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    // Keepalives to nowhere on the hub; pairs without a way, among them the three of Asia; and what Asia sends elsewhere is lost.
    check("s1-mesh", &files, &["WL302", "WL411", "WL505"]);
}

#[test]
fn a_half_made_direct_peer_of_s1_takes_packets_from_the_hub() {
    // Hong Kong as printed, with a hub that could carry everything; Tokyo made without the second document.
    let hkg = printed("s1/hkg/wg0.conf").replace("10.50.0.1/32, 10.50.1.0/24", "10.50.0.0/16, 10.50.1.0/24");
    let files = [("s1-detour/hkg/wg0.conf", hkg), ("s1-detour/nrt/wg0.conf", entrypoint("10.50.4.1/32", false))];
    check("s1-detour", &files, &["WL502", "WL503"]);
}

#[test]
fn the_script_of_s1_loses_the_endpoint_and_runs_the_key() {
    check("s1-script", &[("s1-script/user-data.sh", printed("s1/user-data.sh"))], &["WL410", "WL411"]);
}

#[test]
fn a_peer_that_s1_adds_by_hand_has_no_route() {
    check("s1-add", &[("s1-add/add-peer.sh", printed("s1/add-peer.sh"))], &["WL412", "WL420"]);
}

#[test]
fn the_rule_of_s4_lands_behind_the_reject() {
    let saved = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n";
    // The addresses, which are lost in print, as the text says them; without its own key the host is known by its own.
    let host1 = printed("s4/host1.conf").replacen("Address =", "Address = 10.10.10.1/24", 1);
    let host1 = host1.replace("AllowedIPs = is", "AllowedIPs = 10.10.10.129/32 # is").replace("-i wg -j", "-i wg0 -j");
    let desktop = printed("s4/desktop.conf").replacen("Address =", "Address = 10.10.10.129/24", 1);
    let desktop = desktop.replacen("AllowedIPs =", "AllowedIPs = 10.10.10.0/24", 1);
    // Keys as in the documentation of WireGuard.
    let host1 = host1.replace("<host1's private key>", "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=");
    let desktop = desktop.replace("<host1's public key>", "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=");
    let host2 = desktop.replace("10.10.10.129/24", "10.10.10.2/24");
    let more = "\n[Peer]\n# host2\nAllowedIPs = 10.10.10.2/32\n";
    let files = [
        ("s4/host1/wg0.conf", format!("{host1}{more}")),
        ("s4/host1/iptables.txt", saved.to_owned()),
        ("s4/host2/wg0.conf", host2),
        ("s4/desktop/wg0.conf", desktop),
    ];
    check("s4", &files, &["WL414", "WL514"]);
}

#[test]
fn the_addresses_of_s4_are_lost_in_print() {
    let files =
        [("s4-printed/host1.conf", printed("s4/host1.conf")), ("s4-printed/desktop.conf", printed("s4/desktop.conf"))];
    check("s4-printed", &files, &["WL404", "WL405", "WL414"]);
}

#[test]
fn the_ranges_of_s0_may_mix() {
    // Backbone addresses are 10.50.0.x, VPCs 10.x.0.0/16: nothing keeps the fiftieth region from holding the backbone.
    let server = |number: u8, vpc: &str, other: u8, other_vpc: &str| {
        format!(
            "[Interface]\nPrivateKey = <key>\nAddress = 10.50.0.{number}/24\nListenPort = 51821\n\n[Peer]\nPublicKey = {}\nEndpoint = {vpc}:51821\nAllowedIPs = 10.50.0.{other}/32, {other_vpc}\n",
            if other == 1 {
                "He2jX3+iEl7hUaaJG/i3YcSnStEFAcW/rs/lP0Pw+nc="
            } else {
                "rImgzxPu9MuhqLpcvXQ9xckSSA+AGbDOpBGvTUOwaHQ="
            }
        )
    };
    let files = [
        ("s0/one/wg1.conf", server(1, "10.50.7.1", 2, "10.50.0.0/16")),
        (
            "s0/one/ip-addr.txt",
            "2: ens5: <UP> mtu 9001 qdisc mq state UP\n    inet 10.1.7.1/24 scope global ens5\n".to_owned(),
        ),
        ("s0/fifty/wg1.conf", server(2, "10.1.7.1", 1, "10.1.0.0/16")),
        (
            "s0/fifty/ip-addr.txt",
            "2: ens5: <UP> mtu 9001 qdisc mq state UP\n    inet 10.50.7.1/16 scope global ens5\n".to_owned(),
        ),
    ];
    check("s0", &files, &["WL413", "WL507"]);
}
