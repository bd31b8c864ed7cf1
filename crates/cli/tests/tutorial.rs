//! `docs/tutorial.md` and the README do what they say: their files are written, their commands run, their output compared.
//!
//! Blocks of `docs/tutorial.md`, by the words behind their fence:
//!
//! - `toml file=NAME` is written to a file, `toml append=NAME` appended to one;
//! - `console` holds commands (`$ ...`) and what they print, stdout and stderr together; `exit=N` is the exit code of the
//!   last command, 0 without it;
//! - `console lab` needs network namespaces; `stays` runs beside what follows; `needs=PROGRAM` needs an installed program;
//! - any other block is not run.
//!
//! In expected output, `...` as a line stands for any lines, inside a line for any text; spaces may differ; any key stands
//! for any key; and in the lab, where times are measured, one with decimals stands for any near it. What this machine can't
//! run is appended to the file that `WAYLEAVE_NOT_RUN_FILE` names; without that variable the test fails. Labs run with a
//! state directory of their own, so that other labs on the machine are neither seen nor disturbed.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command that stays may take until it has printed what is expected of it: ten times the usual.
const STAY_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn the_tutorial_does_what_it_says() {
    let blocks = blocks(&read("docs/tutorial.md"));
    assert!(blocks.iter().filter(|block| block.is("console")).count() > 10, "the tutorial has lost its blocks");
    let lab_refusal = lab_refusal();
    let mut not_run: Vec<String> = lab_refusal.iter().cloned().collect();
    let mut place = Place::new("tutorial");
    for block in &blocks {
        if let Some(name) = block.value("file") {
            fs::write(place.work.join(name), &block.text).expect("the directory is ours");
        } else if let Some(name) = block.value("append") {
            let file = fs::OpenOptions::new().append(true).open(place.work.join(name));
            file.and_then(|mut file| file.write_all(block.text.as_bytes())).expect("it was written before");
        } else if block.is("console") {
            let missing = block.value("needs").filter(|program| !is_installed(program));
            if block.has("lab") && lab_refusal.is_some() {
                continue;
            }
            match missing {
                Some(program) => not_run.push(format!("{program} is not installed")),
                None => place.run_block(block),
            }
        }
    }
    place.finish();
    report_not_run(&not_run);
}

