//! Simulated meshes with loss, latency and hanging tests.
//!
//! `MESH_SEEDS=40..60 cargo test -p iperf3-mesh-core --features sim --test simulation` runs other
//! seeds than the default ones. A failure prints its seed and the command that repeats it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use iperf3_mesh_core::sim::{Options, Report, SweepStats, run};
use iperf3_mesh_core::wire::Refusal;
use iperf3_mesh_core::{Protocol, TestSpec, schedule};
use iperf3_mesh_core_testkit::test_spec;

const SEEDS: Range<u64> = 0..4;

#[test]
fn stable_mesh_tests_every_cell_exactly_once_per_sweep() {
    for nodes in 2..=12 {
        let options = Options {
            sweeps: 2,
            ..options(nodes)
        };
        for_all_seeds(&options, |options, report| {
            assert_eq!(report.sweeps.len(), 2);
            for sweep in &report.sweeps {
                assert_eq!(
                    (sweep.cells, sweep.tests, sweep.failed),
                    (cells(options), cells(options), 0),
                    "{sweep:?}"
                );
            }
        });
    }
}

#[test]
fn two_protocols_and_two_way_tests_cover_every_cell() {
    let both: Vec<_> = [Protocol::Tcp, Protocol::Udp].map(test_spec).into();
    let two_way = both
        .iter()
        .map(|spec| TestSpec {
            bidir: true,
            ..spec.clone()
        })
        .collect();
    for (tests, runs_for_each_cell) in [(both, 1.0), (two_way, 0.5)] {
        for nodes in [2, 3, 6, 7] {
            let options = Options {
                tests: tests.clone(),
                ..options(nodes)
            };
            for_all_seeds(&options, |options, report| {
                let sweep = &report.sweeps[0];
                assert_eq!(sweep.cells, cells(options));
                assert_eq!(
                    sweep.tests,
                    (cells(options) as f64 * runs_for_each_cell) as u64
                );
            });
        }
    }
}

#[test]
fn stable_mesh_sweeps_within_1_05_of_the_lower_bound() {
    for nodes in [8, 9, 20, 21, 100, 101] {
        for_all_seeds(&options(nodes), |options, report| {
            let bound = schedule::sweep_bound(options.nodes, &options.tests);
            let took = report.sweeps[0].duration;
            assert!(
                took >= bound && took <= bound.mul_f64(1.05),
                "{took:?}, bound {bound:?}"
            );
        });
    }
}

#[test]
fn dead_nodes_cost_the_living_less_than_5_percent() {
    for (nodes, dead) in [(12, 8), (100, 30), (100, 60), (100, 90)] {
        let options = Options {
            dead,
            sweeps: 3,
            ..options(nodes)
        };
        for_all_seeds(&options, |options, report| {
            let bound = schedule::sweep_bound(options.nodes - options.dead, &options.tests);
            for sweep in &report.sweeps[1..] {
                assert!(
                    sweep.duration <= bound.mul_f64(1.05),
                    "{sweep:?}, bound {bound:?}"
                );
            }
        });
    }
}

#[test]
fn member_that_always_refuses_costs_little_after_a_while() {
    // Eleven and twelve nodes need as many rounds.
    for_all_seeds(&busy_options(11), |options, honest| {
        for refuses in REFUSALS {
            let hostile = run(&Options {
                nodes: options.nodes + 1,
                refuses: Some(refuses),
                ..options.clone()
            });
            assert!(!hostile.stuck, "{refuses:?}: a sweep did not end");
            for (from, share) in [(1, 0.45), (LEARNED, 0.65)] {
                let [rate, honest] = [&hostile, honest].map(|it| rate(&it.sweeps[from..]));
                assert!(
                    rate >= share * honest,
                    "{refuses:?}: {rate} tests a second from sweep {from} on, {honest} without it"
                );
            }
        }
    });
}

#[test]
fn member_that_refuses_costs_no_more_than_an_honest_one() {
    for_all_seeds(&busy_options(5), |options, honest| {
        // The pairs of the other four.
        let honest = rate(&honest.sweeps[LEARNED..]) * (4.0 * 3.0) / (5.0 * 4.0);
        for refuses in REFUSALS {
            let hostile = run(&Options {
                refuses: Some(refuses),
                ..options.clone()
            });
            let rate = rate(&hostile.sweeps[LEARNED..]);
            assert!(
                rate >= 0.85 * honest,
                "{refuses:?}: {rate} tests a second, {honest} if it is honest"
            );
        }
    });
}

#[test]
fn lost_messages_cause_no_overlap() {
    for nodes in [2, 3, 4, 7, 8, 12] {
        for loss in [0.01, 0.05, 0.2] {
            let options = Options {
                loss,
                sweeps: 2,
                ..options(nodes)
            };
            for_all_seeds(&options, |options, report| {
                for sweep in &report.sweeps {
                    assert!(sweep.tests >= sweep.cells);
                    // After three unanswered requests a pair, or half of it, is given up for this
                    // sweep.
                    let least = if options.loss > 0.1 { 0.3 } else { 0.9 };
                    assert!(
                        sweep.cells as f64 >= cells(options) as f64 * least,
                        "{sweep:?}"
                    );
                }
            });
        }
    }
}

