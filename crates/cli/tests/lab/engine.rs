//! Rendered files on devices of the embedded engine: what the real `wg` and `wg-quick` make of them.
//!
//! Each engine runs in a network and mount namespace of its own, so neither the machine's network nor its directory of
//! WireGuard sockets sees anything of it.

use std::process::Command;

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};

const PROGRAMS: [&str; 5] = ["unshare", "wg", "wg-quick", "ip", "mount"];

/// Runs a script with `$W` as `wayleave`, in a network of its own with an empty directory for WireGuard's sockets.
fn apart(desk: &Desk, script: &str) -> Ran {
    let prepared =
        format!("set -e; mkdir -p /run/wireguard; mount -t tmpfs none /run/wireguard; ip link set lo up; {script}");
    // All processes go when the script ends: the engine in the background too.
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &prepared]);
    desk.run(command.env("W", WAYLEAVE), "")
}

fn desk() -> Desk {
    let desk = Desk::with("network.toml", crate::NETWORK);
    desk.wayleave("key make").expect(0);
    desk.wayleave("render -o out --keys keys").expect(0);
    desk
}

#[test]
fn wg_setconf_accepts_every_rendered_file() {
    if !can_run("wg_setconf_accepts_every_rendered_file", true, &PROGRAMS) {
        return;
    }
    let desk = desk();
    for (member, peers) in [("hub", 3), ("left", 1), ("right", 1), ("laptop", 1)] {
        let script = format!(
            "$W engine wg0; wg-quick strip ./out/{member}/wg0.conf > stripped; wg setconf wg0 stripped; \
             wg show wg0 dump; wg showconf wg0 > shown; wg syncconf wg0 shown; wg show wg0 public-key"
        );
        let ran = apart(&desk, &script).expect(0);
        // One line for the device, one for each peer, one for the public key at the end.
        assert_eq!(ran.out.lines().count(), 1 + peers + 1, "{ran}");
        let public = desk.wayleave(&format!("key public keys/{member}.key")).expect(0).out;
        assert!(ran.out.ends_with(&public), "{ran}");
    }
}

#[test]
fn wg_quick_brings_a_rendered_file_up_and_down_over_the_engine() {
    if !can_run("wg_quick_brings_a_rendered_file_up_and_down_over_the_engine", true, &PROGRAMS) {
        return;
    }
    let desk = desk();
    // wg-quick calls the implementation with the name of the interface alone.
    desk.write("engine.sh", format!("#!/bin/sh\nexec {WAYLEAVE} engine \"$1\"\n"));
    desk.program("chmod 0755 engine.sh", "").expect(0);
    let script = "export WG_QUICK_USERSPACE_IMPLEMENTATION=\"$PWD/engine.sh\"; \
                  wg-quick up ./out/hub/wg0.conf; wg show wg0 peers | wc -l; ip -4 -o addr show dev wg0; \
                  ip route; cat /proc/sys/net/ipv4/ip_forward; \
                  wg-quick down ./out/hub/wg0.conf; ip link show wg0 2>/dev/null || echo gone; ls /run/wireguard | wc -l";
    let ran = apart(&desk, script).expect(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], "3", "{ran}");
    assert!(lines[1].contains("10.9.0."), "{ran}");
    assert!(ran.out.contains("dev wg0") && ran.out.contains("\n1\n"), "{ran}");
    assert_eq!(lines[lines.len() - 2..], ["gone", "0"], "{ran}");
}

#[test]
fn wg_quick_saves_what_was_loaded_and_restarts_at_once_over_the_engine() {
    if !can_run("wg_quick_saves_what_was_loaded_and_restarts_at_once_over_the_engine", true, &PROGRAMS) {
        return;
    }
    let desk = desk();
    desk.write("engine.sh", format!("#!/bin/sh\nexec {WAYLEAVE} engine \"$1\"\n"));
    desk.program("chmod 0755 engine.sh", "").expect(0);
    // The first save writes all down; the later ones, each after a restart, must not change it.
    let script = "export WG_QUICK_USERSPACE_IMPLEMENTATION=\"$PWD/engine.sh\"; cp ./out/hub/wg0.conf wg0.conf; \
                  chmod 0600 wg0.conf; wg-quick up ./wg0.conf; wg-quick save ./wg0.conf; wg-quick down ./wg0.conf; \
                  cp wg0.conf first; grep -c AllowedIPs first; \
                  for i in 1 2 3 4 5; do wg-quick up ./wg0.conf; wg show all dump | wc -l; \
                  ip -6 -o addr show dev wg0 scope link | wc -l; wg-quick save ./wg0.conf; wg-quick down ./wg0.conf; done; \
                  cmp first wg0.conf && echo same";
    let ran = apart(&desk, script).expect(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], "3", "{ran}");
    // A line for the device and one for each peer, as exporters read it; no address that nobody asked for.
    assert_eq!(lines[1..11], ["4", "0"].repeat(5), "{ran}");
    assert_eq!(lines[11], "same", "{ran}");
}

#[test]
fn the_engine_says_why_it_can_not_start() {
    if !can_run("the_engine_says_why_it_can_not_start", true, &PROGRAMS) {
        return;
    }
    let desk = desk();
    let ran = apart(&desk, "$W engine wg0; $W engine wg0").expect(1);
    assert!(ran.err.contains("an engine runs on wg0 already"), "{ran}");
    let ran = apart(&desk, "$W engine --foreground lo").expect(1);
    assert!(ran.err.contains("lo"), "{ran}");
}
