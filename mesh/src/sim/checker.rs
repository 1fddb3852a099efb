//! The god's-eye view: which iperf3 of which meeting really run where, and how long each sweep really took.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::MeetingId;
use crate::{Protocol, Time};

/// One sweep, as it really was.
#[derive(Clone, Debug)]
pub struct SweepStats {
    /// Its number.
    pub number: u64,
    /// From the start of the first test to the end of the last one.
    pub duration: Duration,
    /// Tests that were run.
    pub tests: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Cells that were tested: ordered pairs of nodes, times protocols.
    pub cells: u64,
    /// The longest total test time of any one node: no schedule whatever could have been shorter.
    pub busiest: Duration,
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

/// A test, as it really was.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) sweep: u64,
    pub(super) protocol: Protocol,
    pub(super) bidir: bool,
    pub(super) start: Time,
    pub(super) end: Time,
    pub(super) well: bool,
}

#[derive(Debug)]
pub(super) struct Checker {
    /// For each node the meetings that have iperf3 there, and how many.
    present: Vec<Vec<(MeetingId, u32)>>,
    overlaps: u64,
    sweeps: BTreeMap<u64, Sweep>,
}

impl Checker {
    pub(super) fn new(nodes: usize) -> Self {
        Self { present: vec![Vec::new(); nodes], overlaps: 0, sweeps: BTreeMap::new() }
    }

    /// An iperf3 of that meeting now touches that node.
    pub(super) fn enter(&mut self, node: usize, meeting: &MeetingId) {
        let present = &mut self.present[node];
        match present.iter_mut().find(|(id, _)| id == meeting) {
            Some((_, count)) => *count += 1,
            None => {
                self.overlaps += u64::from(!present.is_empty());
                present.push((meeting.clone(), 1));
            }
        }
    }

    /// One of them is dead.
    pub(super) fn leave(&mut self, node: usize, meeting: &MeetingId) {
        let present = &mut self.present[node];
        if let Some(at) = present.iter().position(|(id, _)| id == meeting) {
            present[at].1 -= 1;
            if present[at].1 == 0 {
                present.swap_remove(at);
            }
        }
    }

    /// A test was run, from that node to that one.
    pub(super) fn tested(&mut self, nodes: [usize; 2], test: &Test) {
        let count = self.present.len();
        let sweep = self.sweeps.entry(test.sweep).or_insert_with(|| Sweep {
            first_start: test.start,
            last_end: test.end,
            tests: 0,
            failed: 0,
            cells: vec![false; count * count * 2],
            busy: vec![Duration::ZERO; count],
        });
        sweep.first_start = sweep.first_start.min(test.start);
        sweep.last_end = sweep.last_end.max(test.end);
        sweep.tests += 1;
        sweep.failed += u64::from(!test.well);
        let [source, destination] = nodes;
        sweep.cell(source, destination, test.protocol);
        if test.bidir {
            sweep.cell(destination, source, test.protocol);
        }
        for node in nodes {
            sweep.busy[node] += test.end.since(test.start);
        }
    }

    pub(super) fn overlaps(&self) -> u64 {
        self.overlaps
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
