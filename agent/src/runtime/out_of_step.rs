//! Nodes whose sweep numbers are far from those of most nodes. Nobody follows them, and nobody
//! meets them until they are in step again.

use std::time::Instant;

use iperf3_mesh_core::{Node, NodeName, Time};

use crate::telemetry::{MINUTE, Throttle};
use crate::text::short;

#[derive(Debug)]
pub(super) struct OutOfStep(Throttle);

impl OutOfStep {
    pub(super) const fn new() -> Self {
        Self(Throttle::new(MINUTE))
    }

    /// Returns the number of nodes that are out of step. Warns about them at most once a minute.
    pub(super) fn update(&mut self, node: &Node, now: Time) -> usize {
        let nodes: Vec<(&NodeName, u64)> = node.out_of_step().collect();
        if let Some((first, sweep)) = nodes.first()
            && self.0.count(1, Instant::now()).is_some()
        {
            tracing::warn!(
                nodes = nodes.len(),
                node = short(first.as_str()),
                sweep,
                own = node.status(now).sweep.number,
                "sweep numbers of nodes are far from those of most others, which do not follow \
                 them: an agent has a defect or lies, or parts of the mesh were apart"
            );
        }
        nodes.len()
    }
}
