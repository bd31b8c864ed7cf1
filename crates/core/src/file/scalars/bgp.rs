//! The scalars of BGP: AS numbers, addresses with a length, and a few words.
//!
//! An address of a device keeps its host bits, unlike a prefix. Numbers beyond 16 bits are read here.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::word;
use crate::check::{Finding, Reading};
use crate::file::decode::{Decode, Decoder, shown};
use crate::file::tree::{Value, ValueKind};
use crate::limits::ROUTES_MAX;
use crate::network::{Carrier, Exports, Profile, Sessions};

/// The number of an autonomous system (RFC 6793).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asn(pub u32);

/// An address with the length of the prefix that is reached directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddress(pub IpNet);

/// A number of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routes(pub u32);

/// A number of a routing table that nobody else uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableNumber(pub u32);

/// A rate in Mbit/s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Megabits(pub f64);

/// A file on a host, by its whole path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPath(pub String);

/// Prefix lengths that link-local addresses have.
const LINK_LOCAL_BITS: u8 = 64;
/// Tables from here on are the kernel's own: default, main, local.
const TABLES_RESERVED: std::ops::RangeInclusive<u32> = 253..=255;
/// The fastest line.
const MEGABITS_MAX: f64 = 1_000_000.0;

impl Decode for Asn {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        if let ValueKind::Text(text) = &value.kind {
            let digits = text.strip_prefix("AS").unwrap_or(text);
            return match digits.parse() {
                Ok(number) => Some(Asn(number)),
                Err(_) => {
                    let kind = Reading::UnknownWord { text: shown(text), what: "AS number" };
                    decoder.push(Finding::new(kind, value.span).with_fix("Write a number, such as 4242421869."));
                    None
                }
            };
        }
        whole(value, (0, u32::MAX), "", decoder).map(Asn)
    }

    fn schema() -> serde_json::Value {
        json!({ "type": ["integer", "string"], "minimum": 0, "maximum": u32::MAX, "pattern": "^(AS)?[0-9]{1,10}$" })
    }

    fn words() -> String {
        "AS number".into()
    }
}

impl Decode for Routes {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        whole(value, (1, ROUTES_MAX), " routes", decoder).map(Routes)
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "integer", "minimum": 1, "maximum": ROUTES_MAX })
    }

    fn words() -> String {
        "number of routes".into()
    }
}

impl Decode for TableNumber {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let number = whole(value, (1, u32::MAX), "", decoder)?;
        if TABLES_RESERVED.contains(&number) {
            let kind = Reading::UnknownWord { text: number.to_string(), what: "routing table of one's own" };
            decoder.push(Finding::new(kind, value.span).with_fix("253 to 255 are the kernel's; take another number."));
            return None;
        }
        Some(TableNumber(number))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }

    fn words() -> String {
        "routing table".into()
    }
}

impl Decode for Megabits {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let number = match value.kind {
            ValueKind::Integer(number) => number as f64,
            ValueKind::Float(number) => number,
            _ => return decoder.wrong_type(value, "a number of Mbit/s"),
        };
        if number > 0.0 && number <= MEGABITS_MAX {
            return Some(Megabits(number));
        }
        let (min, max) = ("above 0".to_owned(), MEGABITS_MAX.to_string());
        decoder.push(Finding::new(
            Reading::OutOfRange { value: number.to_string(), min, max, unit: " Mbit/s" },
            value.span,
        ));
        None
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "number", "exclusiveMinimum": 0, "maximum": MEGABITS_MAX })
    }

    fn words() -> String {
        "Mbit/s".into()
    }
}

impl Decode for InterfaceAddress {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "an address")?;
        let with_length = text.parse::<IpNet>().ok();
        let bare = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let Some(mut net) = with_length.or_else(bare) else {
            let kind = Reading::BadAddress { text: shown(text), what: "address", why: String::new() };
            let fix = "Write an address and a length, such as 10.132.0.1/30 or fe80::1869/64.";
            decoder.push(Finding::new(kind, value.span).with_fix(fix));
            return None;
        };
        if let (None, IpAddr::V6(v6)) = (with_length, net.addr())
            && v6.is_unicast_link_local()
        {
            net = IpNet::new_assert(net.addr(), LINK_LOCAL_BITS);
        }
        Some(InterfaceAddress(net))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$" })
    }

    fn words() -> String {
        "address with length".into()
    }

    fn plural() -> String {
        "addresses with lengths".into()
    }
}

const SESSIONS: &[(&str, Sessions)] = &[
    ("v4", Sessions::V4),
    ("v6", Sessions::V6),
    ("both", Sessions::Both),
    ("extended-next-hop", Sessions::ExtendedNextHop),
];

impl Decode for Sessions {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        word(value, "kind of session", SESSIONS, decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "enum": SESSIONS.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }

    fn words() -> String {
        SESSIONS.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    }
}

const EXPORTS: &[(&str, Exports)] = &[("own", Exports::Own), ("all", Exports::All), ("nothing", Exports::Nothing)];

impl Decode for Exports {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        word(value, "export policy", EXPORTS, decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "enum": EXPORTS.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }

    fn words() -> String {
        EXPORTS.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    }
}

impl Decode for HostPath {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a path")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+=@:,-".contains(c);
        if text.starts_with('/') && !text.ends_with('/') && text.chars().all(plain) {
            return Some(HostPath(text.to_owned()));
        }
        let why = "a file on the host is named by its whole path, of letters, digits and /._+=@:,-".to_owned();
        let finding = Finding::new(Reading::BadName { text: shown(text), why }, value.span);
        decoder.push(finding.with_fix("Write the path from / on, such as /etc/bird/bird.conf."));
        None
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^/[A-Za-z0-9/._+=@:,-]*[A-Za-z0-9._+=@:,-]$" })
    }

    fn words() -> String {
        "path on the host".into()
    }
}

const CARRIERS: &[(&str, Carrier)] = &[("links", Carrier::Links), ("bgp", Carrier::Bgp)];

impl Decode for Carrier {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        word(value, "exchange", CARRIERS, decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "enum": CARRIERS.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }

    fn words() -> String {
        CARRIERS.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    }
}

impl Decode for Profile {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        word(value, "profile", &[("dn42", Profile::Dn42)], decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "enum": ["dn42"] })
    }

    fn words() -> String {
        "`dn42`".into()
    }
}

/// A whole number of up to 32 bits within a range.
fn whole(value: &Value, (min, max): (u32, u32), unit: &'static str, decoder: &mut Decoder<'_>) -> Option<u32> {
    let number = match value.kind {
        ValueKind::Integer(number) => number as f64,
        ValueKind::Float(number) if number.fract() == 0.0 || number.is_infinite() => number,
        _ => return decoder.wrong_type(value, "a whole number"),
    };
    if number >= f64::from(min) && number <= f64::from(max) {
        return Some(number as u32);
    }
    let (min, max) = (min.to_string(), max.to_string());
    decoder.push(Finding::new(Reading::OutOfRange { value: number.to_string(), min, max, unit }, value.span));
    None
}
