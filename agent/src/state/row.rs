//! This node's outgoing results: one cell for each destination and protocol.
//!
//! Keeps what was last measured and when, nothing of the past. Ages are reckoned on the monotonic
//! clock: a step of the wall clock makes no result older or younger.

use std::collections::BTreeMap;
use std::time::Instant;

use iperf3_mesh_core::{NodeName, Outcome, Protocol};

use crate::api::{CellResult, RowCell};

/// A node's outgoing cells.
#[derive(Clone, Debug, Default)]
pub struct Row {
    cells: BTreeMap<(NodeName, Protocol), Cell>,
}

/// One cell: the outcome of its last test.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What came of the last test.
    pub last: Outcome,
    /// When that was.
    pub tested_at: Instant,
    /// When a test last succeeded.
    pub success_at: Option<Instant>,
}

impl Row {
    /// Takes the outcome of a test that ended `at`.
    pub fn record(
        &mut self,
        destination: &NodeName,
        protocol: Protocol,
        at: Instant,
        outcome: &Outcome,
    ) {
        let key = (destination.clone(), protocol);
        let success_before = self.cells.get(&key).and_then(|cell| cell.success_at);
        let success_at = if outcome.is_ok() {
            Some(at)
        } else {
            success_before
        };
        self.cells.insert(
            key,
            Cell {
                last: outcome.clone(),
                tested_at: at,
                success_at,
            },
        );
    }

    /// Keeps only the cells whose destination is `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(&NodeName) -> bool) {
        self.cells.retain(|(destination, _), _| wanted(destination));
    }

    /// The row as it stands in the API, with the ages of this moment.
    pub fn report(&self, now: Instant) -> Vec<RowCell> {
        let cells = self
            .cells
            .iter()
            .map(|((destination, protocol), cell)| RowCell {
                destination_node: destination.clone(),
                protocol: *protocol,
                result: cell.report(now),
            });
        cells.collect()
    }
}

impl Cell {
    fn report(&self, now: Instant) -> CellResult {
        let ages = CellResult {
            age_seconds: Some(age(self.tested_at, now)),
            success_age_seconds: self.success_at.map(|at| age(at, now)),
            ..CellResult::default()
        };
        match &self.last {
            Ok(figures) => CellResult {
                success: Some(true),
                bandwidth_mbps: Some(figures.bandwidth_mbps),
                jitter_ms: figures.jitter_ms,
                loss_ratio: figures.loss_ratio(),
                retransmits: figures.retransmits,
                rtt_ms: figures.rtt_ms,
                ..ages
            },
            Err(reason) => CellResult {
                success: Some(false),
                reason: Some(*reason),
                ..ages
            },
        }
    }
}

/// The seconds from `at` to `now`, to the millisecond: more would only make the answers longer.
pub(crate) fn age(at: Instant, now: Instant) -> f64 {
    let seconds = now.saturating_duration_since(at).as_secs_f64();
    (seconds * 1000.0).round() / 1000.0
}
