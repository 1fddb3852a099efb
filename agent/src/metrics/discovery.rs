//! Whether the Kubernetes API tells of the agents' pods. A mesh that runs hides it when it does
//! not.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

use super::{counters, registered};

/// The metrics of discovery. Without the Kubernetes API there are none.
#[derive(Clone)]
pub(super) struct Discovery {
    failures: IntCounterVec,
    /// Without labels: a vector only because there is no success before the first.
    success: GaugeVec,
}

impl Discovery {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let success = Opts::new(
            "iperf_mesh_discovery_success_timestamp_seconds",
            "When the Kubernetes API last told of the agents' pods, in Unix time; it is silent for minutes when \
             nothing changes",
        );
        Ok(Self {
            failures: counters(
                registry,
                "iperf_mesh_discovery_failures_total",
                "Times that the Kubernetes API did not tell of the agents' pods",
                &["reason"],
            )?,
            success: registered(registry, GaugeVec::new(success, &[]))?,
        })
    }

    pub(super) fn succeeded(&self, at: SystemTime) {
        let at = at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        self.success.with_label_values::<&str>(&[]).set(at);
    }

    pub(super) fn failed(&self, reason: &str) {
        self.failures.with_label_values(&[reason]).inc();
    }
}
