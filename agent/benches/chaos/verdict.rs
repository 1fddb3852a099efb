//! The verdict on a run: a report, and the list of missed goals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use iperf3_mesh_testkit::checker::Interval;
use iperf3_mesh_testkit::events::{Cell, Role};
use iperf3_mesh_testkit::lab::mesh::Evidence;

use crate::injector::Record;

/// One run, from the first start to the last stop.
pub(crate) struct Run {
    /// The injected faults.
    pub(crate) record: Record,
    /// The time when all faults were undone, on the clock of the events.
    pub(crate) healed: u64,
    /// The time when, in addition, no node was in its quiet time.
    pub(crate) settled: u64,
    /// Every ordered pair for each protocol.
    pub(crate) cells: BTreeSet<Cell>,
    /// Cells that the matrices of agents lacked at the end of the recovery time.
    pub(crate) lacking: Vec<String>,
    /// Dead children that the agents had not reaped.
    pub(crate) zombies: Vec<String>,
    /// The processes and the events.
    pub(crate) evidence: Evidence,
}

impl Run {
    /// Prints the report; returns the missed goals. The matrix must be full within `limit`.
    pub(crate) fn report(&self, limit: Duration) -> Vec<String> {
        self.print(limit);
        let mut missed = self.evidence.violations();
        missed.extend(self.zombies.iter().map(|text| format!("zombie: {text}")));
        let uncounted = self.record.uncounted.iter();
        missed.extend(uncounted.map(|text| format!("no count of overlaps: {text}")));
        missed.extend(self.lacking.iter().map(|text| format!("matrix: {text}")));
        let counted = self.record.counted;
        if counted > 0.0 {
            missed.push(format!("the agents counted {counted} overlaps"));
        }
        if self.recovery().is_none_or(|took| took > limit) {
            let limit = limit.as_secs();
            missed.push(format!("the matrix was not full within {limit} s"));
        }
        missed
    }

    /// The time from `settled` until every cell had a success of a test that began after `healed`;
    /// `None` if a cell never had one.
    fn recovery(&self) -> Option<Duration> {
        let mut first: BTreeMap<&Cell, u64> = BTreeMap::new();
        for test in self.tests() {
            if test.start >= self.healed && test.succeeded() {
                let end = first.entry(&test.cell).or_insert(test.end);
                *end = test.end.min(*end);
            }
        }
        let ends = self.cells.iter().map(|cell| first.get(cell).copied());
        let last = ends.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
        Some(Duration::from_nanos(last.saturating_sub(self.settled)))
    }

    /// The clients' side of all tests.
    fn tests(&self) -> impl Iterator<Item = &Interval> {
        let intervals = self.evidence.intervals.iter();
        intervals.filter(|test| test.role == Role::Client)
    }

    fn print(&self, limit: Duration) {
        let Self {
            record, evidence, ..
        } = self;
        let kinds: Vec<String> = record
            .done
            .iter()
            .map(|(kind, times)| format!("{times} {kind}"))
            .collect();
        let done: usize = record.done.values().sum();
        println!("faults      {done}: {}", kinds.join(", "));
        println!(
            "tests       {}, of which {} succeeded",
            self.tests().count(),
            self.tests().filter(|test| test.succeeded()).count()
        );
        println!(
            "overlaps    {} by the events, {} by {} samples, {} counted by the agents",
            evidence.overlaps.len(),
            evidence.sampled_overlaps.len(),
            evidence.instants,
            record.counted,
        );
        println!(
            "leftovers   {}, zombies {}, other faults {}",
            evidence.leftovers.len(),
            self.zombies.len(),
            evidence.faults.len() + record.uncounted.len(),
        );
        let quiet = Duration::from_nanos(self.settled - self.healed).as_secs_f64();
        match self.recovery() {
            Some(took) => println!(
                "recovery    settled {quiet:.1} s after the last fault, full matrix {:.1} s later; \
                 limit {} s",
                took.as_secs_f64(),
                limit.as_secs(),
            ),
            None => println!("recovery    none: the matrix is not full"),
        }
    }
}
