//! The compact form of the matrix: four bytes a cell, for programs that draw it. `docs/api.md` is
//! its reference.

use iperf3_mesh_core::{Protocol, Reason};
use serde::Serialize;
use strum::VariantArray;

use super::packed::{Packed, PackedCell};
use crate::VERSION;
use crate::api::NodeReport;

/// The first bytes of the form.
const MAGIC: &[u8; 4] = b"i3mx";
/// The version of the form.
const FORM: u16 = 1;
/// The size of the report on a node with long names.
const HEAD_BYTES_PER_NODE: usize = 512;
/// The state of the places from a node to itself.
const NO_CELL: u8 = u8::MAX;

/// Bandwidths are logarithmic: the code 1 is [`RATE_MIN_MBPS`], and each further one is greater by
/// this factor, 0.04 %.
const RATE_MIN_MBPS: f64 = 1e-3;
const RATE_STEPS_PER_DECADE: f64 = 5957.0;
/// Ages are logarithmic, too: the code 1 is less than a second, and 12 further ones double it.
const AGE_STEPS_PER_OCTAVE: f64 = 12.0;

#[derive(Serialize)]
struct Head<'a> {
    version: &'a str,
    protocols: &'a [Protocol],
    reasons: &'a [Reason],
    nodes: Vec<NodeReport>,
}

/// Returns the memory that the compact form needs, in bytes.
pub(super) fn bytes(nodes: usize, protocols: usize) -> usize {
    let places = nodes.saturating_mul(nodes).saturating_mul(protocols);
    let head = nodes.saturating_mul(HEAD_BYTES_PER_NODE);
    places.saturating_mul(4).saturating_add(head)
}

/// Writes `packed` in the compact form.
pub(super) fn write(packed: &Packed) -> serde_json::Result<Vec<u8>> {
    let mut head = serde_json::to_vec(&Head {
        version: VERSION,
        protocols: &packed.protocols,
        reasons: Reason::VARIANTS,
        nodes: packed
            .nodes
            .iter()
            .map(super::packed::Node::report)
            .collect(),
    })?;
    // The arrays begin at a multiple of four, so that they can be read in place.
    head.resize(head.len().next_multiple_of(4), b' ');
    let nodes = packed.nodes.len();
    let mut out = Vec::with_capacity(16 + head.len() + 4 * packed.places());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORM.to_le_bytes());
    out.extend_from_slice(&(packed.protocols.len() as u16).to_le_bytes());
    out.extend_from_slice(&(nodes as u32).to_le_bytes());
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&head);
    for (number, protocol) in packed.protocols.iter().enumerate() {
        let results = || packed.cells_of(number).map(|cell| cell.result(*protocol));
        let rates = results().flat_map(|it| rate_code(it.bandwidth_mbps).to_le_bytes());
        out.extend(rates);
        let is_cell = |at: usize| at / nodes != at % nodes;
        let states = packed.cells_of(number).map(PackedCell::state).enumerate();
        out.extend(states.map(|(at, state)| if is_cell(at) { state } else { NO_CELL }));
        out.extend(results().map(|it| age_code(it.age_seconds)));
    }
    Ok(out)
}

/// Returns the code of a bandwidth, 0 if there is none.
fn rate_code(mbps: Option<f32>) -> u16 {
    let Some(mbps) = mbps else { return 0 };
    let steps = (f64::from(mbps) / RATE_MIN_MBPS).log10() * RATE_STEPS_PER_DECADE;
    // The cast saturates.
    (1.0 + steps.round().max(0.0)) as u16
}

/// Returns the code of an age, 0 if there is none.
fn age_code(seconds: Option<f32>) -> u8 {
    let Some(seconds) = seconds else { return 0 };
    let steps = f64::from(seconds).max(1.0).log2() * AGE_STEPS_PER_OCTAVE;
    // The cast saturates.
    (1.0 + steps.floor()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_keeps_its_value_to_a_fiftieth_of_a_percent() {
        for mbps in [0.001_f32, 0.5, 93.7, 941.4, 98_765.0, 1e8] {
            let code = rate_code(Some(mbps));
            let exponent = f64::from(code - 1) / RATE_STEPS_PER_DECADE;
            let read = RATE_MIN_MBPS * 10_f64.powf(exponent);
            let error = (read / f64::from(mbps) - 1.0).abs();
            assert!(error < 2e-4, "{mbps}: {code} reads {read}");
        }
        assert_eq!(rate_code(None), 0);
        assert_eq!(rate_code(Some(1e-30)), 1);
    }

    #[test]
    fn age_grows_with_its_code() {
        assert_eq!(age_code(None), 0);
        assert_eq!(age_code(Some(0.2)), 1);
        assert_eq!(age_code(Some(2.0)), 13);
        assert_eq!(age_code(Some(3600.0)), 142);
        assert_eq!(age_code(Some(1e9)), u8::MAX);
    }
}
