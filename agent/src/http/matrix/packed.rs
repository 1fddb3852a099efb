//! The matrix in memory: 17 bytes a cell, whatever the rows contained. A mesh of a thousand nodes
//! has a million cells.

use std::collections::HashMap;

use iperf3_mesh_core::{NodeName, Protocol, Reason};
use strum::VariantArray;

use crate::VERSION;
use crate::api::{
    CellReport, CellResult, LimitedBy, Matrix, NodeReport, NodeState, RowCell, Since,
};

/// The bits of a figure that is not known. As a floating-point number they are none.
const NONE: u32 = u32::MAX;
/// The states of a cell; from [`FAILED`] on, the number of the reason is added.
pub(in crate::http) const UNTESTED: u8 = 0;
pub(in crate::http) const SUCCEEDED: u8 = 1;
pub(in crate::http) const FAILED: u8 = 2;
/// The bit of the state that tells that the settings of the destination ruled.
const LIMITED: u8 = 0x80;

/// The matrix, and where its rows come from.
#[derive(Debug)]
pub(in crate::http) struct Packed {
    /// Whether this agent has no key.
    pub(in crate::http) is_insecure: bool,
    /// Sorted by name.
    pub(in crate::http) nodes: Vec<Node>,
    /// Sorted.
    pub(in crate::http) protocols: Vec<Protocol>,
    cells: Vec<PackedCell>,
}

/// A node of the matrix.
#[derive(Debug)]
pub(in crate::http) struct Node {
    pub(in crate::http) name: NodeName,
    pub(in crate::http) zone: String,
    pub(in crate::http) state: NodeState,
    pub(in crate::http) iperf3: Option<String>,
    /// The time at which its row arrived, or the reason why there is none.
    pub(in crate::http) row: Result<Since, String>,
    /// Whether its row came without a seal, although this agent has a key.
    pub(in crate::http) is_unsealed: bool,
}

impl Node {
    pub(in crate::http) fn report(&self) -> NodeReport {
        NodeReport {
            name: self.name.clone(),
            zone: self.zone.clone(),
            state: self.state,
            row_age_seconds: self.row.as_ref().ok().map(|at| at.seconds()),
            row_error: self.row.as_ref().err().cloned(),
            iperf3: self.iperf3.clone(),
            row_unsealed: self.is_unsealed,
        }
    }
}

/// A result. A failed test has no figures, and the age of a success is that of the last success, so
/// four numbers are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed)]
pub(in crate::http) struct PackedCell {
    state: u8,
    age: u32,
    /// The bandwidth of a success; the age of the last success of a failure.
    first: u32,
    /// Retransmits or jitter.
    second: u32,
    /// Round-trip time or loss.
    third: u32,
}

/// The result of a cell, with the precision that the matrix keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::http) struct Result32 {
    pub(in crate::http) success: Option<bool>,
    pub(in crate::http) reason: Option<Reason>,
    pub(in crate::http) bandwidth_mbps: Option<f32>,
    pub(in crate::http) jitter_ms: Option<f32>,
    pub(in crate::http) loss_ratio: Option<f32>,
    pub(in crate::http) retransmits: Option<u32>,
    pub(in crate::http) rtt_ms: Option<f32>,
    pub(in crate::http) age_seconds: Option<f32>,
    pub(in crate::http) success_age_seconds: Option<f32>,
    pub(in crate::http) limited_by: Option<LimitedBy>,
}

impl PackedCell {
    const UNTESTED: Self = Self {
        state: UNTESTED,
        age: NONE,
        first: NONE,
        second: NONE,
        third: NONE,
    };

    /// Packs `result`, which is plausible.
    pub(in crate::http) fn new(result: &CellResult, protocol: Protocol) -> Self {
        let bits = |figure: Option<f64>| figure.map_or(NONE, |figure| (figure as f32).to_bits());
        let age = bits(result.age_seconds);
        let retransmits = || {
            let count = result.retransmits?;
            u32::try_from(count).ok().filter(|count| *count != NONE)
        };
        let limited = match (result.success, result.limited_by) {
            (Some(_), Some(LimitedBy::Destination)) => LIMITED,
            _ => 0,
        };
        let cell = match (result.success, protocol) {
            (None, _) => Self::UNTESTED,
            (Some(false), _) => Self {
                state: FAILED + number(result.reason.unwrap_or(Reason::Iperf)),
                age,
                first: bits(result.success_age_seconds),
                ..Self::UNTESTED
            },
            (Some(true), Protocol::Tcp) => Self {
                state: SUCCEEDED,
                age,
                first: bits(result.bandwidth_mbps),
                second: retransmits().unwrap_or(NONE),
                third: bits(result.rtt_ms),
            },
            (Some(true), Protocol::Udp) => Self {
                state: SUCCEEDED,
                age,
                first: bits(result.bandwidth_mbps),
                second: bits(result.jitter_ms),
                third: bits(result.loss_ratio),
            },
        };
        Self {
            state: cell.state | limited,
            ..cell
        }
    }

