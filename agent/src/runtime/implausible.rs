//! The figures that cannot be: each is counted, and the log gets one line per figure and pause.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iperf3_mesh_core::{Figure, NodeName};

use crate::metrics::Metrics;
use crate::text::short;

/// The pause between two lines about the same figure. A defect of a version shows in every test.
const LOG_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Counts and logs implausible figures.
pub(super) struct ImplausibleFigures {
    metrics: Metrics,
    logged: Mutex<BTreeMap<Figure, Instant>>,
}

impl ImplausibleFigures {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            logged: Mutex::default(),
        })
    }

    /// Records a figure of a test with `peer`, which the node `measured_by` reported.
    pub(super) fn record(&self, figure: Figure, peer: &NodeName, measured_by: &NodeName) {
        self.metrics.implausible_figure(figure);
        if self.is_log_due(figure, Instant::now()) {
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

    fn is_log_due(&self, figure: Figure, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged
            .get(&figure)
            .is_none_or(|last| now - *last >= LOG_PAUSE);
        if is_due {
            logged.insert(figure, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use iperf3_mesh_core::Protocol;

    use super::*;
    use crate::config::FailedCells;
    use crate::metrics::Settings;

    #[test]
    fn log_gets_a_line_per_figure_and_pause() {
        let metrics = Metrics::new(Settings {
            source: NodeName::new("a").expect("a name"),
            protocols: vec![Protocol::Tcp],
            failed_cells: FailedCells::Zero,
            pause: Duration::from_secs(1),
            iperf3_version: String::new(),
            landlock: String::new(),
        });
        let figures = ImplausibleFigures::new(metrics.expect("metrics"));
        let start = Instant::now();
        assert!(figures.is_log_due(Figure::Rtt, start));
        assert!(figures.is_log_due(Figure::Jitter, start));
        assert!(!figures.is_log_due(Figure::Rtt, start + LOG_PAUSE / 2));
        assert!(figures.is_log_due(Figure::Rtt, start + LOG_PAUSE));
    }
}
