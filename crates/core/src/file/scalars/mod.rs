//! The scalars of a network file: each text or number is checked where it is read and is a strong type afterwards.
//!
//! A finding says what is wrong with the value and, where there is one probable correction, which.

mod bgp;
mod dates;
mod hosts;
mod policy;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::decode::{Decode, Decoder, nearest, shown};
use super::tree::{Value, ValueKind};
use crate::check::{Finding, Reading, Span};
use crate::keys::PublicKey;
use crate::limits::{HOPS_MAX, MTU_MAX, MTU_MIN, RTT_MS_MAX};
use crate::names::{DeviceName, Name};
use crate::network::{ElementKind, Host, Platform};

pub use bgp::{Asn, HostPath, InterfaceAddress, Megabits, Routes, TableNumber};
pub use dates::{Cloud, Code, Date};
pub use policy::{Family, OutsideText, PathPrefix, PolicyText, read_ports};

/// An endpoint as written; without a port it is the node's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointText {
    /// Address or DNS name.
    pub host: Host,
    /// UDP port.
    pub port: Option<u16>,
}

/// A server that only the hosts themselves ask, as written: their own addresses will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerText(pub EndpointText);

/// What picks nodes in a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// `*`: every node.
    All,
    /// A node, or all nodes of a region; where clients can be meant, a client or a group.
    Named(Name),
    /// `tag:x`: nodes with a tag.
    Tag(Name),
    /// `role:hub`.
    Hubs,
    /// `role:entry`.
    Entries,
    /// `role:client`.
    Clients,
    /// `role:site`.
    Sites,
    /// `site:x`.
    Site(Name),
}

impl std::fmt::Display for Selector {
    /// As it is written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Selector::All => f.write_str("*"),
            Selector::Named(name) => write!(f, "{name}"),
            Selector::Tag(tag) => write!(f, "tag:{tag}"),
            Selector::Hubs => f.write_str("role:hub"),
            Selector::Entries => f.write_str("role:entry"),
            Selector::Clients => f.write_str("role:client"),
            Selector::Sites => f.write_str("role:site"),
            Selector::Site(name) => write!(f, "site:{name}"),
        }
    }
}

/// What both nodes of a pair must share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// The region.
    Region,
}

/// A UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub u16);

/// An MTU in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtu(pub u16);

/// Whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u16);

/// Whole days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub u16);

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Milliseconds(pub f64);

/// A number of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hops(pub u16);

/// What may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survives {
    /// How many at once.
    pub count: usize,
    /// Of what.
    pub kind: ElementKind,
}

/// A DNS domain, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(pub String);

/// The path of another source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePath(pub String);

/// Reads a name from a text that may be a table's key.
pub(super) fn name(text: &str, place: Span, decoder: &mut Decoder<'_>) -> Option<Name> {
    match Name::new(text) {
        Ok(name) => Some(name),
        Err(error) => {
            let kind = Reading::BadName { text: shown(text), why: error.to_string() };
            let finding = Finding::new(kind, place);
            decoder.push(match Name::suggest(text) {
                Some(near) => finding.with_fix(format!("Write {near}.")),
                None => finding.with_fix("Use lower-case letters, digits and inner hyphens."),
            });
            None
        }
    }
}

impl Decode for Name {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a name")?;
        name(text, value.span, decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" })
    }

    fn words() -> String {
        "name".into()
    }
}

impl Decode for DeviceName {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a device name")?;
        DeviceName::new(text)
            .map_err(|error| {
                let kind = Reading::BadName { text: shown(text), why: error.to_string() };
                decoder.push(
                    Finding::new(kind, value.span).with_fix("Use up to 15 letters, digits and _ = + . - such as wg0."),
                );
            })
            .ok()
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[a-zA-Z0-9_=+][a-zA-Z0-9_=+.-]{0,14}$" })
    }

    fn words() -> String {
        "device name".into()
    }
}

impl Decode for PublicKey {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a public key")?;
        PublicKey::parse(text)
            .map_err(|error| {
                let finding = Finding::new(Reading::BadKey { why: error.to_string() }, value.span);
                decoder.push(finding.with_fix("Copy the whole output of wayleave key public or wg pubkey."));
            })
            .ok()
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$" })
    }

    fn words() -> String {
        "public key".into()
    }
}

impl Decode for IpNet {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a prefix")?;
        let Ok(prefix) = text.parse::<IpNet>() else {
            let bare = text.parse::<IpAddr>().ok();
            let why = if bare.is_some() { ": its length is missing" } else { "" };
            let finding =
                Finding::new(Reading::BadAddress { text: shown(text), what: "prefix", why: why.into() }, value.span);
            decoder.push(match bare {
                Some(address) => finding.with_fix(format!("Write {} for this one address.", IpNet::from(address))),
                None => finding.with_fix("Write an address, a slash and a length, such as 10.50.0.0/16."),
            });
            return None;
        };
        if prefix.trunc() != prefix {
            let finding = Finding::new(Reading::HostBits { text: text.to_owned() }, value.span);
            decoder.push(finding.with_fix(format!("Write {}.", prefix.trunc())));
        }
        Some(prefix.trunc())
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$" })
    }

    fn words() -> String {
        "prefix".into()
    }

    fn plural() -> String {
        "prefixes".into()
    }
}

impl Decode for IpAddr {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "an address")?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let without_length = text.split('/').next().and_then(|head| head.parse::<IpAddr>().ok());
        let why = if without_length.is_some() { ": it has a prefix length" } else { "" };
        let finding =
            Finding::new(Reading::BadAddress { text: shown(text), what: "address", why: why.into() }, value.span);
        decoder.push(match without_length {
            Some(address) => finding.with_fix(format!("Write {address}.")),
            None => finding.with_fix("Write an IPv4 or IPv6 address, such as 10.50.5.1."),
        });
        None
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+$" })
    }

    fn words() -> String {
        "address".into()
    }

    fn plural() -> String {
        "addresses".into()
    }
}

