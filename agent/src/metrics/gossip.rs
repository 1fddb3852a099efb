//! How the gossip layer does: near its ceiling, a mesh can take no more nodes.

use iperf3_mesh_core::gossip::GossipStatus;
use prometheus::{IntCounter, IntGauge, Registry};

use super::{counter, int_gauge};

/// The metrics of gossip.
#[derive(Clone)]
pub(super) struct Gossip {
    digest: IntGauge,
    digest_max: IntGauge,
    restarts: IntCounter,
    refused: IntCounter,
}

impl Gossip {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            digest: int_gauge(
                registry,
                "iperf_mesh_gossip_digest_bytes",
                "Size of the list of members that each gossip message carries",
            )?,
            digest_max: int_gauge(
                registry,
                "iperf_mesh_gossip_digest_max_bytes",
                "Size of that list from which on newcomers are refused",
            )?,
            restarts: counter(
                registry,
                "iperf_mesh_gossip_restarts_total",
                "Times that the gossip of this node died and was started again",
            )?,
            refused: counter(
                registry,
                "iperf_mesh_gossip_refused_total",
                "Datagrams on the gossip port that were no gossip of this mesh, too large, or of newcomers \
                 for whom there is no room",
            )?,
        })
    }

    pub(super) fn show(&self, status: &GossipStatus) {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.digest.set(bytes(status.digest_bytes));
        self.digest_max.set(bytes(status.digest_bytes_max));
        raise(&self.restarts, status.restarts);
        raise(
            &self.refused,
            status.rejected + status.oversize + status.refused,
        );
    }
}

/// The gossip layer counts by itself, from its start on, as the metric does.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
