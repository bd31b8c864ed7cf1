//! A BIRD of the administrator's own, which includes our part: what is theirs stays as it is, whatever becomes of ours.
//!
//! Real agents and BIRDs. On host a somebody runs a BIRD with routes in the main table and a session of their own. `untouched` says
//! whether all of theirs has been up since it was first looked at, in the same process.

use super::bgp::{NETWORKS, THIRD};
use super::bird_3::bird_3;
use super::{Ran, part, scenario_with};

/// Their BIRD, which our network file names, and which does not include our part yet.
const THEIRS: &str = r#"
mkdir etc; ctl=$PWD/their.ctl; ours=etc/wayleave-wg0.conf
cat > etc/bird.conf <<T
router id 192.0.2.1;
log "$PWD/bird-of-a.log" all;
protocol device { }
protocol static office { ipv4; route 10.200.0.0/16 via 192.0.2.254; route 172.20.200.0/24 blackhole; }
protocol kernel main_table { ipv4 { export all; }; }
protocol bgp friend { passive; local 192.0.2.1 as 64999; neighbor 192.0.2.77 as 64998; ipv4 { import all; export all; }; }
T
cat >> ours.toml <<T
[nodes.a.bird]
configuration = "$PWD/etc/bird.conf"
socket = "$ctl"
T
include() { echo "include \"$PWD/etc/wayleave-wg0.con[f]\";" >> etc/bird.conf; }
their_bird() { on a bird -c $PWD/etc/bird.conf -s $ctl -P $PWD/their.pid; until_true "birdc -r -s $ctl show status"; until_true "ip -n a route show table main proto bird | grep 172.20.200"; }
patient() { i=0; while ! eval "$1" > /dev/null 2>&1; do i=$((i + 1)); [ $i -lt 600 ] || { echo "never: $1"; on a "$W" status; cat *.log; exit 1; }; sleep 0.1; done; }
show() { cat their.pid; birdc -r -s $ctl show protocols | grep -E '^(office|main_table|friend|device1) ' | tr -s ' '; ip -n a route show table main proto bird; }
untouched() { show > now; cmp now before && echo "theirs is untouched"; }
session() { birdc -r -s $ctl show protocols | grep '^wayleave_wg0_n_b ' | tr -s ' ' | cut -d' ' -f5,6; }
said() { on a "$W" status | grep -o "$1" | head -n 1; }
"#;

fn their_bird(test: &str, script: &str) -> Option<Ran> {
    let programs = ["bird", "birdc", "sed", "cmp", "nft"];
    scenario_with(test, &programs, &format!("{NETWORKS}{THIRD}{THEIRS}{script}"))
}

#[test]
fn the_administrators_bird_takes_our_part_and_all_of_theirs_stays_untouched() {
    takes_our_part("the_administrators_bird_takes_our_part", "");
}

#[test]
fn an_administrators_bird_3_takes_our_part_and_all_of_theirs_stays_untouched() {
    let test = "an_administrators_bird_3_takes_our_part";
    if let Some(begin) = bird_3(test) {
        takes_our_part(test, &begin);
    }
}

