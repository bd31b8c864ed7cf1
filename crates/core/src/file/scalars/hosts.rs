//! Endpoints and domains: the texts of a network file that name hosts on the internet.
//!
//! An endpoint is `host:port`, `[v6]:port` or either without a port. A bare IPv6 address has colons of its own, so
//! with a port it needs the brackets.

use std::net::IpAddr;

use serde_json::json;

use super::super::decode::{Decode, Decoder, shown};
use super::super::tree::Value;
use super::{Domain, EndpointText, ServerText};
use crate::check::{Finding, Reading};
use crate::network::Host;

/// Bytes in a DNS name (RFC 1035 section 2.3.4, less the length bytes).
const DNS_NAME_BYTES_MAX: usize = 253;

impl Decode for EndpointText {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "an endpoint")?;
        parse(text, host_of)
            .map_err(|why| {
                let finding = Finding::new(Reading::BadEndpoint { text: shown(text), why }, value.span);
                decoder.push(finding.with_fix("Write host:port or [IPv6 address]:port."));
            })
            .ok()
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "minLength": 1 })
    }

    fn words() -> String {
        "endpoint".into()
    }
}

impl Decode for ServerText {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a server")?;
        parse(text, server_of)
            .map(ServerText)
            .map_err(|why| {
                let finding = Finding::new(Reading::BadEndpoint { text: shown(text), why }, value.span);
                decoder.push(finding.with_fix("Write host:port or [IPv6 address]:port."));
            })
            .ok()
    }

    fn schema() -> serde_json::Value {
        EndpointText::schema()
    }

    fn words() -> String {
        "server".into()
    }
}

impl EndpointText {
    /// Reads `host:port`, `[v6]:port`, or either without the port.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<EndpointText, String> {
        parse(text, host_of)
    }
}

impl Decode for Domain {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a domain")?;
        dns_name(text)
            .map(Domain)
            .map_err(|why| {
                let finding = Finding::new(Reading::BadName { text: shown(text), why }, value.span);
                decoder.push(finding.with_fix("Write a DNS name such as edge.internal."));
            })
            .ok()
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "minLength": 1, "maxLength": DNS_NAME_BYTES_MAX })
    }

    fn words() -> String {
        "DNS name".into()
    }
}

fn parse(text: &str, host_of: fn(IpAddr) -> Result<Host, String>) -> Result<EndpointText, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(EndpointText { host: host_of(address)?, port: None });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or("the closing bracket is missing")?;
        let address: std::net::Ipv6Addr = inside.parse().map_err(|_| "no IPv6 address between the brackets")?;
        let port = match after.strip_prefix(':') {
            Some(digits) => Some(port(digits)?),
            None if after.is_empty() => None,
            None => return Err("a colon and a port follow the bracket, or nothing".into()),
        };
        return Ok(EndpointText { host: host_of(address.into())?, port });
    }
    if text.matches(':').count() > 1 {
        return Err("an IPv6 address with a port needs brackets".into());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, digits)) => (host, Some(port(digits)?)),
        None => (text, None),
    };
    let host = match host.parse::<IpAddr>() {
        Ok(address) => host_of(address)?,
        Err(_) => Host::Dns(dns_name(host)?),
    };
    Ok(EndpointText { host, port })
}

fn port(digits: &str) -> Result<u16, String> {
    match digits.parse::<u16>() {
        Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(format!("{:?} is no port from 1 to 65535", shown(digits))),
    }
}

/// An address that others can dial.
fn host_of(address: IpAddr) -> Result<Host, String> {
    if address.is_loopback() {
        return Err("nobody else can dial this address".into());
    }
    server_of(address)
}

/// An address that a host can dial, be it its own.
fn server_of(address: IpAddr) -> Result<Host, String> {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err("nobody else can dial this address".into());
    }
    Ok(Host::Ip(address))
}

/// A DNS name in lower case, without a trailing dot. All-digit last labels are refused: those are mistyped addresses.
fn dns_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() || name.len() > DNS_NAME_BYTES_MAX {
        return Err(format!("a DNS name has 1 to {DNS_NAME_BYTES_MAX} bytes"));
    }
    for label in name.split('.') {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
            return Err("it is neither an address nor a DNS name".into());
        }
        if !label.bytes().all(allowed) {
            return Err("it is neither an address nor a DNS name".into());
        }
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("it is no complete address".into());
    }
    Ok(name)
}