#[test]
fn slow_links_cause_no_overlap_and_skip_no_cell() {
    for nodes in [2, 3, 8, 9] {
        for latency in [50, 300, 1000].map(Duration::from_millis) {
            for loss in [0.0, 0.05] {
                let options = Options {
                    latency,
                    loss,
                    ..options(nodes)
                };
                for_all_seeds(&options, |options, report| {
                    let sweep = &report.sweeps[0];
                    assert!(
                        options.loss > 0.0 || sweep.cells == cells(options),
                        "{sweep:?}"
                    );
                });
            }
        }
    }
}

#[test]
fn hanging_tests_cause_no_overlap_and_skip_no_cell() {
    for nodes in [2, 3, 8, 9, 12] {
        for (loss, least) in [(0.0, 1.0), (0.01, 0.95)] {
            let options = Options {
                fail: 0.2,
                loss,
                ..options(nodes)
            };
            for_all_seeds(&options, |options, report| {
                let sweep = &report.sweeps[0];
                assert!(
                    sweep.cells as f64 >= cells(options) as f64 * least,
                    "{sweep:?}"
                );
            });
        }
    }
}

#[test]
fn simulation_with_the_same_seed_has_the_same_report() {
    let options = Options {
        loss: 0.05,
        fail: 0.05,
        sweeps: 2,
        seed: 7,
        ..options(7)
    };
    let [one, two] = [&options, &options].map(|options| format!("{:?}", run(options)));
    assert_eq!(one, two);
    assert_ne!(one, format!("{:?}", run(&Options { seed: 8, ..options })));
}

/// How a member refuses, and when it claims to be free. A node whose slot is stuck is busy.
const REFUSALS: [(Refusal, Option<Duration>); 7] = [
    (Refusal::Busy, Some(Duration::ZERO)),
    (Refusal::Busy, Some(Duration::from_millis(900))),
    (Refusal::Busy, None),
    (Refusal::Expecting, Some(Duration::from_millis(100))),
    (Refusal::Sweep, None),
    (Refusal::Quota, Some(Duration::from_secs(2))),
    (Refusal::Crossed, None),
];

/// A stable mesh that sweeps all the time, with tests of one second.
fn busy_options(nodes: usize) -> Options {
    Options {
        tests: vec![TestSpec {
            duration: Duration::from_secs(1),
            timeout: Duration::from_secs(6),
            ..test_spec(Protocol::Tcp)
        }],
        interval: Duration::from_secs(1),
        sweeps: 40,
        ..options(nodes)
    }
}

/// The number of sweeps after which the time in hand for a member that always refuses is used up.
const LEARNED: usize = 20;

/// Returns the tests per second, the pauses included.
fn rate(sweeps: &[SweepStats]) -> f64 {
    let [whole @ .., last] = sweeps else {
        panic!("no sweep was completed")
    };
    let tests: u64 = whole.iter().map(|sweep| sweep.tests).sum();
    tests as f64 / last.began.since(whole[0].began).as_secs_f64()
}

/// One sweep of a stable mesh in a data centre.
fn options(nodes: usize) -> Options {
    Options {
        nodes,
        tests: vec![test_spec(Protocol::Tcp)],
        interval: Duration::from_secs(60),
        sweeps: 1,
        latency: Duration::from_micros(500),
        loss: 0.0,
        overhead: Duration::from_millis(12),
        fail: 0.0,
        fail_time: Duration::MAX,
        skew: Duration::ZERO,
        churn: 0.0,
        dead: 0,
        refuses: None,
        seed: 0,
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("MESH_SEEDS") else {
        return SEEDS;
    };
    let (first, end) = text
        .split_once("..")
        .unwrap_or_else(|| panic!("MESH_SEEDS={text} is no range: 0..10"));
    first.parse().unwrap()..end.parse().unwrap()
}

/// Runs the simulation with every seed, and checks every report.
fn for_all_seeds(options: &Options, check: impl Fn(&Options, &Report)) {
    for seed in seeds() {
        let options = Options {
            seed,
            ..options.clone()
        };
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let report = run(&options);
            assert_eq!(report.overlaps, 0, "a node was in two meetings at once");
            assert!(!report.stuck, "a sweep did not end");
            check(&options, &report);
        }));
        if let Err(failure) = checked {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            let command = "cargo test -p iperf3-mesh-core --features sim --test simulation --";
            panic_note(&format!(
                "{options:?}\nrepeat: MESH_SEEDS={seed}..{} {command} {test}",
                seed + 1
            ));
            resume_unwind(failure);
        }
    }
}

#[allow(
    clippy::print_stderr,
    reason = "the test harness shows it with the failure"
)]
fn panic_note(text: &str) {
    eprintln!("{text}");
}

fn cells(options: &Options) -> u64 {
    (options.nodes * (options.nodes - 1) * options.tests.len()) as u64
}
