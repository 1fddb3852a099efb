//! The results of a simulation: how long each sweep took, and when each cell last succeeded.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kernel::FinishedTest;
use crate::{Protocol, Time};

/// The figures of one sweep, across all nodes.
#[derive(Clone, Debug)]
pub struct SweepStats {
    /// The number of the sweep.
    pub number: u64,
    /// When the first test started.
    pub began: Time,
    /// The time from the start of the first test to the end of the last one. It counts only tests
    /// between nodes that have run since the beginning: a replaced node is late, but delays no
    /// other one.
    pub duration: Duration,
    /// The number of tests that ran.
    pub tests: u64,
    /// The number of tests that failed.
    pub failed: u64,
    /// The number of cells that were tested: ordered pairs of nodes, times protocols.
    pub cells: u64,
    /// The longest total test time of any of these nodes: no schedule can be shorter.
    pub busiest: Duration,
}

#[derive(Debug)]
struct Sweep {
    first_start: Time,
    last_end: Time,
    tests: u64,
    failed: u64,
    /// Whether each cell was tested, indexed by source, destination and protocol.
    cells: Vec<bool>,
    busy: Vec<Duration>,
}

impl Sweep {
    fn cell(&mut self, source: usize, destination: usize, protocol: Protocol) {
        let nodes = self.busy.len();
        self.cells[(source * nodes + destination) * 2 + protocol as usize] = true;
    }
}

#[derive(Debug)]
pub(super) struct ResultLog {
    nodes: usize,
    sweeps: BTreeMap<u64, Sweep>,
    /// The sweep in which each cell last succeeded, and when, by source, destination and protocol.
    succeeded: BTreeMap<(usize, usize, Protocol), (u64, Time)>,
}

impl ResultLog {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            sweeps: BTreeMap::new(),
            succeeded: BTreeMap::new(),
        }
    }

    /// Records a test. `since_the_start` tells whether both nodes have run since the beginning.
    pub(super) fn record_test(&mut self, test: &FinishedTest, since_the_start: bool) {
        let nodes = self.nodes;
        let sweep = self.sweeps.entry(test.sweep).or_insert_with(|| Sweep {
            first_start: test.start,
            last_end: test.end,
            tests: 0,
            failed: 0,
            cells: vec![false; nodes * nodes * 2],
            busy: vec![Duration::ZERO; nodes],
        });
        sweep.first_start = sweep.first_start.min(test.start);
        sweep.tests += 1;
        sweep.failed += u64::from(!test.succeeded);
        sweep.cell(test.client, test.server, test.protocol);
        if test.bidir {
            sweep.cell(test.server, test.client, test.protocol);
        }
        if since_the_start {
            sweep.last_end = sweep.last_end.max(test.end);
            for node in [test.client, test.server] {
                sweep.busy[node] += test.end.since(test.start);
            }
        }
    }

    /// Records that a cell succeeded in the given sweep, at this instant.
    pub(super) fn record_success(
        &mut self,
        sweep: u64,
        at: Time,
        source: usize,
        destination: usize,
        protocol: Protocol,
    ) {
        self.succeeded
            .insert((source, destination, protocol), (sweep, at));
    }

    /// Returns the sweep in which the cell last succeeded, and when.
    pub(super) fn last_success(
        &self,
        source: usize,
        destination: usize,
        protocol: Protocol,
    ) -> Option<(u64, Time)> {
        self.succeeded
            .get(&(source, destination, protocol))
            .copied()
    }

    pub(super) fn sweeps(&self) -> Vec<SweepStats> {
        let stats = |(&number, sweep): (&u64, &Sweep)| SweepStats {
            number,
            began: sweep.first_start,
            duration: sweep.last_end.since(sweep.first_start),
            tests: sweep.tests,
            failed: sweep.failed,
            cells: sweep.cells.iter().filter(|&&tested| tested).count() as u64,
            busiest: sweep.busy.iter().copied().max().unwrap_or_default(),
        };
        self.sweeps.iter().map(stats).collect()
    }
}
