//! Runs that are written down, and do the same when they are played again.

use std::sync::Arc;

use wayleave_core::node::recording::{PlayError, Played, play};

use crate::random::{Dice, read};
use crate::wire::S;
use crate::world::World;

/// Two hubs and four others; of the further link only the second version of the file knows.
fn text(further: &str) -> String {
    let names = ["a", "b", "c", "d", "hub", "other"];
    let nodes = names
        .iter()
        .enumerate()
        .map(|(at, name)| format!("[nodes.{name}]\nendpoint = \"192.0.2.{at}:51820\"\nhub = {}\n", at >= 4));
    format!(
        "[network]\nname = \"written\"\nprefixes = [\"10.0.0.0/16\"]\n{}[[links]]\nfrom = [\"*\"]\nto = [\"hub\", \"other\"]\n{further}",
        nodes.collect::<String>()
    )
}

/// Everything at once: cuts, one-way loss, losses, restarts, another network file. Gives what one host has recorded.
fn recording(seed: u64) -> String {
    let texts = [text(""), text("[[links]]\nfrom = [\"a\"]\nto = [\"b\"]\n")];
    let mut world = World::new(Arc::new(read(&texts[0])), seed);
    let mut dice = Dice(seed);
    let at = world.find("a");
    world.texts = texts.to_vec();
    world.leave(at);
    world.hosts[at].recording = Some(String::new());
    world.start_agent(at);
    let (b, hub, other) = (world.find("b"), world.find("hub"), world.find("other"));
    world.flow(at, b, 200 * S);
    world.wire(at, other).loss_permille = [dice.roll(300); 2];
    world.run(20 * S);
    world.cut(at, hub, true);
    world.run(10 * S);
    world.cut(at, hub, false);
    world.run(10 * S);
    let file = world.add_file(Arc::new(read(&texts[1])));
    (0..world.hosts.len()).for_each(|host| world.adopt(host, file));
    world.run(20 * S);
    world.kill_agent(at);
    world.run(2 * S);
    world.start_agent(at);
    world.run(10 * S);
    world.leave(at);
    world.hosts[at].recording.take().unwrap()
}

#[test]
fn a_run_that_was_written_down_does_exactly_the_same_again() {
    for seed in 0..10 {
        let text = recording(seed);
        let played = play(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(played.runs, 2, "seed {seed}");
        assert!(played.events > 500 && played.outputs > 300, "seed {seed}: {played:?}");
        let half: String = text.lines().step_by(1).take(400).map(|line| format!("{line}\n")).collect();
        assert!(play(&half).is_ok(), "seed {seed}: any beginning of it can be played");
        assert!(play(&text[..text.len() - 7]).is_ok(), "seed {seed}: a torn last line is none");
    }
}

#[test]
fn a_recording_whose_node_would_do_otherwise_is_refused_with_its_line() {
    let text = recording(1);
    let mut lines: Vec<&str> = text.lines().collect();
    let told = lines.iter().rposition(|line| line.contains("\"received\"")).unwrap();
    let dropped = lines.remove(told);
    let without: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let error = play(&without).unwrap_err();
    assert!(matches!(error, PlayError::Differs { line, .. } if line > told), "without {dropped}: {error}");
    assert_eq!(play("").unwrap(), Played::default());
    let refused = [
        (
            text.replacen("\"version\":1", "\"version\":2", 1),
            "line 1 begins a recording of format wayleave.recording 2",
        ),
        (text.lines().skip(1).map(|line| format!("{line}\n")).collect(), "line 1 belongs to no run"),
        (text.replacen("{\"happened\"", "{\"happens\"", 1), "can't be read"),
        (text.replacen("\"node\":\"a\"", "\"node\":\"nobody\"", 1), "or no node of that name"),
    ];
    for (text, words) in refused {
        let error = play(&text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
