//! Meshes in storms: whatever breaks, no two tests ever touch one node at the same time, and one
//! sweep after the last fault every cell is measured.
//!
//! `make sim SEEDS=10000` simulates many more. `docs/simulation.md` explains how to analyse a
//! failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use iperf3_mesh_core::sim::{Fault, FaultWindow, Storm};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn random_storms_violate_no_guarantee() {
    (0..400).map(Storm::random).for_each(|storm| check(&storm));
}

#[test]
fn storms_that_once_failed_violate_no_guarantee() {
    failed_once().iter().for_each(check);
}

#[test]
fn hostile_agents_alone_violate_no_guarantee() {
    for seed in (0..400).step_by(4) {
        let storm = Storm::random(seed);
        let is_lie = |fault: &FaultWindow| matches!(fault.fault, Fault::Hostile(..));
        let lies: Vec<_> = storm
            .faults
            .iter()
            .filter(|it| is_lie(it))
            .cloned()
            .collect();
        assert!(!lies.is_empty(), "seed {seed} has no hostile agent");
        check(&storm.with_faults(lies));
    }
}

#[test]
fn old_message_does_not_open_in_a_sealed_mesh() {
    let unopened = |is_sealed| {
        let storm = Storm {
            is_sealed,
            ..Storm::random(17)
        };
        let replay = |second: u64| FaultWindow {
            at: Duration::from_secs(second),
            lasts: Duration::ZERO,
            fault: Fault::Replay(10),
        };
        let verdict = storm.with_faults((20..30).map(replay).collect()).run();
        assert!(verdict.is_good(), "{verdict}");
        verdict.unopened
    };
    assert_eq!((unopened(true), unopened(false)), (100, 0));
}

#[test]
fn key_files_that_differ_violate_no_guarantee() {
    for seed in 0..40 {
        let storm = Storm {
            is_sealed: true,
            ..Storm::random(seed)
        };
        let keys = |node: usize| FaultWindow {
            at: Duration::from_secs(10 + 7 * node as u64 % 120),
            lasts: Duration::from_secs(120),
            fault: Fault::Keys(node, [&[1][..], &[2], &[3]][node % 3].to_vec()),
        };
        let verdict = storm
            .with_faults((0..storm.nodes).map(keys).collect())
            .run();
        assert!(verdict.is_good(), "seed {seed}: {verdict}");
    }
}

#[test]
fn storm_with_the_same_seed_is_the_same_to_the_nanosecond() {
    let [one, two] = [17, 17].map(|seed| format!("{:?}", Storm::random(seed).run_traced()));
    assert_eq!(one, two);
    assert_ne!(one, format!("{:?}", Storm::random(18).run_traced()));
}

#[test]
fn storm_without_faults_violates_no_guarantee() {
    for seed in 0..20 {
        let verdict = Storm {
            faults: Vec::new(),
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

    /// The faults of several storms at other times and for other lengths. Shrinking finds the
    /// fewest faults, the earliest times and the shortest lengths.
    #[test]
    fn combined_faults_of_several_storms_violate_no_guarantee(
        seed in 0..1u64 << 32,
        chosen in vec((0..1u64 << 32, any::<prop::sample::Index>(), 0.0..1.0, 0.0..1.0), 0..16),
    ) {
        let mesh = Storm::random(seed);
        let faults = chosen.into_iter().filter_map(|(other, which, at, lasts)| {
            // A storm of at most as many nodes, so that all nodes of its faults exist.
            let other = (other..).map(Storm::random).find(|storm| storm.nodes <= mesh.nodes)?;
            let fault = (!other.faults.is_empty()).then(|| which.get(&other.faults).clone())?;
            let (at, lasts) = (fault.at.mul_f64(at), fault.lasts.mul_f64(lasts));
            Some(FaultWindow { at, lasts, ..fault })
        });
        let storm = mesh.with_faults(faults.collect());
        let verdict = storm.run();
        prop_assert!(verdict.is_good(), "{storm:#?}\n{verdict}");
    }
}

/// Storms that once failed, because of the protocol or of the simulator, reduced to the faults that
/// it took.
fn failed_once() -> Vec<Storm> {
    let at = |at: f64, lasts: f64, fault| FaultWindow {
        at: Duration::from_secs_f64(at),
        lasts: Duration::from_secs_f64(lasts),
        fault,
    };
    let storm = |seed, faults| Storm::random(seed).with_faults(faults);
    vec![
        // A node that returned at the end of a sweep waited in it alone, while all others waited
        // for it in the next one.
        storm(
            5,
            vec![
                at(173.8, 8.9, Fault::Crash(1)),
                at(184.3, 0.3, Fault::Suspend(0)),
            ],
        ),
        // The simulator let a two-way server that had stopped sending send again after a suspend
        // of its machine.
        storm(
            8730,
            vec![
                at(197.1, 0.3, Fault::Suspend(1)),
                at(11.7, 3.8, Fault::Slow(0, SECOND)),
            ],
        ),
        // All others waited for a node that was one sweep ahead, and it for them.
        Storm::random(680),
        Storm::random(1941),
        // Two nodes that had both lost a long meeting to new ones refused each other as `quota`.
        Storm::random(163),
        Storm::random(7320),
        // Nodes that had begun the sweep long before the others closed it while the others still
        // had meetings to hold.
        Storm::random(9481),
        Storm::random(9802),
        // A node that had no time left for a peer ended its sweep just before the peer was free.
        Storm::random(9235),
        // The others followed half of the mesh to the highest number, and new nodes stayed behind.
        Storm::random(880),
        // The simulator counted the time of a suspend as part of the meeting.
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
