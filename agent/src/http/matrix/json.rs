//! Writes the JSON of the matrix piece by piece, so that no reader needs it as a whole.

use iperf3_mesh_core::{Protocol, Reason};
use serde::Serialize;

use super::packed::Packed;
use crate::VERSION;
use crate::api::LimitedBy;

/// A position in the JSON of a matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JsonPosition {
    part: Part,
    /// The number of the next element of the part.
    next: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    #[default]
    Head,
    Nodes,
    Cells,
    End,
}

/// A cell, as [`crate::api::CellReport`] writes it.
#[derive(Serialize)]
struct JsonCell<'a> {
    source_node: &'a str,
    destination_node: &'a str,
    protocol: Protocol,
    success: Option<bool>,
    reason: Option<Reason>,
    bandwidth_mbps: Option<f32>,
    jitter_ms: Option<f32>,
    loss_ratio: Option<f32>,
    retransmits: Option<u32>,
    rtt_ms: Option<f32>,
    age_seconds: Option<f32>,
    success_age_seconds: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limited_by: Option<LimitedBy>,
}

impl JsonPosition {
    /// Appends the next piece of the JSON to `out`: at least `size` bytes, or all that is left.
    /// Returns the position after it, or `None` at the end.
    pub(super) fn write(
        mut self,
        packed: &Packed,
        out: &mut Vec<u8>,
        size: usize,
    ) -> serde_json::Result<Option<Self>> {
        while out.len() < size {
            match self.part {
                Part::Head => {
                    out.extend_from_slice(b"{\"version\":");
                    serde_json::to_writer(&mut *out, VERSION)?;
                    if packed.is_insecure {
                        out.extend_from_slice(b",\"insecure\":true");
                    }
                    out.extend_from_slice(b",\"nodes\":[");
                    self.enter(Part::Nodes);
                }
                Part::Nodes => match packed.nodes.get(self.next) {
                    Some(node) => {
                        self.separate(out);
                        serde_json::to_writer(&mut *out, &node.report())?;
                        self.next += 1;
                    }
                    None => {
                        out.extend_from_slice(b"],\"cells\":[");
                        self.enter(Part::Cells);
                    }
                },
                Part::Cells if self.next < packed.places() => {
                    if let Some(cell) = cell(packed, self.next) {
                        // The first place is that of a node to itself.
                        if self.next > packed.protocols.len() {
                            out.push(b',');
                        }
                        serde_json::to_writer(&mut *out, &cell)?;
                    }
                    self.next += 1;
                }
                Part::Cells => {
                    out.extend_from_slice(b"]}");
                    self.enter(Part::End);
                }
                Part::End => return Ok(None),
            }
        }
        Ok((self.part != Part::End).then_some(self))
    }

    fn enter(&mut self, part: Part) {
        *self = Self { part, next: 0 };
    }

    fn separate(&self, out: &mut Vec<u8>) {
        if self.next > 0 {
            out.push(b',');
        }
    }
}

/// Returns the cell at a place; `None` if it is that of a node to itself.
fn cell(packed: &Packed, at: usize) -> Option<JsonCell<'_>> {
    let (source, destination, protocol) = packed.place(at);
    if source == destination {
        return None;
    }
    let protocol = *packed.protocols.get(protocol)?;
    let result = packed.cell(at).result(protocol);
    Some(JsonCell {
        source_node: packed.nodes.get(source)?.name.as_str(),
        destination_node: packed.nodes.get(destination)?.name.as_str(),
        protocol,
        success: result.success,
        reason: result.reason,
        bandwidth_mbps: result.bandwidth_mbps,
        jitter_ms: result.jitter_ms,
        loss_ratio: result.loss_ratio,
        retransmits: result.retransmits,
        rtt_ms: result.rtt_ms,
        age_seconds: result.age_seconds,
        success_age_seconds: result.success_age_seconds,
        limited_by: result.limited_by,
    })
}