/// With the BIRD that a script's beginning puts in the way.
fn takes_our_part(test: &str, begin: &str) {
    let script = r#"
their_bird; show > before; agent a --network ours.toml; agent b --network theirs.toml
echo "== left out"; patient "on a $W status | grep 'does not include'"; said "$PWD/etc/bird.conf does not include.*" | sed "s|$PWD/||g"
ip -n a link show wgn-b 2>&1 | grep -c 'does not exist'; untouched
echo "== included"; include; patient "on a $W bgp | grep ' 1 of 1 sessions are up'"; up b; untouched; session > since
patient "on a ping -c 1 -W 1 -I 172.20.1.1 172.20.2.1"; on a "$W" route 172.20.2.1 | grep -o 'table wayleave.*'; on a "$W" bgp | sed 1d | grep -c friend || true
ls etc; ip -n a route show table main proto bird; birdc -r -s $ctl show route table master4 | grep -c 172.20.2.0/24 || true
on b "$W" bgp --json | grep exported; on b "$W" route 172.20.200.1 | head -n 1 || true
echo "== changed"; sed -i 's|^accept = .*|accept = ["172.20.2.0/24"]|' ours.toml; until_true "grep 172.20.2.0/24.24 $ours"; until_true "on a $W status | head -n 1 | grep 'a of ours: fine'"
session | cmp - since && echo "the session stays"; untouched
echo "== added"; cp ours.toml good.toml; third >> ours.toml; until_true "birdc -r -s $ctl show protocols | grep wayleave_wg0_n_c"; ip -n a -o link show wgn-c | wc -l
cp good.toml ours.toml; until_true "! ip -n a link show wgn-c"; birdc -r -s $ctl show protocols | grep -c n_c || true; session | cmp - since && echo "the session stays"; untouched
echo "== refused"; cp $ours part; sed 's|^asn = 64512|&\nroa_v4 = "/nowhere/roa.conf"|' good.toml > new; third >> new; mv new ours.toml; until_true "on a $W status | grep 'neighbours c stay as they were'"
said "the administrator's BIRD can't take our part; what was in force stays"; cmp part $ours && echo "the file is as before"; ip -n a -o link show | grep -c wgn-c || true; session | cmp - since && echo "the session stays"; untouched; ls etc
cp good.toml ours.toml; patient "on a $W status | head -n 1 | grep 'a of ours: fine'"
echo "== stopped"; kill $(cat a.pid); until_true "! on a $W status"; untouched; birdc -r -s $ctl show protocols | grep -c wayleave || true; ls etc
ip -n a route show table all proto bird | grep -vc 'default\|10.200\|172.20.200' || true; birdc -s $ctl configure check | tail -n 1; kill $(cat their.pid)
"#;
    let Some(ran) = their_bird(test, &format!("{begin}{script}")) else { return };
    let ran = ran.expect(0);
    let line = "add this line to it: include \"etc/wayleave-wg0.con[f]\";";
    let left_out = part(&ran, "left out");
    let words = format!("etc/bird.conf does not include etc/wayleave-wg0.conf; {line}");
    assert!(left_out[0].starts_with(&words), "{ran}");
    assert_eq!(left_out[1..], ["1", "theirs is untouched"], "no device without a session: {ran}");
    let included = part(&ran, "included");
    assert_eq!(included[..3], ["theirs is untouched", "table wayleave_wg0_4", "0"], "{ran}");
    assert_eq!(included[3..5], ["bird.conf", "wayleave-wg0.conf"], "{ran}");
    let main_table = ["10.200.0.0/16 via 192.0.2.254 dev va metric 32 ", "blackhole 172.20.200.0/24 metric 32 "];
    assert_eq!(included[5..7], main_table, "nothing of ours is in the main table: {ran}");
    assert_eq!(included[7], "0", "nor in theirs: {ran}");
    assert!(included[8].contains("\"exported_routes\": 1"), "{ran}");
    assert_eq!(included[9], "172.20.200.1: BIRD has no route to it", "neighbours are not told of theirs: {ran}");
    assert_eq!(part(&ran, "changed"), ["the session stays", "theirs is untouched"], "{ran}");
    assert_eq!(part(&ran, "added"), ["1", "0", "the session stays", "theirs is untouched"], "{ran}");
    let refused = "the administrator's BIRD can't take our part; what was in force stays";
    let stays = [
        refused,
        "the file is as before",
        "0",
        "the session stays",
        "theirs is untouched",
        "bird.conf",
        "wayleave-wg0.conf",
    ];
    assert_eq!(part(&ran, "refused"), stays, "{ran}");
    assert_eq!(part(&ran, "stopped")[..4], ["theirs is untouched", "0", "bird.conf", "0"], "{ran}");
    assert_eq!(part(&ran, "stopped")[4], "Configuration OK", "{ran}");
}

