//! Metrics that show whether the Kubernetes API answers. A running mesh keeps working without the
//! API, so its failure would not be noticed otherwise.

use std::time::SystemTime;

use prometheus::{IntCounterVec, Registry, register_int_counter_vec_with_registry};

use super::optional_gauge::OptionalGauge;
use super::unix_seconds;

/// The metrics of discovery. They have no values if the Kubernetes API is not used.
#[derive(Clone)]
pub(super) struct Discovery {
    failures: IntCounterVec,
    success: OptionalGauge,
}

impl Discovery {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            failures: register_int_counter_vec_with_registry!(
                "iperf_mesh_discovery_failures_total",
                "Failed requests to the Kubernetes API for the agents' pods, by reason",
                &["reason"],
                registry
            )?,
            success: OptionalGauge::register(
                "iperf_mesh_discovery_success_timestamp_seconds",
                "Unix time of the last successful response from the Kubernetes API; can be several \
                 minutes old when no pods change",
                registry,
            )?,
        })
    }

    pub(super) fn succeeded(&self, at: SystemTime) {
        self.success.set(unix_seconds(at));
    }

    pub(super) fn failed(&self, reason: &str) {
        self.failures.with_label_values(&[reason]).inc();
    }
}
