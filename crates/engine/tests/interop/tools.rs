//! The real `wg` on the engine: show, set, setconf, syncconf, showconf, and refusals.
//!
//! Everything goes through the UAPI socket at the place where `wg` looks for it. The last test speaks to the socket itself, as
//! `wg` never sends anything bad.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use wayleave_engine::{Counters, DeviceDescription, PublicKey, Timing, uapi};

use crate::ends::{Engine, KeyFile, base64};
use crate::{needs_machine, pair, peer, ping, set_peer};

fn key(byte: u8) -> String {
    base64(&[byte; 32])
}

#[test]
fn set_show_setconf_syncconf_and_showconf_work() {
    needs_machine!();
    let (left, _right) = pair();
    let engine = Engine::start(&left, "10.77.0.1/24", Timing::default());
    let wg = |line: &str| left.command(&format!("wg {}", line.replace("DEV", &engine.name)));
    let psk = KeyFile::new(&engine.name, &key(9));
    wg(&format!(
        "set DEV listen-port 4711 fwmark 0x2a peer {} preshared-key {} endpoint 192.0.2.1:5 persistent-keepalive 25 \
         allowed-ips 10.1.0.0/16,fd01::/64",
        key(1),
        psk.0.display()
    ));
    wg(&format!("set DEV peer {} endpoint [2001:db8::1]:6 allowed-ips 10.2.0.0/16", key(2)));
    let dump = wg("show DEV dump");
    let lines: Vec<Vec<&str>> = dump.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines[0][1..], [&engine.public_key.to_string(), "4711", "0x2a"]);
    assert_eq!(lines[1][..4], [&key(1), &key(9), "192.0.2.1:5", "10.1.0.0/16,fd01::/64"]);
    assert_eq!(lines[1][7], "25");
    assert_eq!(lines[2][..4], [&key(2), "(none)", "[2001:db8::1]:6", "10.2.0.0/16"]);
    assert!(wg("show").contains(&engine.name) && wg("show interfaces").contains(&engine.name));

    let saved = KeyFile::new(&engine.name, &wg("showconf DEV"));
    wg(&format!("set DEV peer {} remove peer {} allowed-ips 10.1.0.0/16", key(1), key(3)));
    assert_eq!(wg("show DEV peers").lines().count(), 2);
    wg(&format!("setconf DEV {}", saved.0.display()));
    assert_eq!(wg("show DEV dump"), dump, "the saved configuration is the one from before");

    let other = KeyFile::new(
        &engine.name,
        &format!("[Interface]\nListenPort = 4711\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.0/16\n", key(2)),
    );
    wg(&format!("syncconf DEV {}", other.0.display()));
    assert_eq!(wg("show DEV allowed-ips").trim(), format!("{}\t10.9.0.0/16", key(2)));
}

