//! BIRD 3, where a program of it is given: `WAYLEAVE_BIRD3=/usr/sbin/bird`, of Debian 13 or built. Debian 12 has none.
//!
//! The whole life of a neighbour with two of them, which is told in other words here and there than by BIRD 2.

use super::bgp::{NETWORKS, THIRD};
use super::desk::note_not_run;
use super::{part, scenario_with};

/// What a script begins with so that agents and everybody else find that BIRD.
pub(super) fn bird_3(test: &str) -> Option<String> {
    let Some(program) = std::env::var_os("WAYLEAVE_BIRD3") else {
        note_not_run(test, "needs a BIRD 3, named by WAYLEAVE_BIRD3");
        return None;
    };
    let program = program.to_str().unwrap();
    Some(format!(
        "mkdir bin3; printf '#!/bin/sh\\nexec \"%s\" \"$@\"\\n' '{program}' > bin3/bird; chmod 755 bin3/bird; PATH=$PWD/bin3:$PATH\n"
    ))
}

#[test]
fn a_neighbour_lives_with_bird_3_as_with_bird_2() {
    let test = "a_neighbour_lives_with_bird_3";
    let Some(begin) = bird_3(test) else { return };
    let script = r#"
ctl=run-a/networks/ours/bird.ctl; stays() { birdc -r -s $ctl show protocols | grep '^n_b ' | tr -s ' ' | cut -d' ' -f5,6 | cmp - since && echo "the session stays"; }
for n in ours theirs; do sed -i '0,/^own = /s//profile = "dn42"\nown = /' $n.toml; done
agent a --network ours.toml --cleanup; agent b --network theirs.toml; up a; up b; until_true "on a $W route 172.20.2.1"
echo "== up"; on a "$W" bgp | head -n 1; on a "$W" bgp --json | grep -E '"(received|accepted|exported)_routes"'; on a "$W" route 172.20.2.1 | head -n 3 | tail -n 1
on a "$W" route 172.20.2.1 | grep -c -E 'AS path +64513'; ip -n a route show table all proto bird | grep -c '^172.20.2.0/24 via 10.9.0.2 dev wgn-b .*src 172.20.1.1'
birdc -r -s $ctl show protocols | grep '^n_b ' | tr -s ' ' | cut -d' ' -f5,6 > since; cp ours.toml good.toml
echo "== changed"; sed -i 's|^accept = .*|accept = ["172.21.0.0/16"]|' ours.toml; until_true "on a $W bgp --json | grep 'accepted_routes.: 0'"; stays
cp good.toml ours.toml; until_true "on a $W bgp --json | grep 'accepted_routes.: 1'"; stays
echo "== added"; third >> ours.toml; until_true "birdc -r -s $ctl show protocols | grep n_c"; stays; cp good.toml ours.toml; until_true "! ip -n a link show wgn-c"; stays
echo "== refused"; sed -i 's|^asn = 64512|&\nroa_v4 = "/nowhere/roa.conf"|' ours.toml; until_true "on a $W status | grep 'BIRD refuses its configuration'"; on a "$W" status | grep -o 'what was in force stays: [^ ]*' | sed "s|$PWD/||" | head -n 1; stays
cp good.toml ours.toml; until_true "on a $W status | head -n 1 | grep 'a of ours: fine'"
echo "== drained"; on a "$W" drain > /dev/null; until_true "on b $W route 172.20.1.1 | grep '(65535,0)'"; on b "$W" route 172.20.1.1 | grep -c -E 'local pref +0'; on a "$W" undrain > /dev/null
until_true "on b $W route 172.20.1.1 | grep -E 'local pref +100'"; stays
echo "== killed"; p=$(bird_of a ours); kill -9 $p; until_true "[ \$(bird_of a ours) != $p ]"; up a; until_true "on a $W status | head -n 1 | grep 'a of ours: fine'"; echo "back"
echo "== removed"; sed '/^\[neighbours/,$d' good.toml > ours.toml; until_true "! ip -n a link show wgn-b"; until_true "! ls run-a/networks/ours | grep bird"; ip -n a route show table all proto bird | wc -l
"#;
    let programs = ["bird", "birdc", "sed", "cmp"];
    let Some(ran) = scenario_with(test, &programs, &format!("{begin}{NETWORKS}{THIRD}{script}")) else { return };
    let ran = ran.expect(0);
    let up = part(&ran, "up");
    assert!(up[0].starts_with("BIRD 3.") && up[0].ends_with("1 of 1 sessions are up"), "{ran}");
    assert!(up[1..4].iter().all(|line| line.ends_with(": 1,")), "{ran}");
    assert_eq!(up[4..], ["* via 10.9.0.2 on wgn-b, by n_b of table master4", "1", "1"], "{ran}");
    let stays = "the session stays";
    assert_eq!(part(&ran, "changed"), [stays, stays], "{ran}");
    assert_eq!(part(&ran, "added"), [stays, stays], "{ran}");
    let refused = part(&ran, "refused");
    assert!(refused[0].starts_with("what was in force stays: run-a/networks/ours/bird.conf.new:"), "{ran}");
    assert_eq!(
        (refused[1], part(&ran, "drained"), part(&ran, "killed")),
        (stays, vec!["1", stays], vec!["back"]),
        "{ran}"
    );
    assert_eq!(part(&ran, "removed"), ["0"], "{ran}");
}
