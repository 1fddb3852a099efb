//! Simulates storms, one per seed, and reports those in which a guarantee did not hold.
//!
//! `cargo run --release -p iperf3-mesh-core --no-default-features --features sim --example storms
//! -- 0..10000`
//!
//! With a single seed, `4711..4712`, it also prints the events. `docs/simulation.md` explains how
//! to read them.

#![allow(clippy::print_stdout, reason = "a program that prints")]
#![allow(clippy::disallowed_methods, reason = "it prints how long it took")]

use std::ops::Range;
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use iperf3_mesh_core::sim::{Storm, Verdict};

/// How many bad storms are reported in full.
const REPORTED_MAX: usize = 5;

#[derive(Default)]
struct Sum {
    bad: Vec<u64>,
    overlaps: usize,
    intruders: u64,
    stuck: usize,
    unmeasured: usize,
    unopened: u64,
    tests: u64,
    faults: usize,
    slowest: Duration,
}

impl Sum {
    fn add(&mut self, storm: &Storm, verdict: &Verdict) {
        if !verdict.is_good() {
            self.bad.push(storm.seed);
        }
        self.overlaps += verdict.overlaps.len();
        self.intruders += verdict.intruders;
        self.stuck += verdict.stuck.len();
        self.unmeasured += verdict.unmeasured.len();
        self.unopened += verdict.unopened;
        self.tests += verdict.tests;
        self.faults += storm.faults.len();
        self.slowest = self.slowest.max(verdict.recovery);
    }

    fn merge(mut self, other: Self) -> Self {
        self.bad.extend(other.bad);
        self.overlaps += other.overlaps;
        self.intruders += other.intruders;
        self.stuck += other.stuck;
        self.unmeasured += other.unmeasured;
        self.unopened += other.unopened;
        self.tests += other.tests;
        self.faults += other.faults;
        self.slowest = self.slowest.max(other.slowest);
        self
    }
}

fn main() -> Result<ExitCode, String> {
    let text = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "0..1000".to_owned());
    let seeds = range(&text).ok_or(format!("{text:?} is not a range of seeds such as 0..10000"))?;
    let began = Instant::now();
    let mut sum = run(&seeds);
    sum.bad.sort_unstable();
    println!(
        "seeds {}..{}  overlaps {}  intruders {}  stuck {}  cells without a result {}",
        seeds.start, seeds.end, sum.overlaps, sum.intruders, sum.stuck, sum.unmeasured
    );
    println!(
        "{} tests, {} faults, {} messages that did not open; slowest recovery {:.0} s, simulated; \
         took {:.1} s",
        sum.tests,
        sum.faults,
        sum.unopened,
        sum.slowest.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    for &seed in sum.bad.iter().take(REPORTED_MAX) {
        report(seed, seeds.end - seeds.start == 1);
    }
    if sum.bad.len() > REPORTED_MAX {
        println!(
            "and {} more: {:?}",
            sum.bad.len() - REPORTED_MAX,
            &sum.bad[REPORTED_MAX..]
        );
    }
    Ok(if sum.bad.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn range(text: &str) -> Option<Range<u64>> {
    let (first, end) = text.split_once("..").unwrap_or(("0", text));
    Some(first.parse().ok()?..end.parse().ok()?)
}

/// All storms, on all processors.
fn run(seeds: &Range<u64>) -> Sum {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sum;
            }
            let storm = Storm::random(seed);
            sum.add(&storm, &storm.run());
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let sums = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|p| resume_unwind(p)));
        sums.fold(Sum::default(), Sum::merge)
    })
}

fn report(seed: u64, in_full: bool) {
    let storm = Storm::random(seed).reduced();
    let verdict = storm.run_traced();
    println!("\nseed {seed}, reduced to the necessary faults:\n{storm:#?}\n{verdict}");
    if in_full {
        verdict.trace.iter().for_each(|line| println!("{line}"));
    }
}
