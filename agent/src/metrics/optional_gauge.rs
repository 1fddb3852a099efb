//! A gauge without labels that is absent until it gets its first value.

use prometheus::{GaugeVec, Registry, register_gauge_vec_with_registry};

/// A gauge that is absent until it is set, because a zero would look like a measured value.
///
/// It contains a vector without labels, because a plain gauge of the library always has a value.
#[derive(Clone)]
pub(super) struct OptionalGauge(GaugeVec);

impl OptionalGauge {
    pub(super) fn register(
        name: &str,
        help: &str,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        register_gauge_vec_with_registry!(name, help, &[], registry).map(Self)
    }

    pub(super) fn set(&self, value: f64) {
        self.0.with_label_values::<&str>(&[]).set(value);
    }
}
