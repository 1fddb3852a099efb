//! The parts of the answer at `/api/v1/matrix` that tests read.

use serde::Deserialize;

use crate::events::Cell;

/// The matrix of one agent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Matrix {
    /// All nodes, including silent ones.
    pub nodes: Vec<NodeEntry>,
    /// The cells of every ordered pair, for each protocol.
    pub cells: Vec<CellEntry>,
}

/// A node of the matrix.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeEntry {
    /// The name of the node.
    pub name: String,
    /// The state that the agent assigns to it.
    pub state: String,
    /// The error of the attempt to fetch the node's row.
    pub row_error: Option<String>,
}

/// A cell of the matrix.
#[derive(Clone, Debug, Deserialize)]
pub struct CellEntry {
    /// The sending node.
    pub source_node: String,
    /// The receiving node.
    pub destination_node: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Whether the last test succeeded; `None` if the cell was never tested.
    pub success: Option<bool>,
    /// The reason of a failure.
    pub reason: Option<String>,
    /// The received payload, in megabits per second.
    pub bandwidth_mbps: Option<f64>,
    /// The jitter, for UDP only.
    pub jitter_ms: Option<f64>,
    /// The share of lost datagrams, for UDP only.
    pub loss_ratio: Option<f64>,
    /// The number of retransmits, for TCP only. It distinguishes a congested link from a slow
    /// machine when the bandwidth is wrong.
    pub retransmits: Option<u64>,
    /// The round-trip time, for TCP only.
    pub rtt_ms: Option<f64>,
    /// The time since the last test.
    pub age_seconds: Option<f64>,
}

impl CellEntry {
    /// Returns the cell of this entry.
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
    /// If the answer is not a matrix; the text has the beginning of the answer.
    pub fn parse(answer: &str) -> Result<Self, String> {
        serde_json::from_str(answer).map_err(|error| format!("{error} in {answer:.300}"))
    }

    /// Returns the state of a node; `None` if the matrix does not have the node.
    pub fn state(&self, node: &str) -> Option<&str> {
        self.nodes
            .iter()
            .find(|entry| entry.name == node)
            .map(|entry| entry.state.as_str())
    }

    /// Returns one cell; `None` if the matrix does not have it.
    pub fn get(&self, source: &str, destination: &str, protocol: &str) -> Option<&CellEntry> {
        self.cells.iter().find(|entry| {
            entry.source_node == source
                && entry.destination_node == destination
                && entry.protocol == protocol
        })
    }
}