impl Decode for bool {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        match value.kind {
            ValueKind::Bool(yes) => Some(yes),
            _ => decoder.wrong_type(value, "true or false"),
        }
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "boolean" })
    }

    fn words() -> String {
        "true or false".into()
    }
}

/// A whole number within a range.
fn whole(value: &Value, range: (u16, u16), unit: &'static str, decoder: &mut Decoder<'_>) -> Option<u16> {
    let number = match value.kind {
        ValueKind::Integer(number) => number as f64,
        ValueKind::Float(number) if number.fract() == 0.0 || number.is_infinite() => number,
        _ => return decoder.wrong_type(value, "a whole number"),
    };
    let (min, max) = range;
    if number >= f64::from(min) && number <= f64::from(max) {
        return Some(number as u16);
    }
    let (min, max) = (min.to_string(), max.to_string());
    decoder.push(Finding::new(Reading::OutOfRange { value: number.to_string(), min, max, unit }, value.span));
    None
}

macro_rules! whole_number {
    ($name:ident, $min:expr, $max:expr, $unit:literal, $words:literal) => {
        impl Decode for $name {
            fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
                whole(value, ($min, $max), $unit, decoder).map($name)
            }

            fn schema() -> serde_json::Value {
                json!({ "type": "integer", "minimum": $min, "maximum": $max })
            }

            fn words() -> String {
                $words.into()
            }
        }
    };
}

whole_number!(Port, 1, u16::MAX, "", "port");
whole_number!(Mtu, MTU_MIN, MTU_MAX, " bytes", "bytes");
whole_number!(Seconds, 0, u16::MAX, " s", "seconds");
whole_number!(Hops, 1, HOPS_MAX, " links", "links");
whole_number!(Days, 1, u16::MAX, " days", "days");

impl Decode for Milliseconds {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let number = match value.kind {
            ValueKind::Integer(number) => number as f64,
            ValueKind::Float(number) => number,
            _ => return decoder.wrong_type(value, "a number of milliseconds"),
        };
        if (0.0..=RTT_MS_MAX).contains(&number) {
            return Some(Milliseconds(number));
        }
        let (min, max) = ("0".to_owned(), RTT_MS_MAX.to_string());
        decoder
            .push(Finding::new(Reading::OutOfRange { value: number.to_string(), min, max, unit: " ms" }, value.span));
        None
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "number", "minimum": 0, "maximum": RTT_MS_MAX })
    }

    fn words() -> String {
        "milliseconds".into()
    }

    fn plural() -> String {
        Self::words()
    }
}

/// One of a few words.
fn word<T: Copy>(value: &Value, what: &'static str, words: &[(&str, T)], decoder: &mut Decoder<'_>) -> Option<T> {
    let text = decoder.text(value, what)?;
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*meaning);
    }
    let finding = Finding::new(Reading::UnknownWord { text: shown(text), what }, value.span);
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    decoder.push(match nearest(text, all.iter().copied()) {
        Some(near) => finding.with_fix(format!("Did you mean {near:?}?")),
        None => finding.with_fix(format!("Write one of {}.", all.join(", "))),
    });
    None
}

impl Decode for Platform {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        word(value, "platform", &Platform::ALL.map(|platform| (platform.word(), platform)), decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "enum": Platform::ALL.map(Platform::word) })
    }

    fn words() -> String {
        "platform".into()
    }
}

impl Decode for Within {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        word(value, "limit of a rule", &[("region", Within::Region)], decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "enum": ["region"] })
    }

    fn words() -> String {
        "\"region\"".into()
    }
}

const SURVIVED: &[(&str, Survives)] = &[
    ("any 1 node", Survives { count: 1, kind: ElementKind::Node }),
    ("any 1 link", Survives { count: 1, kind: ElementKind::Link }),
    ("any 1 region", Survives { count: 1, kind: ElementKind::Region }),
    ("any 2 nodes", Survives { count: 2, kind: ElementKind::Node }),
    ("any 2 links", Survives { count: 2, kind: ElementKind::Link }),
    ("any 2 regions", Survives { count: 2, kind: ElementKind::Region }),
];

impl Decode for Survives {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        word(value, "failure", SURVIVED, decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "enum": SURVIVED.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }

    fn words() -> String {
        "failure".into()
    }
}

impl Decode for Selector {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a selector")?;
        match text.split_once(':') {
            None if text == "*" => Some(Selector::All),
            None => name(text, value.span, decoder).map(Selector::Named),
            Some(("tag", tag)) => name(tag, value.span, decoder).map(Selector::Tag),
            Some(("role", "hub")) => Some(Selector::Hubs),
            Some(("role", "entry")) => Some(Selector::Entries),
            Some(("role", "client")) => Some(Selector::Clients),
            Some(("role", "site")) => Some(Selector::Sites),
            Some(("site", site)) => name(site, value.span, decoder).map(Selector::Site),
            Some(_) => {
                let kind = Reading::UnknownWord { text: shown(text), what: "selector" };
                decoder.push(Finding::new(kind, value.span).with_fix(
                    "Write *, a node, a region, tag:NAME, role:hub or role:entry; where they are meant, too, a \
                         client, a group, site:NAME, role:client or role:site.",
                ));
                None
            }
        }
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^(\\*|role:(hub|entry|client|site)|(tag:|site:)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$" })
    }

    fn words() -> String {
        "selector".into()
    }
}

impl Decode for SourcePath {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a path")?;
        Some(SourcePath(text.to_owned()))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "minLength": 1 })
    }

    fn words() -> String {
        "path".into()
    }
}
