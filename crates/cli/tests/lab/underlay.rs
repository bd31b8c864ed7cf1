//! The internet under the overlay, made worse: NAT that gives every destination another port, and loss.

use serde_json::Value;

use crate::desk::{Desk, can_run};

#[test]
fn every_kind_of_nat_is_crossed() {
    if !can_run("every_kind_of_nat_is_crossed", true, &[]) {
        return;
    }
    for nat in ["symmetric", "endpoint-independent", "none"] {
        let desk = Desk::with_examples();
        let ran = desk.wayleave(&format!("lab up edgeproxy.toml --once --json --nat {nat}")).expect(0);
        let document: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(document["lost"], 0, "{nat}: {ran}");
    }
}

#[test]
fn pairs_without_a_single_answer_are_lost_and_exit_with_4() {
    if !can_run("pairs_without_a_single_answer_are_lost_and_exit_with_4", true, &[]) {
        return;
    }
    let desk = Desk::with_examples();
    let ran = desk.wayleave("lab up two-offices.toml --once --json --loss 100 --count 2").expect(4);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(document["lost"].as_u64() > Some(0), "{ran}");
    let pairs = document["pairs"].as_array().unwrap();
    let between = pairs.iter().find(|pair| pair["from"] == "alpha" && pair["to"] == "beta").unwrap();
    assert_eq!(between["received"], 0, "{between}");
    assert!(between["rtt_ms"].is_null(), "{between}");
}

#[test]
fn some_loss_is_survived_and_shown() {
    if !can_run("some_loss_is_survived_and_shown", true, &[]) {
        return;
    }
    let desk = Desk::with_examples();
    let ran = desk.wayleave("lab up two-offices.toml --once --json --loss 20 --count 50").expect(0);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    let pairs = document["pairs"].as_array().unwrap();
    let between = pairs.iter().find(|pair| pair["from"] == "alpha" && pair["to"] == "beta").unwrap();
    // A round trip survives with 0.8 x 0.8; 50 of them give 32 with a standard deviation of 3.4.
    let received = between["received"].as_u64().unwrap();
    assert!((15..=49).contains(&received), "{between}");
}
