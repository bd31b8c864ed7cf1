//! Keys do not outlive what they belong to: a process that had tunnels, handshakes and sessions and dropped them has no key of theirs
//! in its memory any more, wherever that was.
//!
//! The test runs itself a second time as the process to be looked at. Randomness is scripted there, so that all keys are known
//! beforehand; they are looked for by their complements, which are no keys, so that the search does not find itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::process::Command;
use std::time::Duration;

use wayleave_engine::noise::handshake::{Caller, Identity, initiate};
use wayleave_engine::packet::PacketBuf;
use wayleave_engine::tunnel::{Endpoint, Tunnel};
use wayleave_engine::{
    ConfigureDevice, ConfigurePeer, Monotonic, Now, PresharedKey, PrivateKey, PublicKey, Rng, Tai64N, Timing,
};

const CHILD: &str = "WAYLEAVE_SECRETS_CHILD";

/// Every number that is drawn, one behind the other. Nothing but the place is remembered.
struct Script {
    tag: u8,
    drawn: u64,
}

fn script(tag: u8) -> Script {
    Script { tag, drawn: 0 }
}

impl Rng for Script {
    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            self.drawn += 1;
            let mixed = (self.drawn ^ u64::from(self.tag) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte = (mixed >> 29) as u8 ^ (mixed >> 51) as u8;
        }
    }
}

fn drawn_32(rng: &mut Script) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes);
    bytes
}

/// Private keys of both ends, and the preshared key.
fn long_lived() -> [[u8; 32]; 3] {
    [1, 2, 3].map(|tag| drawn_32(&mut script(tag)))
}

const NOW: Now = Now { monotonic: Monotonic(Duration::from_secs(1)), unix: Duration::from_secs(1_700_000_000) };

/// All secrets of the conversation in [`converse`], computed step by step; complemented.
fn complements() -> HashMap<&'static str, [u8; 32]> {
    let [a, b, psk] = long_lived();
    let (mut rng_a, mut rng_b) = (script(4), script(5));
    let [identity_a, identity_b] = [a, b].map(|key| Identity::new(PrivateKey::new(key)));
    let preshared = PresharedKey::new(psk);
    // A tunnel draws the seed of its timers' jitter; then, for a handshake, an index and the ephemeral key.
    [&mut rng_a, &mut rng_b].into_iter().for_each(|rng| rng.fill(&mut [0; 8]));
    let index = |rng: &mut Script| {
        let mut bytes = [0; 4];
        rng.fill(&mut bytes);
        u32::from_ne_bytes(bytes)
    };
    let index_a = index(&mut rng_a);
    let ephemeral_a = drawn_32(&mut Script { ..rng_a });
    let secret = identity_a.static_secret(&identity_b.public());
    let timestamp = Tai64N::from_unix(NOW.unix);
    let (initiator, message) =
        initiate(&identity_a, &identity_b.public(), &secret, index_a, timestamp, &mut rng_a).unwrap();
    let index_b = index(&mut rng_b);
    let ephemeral_b = drawn_32(&mut Script { ..rng_b });
    let caller = Caller::open(&identity_b, &message).unwrap();
    let initiation = caller.authenticate(&identity_b.static_secret(&identity_a.public())).unwrap();
    let (response, keys_b) = initiation.respond(&preshared, index_b, &mut rng_b).unwrap();
    let (keys_a, _) = initiator.open_response(&identity_a, &preshared, &response).unwrap();
    assert_eq!((*keys_a.send, *keys_a.receive), (*keys_b.receive, *keys_b.send));
    let secrets = [
        ("the caller's private key", *identity_a.private().expose()),
        ("the called end's private key", *identity_b.private().expose()),
        ("the preshared key", psk),
        ("the caller's ephemeral key", ephemeral_a),
        ("the called end's ephemeral key", ephemeral_b),
        ("one session key", *keys_a.send),
        ("the other session key", *keys_a.receive),
    ];
    secrets.into_iter().map(|(name, secret)| (name, secret.map(|byte| !byte))).collect()
}

fn tunnel(own: usize, other: &PublicKey, rng: Script, endpoint: Option<&str>) -> Tunnel {
    let mut peer = ConfigurePeer::new(*other);
    peer.endpoint = endpoint.map(|text| text.parse().unwrap());
    peer.allowed_ips = vec!["0.0.0.0/0".parse().unwrap()];
    let [_, _, psk] = long_lived();
    peer.preshared_key = Some(PresharedKey::new(psk));
    let private_key = Some(PrivateKey::new(long_lived()[own]));
    let mut tunnel = Tunnel::new(Box::new(rng), Timing::default());
    tunnel.configure(NOW, &ConfigureDevice { private_key, peers: vec![peer], ..ConfigureDevice::default() }).unwrap();
    tunnel.handle_up(NOW);
    tunnel
}

