//! An exhaustive check of the shipped coordinator: every order of events, for a few nodes and a few
//! meetings.
//!
//! The state is the nodes themselves, the messages that were ever sent, and the iperf3 processes;
//! the steps are all that can happen next. `docs/model.md` tells what is covered and what is not.
//! Nothing here knows how a reservation works.

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
use crate::{NodeName, Protocol, TestSpec, Time};

/// The clock stands at this instant for ever; what passes is the distance to everything else.
const NOW: Time = Time::from_nanos(1_000_000_000_000);

/// Time passes in steps of this length, of which all durations of the model are multiples.
const UNIT: Duration = Duration::from_millis(500);

/// How long a kill takes at most to take effect. [`MARGIN`] is for more; here it is a multiple of
/// the unit.
const KILL: Duration = UNIT;

/// What is explored.
#[derive(Clone, Debug)]
struct Model {
    nodes: usize,
    /// How many requests are made in all.
    asks: u8,
    /// How many agents lose their memory.
    restarts: u8,
    tests: Vec<TestSpec>,
    /// How many ports the iperf3 servers rotate through.
    ports: u16,
    trouble: Option<BrokenAssumption>,
    /// The rule of the protocol that is left out.
    flaw: Option<Flaw>,
    /// What is looked for.
    rules: &'static [Rule],
    /// What each node's schedule is to make of it: nothing.
    agendas: Vec<SweepPlan>,
}

/// What can be made wrong around the coordinator, beyond what it is built for, so that the check
/// can be seen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrokenAssumption {
    /// A kill takes as long as the margin.
    SlowKill,
    /// A client that was decided on is started however late, and its life counts from then.
    LateStart,
}

impl BrokenAssumption {
    const ALL: [Self; 2] = [Self::SlowKill, Self::LateStart];
}

impl Model {
    fn new(nodes: usize, asks: u8, restarts: u8, tests: Vec<TestSpec>) -> Self {
        let at_rest = |me| SweepPlan::at_rest(NOW, &Self::name(me), &tests, &others(nodes, me));
        let agendas = (0..nodes).map(at_rest).collect();
        Self {
            nodes,
            asks,
            restarts,
            tests,
            ports: 1,
            trouble: None,
            flaw: None,
            rules: &Rule::ALL,
            agendas,
        }
    }

    /// Runs something under the flaw, which holds for one thread only.
    fn flawed<T>(&self, run: impl FnOnce() -> T) -> T {
        match self.flaw {
            Some(flaw) => flaw::with(flaw, run),
            None => run(),
        }
    }

    fn kill(&self) -> Duration {
        if self.trouble == Some(BrokenAssumption::SlowKill) {
            MARGIN
        } else {
            KILL
        }
    }

    fn name(number: usize) -> NodeName {
        NodeName::new(&format!("n{number}")).unwrap_or_else(|_| unreachable!("a letter and digits"))
    }
}

fn others(nodes: usize, me: usize) -> Vec<NodeName> {
    (0..nodes)
        .filter(|&other| other != me)
        .map(Model::name)
        .collect()
}

/// One test of the least length, so that its instants are few.
fn spec(protocol: Protocol) -> TestSpec {
    TestSpec {
        protocol,
        duration: 2 * UNIT,
        omit: Duration::ZERO,
        timeout: 4 * UNIT,
        bitrate: None,
        streams: 1,
        bidir: false,
    }
}

fn number_of(name: &NodeName) -> usize {
    name.as_str()[1..]
        .parse()
        .unwrap_or_else(|_| unreachable!("a name of the model"))
}
