//! The outgoing results of this node: one cell for each destination and protocol.
//!
//! A row contains the last results and their ages, but no history.

use std::collections::BTreeMap;

use iperf3_mesh_core::{NodeName, Outcome, Protocol};

use crate::api::{CellResult, RowCell, Since};

/// The outgoing cells of a node.
#[derive(Clone, Debug, Default)]
pub struct Row {
    cells: BTreeMap<(NodeName, Protocol), Cell>,
}

/// The outcome of a cell's last test, and the end times of its tests.
#[derive(Clone, Debug)]
struct Cell {
    last: Outcome,
    tested: Since,
    succeeded: Option<Since>,
}

impl Row {
    /// Records the outcome of a test that has just ended.
    pub(super) fn record(&mut self, destination: &NodeName, protocol: Protocol, outcome: &Outcome) {
        let key = (destination.clone(), protocol);
        let tested = Since::now();
        let succeeded = match outcome {
            Ok(_) => Some(tested),
            Err(_) => self.cells.get(&key).and_then(|cell| cell.succeeded),
        };
        let cell = Cell {
            last: outcome.clone(),
            tested,
            succeeded,
        };
        self.cells.insert(key, cell);
    }

    /// Keeps only the cells whose destination satisfies `is_member`.
    pub(super) fn retain(&mut self, is_member: impl Fn(&NodeName) -> bool) {
        self.cells
            .retain(|(destination, _), _| is_member(destination));
    }

    /// Returns the cells in the form of the API, with their present ages.
    pub fn report(&self) -> Vec<RowCell> {
        self.cells
            .iter()
            .map(|((destination, protocol), cell)| RowCell {
                destination_node: destination.clone(),
                protocol: *protocol,
                result: cell.report(),
            })
            .collect()
    }
}

impl Cell {
    fn report(&self) -> CellResult {
        let ages = CellResult {
            age_seconds: Some(self.tested.seconds()),
            success_age_seconds: self.succeeded.map(Since::seconds),
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
