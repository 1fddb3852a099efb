//! What an agent answers at `/api/v1/matrix`. Judges nothing.

use serde::Deserialize;

use crate::events::Cell;

/// The answer, as far as the laboratory looks at it.
#[derive(Clone, Debug, Deserialize)]
pub struct Matrix {
    /// The nodes, silent ones too.
    pub nodes: Vec<NodeEntry>,
    /// Every ordered pair and protocol.
    pub cells: Vec<CellEntry>,
}

/// A node of the matrix.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// How it is believed to be.
    pub state: String,
    /// Why its row could not be had.
    pub row_error: Option<String>,
}

/// A cell of the matrix.
#[derive(Clone, Debug, Deserialize)]
pub struct CellEntry {
    /// Who sends.
    pub source_node: String,
    /// Who receives.
    pub destination_node: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// `None`: never tested.
    pub success: Option<bool>,
    /// Why it failed.
    pub reason: Option<String>,
    /// What arrived.
    pub bandwidth_mbps: Option<f64>,
    /// UDP.
    pub jitter_ms: Option<f64>,
    /// UDP.
    pub loss_ratio: Option<f64>,
    /// TCP: tells a crowded link from a slow machine when the bandwidth is wrong.
    pub retransmits: Option<u64>,
    /// TCP.
    pub rtt_ms: Option<f64>,
    /// How long ago it was tested.
    pub age_seconds: Option<f64>,
}

impl CellEntry {
    /// Which cell it is.
    pub fn cell(&self) -> Cell {
        Cell {
            source: self.source_node.clone(),
            destination: self.destination_node.clone(),
            protocol: self.protocol.clone(),
        }
    }
}

impl Matrix {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not a matrix.
    pub fn parse(answer: &str) -> Result<Self, String> {
        serde_json::from_str(answer).map_err(|error| format!("{error} in {answer:.300}"))
    }

    /// The state of a node, if the matrix has it.
    pub fn state(&self, node: &str) -> Option<&str> {
        self.nodes
            .iter()
            .find(|entry| entry.name == node)
            .map(|entry| entry.state.as_str())
    }

    /// A cell, if the matrix has it.
    pub fn get(&self, source: &str, destination: &str, protocol: &str) -> Option<&CellEntry> {
        self.cells.iter().find(|entry| {
            entry.source_node == source
                && entry.destination_node == destination
                && entry.protocol == protocol
        })
    }
}
