//! Lines of a text with their places, and what all readers share: where findings and secrets go.
//!
//! A line may have been made, by filling in a script's variables; its places are then those of the line it was made
//! from as a whole.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::check::{Finding, Findings, Imported, SourceIx, Span};
use crate::file::{EndpointText, Spanned};
use crate::import::hosts::Dial;
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::limits::IMPORT_MISTAKES_MAX;

/// A line without its end.
#[derive(Debug, Clone)]
pub(in crate::import) struct Line<'t> {
    pub text: Cow<'t, str>,
    /// The line in the source.
    pub span: Span,
    /// Whether the text stands so in the source.
    pub verbatim: bool,
}

/// Where readers put what they find.
pub(in crate::import) struct Notes<'f> {
    pub findings: &'f mut Findings,
    /// Places of secrets, to be blotted out before a source is shown.
    pub secrets: &'f mut Vec<Span>,
    /// Mistakes in this file so far.
    pub mistakes: usize,
}

impl<'t> Line<'t> {
    /// A part of the line, given as a slice of it.
    pub fn part<'p>(&self, part: &'p str) -> Spanned<&'p str> {
        if !self.verbatim {
            return Spanned { value: part, span: self.span };
        }
        let at = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let at = if at <= self.text.len() { at as u32 } else { 0 };
        let start = self.span.start + at;
        let span = Span { source: self.span.source, start, end: (start + part.len() as u32).min(self.span.end) };
        Spanned { value: part, span }
    }

    /// The line without the spaces around it.
    pub fn trimmed(&self) -> &str {
        self.text.trim()
    }
}

/// All lines of a source; ends are LF, CRLF or CR.
pub(in crate::import) fn lines(text: &str, source: SourceIx) -> impl Iterator<Item = Line<'_>> {
    bare_lines(text).map(move |(at, line)| {
        let span = Span { source, start: at as u32, end: (at + line.len()) as u32 };
        Line { text: Cow::Borrowed(line), span, verbatim: true }
    })
}

/// All lines of a text, each with where it begins.
pub(in crate::import) fn bare_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        // Searching for one character at a time is several times as quick as for either of two.
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let (line, end) = match line.find('\r') {
            Some(end) if end + 1 == line.len() && line.len() < rest.len() => (&line[..end], 2),
            Some(end) => (&line[..end], 1),
            None => (line, 1),
        };
        let begin = at;
        at += line.len() + end;
        Some((begin, line))
    })
}

/// Parts of a list between commas or spaces, empty ones left out.
pub(in crate::import) fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty())
}

