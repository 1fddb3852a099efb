//! The protocol with one rule left out, and the storms that must show it: a checker that cannot
//! fail proves nothing.
//!
//! Each variant names what it must cost and within how many seeds the storms must find it.
//! `--nocapture` prints the table of `docs/simulation.md`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests, which print a table"
)]

use std::time::Duration;

use iperf3_mesh_core::flaw::{self, Flaw};
use iperf3_mesh_core::sim::{Fault, FaultWindow, NetworkConditions, Storm, Verdict};

/// What a variant must cost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    /// Two tests touch a node at once.
    Overlap,
    /// Something does not come to its end, or is not measured in time.
    Stuck,
}

impl Harm {
    fn is_in(self, verdict: &Verdict) -> bool {
        match self {
            Self::Overlap => !verdict.overlaps.is_empty(),
            Self::Stuck => !verdict.stuck.is_empty() || !verdict.unmeasured.is_empty(),
        }
    }
}

/// The first seed that shows the harm.
fn caught(harm: Harm, within: u64, run: impl Fn(Storm) -> Verdict) -> Option<u64> {
    (0..within).find(|&seed| harm.is_in(&run(Storm::random(seed))))
}

fn expect(name: &str, harm: Harm, within: u64, run: impl Fn(Storm) -> Verdict) -> u64 {
    let seed = caught(harm, within, run);
    let seed = seed.unwrap_or_else(|| panic!("{name}: no {harm:?} within {within} seeds"));
    println!("| {name} | {harm:?} | {seed} | {within} |");
    seed
}

fn at(seconds: u64, lasts: u64, fault: Fault) -> FaultWindow {
    FaultWindow {
        at: Duration::from_secs(seconds),
        lasts: Duration::from_secs(lasts),
        fault,
    }
}

/// A rule of the coordinator is left out. With it, the same storm does no harm.
fn broken(flaw: Flaw, harm: Harm, within: u64) {
    let name = format!("{flaw:?}");
    let seed = expect(&name, harm, within, |storm| {
        flaw::with(flaw, || storm.run())
    });
    assert!(
        Storm::random(seed).run().is_good(),
        "{name}: seed {seed} is bad without it"
    );
}

#[test]
fn grants_while_busy() {
    broken(Flaw::GrantsWhileBusy, Harm::Overlap, 100);
}

#[test]
fn no_client_deadline() {
    broken(Flaw::NoClientDeadline, Harm::Overlap, 100);
}

#[test]
fn one_shared_deadline() {
    broken(Flaw::OneSharedDeadline, Harm::Overlap, 2000);
}

#[test]
fn counts_from_grant() {
    // Grants that are late, and clients that hang without their servers' hearing of it.
    let late = |storm: Storm| {
        let weather = NetworkConditions {
            jitter: Duration::from_secs(2),
            ..NetworkConditions::default()
        };
        let tests = Fault::Tests {
            hang: 0.7,
            fail: 0.0,
            unheard: 1.0,
        };
        let spells = [Fault::NetworkConditions(weather), tests].map(|fault| at(5, 120, fault));
        storm.with_spells(spells.into())
    };
    let seed = expect("CountsFromGrant", Harm::Overlap, 500, |storm| {
        flaw::with(Flaw::CountsFromGrant, || late(storm).run())
    });
    assert!(late(Storm::random(seed)).run().is_good());
}

#[test]
fn no_go() {
    broken(Flaw::NoGo, Harm::Overlap, 100);
}

#[test]
fn stale_epoch() {
    // Small meshes, a restart, and the words of the earlier life again and again.
    let haunted = |storm: Storm| {
        let restart = at(20, 1, Fault::Crash(0));
        let echoes = (82..200).map(|second| at(second, 0, Fault::Replay(50)));
        Storm {
            nodes: 3,
            spells: [restart].into_iter().chain(echoes).collect(),
            ..storm
        }
    };
    let seed = expect("StaleEpoch", Harm::Overlap, 1000, |storm| {
        flaw::with(Flaw::StaleEpoch, || haunted(storm).run())
    });
    assert!(haunted(Storm::random(seed)).run().is_good());
}

#[test]
fn any_meeting() {
    broken(Flaw::AnyMeeting, Harm::Overlap, 1000);
}

#[test]
fn waits_while_holding() {
    broken(Flaw::WaitsWhileHolding, Harm::Stuck, 100);
}

#[test]
fn neither_withdraws() {
    broken(Flaw::NeitherWithdraws, Harm::Stuck, 100);
}

#[test]
fn free_before_reaped() {
    broken(Flaw::FreeBeforeReaped, Harm::Overlap, 100);
}

#[test]
fn forgets_far_end() {
    broken(Flaw::ForgetsFarEnd, Harm::Overlap, 2000);
}

#[test]
fn no_quiet() {
    broken(Flaw::NoQuiet, Harm::Overlap, 1000);
}

#[test]
fn no_kernel_timer() {
    expect("no kernel timer", Harm::Overlap, 1000, |storm| {
        Storm {
            kernel_timer: false,
            ..storm
        }
        .run()
    });
}

#[test]
fn no_start_guard() {
    expect("no start guard", Harm::Overlap, 1000, |storm| {
        Storm {
            start_guard: false,
            ..storm
        }
        .run()
    });
}

/// Port rotation is the last line: it is seen when nothing else keeps a late client away. Then it
/// comes out of a forgotten reservation and finds the port of another meeting open.
#[test]
fn one_fixed_port() {
    let intruders = |ports: u16, seed: u64| {
        let storm = Storm::random(seed);
        let freezes =
            (0..20).map(|n| at(5 * n, 15, Fault::FreezeAtSpawn(n as usize % storm.nodes)));
        // The agent kills such a client as soon as it hears that its meeting is over, but that
        // takes a moment.
        let slow_deaths = at(0, 120, Fault::SlowDeaths(Duration::from_millis(800)));
        let storm = Storm {
            ports,
            start_guard: false,
            latency: Duration::from_millis(200),
            spells: freezes.chain([slow_deaths]).collect(),
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
