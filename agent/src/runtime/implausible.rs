//! The figures that cannot be: each is counted, and the log gets one line per figure and pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use iperf3_mesh_core::{Figure, NodeName};

use crate::metrics::Metrics;
use crate::telemetry::Throttles;
use crate::text::short;

/// The pause between two lines about the same figure. A defect of a version shows in every test.
const LOG_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Counts and logs implausible figures.
pub(super) struct ImplausibleFigures {
    metrics: Metrics,
    throttles: Throttles<Figure>,
}

impl ImplausibleFigures {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            throttles: Throttles::new(LOG_PAUSE),
        })
    }

    /// Records a figure of a test with `peer`, which the node `measured_by` reported.
    pub(super) fn record(&self, figure: Figure, peer: &NodeName, measured_by: &NodeName) {
        self.metrics.implausible_figure(figure);
        if self.throttles.count(figure, 1, Instant::now()).is_some() {
            tracing::warn!(
                %figure,
                peer = short(peer.as_str()),
                measured_by = short(measured_by.as_str()),
                "the report of a test contains a figure that cannot be; it is left out, or \
                 replaced by one that follows from the others. \
                 iperf_mesh_implausible_figures_total counts all of them"
            );
        }
    }
}
