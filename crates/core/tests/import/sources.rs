//! The configurations of the texts S1 to S4, as printed: what is wrong with them is found and named.

use wayleave_core::check::{Imported, Kind};
use wayleave_core::import::{Read, read};

use super::support::{back, codes, files, network};

const EC2: &str = include_str!("fixtures/s1/ec2/wg0.conf");
const HKG: &str = include_str!("fixtures/s1/hkg/wg0.conf");
const ENTRYPOINT: &str = include_str!("fixtures/s1/entrypoint.sh");
const USER_DATA: &str = include_str!("fixtures/s1/user-data.sh");
const ADD_PEER: &str = include_str!("fixtures/s1/add-peer.sh");

fn kinds(read: &Read) -> Vec<Imported> {
    let kinds = read.findings.sorted().into_iter().map(|finding| finding.kind.clone());
    kinds.filter_map(|kind| if let Kind::Imported(kind) = kind { Some(kind) } else { None }).collect()
}

fn s1() -> Read {
    read(files(&[("s1/ec2/wg0.conf", EC2), ("s1/hkg/wg0.conf", HKG), ("s1/apac/entrypoint.sh", ENTRYPOINT)]))
}

#[test]
fn the_script_of_s1_loses_the_hubs_endpoint() {
    let read = read(files(&[("user-data.sh", USER_DATA)]));
    let lost = kinds(&read).into_iter().find(|kind| matches!(kind, Imported::EndpointLost { .. }));
    let (peer, endpoint, ran) = ("ec2-ireland".to_owned(), "54.171.48.207:51820".to_owned(), true);
    assert_eq!(lost, Some(Imported::EndpointLost { peer, endpoint, ran }));
    let device = &read.hosts[0].devices[0];
    assert_eq!(device.peers.len(), 11);
    assert!(device.peers.iter().all(|peer| peer.endpoint.is_none()), "the script dials nobody");
    assert_eq!(device.peers[1].name.as_ref().unwrap().value, "gru");
}

#[test]
fn a_key_without_a_slash_keeps_its_endpoint() {
    let changed = USER_DATA.replace("bzM6rw/efq", "bzM6rwXefq");
    let read = read(files(&[("user-data.sh", &changed)]));
    assert!(!codes(&read).contains(&"WL410"));
    let endpoint = read.hosts[0].devices[0].peers[0].endpoint.as_ref().unwrap();
    assert_eq!(endpoint.value.to_string(), "54.171.48.207:51820");
}

#[test]
fn keepalives_to_nowhere_are_named() {
    let read = read(files(&[("ec2/wg0.conf", EC2)]));
    let nowhere = kinds(&read).into_iter().filter(|kind| matches!(kind, Imported::KeepaliveToNowhere { .. }));
    assert_eq!(nowhere.count(), 11);
    assert!(codes(&read).contains(&"WL405"), "a placeholder is no private key");
}

#[test]
fn a_peer_added_by_wg_set_has_no_route() {
    assert!(codes(&read(files(&[("add-peer.sh", ADD_PEER)]))).contains(&"WL412"));
}

#[test]
fn the_network_of_s1_is_inferred_from_three_files() {
    let read = s1();
    let (inferred, plan, _) = back(&read);
    let network = network(&inferred.text);
    let names: Vec<&str> = network.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["cdg", "ec2", "fra", "gru", "hkg", "iad", "lax", "lhr", "nrt", "ord", "sin", "syd"]);
    let hubs: Vec<&str> = network.nodes.iter().filter(|node| node.hub).map(|node| node.name.as_str()).collect();
    assert_eq!(hubs, ["ec2"]);
    let dialled: Vec<String> = network.nodes.iter().flat_map(|node| &node.endpoints).map(ToString::to_string).collect();
    assert_eq!(dialled, ["54.171.48.207:51820", "35.241.112.61:51820"]);
    assert_eq!(network.links.len(), 14, "eleven with the hub, three more in Asia");
    for from in plan.members() {
        assert!(plan.members().all(|to| plan.path(from, to).is_some()), "the network that is inferred is complete");
    }
}

