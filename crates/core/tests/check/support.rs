//! Cases as data: files of hosts, and what is found in them.

use wayleave_core::check::rules;
use wayleave_core::import::{File, read};
use wayleave_core::keys::PrivateKey;

/// A private key made of a number.
pub fn key(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

/// Texts with `@3` for the private key of host 3, and `#3` for its public key.
pub fn filled(text: &str) -> String {
    (0..10).fold(text.to_owned(), |text, number| {
        let (private, public) = (key(number).reveal().to_string(), key(number).public_key().to_string());
        text.replace(&format!("@{number}"), &private).replace(&format!("#{number}"), &public)
    })
}

/// `WL501 a/wg0.conf:3` for each thing that the rules find in files of hosts, sorted.
pub fn found(files: &[(&str, &str)]) -> Vec<String> {
    let file =
        |(path, text): &(&str, &str)| File { path: (*path).into(), bytes: filled(text).into_bytes(), mode: None };
    let read = read(files.iter().map(file).collect());
    let mut findings = rules::hosts(&read);
    findings.extend(rules::walked(&read));
    let line = |finding: &&wayleave_core::check::Finding| {
        let place = finding.place.and_then(|place| read.sources.position(place));
        let place = place.map_or("-".to_owned(), |(name, line, _)| format!("{name}:{line}"));
        format!("{} {place}", finding.kind.code())
    };
    let mut lines: Vec<String> = findings.sorted().iter().map(line).collect();
    lines.sort();
    lines
}

/// Checks what is found in the file of one host, at `wg0.conf`; lines are counted from 1.
#[track_caller]
pub fn check(text: &str, expected: &[&str]) {
    check_hosts(&[("h/wg0.conf", text)], expected);
}

/// Checks what is found in several files.
#[track_caller]
pub fn check_hosts(files: &[(&str, &str)], expected: &[&str]) {
    let found = found(files);
    let expected: Vec<String> = expected.iter().map(|line| line.replace(" :", &format!(" {}:", files[0].0))).collect();
    assert_eq!(found, expected, "left: found, right: expected");
}