#[test]
fn the_network_file_in_the_readme_has_no_errors() {
    let place = Place::new("readme");
    let blocks = blocks(&read("README.md"));
    let block = blocks.iter().find(|block| block.is("toml")).expect("the README shows a network file");
    fs::write(place.work.join("network.toml"), &block.text).expect("the directory is ours");
    let output = place.command("wayleave check").output().expect("sh can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_picture_in_the_readme_is_what_the_example_gives() {
    let place = Place::new("picture");
    fs::copy(root().join("examples/edgeproxy.toml"), place.work.join("edgeproxy.toml")).expect("both are ours");
    let draw = "wayleave plan edgeproxy.toml --graph svg 2>/dev/null";
    let output = place.command(draw).output().expect("sh can be run");
    let picture = root().join("docs/edgeproxy.svg");
    if std::env::var_os("WAYLEAVE_BLESS").is_some() {
        fs::write(&picture, &output.stdout).expect("the repository can be written");
    }
    let shown = fs::read(&picture).expect("the picture is there");
    assert!(shown == output.stdout, "docs/edgeproxy.svg is old: run this test with WAYLEAVE_BLESS=1");
}

/// One fenced block.
struct Block {
    line: usize,
    words: Vec<String>,
    text: String,
}

impl Block {
    fn is(&self, language: &str) -> bool {
        self.words.first().is_some_and(|word| word == language)
    }

    fn has(&self, flag: &str) -> bool {
        self.words.iter().skip(1).any(|word| word == flag)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// Commands, each with what it prints.
    fn commands(&self) -> Vec<(String, Vec<String>)> {
        let mut commands: Vec<(String, Vec<String>)> = Vec::new();
        for line in self.text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
                (None, Some((_, output))) => output.push(line.to_owned()),
                (None, None) => panic!("line {}: output before the first command", self.line),
            }
        }
        commands
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(words), None) => {
                let words = words.split_whitespace().map(str::to_owned).collect();
                open = Some(Block { line: at + 1, words, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text = format!("{}{line}\n", block.text),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// A directory to work in, and the command that stays.
struct Place {
    top: PathBuf,
    work: PathBuf,
    staying: Option<Staying>,
}

/// A command that runs beside others, with what it is expected to have printed.
struct Staying {
    line: usize,
    child: Child,
    output: PathBuf,
}

impl Drop for Staying {
    fn drop(&mut self) {
        // After a failed test only: otherwise it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.staying = None;
        let _ = fs::remove_dir_all(&self.top);
    }
}

impl Place {
    fn new(name: &str) -> Place {
        // Short, since paths of sockets are limited to 107 bytes.
        let top = std::env::temp_dir().join(format!("wayleave-{name}-{}", std::process::id()));
        let work = top.join("work");
        fs::create_dir_all(&work).expect("the temporary directory can be written");
        Place { top, work, staying: None }
    }

    /// A command line as a shell would run it here, with both outputs in one stream.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec 2>&1\n{line}"));
        let binary = Path::new(env!("CARGO_BIN_EXE_wayleave")).parent().expect("a program is in a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        command.current_dir(&self.work).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", binary.display())).env("WAYLEAVE_RUNTIME_DIR", self.top.join("run"));
        command.env("LC_ALL", "C").env("NO_COLOR", "1");
        command
    }

    fn run_block(&mut self, block: &Block) {
        let commands = block.commands();
        let exit: i32 = block.value("exit").map_or(0, |code| code.parse().expect("an exit code is a number"));
        for (at, (line, expected)) in commands.iter().enumerate() {
            if block.has("stays") {
                self.stay(block, line, expected);
                continue;
            }
            let output = self.command(line).output().expect("sh can be run");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            compare(block, line, expected, &text);
            let wanted = if at + 1 == commands.len() { exit } else { 0 };
            assert_eq!(output.status.code(), Some(wanted), "line {}: `{line}` printed:\n{text}", block.line);
        }
    }

    /// Starts a command and waits until it has printed what is expected.
    fn stay(&mut self, block: &Block, line: &str, expected: &[String]) {
        let output = self.top.join("staying");
        let file = fs::File::create(&output).expect("the directory is ours");
        let child = self.command(&format!("exec {line}")).stdout(file).spawn().expect("sh can be run");
        self.staying = Some(Staying { line: block.line, child, output: output.clone() });
        let printed = || fs::read_to_string(&output).unwrap_or_default();
        let start = Instant::now();
        while !matches(expected, &printed(), true) {
            let child = &mut self.staying.as_mut().expect("it was started above").child;
            let ended = child.try_wait().expect("it is our child");
            if ended.is_some() || start.elapsed() > STAY_TIMEOUT {
                compare(block, line, expected, &printed());
                panic!("line {}: `{line}` ended too early", block.line);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the command that stays, which must have been told to end.
    fn finish(&mut self) {
        let Some(staying) = &mut self.staying else { return };
        let start = Instant::now();
        loop {
            if let Some(status) = staying.child.try_wait().expect("it is our child") {
                let text = fs::read_to_string(&staying.output).unwrap_or_default();
                assert!(status.success(), "line {}: the lab ended with {status}:\n{text}", staying.line);
                return;
            }
            assert!(start.elapsed() < STAY_TIMEOUT, "line {}: it was told to end and did not", staying.line);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn compare(block: &Block, command: &str, expected: &[String], actual: &str) {
    if !matches(expected, actual, block.has("lab")) {
        let mut message = String::new();
        let _ = write!(message, "line {}: `{command}` should print\n{}\n", block.line, expected.join("\n"));
        panic!("{message}\nbut prints\n{actual}");
    }
}

/// Whether lines are as expected; `...` is any number of lines.
fn matches(expected: &[String], actual: &str, measured: bool) -> bool {
    // Said of times that were measured while others used the machine; what is checked here is the rest.
    let is_excuse = |line: &&str| line.starts_with("the machine was too busy");
    let actual: Vec<&str> = actual.trim_end().lines().filter(|line| !is_excuse(line)).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let end = expected.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
    lines_match(&expected[..end], &actual, measured)
}

fn lines_match(expected: &[&str], actual: &[&str], measured: bool) -> bool {
    match (expected, actual) {
        ([], _) => actual.is_empty(),
        (["...", rest @ ..], _) => (0..=actual.len()).any(|skip| lines_match(rest, &actual[skip..], measured)),
        ([first, rest @ ..], [line, others @ ..]) => {
            line_matches(first, line, measured) && lines_match(rest, others, measured)
        }
        (_, []) => false,
    }
}

fn line_matches(expected: &str, actual: &str, measured: bool) -> bool {
    let expected: Vec<&str> = expected.split_whitespace().collect();
    let actual: Vec<&str> = actual.split_whitespace().collect();
    words_match(&expected, &actual, measured)
}

fn words_match(expected: &[&str], actual: &[&str], measured: bool) -> bool {
    match (expected, actual) {
        ([], _) => actual.is_empty(),
        (["...", rest @ ..], _) => (0..=actual.len()).any(|skip| words_match(rest, &actual[skip..], measured)),
        ([first, rest @ ..], [word, others @ ..]) => {
            word_matches(first, word, measured) && words_match(rest, others, measured)
        }
        (_, []) => false,
    }
}

fn word_matches(expected: &str, actual: &str, measured: bool) -> bool {
    let is_key = |word: &str| word.len() == 44 && word.ends_with('=');
    let time = |word: &str| match word.strip_prefix("time=") {
        Some(number) => number.parse::<f64>().ok(),
        None => word.parse().ok().filter(|_| word.contains('.')),
    };
    match (time(expected), time(actual)) {
        (Some(wanted), Some(seen)) if measured => (seen - wanted).abs() <= 30.0 + wanted / 4.0,
        _ => expected == actual || (is_key(expected) && is_key(actual)),
    }
}

/// Why this machine can't make what a lab is made of, asked without the product.
fn lab_refusal() -> Option<String> {
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        return Some(format!("can't open the TUN device: {error}"));
    }
    let arguments = if is_root() { "--net --mount" } else { "--net --mount --user --map-root-user" };
    let output = Command::new("unshare").args(arguments.split(' ')).arg("true").output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("can't run unshare: {error}")),
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// One line for the whole test, since whoever counts takes a line for a test.
fn report_not_run(reasons: &[String]) {
    if reasons.is_empty() {
        return;
    }
    let line = format!("tutorial lab part: {}\n", reasons.join("; "));
    let Some(path) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else {
        panic!("not run, and WAYLEAVE_NOT_RUN_FILE names no file to say so: {line}");
    };
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file for what was not run can be written");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("reading {path}: {error}"))
}