/// Hands over what `from` wants sent; gives how many packets came out at `to`.
fn deliver(from: &mut Tunnel, to: &mut Tunnel) -> usize {
    while let Some(transmit) = from.poll_transmit() {
        let source: std::net::SocketAddr = "192.0.2.9:9".parse().unwrap();
        to.handle_datagram(NOW, Endpoint::from(source), PacketBuf::new(transmit.packet.packet()));
        to.handle_timeout(NOW);
    }
    std::iter::from_fn(|| to.poll_tun()).count()
}

/// Two tunnels meet and talk, with the keys of [`complements`].
fn converse(publics: [PublicKey; 2]) -> (Tunnel, Tunnel) {
    let mut a = tunnel(0, &publics[1], script(4), Some("192.0.2.2:2"));
    let mut b = tunnel(1, &publics[0], script(5), None);
    let mut packet = [0; 20];
    (packet[0], packet[3]) = (0x45, 20);
    a.handle_tun_packet(NOW, PacketBuf::new(&packet));
    assert_eq!((deliver(&mut a, &mut b), deliver(&mut b, &mut a), deliver(&mut a, &mut b)), (0, 0, 1));
    (a, b)
}

/// Where in this process's writable memory each secret is, as names of regions.
fn find(complements: &HashMap<&'static str, [u8; 32]>) -> Vec<(&'static str, String)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut found = Vec::new();
    // In pieces, each of which begins with the end of the one before; this buffer is itself looked at, and holds what it looks at.
    let mut piece = vec![0; 1 << 16];
    let own = piece.as_ptr() as u64..piece.as_ptr() as u64 + piece.len() as u64;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, rest) = line.split_once('-').unwrap();
        let (end, _) = rest.split_once(' ').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut at = start;
        while at + 32 <= end {
            let len = (end - at).min(piece.len() as u64) as usize;
            let readable = memory.seek(SeekFrom::Start(at)).is_ok() && memory.read_exact(&mut piece[..len]).is_ok();
            for offset in 0..if readable { len - 31 } else { 0 } {
                let bytes = &piece[offset..offset + 32];
                let is_it =
                    |secret: &&[u8; 32]| bytes.iter().zip(**secret).all(|(byte, complement)| *byte == !complement);
                if own.contains(&(at + offset as u64)) {
                    continue;
                }
                if let Some((name, _)) = complements.iter().find(|(_, secret)| is_it(secret)) {
                    found.push((*name, line.split_whitespace().nth(5).unwrap_or("(anonymous)").to_owned()));
                }
            }
            at += (len - 31) as u64;
        }
    }
    piece.fill(0);
    found
}

fn child() {
    let hex = std::env::var(CHILD).unwrap();
    let bytes: Vec<u8> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let names = NAMES.iter().copied();
    let mut arrays = bytes.chunks(32).map(|chunk| <[u8; 32]>::try_from(chunk).unwrap());
    let publics = [PublicKey(arrays.next().unwrap()), PublicKey(arrays.next().unwrap())];
    let complements: HashMap<&'static str, [u8; 32]> = names.zip(arrays).collect();
    let (a, b) = converse(publics);
    let alive = find(&complements);
    for name in ["the caller's private key", "the preshared key", "one session key", "the other session key"] {
        assert!(alive.iter().any(|(found, _)| *found == name), "the search finds what is there: {name}, {alive:?}");
    }
    drop((a, b));
    overwrite_stack();
    for (name, region) in find(&complements) {
        println!("LEFT {name} in {region}");
    }
    println!("SEARCHED");
}

/// What returned calls left on the stack is overwritten by the next ones; here by this one.
#[inline(never)]
fn overwrite_stack() {
    let mut scratch = [0u8; 256 << 10];
    std::hint::black_box(&mut scratch);
}

const NAMES: [&str; 7] = [
    "the caller's private key",
    "the called end's private key",
    "the preshared key",
    "the caller's ephemeral key",
    "the called end's ephemeral key",
    "one session key",
    "the other session key",
];

#[test]
fn no_key_is_in_memory_after_its_owner_is_gone() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let complements = complements();
    let publics = [0, 1].map(|end| PrivateKey::new(long_lived()[end]).public_key().0);
    let all = publics.iter().chain(NAMES.iter().map(|name| &complements[name]));
    let hex: String = all.flatten().map(|byte| format!("{byte:02x}")).collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, hex)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("SEARCHED"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("LEFT"), "{text}");
}
