//! What claims of roaming clients cost, and how fast they spread.
//!
//! `cargo bench -p wayleave-core --bench roaming [-- resync|fleet]`. `resync`: two nodes of which one knows nothing, with their
//! processor time, memory and messages. `fleet`: 50 entry servers and 20,000 clients in virtual time, through moves, partitions, losses,
//! deaths and restarts; ends with an error if anybody does not know in the end where a client is.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::unwrap_used, dead_code, reason = "a bench may panic, and uses a part of the simulation")]

#[path = "../../tests/sim/flows.rs"]
mod flows;
#[path = "../../tests/random/mod.rs"]
mod random;
#[path = "../../tests/sim/roaming/roamers.rs"]
mod roamers;
#[path = "../../tests/sim/told.rs"]
mod told;
#[path = "../../tests/sim/wire.rs"]
mod wire;
#[path = "../../tests/sim/world.rs"]
mod world;

mod fleet;
mod resync;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wants = |what: &str| only.is_empty() || only.iter().any(|word| word == what);
    if wants("resync") {
        resync::main();
    }
    if wants("fleet") {
        fleet::main();
    }
}

/// Seconds that this program's thread has had a processor.
fn processor_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Counts what is allocated at a time, and the most since it was last asked.
struct Counting;

static PRESENT: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is passed on to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let present = PRESENT.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(present, Ordering::Relaxed);
        // SAFETY: the caller keeps to what `alloc` asks of it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        PRESENT.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: it came from `alloc` above, which passed it on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// MiB allocated at present.
fn present_mib() -> f64 {
    PRESENT.load(Ordering::Relaxed) as f64 / f64::from(1 << 20)
}

/// The most MiB that were allocated at a time since this was last asked.
fn most_mib() -> f64 {
    MOST.swap(PRESENT.load(Ordering::Relaxed), Ordering::Relaxed) as f64 / f64::from(1 << 20)
}
