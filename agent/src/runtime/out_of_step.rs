//! Nodes whose sweep numbers are far from those of most nodes. Nobody follows them, and nobody
//! meets them until they are in step again.

use std::time::Duration;

use iperf3_mesh_core::{Node, NodeName, Time};

use crate::text::short;

/// The shortest time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct OutOfStep {
    warned: Option<Time>,
}

impl OutOfStep {
    /// Returns the number of nodes that are out of step. Warns about them at most once a minute.
    pub(super) fn update(&mut self, node: &Node, now: Time) -> usize {
        let nodes: Vec<(&NodeName, u64)> = node.out_of_step().collect();
        if let Some((first, sweep)) = nodes.first()
            && self.is_due(now)
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

    fn is_due(&mut self, now: Time) -> bool {
        let is_due = self.warned.is_none_or(|at| now.since(at) >= WARN_EVERY);
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_comes_at_most_once_a_minute() {
        let start = Time::default();
        let mut out_of_step = OutOfStep::default();
        assert!(out_of_step.is_due(start));
        assert!(!out_of_step.is_due(start + Duration::from_secs(59)));
        assert!(out_of_step.is_due(start + Duration::from_secs(60)));
    }
}
