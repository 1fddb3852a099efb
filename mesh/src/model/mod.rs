//! An exhaustive check of the shipped coordinator: every order of events, for a few nodes and a few
//! meetings.
//!
//! A state consists of the nodes themselves, all messages ever sent, and the iperf3 processes. A
//! step is any event that can happen next. `docs/model.md` says which cases the check covers and
//! which it does not. Nothing here knows how a reservation works. The explorer and its rules are
//! independent of the simulator and its checker, so each can reveal a mistake of the other.

mod explore;
mod network;
mod processes;
mod rules;
mod steps;
mod table;
mod tests;
mod variants;
mod world;

use std::time::Duration;

use crate::node::sweep_plan::SweepPlan;
use rules::Rule;

use crate::flaw::{self, Flaw};
use crate::protocol::MARGIN;
use crate::sim::defaults::test_spec;
use crate::sim::ids::name_of;
use crate::{NodeName, Protocol, TestSpec, Time};

/// The instant that the clocks always show. When time passes, all other instants move instead.
const NOW: Time = Time::from_nanos(1_000_000_000_000);

/// The length of a step in which time passes. All durations of the model are multiples of it.
const UNIT: Duration = Duration::from_millis(500);

/// The maximum time until a kill takes effect: a multiple of the unit. [`MARGIN`] covers more.
const KILL: Duration = UNIT;

/// A state space to explore.
#[derive(Clone, Debug)]
struct Model {
    nodes: usize,
    /// The number of requests that the nodes make in all.
    asks: u8,
    /// The number of times that an agent restarts, with an empty memory.
    restarts: u8,
    tests: Vec<TestSpec>,
    /// The number of ports that the iperf3 servers rotate through.
    ports: u16,
    broken_assumption: Option<BrokenAssumption>,
    /// The rule of the protocol to leave out.
    flaw: Option<Flaw>,
    /// The rules to check in every state.
    rules: &'static [Rule],
    /// For each node, a sweep plan that asks for no meeting.
    resting_plans: Vec<SweepPlan>,
}

/// An assumption of the protocol that does not hold, so that the check must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrokenAssumption {
    /// A kill takes as long as the margin.
    SlowKill,
    /// A client may start at any time, however late, and its deadline counts from its start.
    LateStart,
}

impl BrokenAssumption {
    const ALL: [Self; 2] = [Self::SlowKill, Self::LateStart];
}

impl Model {
    fn new(nodes: usize, asks: u8, restarts: u8, tests: Vec<TestSpec>) -> Self {
        let at_rest = |me| SweepPlan::at_rest(NOW, &name_of(me), &tests, &others(nodes, me));
        let resting_plans = (0..nodes).map(at_rest).collect();
        Self {
            nodes,
            asks,
            restarts,
            tests,
            ports: 1,
            broken_assumption: None,
            flaw: None,
            rules: &Rule::ALL,
            resting_plans,
        }
    }

    /// Calls `run` with the flaw in effect on this thread only.
    fn flawed<T>(&self, run: impl FnOnce() -> T) -> T {
        match self.flaw {
            Some(flaw) => flaw::with(flaw, run),
            None => run(),
        }
    }

    fn kill(&self) -> Duration {
        if self.broken_assumption == Some(BrokenAssumption::SlowKill) {
            MARGIN
        } else {
            KILL
        }
    }
}

fn others(nodes: usize, me: usize) -> Vec<NodeName> {
    (0..nodes)
        .filter(|&other| other != me)
        .map(name_of)
        .collect()
}

/// Returns a test of minimum length, so that few instants matter.
fn spec(protocol: Protocol) -> TestSpec {
    TestSpec {
        duration: 2 * UNIT,
        timeout: 4 * UNIT,
        ..test_spec(protocol)
    }
}
