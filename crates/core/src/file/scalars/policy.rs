//! The scalars of policy, services and firewalls.
//!
//! Kinds of traffic are written as `tcp/443`, `udp/53`, `tcp/8000-8100`, `tcp`, `udp` or `icmp`; all else here is one of a
//! few words, or a path of a web server in plain characters, since it ends up in other programs' files.

use serde_json::json;

use super::word;
use crate::check::{Finding, Reading};
use crate::file::decode::{Decode, Decoder, shown};
use crate::file::tree::Value;
use crate::network::{FirewallForm, Ports};

/// What is allowed that no rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyText {
    /// Everything.
    Open,
    /// Nothing.
    Deny,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a firewall lets in from outside the overlay that no service is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutsideText {
    /// Everything: other firewalls decide.
    Open,
    /// Nothing but WireGuard, ICMP and answers.
    Closed,
}

/// A path of a web server, `/` first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix(pub String);

const PORTS_FIX: &str = "Write tcp/443, udp/53, tcp/8000-8100, tcp, udp or icmp.";

impl Decode for Ports {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "ports")?;
        let read = read_ports(text);
        if read.is_none() {
            let kind = Reading::UnknownWord { text: shown(text), what: "kind of traffic" };
            decoder.push(Finding::new(kind, value.span).with_fix(PORTS_FIX));
        }
        read
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^(icmp|(tcp|udp)(/[0-9]{1,5}(-[0-9]{1,5})?)?)$" })
    }

    fn words() -> String {
        "`tcp/443`, `udp/53`, `tcp/8000-8100`, `icmp`".into()
    }

    fn plural() -> String {
        Self::words()
    }
}

/// Ports as they are written: `tcp/443`, `udp/53`, `tcp/8000-8100`, `tcp`, `udp` or `icmp`.
pub fn read_ports(text: &str) -> Option<Ports> {
    let (protocol, range) = match text.split_once('/') {
        Some((protocol, range)) => (protocol, Some(range)),
        None => (text, None),
    };
    let range = match range {
        None => (0, u16::MAX),
        Some(range) => {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            (number(first)?, number(last)?)
        }
    };
    let nothing = Ports::default();
    match protocol {
        _ if range.0 > range.1 => None,
        "tcp" => Some(Ports { tcp: vec![range], ..nothing }),
        "udp" => Some(Ports { udp: vec![range], ..nothing }),
        "icmp" if range == (0, u16::MAX) && text == "icmp" => Some(Ports { icmp: true, ..nothing }),
        _ => None,
    }
}

/// A scalar that is one of a few words.
macro_rules! one_word {
    ($name:ident, $what:literal, $shown:literal, [$(($word:literal, $meaning:expr)),+ $(,)?]) => {
        impl Decode for $name {
            fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
                word(value, $what, &[$(($word, $meaning)),+], decoder)
            }

            fn schema() -> serde_json::Value {
                json!({ "enum": [$($word),+] })
            }

            fn words() -> String {
                $shown.into()
            }
        }
    };
}

one_word!(PolicyText, "policy", "`open` or `deny`", [("open", PolicyText::Open), ("deny", PolicyText::Deny)]);
one_word!(OutsideText, "word", "`open` or `closed`", [("open", OutsideText::Open), ("closed", OutsideText::Closed)]);
one_word!(Family, "address family", "`v4` or `v6`", [("v4", Family::V4), ("v6", Family::V6)]);
one_word!(
    FirewallForm,
    "firewall",
    "firewall",
    [
        ("none", FirewallForm::None),
        ("nftables", FirewallForm::Nftables),
        ("iptables", FirewallForm::Iptables),
        ("ufw", FirewallForm::Ufw),
    ]
);

impl Decode for PathPrefix {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a path")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._~-".contains(c);
        if text.starts_with('/') && text.len() <= 200 && text.chars().all(plain) && !text.contains("..") {
            return Some(PathPrefix(text.to_owned()));
        }
        let kind = Reading::UnknownWord { text: shown(text), what: "path of a web server" };
        let fix = "Write a path such as /.well-known/acme-challenge/, of letters, digits and / . _ ~ -.";
        decoder.push(Finding::new(kind, value.span).with_fix(fix));
        None
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^/[A-Za-z0-9/._~-]{0,199}$" })
    }

    fn words() -> String {
        "path".into()
    }
}
