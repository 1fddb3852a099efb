//! Metrics of the own address of this node.

use prometheus::{
    IntCounter, IntGauge, Registry, register_int_counter_with_registry,
    register_int_gauge_with_registry,
};

/// The metrics of the own address.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) unreachable: IntGauge,
    pub(super) changes: IntCounter,
}

impl Address {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            unreachable: register_int_gauge_with_registry!(
                "iperf_mesh_address_unreachable",
                "1 while this node has lost its address, or has only loopback, else 0",
                registry
            )?,
            changes: register_int_counter_with_registry!(
                "iperf_mesh_address_changes_total",
                "Number of times this node moved to another address",
                registry
            )?,
        })
    }
}
