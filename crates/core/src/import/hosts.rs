//! What was read from foreign files: hosts, their devices and peers, as written and with positions.
//!
//! Nothing is judged here beyond syntax: a prefix may have host bits, a key may stand on two hosts, an endpoint may be
//! missing. Private keys are kept only to be written to key files when that is asked for; everything else uses
//! [`Device::public_key`].

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::Facts;
use crate::check::Span;
use crate::file::Spanned;
use crate::keys::{PrivateKey, PublicKey};
use crate::network::{Host as DialledHost, Platform};

/// A machine: a folder of files, or one file.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name: of the folder or file, or what the file calls itself.
    pub name: String,
    /// Whether the name says something: `wg0` from a single file does not.
    pub named: bool,
    /// Its devices in the order of reading.
    pub devices: Vec<Device>,
    /// What else is known of it.
    pub facts: Facts,
}

/// The syntax in which something was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// wg-quick(8), or `wg showconf`.
    WgQuick,
    /// `wg show all dump`, or of one interface.
    Dump,
    /// systemd.netdev(5) and systemd.network(5).
    Networkd,
    /// EdgeOS or VyOS: `set` lines or a configuration tree.
    Edgeos,
    /// RouterOS: what `/export` prints, or a script.
    Routeros,
    /// A shell script.
    Shell,
    /// User-data for cloud-init.
    CloudInit,
}

impl Format {
    /// What mostly reads it.
    fn platform(self) -> Platform {
        match self {
            Format::Networkd => Platform::Networkd,
            Format::Edgeos => Platform::Edgeos,
            Format::Routeros => Platform::Routeros,
            Format::CloudInit => Platform::CloudInit,
            Format::WgQuick | Format::Dump | Format::Shell => Platform::WgQuick,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::WgQuick => "wg-quick",
            Format::Dump => "wg show dump",
            Format::Networkd => "systemd-networkd",
            Format::Edgeos => "EdgeOS or VyOS",
            Format::Routeros => "RouterOS",
            Format::Shell => "shell script",
            Format::CloudInit => "cloud-init",
        })
    }
}

/// A WireGuard device of a host.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name on the host, as far as it is known.
    pub name: String,
    /// What the file calls the host, in a comment.
    pub called: Option<Spanned<String>>,
    /// The syntax it was read from.
    pub format: Format,
    /// What reads such files.
    pub platform: Platform,
    /// Where it is written.
    pub place: Span,
    /// Its private key, if the file holds it.
    pub private_key: Option<Spanned<PrivateKey>>,
    /// Its public key: that of the private key, or as given.
    pub public_key: Option<Spanned<PublicKey>>,
    /// The file on the host that holds its private key.
    pub key_path: Option<Spanned<String>>,
    /// Its addresses with the length of their network.
    pub addresses: Vec<Spanned<IpNet>>,
    /// UDP port.
    pub port: Option<Spanned<u16>>,
    /// MTU in bytes.
    pub mtu: Option<Spanned<u16>>,
    /// Where routes go.
    pub table: Option<Spanned<Table>>,
    /// Mark of encrypted packets; none is 0.
    pub fwmark: Option<Spanned<u32>>,
    /// DNS servers and search domains.
    pub dns: Vec<Spanned<String>>,
    /// Whether what brings it up routes allowed prefixes into it: wg-quick does, `wg set` does not.
    pub brings_routes: bool,
    /// Commands around up and down.
    pub hooks: Vec<Hook>,
    /// Its peers in the order of the file.
    pub peers: Vec<Peer>,
}

/// `Table` of a wg-quick file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The main table, and a table of their own for default routes.
    Auto,
    /// No routes.
    Off,
    /// This table.
    Number(u32),
}

/// A peer of a device.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it is written.
    pub place: Span,
    /// What the file calls it, in a comment or a description.
    pub name: Option<Spanned<String>>,
    /// Whether the name was given as a name (`friendly_name`) and not guessed from a remark.
    pub name_is_certain: bool,
    /// Its public key.
    pub public_key: Option<Spanned<PublicKey>>,
    /// The preshared key.
    pub preshared_key: Option<Spanned<PrivateKey>>,
    /// Where it is dialled.
    pub endpoint: Option<Spanned<Dial>>,
    /// Whether the endpoint may have been learnt from a packet, as in a dump.
    pub endpoint_is_learnt: bool,
    /// Its allowed prefixes, host bits and all.
    pub allowed: Vec<Spanned<IpNet>>,
    /// Seconds between keepalives; none is off.
    pub keepalive_s: Option<Spanned<u16>>,
    /// Only on hosts for which a script's variable has one of these values; empty: on all.
    pub cases: Vec<String>,
}

/// An endpoint as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// The host; none if it can't be expressed in a network file, such as an address with a zone.
    pub host: Option<DialledHost>,
    /// The host as written.
    pub text: String,
    /// UDP port.
    pub port: u16,
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(DialledHost::Ip(IpAddr::V6(ip))) => write!(f, "[{ip}]:{}", self.port),
            Some(DialledHost::Ip(ip)) => write!(f, "{ip}:{}", self.port),
            Some(DialledHost::Dns(name)) => write!(f, "{name}:{}", self.port),
            None => write!(f, "{}:{}", self.text, self.port),
        }
    }
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the device exists.
    PreUp,
    /// When it is up.
    PostUp,
    /// Before it goes.
    PreDown,
    /// When it is gone.
    PostDown,
}

