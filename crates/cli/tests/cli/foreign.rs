//! Other people's files: proved, explained and failed as they are, against golden files; imported within bounds.

use std::fs;
use std::path::{Path, PathBuf};

use crate::desk::{Desk, Ran};

fn fixtures(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/import/fixtures").join(path)
}

/// The files of the text S1 as printed: two configurations, and the script that makes all others.
fn s1() -> Desk {
    let desk = Desk::new();
    for (from, to) in
        [("ec2/wg0.conf", "ec2/wg0.conf"), ("hkg/wg0.conf", "hkg/wg0.conf"), ("entrypoint.sh", "backend/entrypoint.sh")]
    {
        let to = desk.path("s1").join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fixtures("s1").join(from), to).unwrap();
    }
    desk
}

/// Holds what a command printed against a golden file.
#[track_caller]
fn is_golden(ran: &Ran, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imported").join(name);
    let text = format!("{}--- stderr\n{}", ran.out, ran.err);
    if std::env::var_os("WAYLEAVE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        return fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{} differs; bless it if that is wanted:\n{text}", path.display());
}

#[test]
fn s1_as_printed_is_proved_defective_with_the_lines_to_blame() {
    let desk = s1();
    is_golden(&desk.wayleave("prove s1").expect(4), "s1-prove.txt");
    let ran = desk.wayleave("prove --json s1").expect(4);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["schema"], &value["ways"]["fine"]), (&"wayleave.proof".into(), &70.into()));
}

#[test]
fn s1_as_printed_is_checked_with_both_defects() {
    let ran = s1().wayleave("check s1").expect(1);
    for said in [
        "error[WL301]: nrt can't reach sin, and another pair alike: nrt has no route to 10.50.4.2",
        "error[WL302]: nrt loses what it sends to cdg, and 27 pairs alike: cdg does not allow 10.50.4.1 for peer ec2 in wg0, \
         but for nobody, and 6 other hosts that have this line do the same",
        "s1/backend/entrypoint.sh:18:1",
    ] {
        assert!(ran.err.contains(said), "nothing of {said:?} in {ran}");
    }
    assert!(!ran.err.contains("WL503"), "a script is no host that nobody knows: {ran}");
}

#[test]
fn s1_as_printed_explains_which_line_drops_a_packet() {
    let desk = s1();
    is_golden(&desk.wayleave("explain s1 nrt gru").expect(4), "s1-explain.txt");
    is_golden(&desk.wayleave("explain s1 10.50.5.1 sin").expect(0), "s1-explain-fine.txt");
    let ran = desk.wayleave("explain --json s1 nrt gru").expect(4);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["ways"][0]["stories"][0]["place"]["file"], "s1/backend/entrypoint.sh");
    desk.wayleave("explain s1 nrt nowhere").expect(64);
}

#[test]
fn s1_as_printed_would_be_told_sixteen_things_differently() {
    let ran = s1().wayleave("import s1 --verify").expect(2);
    assert!(ran.err.ends_with("16 differences from what was read\n"), "{ran}");
    is_golden(&Ran { err: String::new(), ..ran }, "s1-verify.txt");
}

#[test]
fn s1_as_printed_loses_most_with_its_hub() {
    let desk = s1();
    is_golden(&desk.wayleave("survive s1").expect(4), "s1-survive.txt");
    let ran = desk.wayleave("survive --pairs --json s1").expect(4);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["losses"][0]["failed"][0], &value["not_examined"]), (&"ec2".into(), &0.into()));
}

#[test]
fn the_script_of_s1_makes_a_pop_that_reaches_nobody() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("s1/ec2")).unwrap();
    fs::create_dir_all(desk.path("s1/hkg")).unwrap();
    fs::copy(fixtures("s1/ec2/wg0.conf"), desk.path("s1/ec2/wg0.conf")).unwrap();
    fs::copy(fixtures("s1/user-data.sh"), desk.path("s1/hkg/user-data.sh")).unwrap();
    is_golden(&desk.wayleave("prove s1").expect(4), "s1-user-data.txt");
}

#[test]
fn a_pipe_is_read_and_one_into_which_nobody_writes_is_given_up() {
    let desk = Desk::with("wg0.conf", "[Interface]\nAddress = 10.0.0.1/24\nListenPort = 51820\n");
    desk.program("mkfifo pipe", "").expect(0);
    let ran = desk.wayleave("check pipe").expect(1);
    assert!(ran.err.contains("reading pipe: nobody wrote into it for 5 seconds"), "{ran}");
    let script = format!("(sleep 0.3; cat wg0.conf) >pipe & {} check pipe", crate::desk::WAYLEAVE);
    let ran = desk.run(std::process::Command::new("sh").args(["-c", &script]), "").expect(0);
    assert!(ran.err.contains("no errors"), "{ran}");
}
