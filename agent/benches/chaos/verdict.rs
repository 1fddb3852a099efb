//! Whether the mesh stood it: what a run proves, as a report and a list of the goals that it
//! missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::injector::Record;
use iperf3_mesh_testkit::events::{Cell, Role};
use iperf3_mesh_testkit::lab::mesh::Evidence;

/// One run, from the first start to the last stop.
pub(crate) struct Run {
    /// What was broken.
    pub(crate) record: Record,
    /// When everything was mended, on the clock of the events.
    pub(crate) healed: u64,
    /// When nobody had to be quiet any more, too.
    pub(crate) calm: u64,
    /// Every ordered pair and protocol.
    pub(crate) cells: BTreeSet<Cell>,
    /// What agents' matrices lacked at the end of the time they had.
    pub(crate) lacking: Vec<String>,
    /// Dead children that the agents had not reaped.
    pub(crate) zombies: Vec<String>,
    /// What ran, and what was said.
    pub(crate) evidence: Evidence,
}

impl Run {
    /// How long after the calm every cell had a success that began after the healing; `None` if one
    /// never had.
    pub(crate) fn recovery(&self) -> Option<Duration> {
        let mut first: BTreeMap<&Cell, u64> = BTreeMap::new();
        for test in &self.evidence.intervals {
            if test.role == Role::Client && test.start >= self.healed && test.succeeded() {
                let end = first.entry(&test.cell).or_insert(test.end);
                *end = test.end.min(*end);
            }
        }
        let ends = self.cells.iter().map(|cell| first.get(cell).copied());
        let last = ends.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
        Some(Duration::from_nanos(last.saturating_sub(self.calm)))
    }

    /// Prints it; the goals that it missed. A matrix must be full after `limit`.
    pub(crate) fn report(&self, limit: Duration) -> Vec<String> {
        let Self {
            record, evidence, ..
        } = self;
        let tests = || {
            evidence
                .intervals
                .iter()
                .filter(|test| test.role == Role::Client)
        };
        let kinds: Vec<String> = record
            .done
            .iter()
            .map(|(kind, times)| format!("{times} {kind}"))
            .collect();
        let done: usize = record.done.values().sum();
        println!("faults      {done}: {}", kinds.join(", "));
        println!(
            "tests       {}, of which {} succeeded",
            tests().count(),
            tests().filter(|test| test.succeeded()).count()
        );
        println!(
            "overlaps    {} by the events, {} by {} looks at what ran, {} counted by the agents",
            evidence.overlaps.len(),
            evidence.sampled_overlaps.len(),
            evidence.looks,
            record.counted,
        );
        println!(
            "leftovers   {}, zombies {}, other faults {}",
            evidence.leftovers.len(),
            self.zombies.len(),
            evidence.faults.len() + record.mute.len(),
        );
        let quiet = Duration::from_nanos(self.calm - self.healed).as_secs_f64();
        match self.recovery() {
            Some(took) => println!(
                "recovery    full matrix {:.1} s after the calm, which was {quiet:.1} s after the last undo; limit {} s",
                took.as_secs_f64(),
                limit.as_secs(),
            ),
            None => println!("recovery    none: the matrix is not full"),
        }
        self.missed(limit)
    }

    fn missed(&self, limit: Duration) -> Vec<String> {
        let mut missed = self.evidence.violations();
        missed.extend(self.zombies.iter().map(|text| format!("zombie: {text}")));
        missed.extend(self.record.mute.iter().map(|text| format!("mute: {text}")));
        missed.extend(self.lacking.iter().map(|text| format!("matrix: {text}")));
        if self.record.counted > 0.0 {
            missed.push(format!(
                "the agents counted {} overlaps",
                self.record.counted
            ));
        }
        if self.recovery().is_none_or(|took| took > limit) {
            missed.push(format!(
                "the matrix was not full within {} s",
                limit.as_secs()
            ));
        }
        missed
    }
}