/// What exporters read: nine columns of a peer behind the interface's name, five of the interface.
#[test]
fn the_columns_of_a_dump_of_all_interfaces_say_what_the_device_knows() {
    needs_machine!();
    let (left, right) = pair();
    let a = Engine::start(&left, "10.77.0.1/24", Timing::default());
    let b = Engine::start(&right, "10.77.0.2/24", Timing::default());
    set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32"]));
    set_peer(&a, peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32", "fd77::2/128"]));
    let psk = KeyFile::new(&a.name, &key(9));
    left.command(&format!("wg set {} peer {} persistent-keepalive 900", a.name, b.public_key));
    left.command(&format!("wg set {} fwmark 0x2a peer {} preshared-key {}", a.name, key(5), psk.0.display()));
    ping(&left, "10.77.0.2", 3);
    // The sockets of other tests' devices are in the same directory, and end while they are read.
    let rows_of = |name: &str| -> Vec<Vec<String>> {
        let dump = String::from_utf8(left.output("wg show all dump").stdout).unwrap();
        let rows = dump.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
        rows.filter(|columns| columns[0] == name).collect()
    };
    let before = a.device.describe().unwrap();
    let rows = rows_of(&a.name);
    let private_key = base64(before.private_key.as_ref().unwrap().expose());
    let interface = [&a.name, &private_key, &a.public_key.to_string(), &a.port().to_string(), "0x2a"];
    assert_eq!(rows[0], interface);
    let known = &before.peers[0];
    let handshake_s = known.last_handshake.unwrap().as_secs().to_string();
    let (endpoint, rx, tx) = (format!("10.99.0.2:{}", b.port()), known.rx_bytes, known.tx_bytes);
    let busy = [&a.name, &b.public_key.to_string(), "(none)", &endpoint, "10.77.0.2/32,fd77::2/128", &handshake_s];
    assert_eq!(rows[1][..6], busy);
    assert_eq!(rows[1][8], "900");
    // Pings of a busy machine may still be answered while this is read.
    let counted = |column: usize| rows[1][column].parse::<u64>().unwrap();
    let after = &a.device.describe().unwrap().peers[0];
    assert!((rx..=after.rx_bytes).contains(&counted(6)) && (tx..=after.tx_bytes).contains(&counted(7)), "{rows:?}");
    assert_eq!(rows[2], [&a.name, &key(5), &key(9), "(none)", "(none)", "0", "0", "0", "off"]);
    assert_eq!(rows.len(), 3);
    assert_eq!(
        rows_of(&b.name)[1][2..5],
        ["(none)".to_owned(), format!("10.99.0.1:{}", a.port()), "10.77.0.1/32".to_owned()]
    );
}

#[test]
fn syncconf_does_not_disturb_sessions() {
    needs_machine!();
    let (left, right) = pair();
    let a = Engine::start(&left, "10.77.0.1/24", Timing::default());
    let b = Engine::start(&right, "10.77.0.2/24", Timing::default());
    set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32"]));
    set_peer(&a, peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32"]));
    ping(&left, "10.77.0.2", 1);
    for round in 0..5 {
        let saved = left.command(&format!("wg showconf {}", a.name));
        let extra = format!("[Peer]\nPublicKey = {}\nAllowedIPs = 10.{round}.0.0/16\n", key(round));
        let file = KeyFile::new(&a.name, &format!("{saved}\n{extra}"));
        left.command(&format!("wg syncconf {} {}", a.name, file.0.display()));
        ping(&left, "10.77.0.2", 3);
        ping(&right, "10.77.0.1", 3);
    }
    let description = a.device.describe().unwrap();
    assert_eq!((description.counters.handshakes, description.peers.len()), (1, 6));
}

#[test]
fn a_bad_request_is_refused_as_a_whole() {
    needs_machine!();
    let (left, _right) = pair();
    let engine = Engine::start(&left, "10.77.0.1/24", Timing::default());
    // Apart from the counters: the system sends packets of its own accord.
    let describe = || DeviceDescription { counters: Counters::default(), ..engine.device.describe().unwrap() };
    let before = describe();
    let ask = |text: &str| {
        let mut stream = UnixStream::connect(uapi::default_path(&engine.name)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let good = format!("set=1\nlisten_port=4800\npublic_key={}\n", "01".repeat(32));
    for bad in ["allowed_ip=10.0.0.0/40\n\n", "nonsense\n\n", "endpoint=[::1]\n\n"] {
        assert_eq!(ask(&format!("{good}{bad}")), "errno=-22\n\n");
    }
    assert_eq!(ask("set=1\nlisten_port=4800\n"), "", "a request without its end is no request");
    assert_eq!(describe(), before);
    let answers = ask(&format!("{good}\nget=1\n\n"));
    assert!(answers.starts_with("errno=0\n\nprivate_key="), "several requests on one connection");
    assert_eq!(engine.device.describe().unwrap().peers[0].public_key, PublicKey([1; 32]));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(uapi::default_path(&engine.name)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
