//! Meshes in storms: whatever breaks, no node is ever touched by two tests at once, and when all is
//! mended everything is measured within one sweep.
//!
//! `make sim SEEDS=10000` tries many more. `docs/simulation.md` tells how to read a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use iperf3_mesh_core::sim::{Fault, FaultWindow, Storm};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

const SECOND: Duration = Duration::from_secs(1);

/// Storms that failed once, be it that the protocol was wrong or the simulator, with no more faults
/// than it took.
fn failed_once() -> Vec<Storm> {
    let at = |at: f64, lasts: f64, fault| FaultWindow {
        at: Duration::from_secs_f64(at),
        lasts: Duration::from_secs_f64(lasts),
        fault,
    };
    let storm = |seed, spells| Storm::random(seed).with_spells(spells);
    vec![
        // Who came back at the end of a sweep waited in it alone, and all others for it in the
        // next one.
        storm(
            5,
            vec![
                at(173.8, 8.9, Fault::Crash(1)),
                at(184.3, 0.3, Fault::Suspend(0)),
            ],
        ),
        // A two-way server that had stopped sending was said to send again after a standstill of
        // its machine.
        storm(
            8730,
            vec![
                at(197.1, 0.3, Fault::Suspend(1)),
                at(11.7, 3.8, Fault::Slow(0, SECOND)),
            ],
        ),
        // Whoever came to stand still in a meeting seemed to be in it for ever.
        storm(
            175,
            vec![
                at(130.5, 14.5, Fault::Leave(1)),
                at(101.7, 48.9, Fault::Suspend(0)),
            ],
        ),
    ]
}

fn check(storm: &Storm) {
    let verdict = storm.run();
    assert!(verdict.is_good(), "{:#?}\n{verdict}", storm.reduced());
}

#[test]
fn no_storm_makes_tests_touch_or_leaves_anything_stuck_or_unmeasured() {
    (0..400).map(Storm::random).for_each(|storm| check(&storm));
}

#[test]
fn storms_that_failed_once_fail_no_more() {
    failed_once().iter().for_each(check);
}

#[test]
fn a_storm_can_be_repeated_to_the_nanosecond() {
    let [one, two] = [17, 17].map(|seed| format!("{:?}", Storm::random(seed).run_traced()));
    assert_eq!(one, two);
    assert_ne!(one, format!("{:?}", Storm::random(18).run_traced()));
}

#[test]
fn a_storm_in_which_nothing_breaks_is_a_calm() {
    for seed in 0..20 {
        let verdict = Storm {
            spells: Vec::new(),
            ..Storm::random(seed)
        }
        .run();
        assert!(
            verdict.is_good() && verdict.tests > 0,
            "seed {seed}: {verdict}"
        );
    }
}

proptest! {
    #![proptest_config(Config { cases: 100, failure_persistence: None, ..Config::default() })]

    /// The faults of several storms at once, at other times and for other lengths; what fails is shrunk to the fewest
    /// faults, the earliest times and the shortest lengths.
    #[test]
    fn whatever_faults_come_together_the_guarantees_hold(
        seed in 0..1u64 << 32,
        chosen in vec((0..1u64 << 32, any::<prop::sample::Index>(), 0.0..1.0, 0.0..1.0), 0..16),
    ) {
        let mesh = Storm::random(seed);
        let spells = chosen.into_iter().filter_map(|(other, which, at, lasts)| {
            // A storm over as many nodes, so that its faults have where to strike.
            let other = (other..).map(Storm::random).find(|storm| storm.nodes <= mesh.nodes)?;
            let spell = (!other.spells.is_empty()).then(|| which.get(&other.spells).clone())?;
            Some(FaultWindow { at: spell.at.mul_f64(at), lasts: spell.lasts.mul_f64(lasts), ..spell })
        });
        let storm = mesh.with_spells(spells.collect());
        let verdict = storm.run();
        prop_assert!(verdict.is_good(), "{storm:#?}\n{verdict}");
    }
}
