//! What was measured: how long each sweep really took, and when each cell had a good result.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Protocol, Time};

/// One sweep, as it really was.
#[derive(Clone, Debug)]
pub struct SweepStats {
    /// Its number.
    pub number: u64,
    /// From the start of the first test to the end of the last one between nodes that were there
    /// from the beginning: who is replaced comes late, and holds up nobody.
    pub duration: Duration,
    /// Tests that were run.
    pub tests: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Cells that were tested: ordered pairs of nodes, times protocols.
    pub cells: u64,
    /// The longest total test time of any one node, among the same: no schedule whatever could
    /// have been shorter.
    pub busiest: Duration,
}

/// A test, as it really was.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) sweep: u64,
    pub(super) client: usize,
    pub(super) server: usize,
    pub(super) protocol: Protocol,
    pub(super) bidir: bool,
    pub(super) start: Time,
    pub(super) end: Time,
    pub(super) well: bool,
    /// Whether both nodes have been there from the beginning.
    pub(super) is_first_life: bool,
}

#[derive(Debug)]
struct Sweep {
    first_start: Time,
    last_end: Time,
    tests: u64,
    failed: u64,
    /// For each source, destination and protocol whether it was tested.
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
    /// The sweep of the last good result of each cell: source, destination, protocol.
    good: BTreeMap<(usize, usize, Protocol), u64>,
}

impl ResultLog {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            sweeps: BTreeMap::new(),
            good: BTreeMap::new(),
        }
    }

    pub(super) fn tested(&mut self, test: &Test) {
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
        sweep.failed += u64::from(!test.well);
        sweep.cell(test.client, test.server, test.protocol);
        if test.bidir {
            sweep.cell(test.server, test.client, test.protocol);
        }
        if test.is_first_life {
            sweep.last_end = sweep.last_end.max(test.end);
            for node in [test.client, test.server] {
                sweep.busy[node] += test.end.since(test.start);
            }
        }
    }

    /// A cell has a good result in that sweep.
    pub(super) fn good(&mut self, sweep: u64, source: usize, destination: usize, of: Protocol) {
        self.good.insert((source, destination, of), sweep);
    }

    /// The sweep in which that cell had its last good result.
    pub(super) fn last_good(&self, source: usize, destination: usize, of: Protocol) -> Option<u64> {
        self.good.get(&(source, destination, of)).copied()
    }

    pub(super) fn sweeps(&self) -> Vec<SweepStats> {
        let stats = |(&number, sweep): (&u64, &Sweep)| SweepStats {
            number,
            duration: sweep.last_end.since(sweep.first_start),
            tests: sweep.tests,
            failed: sweep.failed,
            cells: sweep.cells.iter().filter(|&&tested| tested).count() as u64,
            busiest: sweep.busy.iter().copied().max().unwrap_or_default(),
        };
        self.sweeps.iter().map(stats).collect()
    }
}
