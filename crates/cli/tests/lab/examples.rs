//! Every example runs in the lab with no pair lost, and the first one reproduces the numbers that it exists for.

use serde_json::Value;

use crate::desk::{Desk, can_run, examples};

fn pairs(document: &Value) -> &Vec<Value> {
    document["pairs"].as_array().unwrap()
}

fn names(path: &Value) -> Vec<&str> {
    path.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// The pair, whichever end was measured from, its path from `a` to `b`.
fn pair<'a>(document: &'a Value, a: &str, b: &str) -> (&'a Value, String) {
    let is = |pair: &&Value, from: &str, to: &str| pair["from"] == from && pair["to"] == to;
    if let Some(found) = pairs(document).iter().find(|pair| is(pair, a, b)) {
        return (found, names(&found["path"]).join(" > "));
    }
    let found = pairs(document).iter().find(|pair| is(pair, b, a)).unwrap_or_else(|| panic!("no pair {a}, {b}"));
    let mut path = names(&found["path"]);
    path.reverse();
    (found, path.join(" > "))
}

#[track_caller]
fn assert_within_5_percent(what: &str, measured: &Value, expected: f64) {
    let measured = measured.as_f64().unwrap_or_else(|| panic!("{what} was not measured"));
    assert!((measured / expected - 1.0).abs() <= 0.05, "{what}: {measured} ms instead of {expected} ms");
}

#[test]
fn edgeproxy_reproduces_its_numbers() {
    if !can_run("edgeproxy_reproduces_its_numbers", true, &[]) {
        return;
    }
    let desk = Desk::with_examples();
    let ran = desk.wayleave("lab up edgeproxy.toml --once --json").expect(0);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["schema"], "wayleave.lab.pairs");
    assert_eq!(pairs(&document).len(), 66);
    assert_eq!(document["lost"], 0);
    assert_eq!(document["hub"], "ireland");
    for (site, path, direct_ms, over_hub_ms) in
        [("nrt", "hkg > nrt", 49.0, 492.0), ("sin", "hkg > sin", 38.0, 408.0), ("syd", "hkg > syd", 122.0, 500.0)]
    {
        let (pair, is) = pair(&document, "hkg", site);
        assert_eq!(is, path);
        assert_within_5_percent(&format!("hkg to {site}"), &pair["rtt_ms"], direct_ms);
        assert_within_5_percent(&format!("hkg to {site} over ireland"), &pair["hub_rtt_ms"], over_hub_ms);
    }
    let (far, path) = pair(&document, "gru", "nrt");
    assert_eq!(path, "gru > ireland > hkg > nrt");
    assert_within_5_percent("gru to nrt", &far["rtt_ms"], 454.0);
    assert_eq!(pair(&document, "nrt", "syd").1, "nrt > hkg > syd");
    for pair in pairs(&document) {
        assert!(pair["received"].as_u64() > Some(0), "{pair}");
        let planned = pair["planned_rtt_ms"].as_f64().unwrap();
        assert_within_5_percent(&pair["path"].to_string(), &pair["rtt_ms"], planned);
    }
    // Trying a network leaves no trace beside it.
    assert!(!desk.entries().iter().any(|name| name.ends_with(".lock") || name.ends_with(".plan")));
}

#[test]
fn every_example_joins_all_its_pairs() {
    if !can_run("every_example_joins_all_its_pairs", true, &[]) {
        return;
    }
    for path in examples() {
        let desk = Desk::with_examples();
        let file = path.file_name().unwrap().to_str().unwrap();
        let ran = desk.wayleave(&format!("lab up {file} --once --json")).expect(0);
        let document: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(document["lost"], 0, "{ran}");
        assert!(!pairs(&document).is_empty(), "{ran}");
        for pair in pairs(&document) {
            assert!(
                pair["path"].as_array().unwrap().len() >= 2 && pair["received"].as_u64() > Some(0),
                "{file}: {pair}"
            );
        }
    }
}

#[test]
fn the_table_says_what_the_json_says() {
    if !can_run("the_table_says_what_the_json_says", true, &[]) {
        return;
    }
    let ran = Desk::with_examples().wayleave("lab up third-office.toml --once").expect(0);
    let header: Vec<&str> = ran.out.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["from", "to", "rtt", "ms", "loss", "path"]);
    assert_eq!(ran.out.lines().count(), 1 + 15, "{ran}");
    assert!(ran.out.contains("alpha > beta") && !ran.out.contains("100%"), "{ran}");
    assert!(ran.err.contains("15 pairs joined, 0 lost"), "{ran}");
}