/// Without one pair of quotes around it.
pub(in crate::import) fn unquoted(text: &str) -> &str {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

impl Notes<'_> {
    pub fn push(&mut self, kind: Imported, place: Span) {
        self.mistakes += 1;
        match self.mistakes {
            ..=IMPORT_MISTAKES_MAX => self.findings.push(Finding::new(kind, place)),
            _ if self.mistakes == IMPORT_MISTAKES_MAX + 1 => {
                let kind = Imported::TooMuch { what: "mistakes in one file".into(), max: IMPORT_MISTAKES_MAX };
                self.findings.push(Finding::new(kind, place));
            }
            _ => {}
        }
    }

    /// Whether there are so many mistakes that nobody reads on.
    pub fn is_hopeless(&self) -> bool {
        self.mistakes > IMPORT_MISTAKES_MAX
    }

    pub fn bad<T>(&mut self, key: &str, place: Span, why: impl Into<String>) -> Option<T> {
        self.push(Imported::BadValue { key: key.to_owned(), why: why.into() }, place);
        None
    }

    pub fn public_key(&mut self, key: &str, text: &Spanned<&str>) -> Option<Spanned<PublicKey>> {
        match PublicKey::parse(text.value) {
            Ok(value) => Some(Spanned { value, span: text.span }),
            Err(error) => self.bad(key, text.span, error.to_string()),
        }
    }

    /// A private key; whatever stands there is taken for a secret.
    pub fn private_key(&mut self, text: &Spanned<&str>) -> Option<Spanned<PrivateKey>> {
        match PrivateKey::parse(text.value) {
            Ok(value) => {
                self.secrets.push(text.span);
                Some(Spanned { value, span: text.span })
            }
            Err(error) => {
                // A placeholder may be shown; a key with a slip of the finger may not.
                if !text.value.starts_with(['<', '$', '%', '{', '(']) {
                    self.secrets.push(text.span);
                }
                let why = match error {
                    KeyError::Length(0) => "there is none".to_owned(),
                    other => other.to_string(),
                };
                self.push(Imported::PrivateKeyUnreadable { why }, text.span);
                None
            }
        }
    }

    pub fn number<T: TryFrom<u64>>(&mut self, key: &str, text: &Spanned<&str>) -> Option<Spanned<T>> {
        let hex = text.value.strip_prefix("0x").or_else(|| text.value.strip_prefix("0X"));
        let number = match hex {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.value.parse().ok(),
        };
        match number.and_then(|number: u64| T::try_from(number).ok()) {
            Some(value) => Some(Spanned { value, span: text.span }),
            None => self.bad(key, text.span, "this is no number in its range"),
        }
    }

    /// Seconds between keepalives; `off` and 0 are none.
    pub fn keepalive(&mut self, key: &str, text: &Spanned<&str>) -> Option<Spanned<u16>> {
        if text.value.eq_ignore_ascii_case("off") {
            return None;
        }
        self.number(key, text).filter(|seconds| seconds.value > 0)
    }

    /// An address with or without a length; host bits are kept.
    pub fn prefix(&mut self, key: &str, text: &Spanned<&str>) -> Option<Spanned<IpNet>> {
        let value =
            text.value.parse::<IpNet>().ok().or_else(|| text.value.parse::<std::net::IpAddr>().ok().map(IpNet::from));
        match value {
            Some(value) => Some(Spanned { value, span: text.span }),
            None => self.bad(key, text.span, "this is no address or prefix"),
        }
    }

    /// All of a list of allowed prefixes. Of several that are none, only the first is told: the others are words of a sentence.
    pub fn allowed_list(&mut self, key: &str, items: &[Spanned<&str>]) -> Vec<Spanned<IpNet>> {
        let is_prefix =
            |item: &&Spanned<&str>| item.value.parse::<IpNet>().is_ok() || item.value.parse::<IpAddr>().is_ok();
        let first_bad = items.iter().position(|item| !is_prefix(&item));
        let told = items.iter().enumerate().filter(|(at, item)| is_prefix(item) || Some(*at) == first_bad);
        told.filter_map(|(_, item)| self.allowed(key, item)).collect()
    }

    /// An allowed prefix; host bits are a finding.
    pub fn allowed(&mut self, key: &str, text: &Spanned<&str>) -> Option<Spanned<IpNet>> {
        let prefix = self.prefix(key, text)?;
        if prefix.value.addr() != prefix.value.network() {
            let kind = Imported::AllowedHostBits { text: prefix.value, meant: prefix.value.trunc() };
            self.findings.push(
                Finding::new(kind, prefix.span)
                    .with_fix(format!("Write {}, or the single address.", prefix.value.trunc())),
            );
        }
        Some(prefix)
    }

    pub fn endpoint(&mut self, key: &str, text: &Spanned<&str>) -> Option<Spanned<Dial>> {
        let Some((host, port)) = text.value.rsplit_once(':') else {
            return self.bad(key, text.span, "an endpoint is host:port");
        };
        let Some(port) = port.parse().ok().filter(|port| *port > 0) else {
            return self.bad(key, text.span, "the port is no number from 1 to 65535");
        };
        if host.is_empty() {
            return self.bad(key, text.span, "the host is missing");
        }
        let known =
            EndpointText::parse(text.value).ok().or_else(|| EndpointText::parse(&format!("[{host}]:{port}")).ok());
        let value = Dial { host: known.map(|known| known.host), text: host.to_owned(), port };
        Some(Spanned { value, span: text.span })
    }
}
