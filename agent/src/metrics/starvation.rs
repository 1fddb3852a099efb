//! The metrics of the place in which iperf3 runs: its fence, and what this node lacks for a test.

use prometheus::{IntGaugeVec, Registry, register_int_gauge_vec_with_registry};
use strum::{IntoStaticStr, VariantArray};

/// A resource without which no iperf3 can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Resource {
    /// Space, or the right to write, in the directory for temporary files.
    TemporaryDirectory,
    /// File descriptors.
    OpenFiles,
    /// Processes.
    Processes,
    /// Memory.
    Memory,
}

impl Resource {
    /// Returns the name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The gauges of what this node lacks.
#[derive(Clone)]
pub(super) struct Starvation(IntGaugeVec);

impl Starvation {
    pub(super) fn register(registry: &Registry, landlock: &str) -> prometheus::Result<Self> {
        register_int_gauge_vec_with_registry!(
            "iperf_mesh_fence_info",
            "Always 1; the label is the version of Landlock that restricts iperf3, or why none does",
            &["landlock"],
            registry
        )?
        .with_label_values(&[landlock])
        .set(1);
        let starvation = Self(register_int_gauge_vec_with_registry!(
            "iperf_mesh_starved",
            "1 while this node lacks the resource for a test, else 0",
            &["resource"],
            registry
        )?);
        starvation.show(None);
        Ok(starvation)
    }

    /// Sets what this node lacks.
    pub(super) fn show(&self, lack: Option<Resource>) {
        for resource in Resource::VARIANTS {
            let is_lacking = lack == Some(*resource);
            self.0
                .with_label_values(&[resource.as_str()])
                .set(i64::from(is_lacking));
        }
    }
}