#[test]
fn s2_as_printed_has_lost_its_addresses() {
    let read = read(files(&[("alpha/setup.sh", include_str!("fixtures/s2-alpha.sh"))]));
    let device = &read.hosts[0].devices[0];
    assert_eq!((device.name.as_str(), device.port.as_ref().unwrap().value, device.peers.len()), ("wg0", 7777, 1));
    assert_eq!(device.key_path.as_ref().unwrap().value, "/etc/wireguard/privatekey");
    assert_eq!(codes(&read), ["WL403"]);
}

#[test]
fn s3_joins_a_router_and_a_server() {
    let router = include_str!("fixtures/s3-edgerouter.txt").replace("@home@", "home");
    let server = include_str!("fixtures/s3-vps.sh");
    // As printed, with the placeholders filled in.
    let server = server.replace("<erxpubkey>", "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=");
    let server = server.replace("<erx.pub.ip>", "192.0.2.67");
    let read = read(files(&[("home/config.txt", &router), ("vps/setup.sh", &server)]));
    assert_eq!(codes(&read), Vec::<&str>::new());
    let (inferred, _, differences) = back(&read);
    let network = network(&inferred.text);
    assert_eq!(network.nodes.len(), 2, "{}", inferred.text);
    assert_eq!(network.prefixes[0].to_string(), "10.132.0.0/30");
    // Everything goes into the tunnel there, and BGP decides; here it is two addresses.
    assert!(differences.iter().all(|one| one.read == "0.0.0.0/0"), "{differences:?}");
}

#[test]
fn s4_inserts_at_a_fixed_position() {
    let (host, desktop) = (include_str!("fixtures/s4/host1.conf"), include_str!("fixtures/s4/desktop.conf"));
    let read = read(files(&[("s4/host1.conf", host), ("s4/desktop.conf", desktop)]));
    let names: Vec<&str> = read.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["desktop", "host1"]);
    let position = kinds(&read).into_iter().find(|kind| matches!(kind, Imported::FixedPosition { .. }));
    assert_eq!(position, Some(Imported::FixedPosition { position: 2, chain: "FORWARD".into() }));
}

#[test]
fn s4_with_its_addresses_is_an_entry_server_and_a_client() {
    let server = "[Interface]\nAddress = 10.10.10.1/24\nPrivateKey = SERVER\nListenPort = 51820\n\
                  [Peer]\n# desktop\nPublicKey = CLIENTPUB\nAllowedIPs = 10.10.10.129/32\n";
    let client = "[Interface]\nAddress = 10.10.10.129/24\nPrivateKey = CLIENT\n\
                  [Peer]\nEndpoint = 198.51.100.11:51820\nPublicKey = SERVERPUB\nAllowedIPs = 10.10.10.0/24\nPersistentKeepalive = 25\n";
    let (a, b) = (super::support::key(1), super::support::key(2));
    let fill = |text: &str| {
        let text =
            text.replace("SERVERPUB", &a.public_key().to_string()).replace("CLIENTPUB", &b.public_key().to_string());
        text.replace("SERVER", &a.reveal()).replace("CLIENT", &b.reveal())
    };
    let read = read(files(&[("s4/host1.conf", &fill(server)), ("s4/desktop.conf", &fill(client))]));
    assert_eq!(codes(&read), Vec::<&str>::new());
    let (inferred, _, differences) = back(&read);
    assert_eq!(differences, [], "{}", inferred.text);
    assert!(inferred.text.contains("[clients.desktop]") && inferred.text.contains("via = [\"host1\"]"));
    let secrets = [a.reveal(), b.reveal()];
    assert!(secrets.iter().all(|key| !inferred.text.contains(key.as_str())), "a private key is in the network file");
    let shown = |source: &wayleave_core::check::Source| secrets.iter().any(|key| source.text.contains(key.as_str()));
    assert!(!read.sources.0.iter().any(shown), "a private key can be shown");
}