#[test]
fn what_the_administrator_does_to_their_bird_is_noticed_and_survived() {
    let script = r#"
# All of theirs listens at its own address only, so that there is room for a BIRD of ours beside it.
sed -i 's/passive;/passive; strict bind yes;/' etc/bird.conf; echo 'strict_bind = true' >> ours.toml
include; their_bird; show > before; agent a --network ours.toml; agent b --network theirs.toml; up a; up b; session > since; cp etc/bird.conf good.conf
echo "== same name"; echo 'protocol static wayleave_wg0_own4 { ipv4; }' >> etc/bird.conf; sed -i 's|^accept = .*|accept = ["172.20.2.0/24"]|' ours.toml
until_true "on a $W status | grep 'does not load with our part'"; said "etc/bird.conf does not load with our part.*" | grep -o 'does not load with our part: .*' | sed "s|$PWD/||g"; session | cmp - since && echo "the session stays"; untouched
echo "== broken"; cp good.conf etc/bird.conf; echo 'protocol nonsense' >> etc/bird.conf; patient "on a $W status | grep 'does not load, whatever'"; untouched
cp good.conf etc/bird.conf; patient "on a $W status | head -n 1 | grep 'a of ours: fine'"; session | cmp - since && echo "the session stays"; untouched
echo "== restarted"; kill $(cat their.pid); until_true "! birdc -r -s $ctl show status"; until_true "on a $W status | grep 'no BIRD listens at'"; ip -n a -o link show wgn-b | wc -l; their_bird; show > before
patient "on a $W bgp | grep ' 1 of 1 sessions are up'"; patient "on a $W status | head -n 1 | grep 'a of ours: fine'"; untouched
echo "== taken out"; sed -i '/^include/d' etc/bird.conf; birdc -s $ctl configure > /dev/null; patient "on a $W status | grep 'does not include'"; ip -n a -o link show wgn-b | wc -l; untouched
include; patient "on a $W bgp | grep ' 1 of 1 sessions are up'"; untouched
echo "== agent killed"; kill -9 $(cat a.pid); until_true "! on a $W status"; until_true "! ip -n a link show wgn-b"; untouched; agent a --network ours.toml; patient "on a $W bgp | grep ' 1 of 1 sessions are up'"; untouched
echo "== down"; kill -9 $(cat a.pid); until_true "! on a $W status"; until_true "! ip -n a link show wgn-b"; on a "$W" down | grep -o "out of the administrator's BIRD"; birdc -r -s $ctl show protocols | grep -c wayleave || true; ls etc; untouched
echo "== ours again"; sed -i '/^.nodes.a.bird/,$d' ours.toml; agent a --network ours.toml; up a; cat run-a/networks/ours/bird.pid | wc -l; untouched
printf '[nodes.a.bird]\nconfiguration = "%s"\nsocket = "%s"\nstrict_bind = true\n' $PWD/etc/bird.conf $ctl >> ours.toml; until_true "grep 'Shutdown completed' a.log"; patient "session | grep Established"; ls run-a/networks/ours | grep -c 'bird.conf' || true; untouched
kill $(cat a.pid); until_true "! on a $W status"; untouched; kill $(cat their.pid)
"#;
    let Some(ran) = their_bird("what_the_administrator_does_to_their_bird", script) else { return };
    let ran = ran.expect(0);
    let untouched = "theirs is untouched";
    let same = part(&ran, "same name");
    assert!(same[0].contains("wayleave_wg0_own4") && same[0].contains("already defined"), "{ran}");
    assert_eq!(same[1..], ["the session stays", untouched], "{ran}");
    assert_eq!(part(&ran, "broken"), [untouched, "the session stays", untouched], "{ran}");
    assert_eq!(part(&ran, "restarted"), ["1", untouched], "{ran}");
    assert_eq!(part(&ran, "taken out"), ["1", untouched, untouched], "{ran}");
    assert_eq!(part(&ran, "agent killed"), [untouched, untouched], "{ran}");
    assert_eq!(part(&ran, "down"), ["out of the administrator's BIRD", "0", "bird.conf", untouched], "{ran}");
    assert_eq!(part(&ran, "ours again"), ["1", untouched, "0", untouched, untouched], "{ran}");
}
