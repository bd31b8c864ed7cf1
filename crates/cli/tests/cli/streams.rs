//! Streams: data on stdout, everything else on stderr, no colour where nobody sees it, quiet ends, short refusals.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::OFFICE;
use crate::desk::{Desk, WAYLEAVE, can_run};

const ESCAPE: char = '\u{1b}';

#[test]
fn a_pipe_gets_no_colour() {
    let desk = Desk::with("network.toml", &OFFICE.replace("entry", "entree"));
    for arguments in ["check", "plan", "plan nowhere.toml", "--help", "plant"] {
        let ran = desk.wayleave(arguments);
        assert!(!ran.out.contains(ESCAPE) && !ran.err.contains(ESCAPE), "{ran}");
    }
}

/// What `script`, which gives a program a terminal, records of `wayleave check`.
fn on_a_terminal(desk: &Desk, no_colour: Option<&str>) -> String {
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{WAYLEAVE} check"), "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
    if let Some(value) = no_colour {
        script.env("NO_COLOR", value);
    }
    let ran = desk.run(&mut script, "");
    assert!(ran.out.contains("entree"), "{ran}");
    ran.out
}

#[test]
fn a_terminal_gets_colour_unless_no_color_is_set() {
    if !can_run("a_terminal_gets_colour_unless_no_color_is_set", false, &["script"]) {
        return;
    }
    let desk = Desk::with("network.toml", &OFFICE.replace("entry", "entree"));
    assert!(on_a_terminal(&desk, None).contains(ESCAPE));
    assert!(on_a_terminal(&desk, Some("")).contains(ESCAPE), "an empty NO_COLOR is none");
    assert!(!on_a_terminal(&desk, Some("1")).contains(ESCAPE));
}

#[test]
fn what_is_shown_of_a_file_fits_the_terminal() {
    if !can_run("what_is_shown_of_a_file_fits_the_terminal", false, &["script", "stty"]) {
        return;
    }
    let long = format!(
        "[network]\nname = \"n\"\nprefixes = [\"10.9.0.0/24\", {}\"fd09::/65\"]\n",
        "\"10.8.0.0/24\", ".repeat(9)
    );
    let desk = Desk::with("network.toml", &long);
    for columns in [80, 60] {
        let line = format!("stty cols {columns}; NO_COLOR=1 {WAYLEAVE} check");
        let ran = desk.run(Command::new("script").args(["-qec", &line, "/dev/null"]), "");
        let shown = ran.out.lines().filter(|line| line.contains(" | ") || line.contains("^^"));
        let widest = shown.map(|line| line.trim_end().chars().count()).max().unwrap_or(0);
        assert!(widest > 20 && widest <= columns, "{widest} of {columns}\n{ran}");
    }
}

#[test]
fn a_reader_that_leaves_early_ends_it_quietly() {
    let members: String = (0..2_000).map(|at| format!("[clients.c{at}]\n")).collect();
    let text = OFFICE.replace("10.9.0.0/24", "10.9.0.0/16") + &members;
    let desk = Desk::with("network.toml", &text);
    desk.wayleave("plan").expect(0);
    for arguments in ["plan", "plan --json", "plan --graph svg"] {
        let line = format!("{WAYLEAVE} {arguments} 2>said | head -n 1");
        let ran = desk.run(Command::new("sh").args(["-c", &line]), "").expect(0);
        assert_eq!(ran.out.lines().count(), 1, "{ran}");
        let said = desk.read("said");
        assert!(!said.contains("panic") && !said.contains("Broken pipe"), "{said}");
    }
}

#[test]
fn findings_are_not_mixed_into_data() {
    let desk = Desk::with("network.toml", OFFICE);
    let ran = desk.wayleave("check --json").expect(0);
    let findings: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(findings["warnings"], 1);
    assert_eq!(findings["findings"][0]["place"]["line"], 14);
    let ran = desk.wayleave("plan --json").expect(0);
    assert!(ran.err.contains("WL201"), "{ran}");
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(plan["members"].as_array().unwrap().len(), 4);
    let ran = desk.wayleave("schema").expect(0);
    let schema: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(schema["$defs"]["node"].is_object());
}

#[test]
fn megabytes_of_garbage_are_refused_quickly_and_briefly() {
    let long = |unit: &str, bytes: usize| unit.repeat(bytes / unit.len());
    for bytes in [7_000_000, 10_000_000] {
        for (kind, text) in [
            ("a string without end", format!("x = \"{}", long("a\u{e9}%", bytes))),
            ("one long name", format!("[nodes.{}]", long("a", bytes))),
            ("brackets", long("[", bytes)),
            ("an unknown key with a long value", format!("x = \"{}\"", long("b", bytes))),
            ("control characters", long("\u{1}\u{2}\u{7f}", bytes)),
            ("many unknown tables", long("[nods.a]\n", bytes)),
        ] {
            let desk = Desk::with("network.toml", &text);
            let begin = Instant::now();
            let ran = desk.wayleave("plan");
            assert_eq!(ran.code, Some(1), "{kind}");
            assert!(ran.out.is_empty() && ran.err.len() < 4_000, "{kind}: {} bytes said", ran.err.len());
            // Generous, since the machine may be busy and the build is not optimised.
            assert!(begin.elapsed() < Duration::from_secs(10), "{kind}: {:?}", begin.elapsed());
            assert_eq!(desk.entries(), ["network.toml"]);
        }
    }
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let desk = Desk::with("network.toml", "[network]\nname = \"\\u001b[31mred\"\nprefixes = [\"10.0.0.0/24\"]\n");
    let ran = desk.wayleave("check").expect(1);
    assert!(!ran.err.contains(ESCAPE), "{ran}");
    let desk = Desk::with("network.toml", "[network]\nname = 1 # \u{1b}[31mred\n");
    assert!(!desk.wayleave("check").expect(1).err.contains(ESCAPE));
}

#[test]
fn completions_and_manual_pages_print() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = desk.wayleave(&format!("completions {shell}")).expect(0);
        assert!(ran.out.contains("render") && ran.out.contains("lab"), "{shell}");
    }
    assert!(desk.wayleave("man").expect(0).out.contains(".TH wayleave"));
    desk.wayleave("man -o pages").expect(0);
    assert!(desk.read("pages/wayleave-lab-up.1").contains("once"));
}

#[test]
fn it_works_without_stdin() {
    let desk = Desk::with("network.toml", OFFICE);
    let mut command = Command::new(WAYLEAVE);
    let status = command.arg("plan").current_dir(&desk.directory).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
}
