//! The outgoing results of this node: one cell for each destination and protocol.
//!
//! A row contains the last results and their ages, but no history.

use std::collections::BTreeMap;

use iperf3_mesh_core::{NodeName, Outcome, Protocol};

use crate::api::{CellResult, LimitedBy, RowCell, Since};

/// The outgoing cells of a node.
#[derive(Clone, Debug, Default)]
pub struct Row {
    cells: BTreeMap<(NodeName, Protocol), Cell>,
}

/// The outcome of a cell's last test, and the end times of its tests.
#[derive(Clone, Debug)]
struct Cell {
    last: Outcome,
    limited_by: Option<LimitedBy>,
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
            limited_by: None,
            tested,
            succeeded,
        };
        self.cells.insert(key, cell);
    }

    /// Records that the settings of the destination ruled in the cell's last test.
    pub(super) fn record_limit(&mut self, destination: &NodeName, protocol: Protocol) {
        if let Some(cell) = self.cells.get_mut(&(destination.clone(), protocol)) {
            cell.limited_by = Some(LimitedBy::Destination);
        }
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
            limited_by: self.limited_by,
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

#[cfg(test)]
mod tests {
    use iperf3_mesh_core::Figures;

    use super::*;

    #[test]
    fn cell_tells_whose_settings_ruled_in_its_last_test() {
        let (mut row, b) = (Row::default(), NodeName::new("b").expect("a name"));
        let outcome = Ok(Figures::of_bandwidth(94.0));
        row.record(&b, Protocol::Tcp, &outcome);
        row.record_limit(&b, Protocol::Tcp);
        let json = serde_json::to_value(row.report()).expect("JSON");
        assert_eq!(json[0]["limited_by"], "destination");
        row.record(&b, Protocol::Tcp, &outcome);
        let json = serde_json::to_value(row.report()).expect("JSON");
        assert_eq!(json[0].get("limited_by"), None);
    }
}
