//! The parts of the answer at `/api/v1/matrix` that tests read.

use serde::Deserialize;

use crate::events::Cell;

/// The matrix of one agent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Matrix {
    /// All nodes, including silent ones.
    pub nodes: Vec<NodeEntry>,
    /// Every ordered pair for each protocol.
    pub cells: Vec<CellEntry>,
}

/// A node of the matrix.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// The state that the agent assigns to it.
    pub state: String,
    /// The error of the attempt to fetch its row.
    pub row_error: Option<String>,
}

/// A cell of the matrix.
#[derive(Clone, Debug, Deserialize)]
pub struct CellEntry {
    /// The sender.
    pub source_node: String,
    /// The receiver.
    pub destination_node: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// `None` if the cell was never tested.
    pub success: Option<bool>,
    /// The reason of a failure.
    pub reason: Option<String>,
    /// Received payload, megabits per second.
    pub bandwidth_mbps: Option<f64>,
    /// UDP only.
    pub jitter_ms: Option<f64>,
    /// UDP only.
    pub loss_ratio: Option<f64>,
    /// TCP only. Distinguishes a congested link from a slow machine when the bandwidth is wrong.
    pub retransmits: Option<u64>,
    /// TCP only.
    pub rtt_ms: Option<f64>,
    /// Time since the last test.
    pub age_seconds: Option<f64>,
}

impl CellEntry {
    /// The cell of this entry.
    pub fn cell(&self) -> Cell {
        Cell {
            source: self.source_node.clone(),
            destination: self.destination_node.clone(),
            protocol: self.protocol.clone(),
        }
    }
}

impl Matrix {
    /// Parses the answer.
    ///
    /// # Errors
    /// If it is not a matrix; the text has its beginning.
    pub fn parse(answer: &str) -> Result<Self, String> {
        serde_json::from_str(answer).map_err(|error| format!("{error} in {answer:.300}"))
    }

    /// The state of a node; `None` if the matrix does not have the node.
    pub fn state(&self, node: &str) -> Option<&str> {
        self.nodes
            .iter()
            .find(|entry| entry.name == node)
            .map(|entry| entry.state.as_str())
    }

    /// One cell; `None` if the matrix does not have it.
    pub fn get(&self, source: &str, destination: &str, protocol: &str) -> Option<&CellEntry> {
        self.cells.iter().find(|entry| {
            entry.source_node == source
                && entry.destination_node == destination
                && entry.protocol == protocol
        })
    }
}