    pub(in crate::http) fn state(self) -> u8 {
        self.state & !LIMITED
    }

    pub(in crate::http) fn result(self, protocol: Protocol) -> Result32 {
        let age_seconds = figure(self.age);
        let is_limited = self.state & LIMITED != 0;
        let limited_by = is_limited.then_some(LimitedBy::Destination);
        match (self.state(), protocol) {
            (UNTESTED, _) => Result32::default(),
            (SUCCEEDED, _) => {
                let is_tcp = protocol == Protocol::Tcp;
                let of = |is_its: bool, bits: u32| figure(bits).filter(|_| is_its);
                let count = self.second;
                Result32 {
                    success: Some(true),
                    reason: None,
                    bandwidth_mbps: figure(self.first),
                    jitter_ms: of(!is_tcp, self.second),
                    loss_ratio: of(!is_tcp, self.third),
                    retransmits: (is_tcp && count != NONE).then_some(count),
                    rtt_ms: of(is_tcp, self.third),
                    age_seconds,
                    success_age_seconds: age_seconds,
                    limited_by,
                }
            }
            (failed, _) => Result32 {
                success: Some(false),
                reason: Reason::VARIANTS.get(usize::from(failed - FAILED)).copied(),
                age_seconds,
                success_age_seconds: figure(self.first),
                limited_by,
                ..Result32::default()
            },
        }
    }
}

fn figure(bits: u32) -> Option<f32> {
    (bits != NONE).then_some(f32::from_bits(bits))
}

/// Returns the number of `reason` among all reasons.
fn number(reason: Reason) -> u8 {
    let at = Reason::VARIANTS.iter().position(|other| *other == reason);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default()
}

/// The places of the cells in a row, by the name of their destination.
#[derive(Debug)]
pub(in crate::http) struct Columns {
    destinations: HashMap<NodeName, usize>,
    protocols: Vec<Protocol>,
}

/// The cells of a row, each with its destination and the number of its protocol.
pub(in crate::http) type PackedRow = Vec<(usize, usize, PackedCell)>;

impl Columns {
    /// Packs the cells of a row. Destinations outside the mesh and other protocols are left out,
    /// and so is every figure that cannot be.
    pub(in crate::http) fn pack(&self, cells: Vec<RowCell>) -> PackedRow {
        let packed = cells.into_iter().filter_map(|cell| {
            let destination = *self.destinations.get(&cell.destination_node)?;
            let mut protocols = self.protocols.iter();
            let protocol = protocols.position(|it| *it == cell.protocol)?;
            let result = cell.result.plausible(cell.protocol);
            Some((
                destination,
                protocol,
                PackedCell::new(&result, cell.protocol),
            ))
        });
        packed.collect()
    }
}

impl Packed {
    /// Returns the memory that the cells of a matrix need, in bytes.
    pub(in crate::http) fn bytes(nodes: usize, protocols: usize) -> usize {
        let cells = nodes.saturating_mul(nodes).saturating_mul(protocols);
        cells.saturating_mul(size_of::<PackedCell>())
    }

    /// Returns a matrix without any result. `nodes` are sorted by name.
    pub(in crate::http) fn new(nodes: Vec<Node>, mut protocols: Vec<Protocol>) -> Self {
        protocols.sort_unstable();
        let cells = nodes.len() * nodes.len() * protocols.len();
        Self {
            is_insecure: false,
            nodes,
            protocols,
            cells: vec![PackedCell::UNTESTED; cells],
        }
    }

    pub(in crate::http) fn columns(&self) -> Columns {
        let names = self.nodes.iter().map(|node| node.name.clone());
        Columns {
            destinations: names.zip(0..).collect(),
            protocols: self.protocols.clone(),
        }
    }

    /// Sets the row of the node number `source`.
    pub(in crate::http) fn set_row(&mut self, source: usize, row: PackedRow) {
        for (destination, protocol, cell) in row {
            let at = self.position(source, destination, protocol);
            if source != destination
                && let Some(place) = self.cells.get_mut(at)
            {
                *place = cell;
            }
        }
    }

