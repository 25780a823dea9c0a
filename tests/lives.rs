//! Whole lives of credentials, drawn from numbers: rotations, emergencies, rollbacks, people at the console, faults,
//! clocks that differ, and AWS's own ways. After every step every invariant holds and consumers get through; at the end
//! everything is as if nothing had happened.
//!
//! `LIVES=100000 cargo test -p tests --test all lives` lives that many, with `FROM=20000` those from that number on;
//! `SEED=7` lives that one, and tells all of it. A life replays to the letter: whatever is drawn in it follows from its
//! number.

mod acts;
mod beginning;
mod deeds;
mod dice;
mod ending;
mod functions;
mod judge;
mod life;
mod trace;

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use life::{Lived, live, said};
use trace::{Met, table};

/// How many lives everybody lives who runs the tests.
const LIVES: u64 = 300;
/// Between two words of how far it is.
const WORD: Duration = Duration::from_secs(10);

#[test]
fn lives() {
    // Past libtest's capture: what is counted is to be seen whenever the tests are run.
    let mut out = std::io::stdout();
    if let Some(seed) = number("SEED") {
        let bad = alone(seed).bad;
        assert!(bad.is_none(), "life {seed}: {}", bad.unwrap_or_default());
        return;
    }
    let (first, many) = (number("FROM").unwrap_or(0), number("LIVES").unwrap_or(LIVES));
    let (next, lived) = (AtomicU64::new(first), Mutex::new(Book::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + many {
                        return;
                    }
                    let life = alone(seed);
                    lived.lock().expect("not poisoned").enter(seed, life, many);
                }
            });
        }
    });
    let Book { lived, bad, met, .. } = lived.into_inner().expect("not poisoned");
    write!(out, "{}", table(&met)).expect("standard output");
    writeln!(out, "lives: {} of {many}", lived - bad.len()).expect("standard output");
    assert!(bad.is_empty(), "{} lives ended badly: {bad:?}", bad.len());
}

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in [0, 1, 2, 3, 5, 8, 13, 21] {
        let (one, other) = (alone(seed).trace, alone(seed).trace);
        let differ = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        assert!(differ.is_none(), "life {seed}: {differ:#?}");
        assert_eq!(one.lines().count(), other.lines().count(), "life {seed}");
    }
}

/// What came of the lives so far.
#[derive(Debug)]
struct Book {
    lived: usize,
    /// The seeds of those that ended badly.
    bad: Vec<u64>,
    met: Met,
    /// When it was said last how far it is.
    said: Instant,
}

impl Default for Book {
    fn default() -> Self {
        Self { lived: 0, bad: Vec::new(), met: Met::new(), said: Instant::now() }
    }
}

impl Book {
    fn enter(&mut self, seed: u64, life: Lived, many: u64) {
        let mut out = std::io::stdout();
        self.lived += 1;
        for (where_and_what, count) in life.met {
            *self.met.entry(where_and_what).or_default() += count;
        }
        if let Some(bad) = life.bad {
            self.bad.push(seed);
            let again = format!("SEED={seed} cargo test -p tests --test all lives::lives");
            writeln!(out, "{}\nlife {seed}: {bad}\nagain: {again}\n", life.trace).expect("standard output");
        }
        if self.said.elapsed() >= WORD {
            self.said = Instant::now();
            writeln!(out, "lives: {} of {many} so far, {} of them badly", self.lived, self.bad.len())
                .expect("standard output");
        }
    }
}

fn alone(seed: u64) -> Lived {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    // Boxed: an unoptimised build has more of it than a thread has stack.
    let life = || runtime.expect("a runtime").block_on(Box::pin(live(seed)));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)).unwrap_or_else(|panic| Lived {
        trace: String::new(),
        met: Met::new(),
        bad: Some(said(panic.as_ref())),
    })
}

/// A number that somebody gave in the environment.
fn number(name: &str) -> Option<u64> {
    let given = std::env::var(name).ok()?;
    Some(given.parse().unwrap_or_else(|_| panic!("{name} is a number, and not {given:?}")))
}
