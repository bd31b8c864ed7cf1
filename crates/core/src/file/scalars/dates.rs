//! Dates and codes of findings in a network file: what its rules on age and on acceptance need.
//!
//! A date is a day without time and zone, counted from 1970-01-01; whoever judges it hands in which day it is.

use std::fmt;

use serde_json::json;

use super::word;
use crate::check::{Finding, Hazard, Kind, Reading, Severity, nearest_code};
use crate::file::decode::{Decode, Decoder, shown};
use crate::file::tree::{Value, ValueKind};

/// A day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub i32);

/// A code of a finding that may be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub &'static str);

/// In whose cloud a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon Web Services.
    Aws,
    /// Google Cloud.
    Gcp,
    /// Microsoft Azure.
    Azure,
}

const CLOUDS: &[(&str, Cloud)] = &[("aws", Cloud::Aws), ("gcp", Cloud::Gcp), ("azure", Cloud::Azure)];

impl Date {
    /// Reads `YYYY-MM-DD` (RFC 3339 full-date).
    pub fn parse(text: &str) -> Option<Date> {
        let mut parts = text.splitn(3, '-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
            part.parse::<i32>().ok()
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if !(1..=days).contains(&day) {
            return None;
        }
        // Years begin in March, so that the leap day is the last one.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let era_days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        // Days from 0000-03-01 to 1970-01-01.
        Some(Date(era_days + (153 * month + 2) / 5 + day - 1 - 719_468))
    }
}

impl Decode for Date {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = match &value.kind {
            ValueKind::Date(text) | ValueKind::Text(text) => text,
            _ => return decoder.wrong_type(value, "a date"),
        };
        let date = Date::parse(text);
        if date.is_none() {
            let kind = Reading::UnknownWord { text: shown(text), what: "date" };
            decoder.push(Finding::new(kind, value.span).with_fix("Write year, month and day, such as 2026-03-31."));
        }
        date
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
    }

    fn words() -> String {
        "date".into()
    }
}

impl Decode for Code {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let text = decoder.text(value, "a code")?;
        match Kind::all().into_iter().find(|(code, _)| *code == text) {
            None => {
                let finding = Finding::new(Reading::UnknownWord { text: shown(text), what: "code" }, value.span);
                decoder.push(finding.with_fix(match nearest_code(text) {
                    Some(near) => format!("Did you mean {near:?}?"),
                    None => "Take a code as `wayleave check` prints it.".to_owned(),
                }));
                None
            }
            Some((code, Severity::Error)) => {
                let kind = Hazard::NotAcceptable { code: code.to_owned(), why: "is an error" };
                decoder.push(Finding::new(kind, value.span).with_fix("Mend what it is about."));
                None
            }
            Some((code, _)) => Some(Code(code)),
        }
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "string", "pattern": "^WL[0-9]{3}$" })
    }

    fn words() -> String {
        "code".into()
    }
}

impl Decode for Cloud {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        word(value, "cloud", CLOUDS, decoder)
    }

    fn schema() -> serde_json::Value {
        json!({ "enum": CLOUDS.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }

    fn words() -> String {
        "cloud".into()
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CLOUDS.iter().find(|(_, cloud)| cloud == self).map_or("", |(word, _)| *word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("1970-03-01", 59),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2026-11-21", 20_778),
        ] {
            assert_eq!(Date::parse(text), Some(Date(days)), "{text}");
        }
        for text in ["", "2026-02-29", "1900-02-29", "2026-13-01", "2026-00-10", "2026-1-1", "26-01-01", "2026-04-31"] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }
}
