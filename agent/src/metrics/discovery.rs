//! Whether the Kubernetes API tells of the agents' pods. A mesh that runs hides it when it does not.

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

use super::{counters, registered};
use crate::clock::unix_now_ns;

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

    pub(super) fn succeeded(&self) {
        let seconds = unix_now_ns() / 1_000_000_000;
        self.success.with_label_values::<&str>(&[]).set(seconds as f64);
    }

    pub(super) fn failed(&self, reason: &str) {
        self.failures.with_label_values(&[reason]).inc();
    }
}