/// A command around up and down, kept as written.
#[derive(Debug, Clone)]
pub struct Hook {
    /// When it runs.
    pub moment: Moment,
    /// The command line.
    pub command: Spanned<String>,
    /// What its parts do, in order.
    pub effects: Vec<Effect>,
}

/// What a command does, as far as it is understood. `v6` tells the family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Forwarding is switched on for the whole host.
    Forwarding {
        /// IPv6.
        v6: bool,
    },
    /// Packets into or out of the device may be forwarded (iptables FORWARD ... ACCEPT).
    ForwardAccept {
        /// IPv6.
        v6: bool,
        /// `-I CHAIN N`: the position, 1 if none is written; none if it is appended.
        position: Option<u32>,
        /// The incoming device it is limited to.
        input: Option<String>,
        /// The outgoing device it is limited to.
        output: Option<String>,
        /// Taken away instead of added.
        removed: bool,
    },
    /// Sources are hidden behind the host's address.
    Masquerade {
        /// IPv6.
        v6: bool,
        /// The outgoing device it is limited to.
        output: Option<String>,
        /// The sources it is limited to.
        source: Option<IpNet>,
        /// Taken away instead of added.
        removed: bool,
    },
    /// `ip route add PREFIX ...`
    Route {
        /// The destination; none is the default route.
        prefix: Option<IpNet>,
        /// The rest of the command.
        rest: String,
        /// Taken away instead of added.
        removed: bool,
    },
    /// TCP that is passed on is told what fits through the tunnel.
    ClampMss {
        /// Taken away instead of added.
        removed: bool,
    },
    /// `ip rule add ...`
    Rule {
        /// The rest of the command.
        rest: String,
        /// Taken away instead of added.
        removed: bool,
    },
    /// The private key is read from a file (`wg set %i private-key PATH`).
    PrivateKeyFile(String),
    /// Something else.
    Other(String),
}

/// The number of a routing table: names get one that is made of them, above those that people give by number.
pub fn table_number(name: &str) -> Option<u32> {
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match name {
        "main" => Some(254),
        "local" => Some(255),
        "default" => Some(253),
        _ if name.starts_with(|c: char| c.is_ascii_digit()) => {
            name.strip_prefix("0x").map_or_else(|| name.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
        }
        // FNV-1a
        _ => is_name.then(|| {
            let hash =
                name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
            hash | 1 << 31
        }),
    }
}

impl Host {
    /// Whether something that was read switches forwarding on or off, by family; hooks run last.
    pub fn forwarding(&self, v6: bool) -> Option<bool> {
        let by_hook =
            self.devices.iter().flat_map(Device::effects_up).any(|effect| *effect == Effect::Forwarding { v6 });
        let keys: &[&str] = if v6 {
            &["net.ipv6.conf.all.forwarding"]
        } else {
            &["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"]
        };
        let by_setting = || keys.iter().find_map(|key| Some(self.facts.sysctl(key)?.0 != 0));
        if by_hook { Some(true) } else { by_setting() }
    }
}

impl Device {
    /// A device of which nothing is known yet.
    pub fn new(name: &str, format: Format, place: Span) -> Device {
        Device {
            name: name.to_owned(),
            called: None,
            format,
            platform: format.platform(),
            place,
            private_key: None,
            public_key: None,
            key_path: None,
            addresses: Vec::new(),
            port: None,
            mtu: None,
            table: None,
            fwmark: None,
            dns: Vec::new(),
            brings_routes: true,
            hooks: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// Its public key's value.
    pub fn key(&self) -> Option<PublicKey> {
        self.public_key.as_ref().map(|key| key.value)
    }

    /// Whether it is of a script that leaves open which host it makes.
    pub fn is_template(&self) -> bool {
        let says_nothing = self.public_key.is_none() && self.key_path.is_none() && self.port.is_none();
        self.format == Format::Shell && self.addresses.is_empty() && says_nothing && !self.peers.is_empty()
    }

    /// What hooks do when the device comes up.
    pub fn effects_up(&self) -> impl Iterator<Item = &Effect> {
        let up = self.hooks.iter().filter(|hook| matches!(hook.moment, Moment::PreUp | Moment::PostUp));
        up.flat_map(|hook| &hook.effects)
    }
}

impl Peer {
    /// A peer of which nothing is known yet.
    pub fn new(place: Span) -> Peer {
        Peer {
            place,
            name: None,
            name_is_certain: false,
            public_key: None,
            preshared_key: None,
            endpoint: None,
            endpoint_is_learnt: false,
            allowed: Vec::new(),
            keepalive_s: None,
            cases: Vec::new(),
        }
    }

    /// Its public key's value.
    pub fn key(&self) -> Option<PublicKey> {
        self.public_key.as_ref().map(|key| key.value)
    }
}