    fn position(&self, source: usize, destination: usize, protocol: usize) -> usize {
        (source * self.nodes.len() + destination) * self.protocols.len() + protocol
    }

    /// Returns the number of places, those from a node to itself included.
    pub(in crate::http) fn places(&self) -> usize {
        self.cells.len()
    }

    /// Returns the source, the destination and the number of the protocol of a place, in the order
    /// of the API.
    pub(in crate::http) fn place(&self, at: usize) -> (usize, usize, usize) {
        let (pair, protocol) = (at / self.protocols.len(), at % self.protocols.len());
        (pair / self.nodes.len(), pair % self.nodes.len(), protocol)
    }

    /// Returns the cell at a place.
    pub(in crate::http) fn cell(&self, at: usize) -> PackedCell {
        self.cells.get(at).copied().unwrap_or(PackedCell::UNTESTED)
    }

    /// Returns the cells of one protocol, by source and destination.
    pub(in crate::http) fn cells_of(&self, protocol: usize) -> impl Iterator<Item = PackedCell> {
        let cells = self.cells.iter().skip(protocol);
        cells.step_by(self.protocols.len()).copied()
    }

    /// Returns the matrix in the form of the API. It takes ten times the memory.
    pub(in crate::http) fn expand(&self) -> Matrix {
        let report = |at: usize| {
            let (source, destination, protocol) = self.place(at);
            let protocol = *self.protocols.get(protocol)?;
            let is_cell = source != destination;
            is_cell.then_some(CellReport {
                source_node: self.nodes.get(source)?.name.clone(),
                destination_node: self.nodes.get(destination)?.name.clone(),
                protocol,
                result: self.cell(at).result(protocol).into(),
            })
        };
        Matrix {
            version: VERSION.to_owned(),
            insecure: self.is_insecure,
            nodes: self.nodes.iter().map(Node::report).collect(),
            cells: (0..self.places()).filter_map(report).collect(),
            sweep: None,
        }
    }
}

impl From<Result32> for CellResult {
    fn from(result: Result32) -> Self {
        Self {
            success: result.success,
            reason: result.reason,
            bandwidth_mbps: widened(result.bandwidth_mbps),
            jitter_ms: widened(result.jitter_ms),
            loss_ratio: widened(result.loss_ratio),
            retransmits: result.retransmits.map(u64::from),
            rtt_ms: widened(result.rtt_ms),
            age_seconds: widened(result.age_seconds),
            success_age_seconds: widened(result.success_age_seconds),
            limited_by: result.limited_by,
        }
    }
}

/// Returns the number with the same digits. A plain conversion would add digits that nobody
/// measured.
fn widened(figure: Option<f32>) -> Option<f64> {
    figure?.to_string().parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn every_result_survives_packing() {
        let udp = CellResult {
            jitter_ms: Some(0.0431),
            loss_ratio: Some(0.123),
            ..tested()
        };
        let tcp = CellResult {
            retransmits: Some(12),
            rtt_ms: Some(0.079),
            limited_by: Some(LimitedBy::Destination),
            ..tested()
        };
        let failures = Reason::VARIANTS.iter().map(|reason| CellResult {
            success: Some(false),
            reason: Some(*reason),
            age_seconds: Some(1.428),
            success_age_seconds: Some(330.0),
            limited_by: Some(LimitedBy::Destination),
            ..CellResult::default()
        });
        let both = failures.chain([CellResult::default()]);
        for result in both.clone().chain([tcp]) {
            assert_eq!(packed(&result, Protocol::Tcp), result);
        }
        for result in both.chain([udp]) {
            assert_eq!(packed(&result, Protocol::Udp), result);
        }
    }

    #[test]
    fn a_million_cells_take_17_megabytes() {
        assert_eq!(Packed::bytes(1000, 1), 17_000_000);
        assert_eq!(Packed::bytes(usize::MAX, 2), usize::MAX);
    }

    /// A success without the figures of its protocol.
    fn tested() -> CellResult {
        CellResult {
            success: Some(true),
            age_seconds: Some(1.428),
            success_age_seconds: Some(1.428),
            bandwidth_mbps: Some(941.25),
            ..CellResult::default()
        }
    }

    fn packed(result: &CellResult, protocol: Protocol) -> CellResult {
        PackedCell::new(result, protocol).result(protocol).into()
    }
}
