//! Mutation fuzzing of the places where bytes come in from outside, as ordinary tests.
//!
//! [`fuzz`] hands stored cases, then mutations of them, to a check that must not panic, hang, or hoard memory. Each test run does a
//! few thousand; `WAYLEAVE_FUZZ_S=300` makes it that many seconds for each target (`cargo test -p wayleave-engine --lib -- fuzz uapi_text`). The stored cases
//! are in `tests/corpus`, one a line, in hexadecimal; a case that once failed is to be added there. The targets: datagrams in
//! `tunnel::tests::fuzz`, packets with virtio headers in `device::offload::fuzz`, UAPI text in
//! `uapi::parse`.

use std::time::{Duration, Instant};

use super::SeededRng;

/// No case may take longer.
const HANG: Duration = Duration::from_secs(2);
/// More memory than this, over all cases, is a leak.
const MEMORY_KB_MAX: u64 = 96 << 10;
/// The longest case that mutation makes.
const CASE_BYTES_MAX: usize = 70_000;

/// Runs `check` on all cases, then on mutations of them: `quick` ones, or as many as the time that was asked for allows.
pub fn fuzz(name: &str, corpus: &[Vec<u8>], quick: u64, mut check: impl FnMut(&mut SeededRng, &[u8])) {
    let limit = std::env::var("WAYLEAVE_FUZZ_S").ok().map(|text| Duration::from_secs(text.parse().unwrap()));
    // Long runs differ from each other, and say which they were.
    let seed = limit.map_or(1, |_| u64::from(std::process::id()));
    let (mut rng, start) = (SeededRng::new(seed), Instant::now());
    let (mut cases, mut slowest, mut memory_kb) = (0u64, Duration::ZERO, None);
    loop {
        let case = match corpus.get(cases as usize) {
            Some(case) => case.clone(),
            None => mutated(&mut rng, corpus),
        };
        let shown = Shown(name, &case);
        let begin = Instant::now();
        check(&mut rng, &case);
        slowest = slowest.max(begin.elapsed());
        drop(shown);
        assert!(slowest < HANG, "fuzz {name}: a case took {slowest:?}: {}", to_hex(&case));
        cases += 1;
        if cases == quick {
            memory_kb = Some(resident_kb());
        }
        if cases >= quick && limit.is_none_or(|limit| start.elapsed() >= limit) {
            break;
        }
    }
    let grown_kb = resident_kb().saturating_sub(memory_kb.unwrap_or(0));
    println!(
        "fuzz {name}, seed {seed}: {cases} cases, {:.0} a second, slowest {slowest:?}, memory +{grown_kb} KB",
        cases as f64 / start.elapsed().as_secs_f64()
    );
    assert!(grown_kb < MEMORY_KB_MAX, "fuzz {name}: memory grew by {grown_kb} KB");
}

/// The cases of a corpus file.
pub fn corpus(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim()).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let digits: Vec<u8> =
                line.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
            digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        })
        .collect()
}

/// Prints the case when the check panics.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("fuzz {}: this case fails; add it to the corpus: {}", self.0, to_hex(self.1));
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn resident_kb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4)
}

fn below(rng: &mut SeededRng, bound: usize) -> usize {
    (rng.next_u64() % bound.max(1) as u64) as usize
}

/// A case with one to eight changes.
fn mutated(rng: &mut SeededRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut case = corpus[below(rng, corpus.len())].clone();
    for _ in 0..=below(rng, 8) {
        mutate(rng, corpus, &mut case);
    }
    case.truncate(CASE_BYTES_MAX);
    case
}

const INTERESTING: [u16; 12] = [0, 1, 7, 8, 20, 40, 255, 256, 0x7fff, 0x8000, 0xfffe, 0xffff];

fn mutate(rng: &mut SeededRng, corpus: &[Vec<u8>], case: &mut Vec<u8>) {
    if case.is_empty() {
        case.push(0);
    }
    let at = below(rng, case.len());
    let to = at + below(rng, case.len() - at + 1);
    match below(rng, 10) {
        0 | 1 => case[at] ^= 1 << below(rng, 8),
        2 => case[at] = rng.next_u64() as u8,
        3 => {
            let number = INTERESTING[below(rng, INTERESTING.len())];
            let bytes = if below(rng, 2) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
            case.splice(at..(at + 2).min(case.len()), bytes);
        }
        4 => case.truncate(at),
        5 => {
            let more = below(rng, 200);
            case.extend((0..more).map(|_| rng.next_u64() as u8));
        }
        6 => drop(case.drain(at..to)),
        7 if case.len() < CASE_BYTES_MAX => {
            let piece = case[at..to].to_vec();
            case.splice(at..at, piece);
        }
        8 => {
            let other = &corpus[below(rng, corpus.len())];
            let from = below(rng, other.len());
            case.truncate(at);
            case.extend_from_slice(&other[from..]);
        }
        _ => case[at..to].fill(rng.next_u64() as u8),
    }
}
