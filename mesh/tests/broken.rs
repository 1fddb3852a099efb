//! The protocol without one of its rules, and the storms that must find the fault: a checker that
//! cannot fail proves nothing.
//!
//! Each variant names the violation that it must cause, and within how many seeds the storms must
//! find it. `--nocapture` prints the table of `docs/simulation.md`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests, which print a table"
)]

use std::time::Duration;

use iperf3_mesh_core::flaw::{self, Flaw};
use iperf3_mesh_core::sim::{Fault, FaultWindow, NetworkConditions, Storm, Verdict};

/// The guarantee that a variant must violate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Violation {
    /// Two tests touch one node at the same time.
    Overlap,
    /// Something does not end, or is not measured, in time.
    Stuck,
}

impl Violation {
    fn is_in(self, verdict: &Verdict) -> bool {
        match self {
            Self::Overlap => !verdict.overlaps.is_empty(),
            Self::Stuck => !verdict.stuck.is_empty() || !verdict.unmeasured.is_empty(),
        }
    }
}

#[test]
fn busy_node_that_grants_overlaps() {
    expect_broken(Flaw::GrantsWhileBusy, Violation::Overlap, 100);
}

#[test]
fn client_without_deadline_overlaps() {
    expect_broken(Flaw::NoClientDeadline, Violation::Overlap, 100);
}

#[test]
fn lease_with_one_shared_deadline_overlaps() {
    expect_broken(Flaw::OneSharedDeadline, Violation::Overlap, 2000);
}

#[test]
fn lease_that_counts_from_the_grant_overlaps() {
    // Late grants, and hanging clients whose death their servers do not notice.
    let late = |storm: Storm| {
        let conditions = NetworkConditions {
            jitter: Duration::from_secs(2),
            ..NetworkConditions::default()
        };
        let tests = Fault::Tests {
            hang: 0.7,
            fail: 0.0,
            unnoticed: 1.0,
        };
        let faults = [Fault::NetworkConditions(conditions), tests].map(|fault| at(5, 120, fault));
        storm.with_faults(faults.into())
    };
    let seed = expect("CountsFromGrant", Violation::Overlap, 500, |storm| {
        flaw::with(Flaw::CountsFromGrant, || late(storm).run())
    });
    assert!(late(Storm::random(seed)).run().is_good());
}

#[test]
fn granter_that_does_not_wait_for_go_overlaps() {
    expect_broken(Flaw::NoGo, Violation::Overlap, 100);
}

#[test]
fn node_that_accepts_stale_epochs_overlaps() {
    // Small meshes, a restart, and repeated replays of messages from before it.
    let replayed = |storm: Storm| {
        let restart = at(20, 1, Fault::Crash(0));
        let replays = (82..200).map(|second| at(second, 0, Fault::Replay(50)));
        Storm {
            nodes: 3,
            faults: [restart].into_iter().chain(replays).collect(),
            ..storm
        }
    };
    let seed = expect("StaleEpoch", Violation::Overlap, 1000, |storm| {
        flaw::with(Flaw::StaleEpoch, || replayed(storm).run())
    });
    assert!(replayed(Storm::random(seed)).run().is_good());
}

#[test]
fn node_that_accepts_any_meeting_overlaps() {
    expect_broken(Flaw::AnyMeeting, Violation::Overlap, 1000);
}

#[test]
fn node_that_waits_while_holding_gets_stuck() {
    expect_broken(Flaw::WaitsWhileHolding, Violation::Stuck, 100);
}

#[test]
fn crossing_requests_without_withdrawal_get_stuck() {
    expect_broken(Flaw::NeitherWithdraws, Violation::Stuck, 100);
}

#[test]
fn slot_freed_before_the_process_is_reaped_overlaps() {
    expect_broken(Flaw::FreeBeforeReaped, Violation::Overlap, 100);
}

#[test]
fn asker_that_forgets_the_far_end_overlaps() {
    expect_broken(Flaw::ForgetsFarEnd, Violation::Overlap, 2000);
}

#[test]
fn restart_without_quiet_time_overlaps() {
    expect_broken(Flaw::NoQuiet, Violation::Overlap, 1000);
}

#[test]
fn iperf3_without_kernel_timer_overlaps() {
    expect("no kernel timer", Violation::Overlap, 1000, |storm| {
        Storm {
            kernel_timer: false,
            ..storm
        }
        .run()
    });
}

#[test]
fn iperf3_without_start_guard_overlaps() {
    expect("no start guard", Violation::Overlap, 1000, |storm| {
        Storm {
            start_guard: false,
            ..storm
        }
        .run()
    });
}

/// Port rotation is the last line of defence: it matters when nothing else keeps a late client
/// away. With one port, such a client finds the port of another meeting open.
#[test]
fn one_fixed_port_lets_more_late_clients_in() {
    let intruders = |ports: u16, seed: u64| {
        let storm = Storm::random(seed);
        let freezes =
            (0..20).map(|n| at(5 * n, 15, Fault::FreezeAtSpawn(n as usize % storm.nodes)));
        // The agent kills such a client as soon as it learns that its meeting is over, but that
        // takes a moment.
        let slow_deaths = at(0, 120, Fault::SlowDeaths(Duration::from_millis(800)));
        let storm = Storm {
            ports,
            start_guard: false,
            latency: Duration::from_millis(200),
            faults: freezes.chain([slow_deaths]).collect(),
            ..storm
        };
        flaw::with(Flaw::NoClientDeadline, || storm.run()).intruders
    };
    let sum = |ports| (0..100).map(|seed| intruders(ports, seed)).sum::<u64>();
    let (one, eight) = (sum(1), sum(8));
    println!("| one port, late clients | Intruder | {one} in 100 seeds, with 8 ports {eight} |");
    assert!(
        one > 0 && eight < one / 2,
        "{one} intruders with one port, {eight} with eight"
    );
}

/// The first seed that shows the violation.
fn caught(violation: Violation, within: u64, run: impl Fn(Storm) -> Verdict) -> Option<u64> {
    (0..within).find(|&seed| violation.is_in(&run(Storm::random(seed))))
}

fn expect(name: &str, violation: Violation, within: u64, run: impl Fn(Storm) -> Verdict) -> u64 {
    let seed = caught(violation, within, run);
    let seed = seed.unwrap_or_else(|| panic!("{name}: no {violation:?} within {within} seeds"));
    println!("| {name} | {violation:?} | {seed} | {within} |");
    seed
}

fn at(seconds: u64, lasts: u64, fault: Fault) -> FaultWindow {
    FaultWindow {
        at: Duration::from_secs(seconds),
        lasts: Duration::from_secs(lasts),
        fault,
    }
}

/// Leaves a rule of the coordinator out. With the rule, the same storm violates no guarantee.
fn expect_broken(flaw: Flaw, violation: Violation, within: u64) {
    let name = format!("{flaw:?}");
    let seed = expect(&name, violation, within, |storm| {
        flaw::with(flaw, || storm.run())
    });
    assert!(
        Storm::random(seed).run().is_good(),
        "{name}: seed {seed} violates a guarantee with the rule, too"
    );
}
