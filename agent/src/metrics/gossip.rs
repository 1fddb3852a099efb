//! The health of the gossip layer. When gossip is close to its limit, the mesh cannot take more
//! nodes.

use iperf3_mesh_core::gossip::{GossipStatus, Rejection, SendError};
use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Registry, register_int_counter_vec_with_registry,
    register_int_counter_with_registry, register_int_gauge_with_registry,
};

/// The metrics of gossip.
#[derive(Clone)]
pub(super) struct Gossip {
    digest: IntGauge,
    digest_max: IntGauge,
    restarts: IntCounter,
    refused: IntCounterVec,
    identities: IntGauge,
    identities_max: IntGauge,
    fragmented: IntCounter,
    send_errors: IntCounterVec,
    unheard: IntGauge,
    unsealed: IntGauge,
}

impl Gossip {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            digest: register_int_gauge_with_registry!(
                "iperf_mesh_gossip_digest_bytes",
                "Size of the member list (digest) that each gossip message carries",
                registry
            )?,
            digest_max: register_int_gauge_with_registry!(
                "iperf_mesh_gossip_digest_max_bytes",
                "Digest size from which on new nodes are refused",
                registry
            )?,
            restarts: register_int_counter_with_registry!(
                "iperf_mesh_gossip_restarts_total",
                "Number of times the gossip layer of this node failed and was restarted",
                registry
            )?,
            refused: register_int_counter_vec_with_registry!(
                "iperf_mesh_gossip_refused_total",
                "Datagrams on the gossip port that were refused, as a whole or in part",
                &["reason"],
                registry
            )?,
            identities: register_int_gauge_with_registry!(
                "iperf_mesh_gossip_identities",
                "Runs of agents that gossip remembers: those of the other nodes, and some minutes \
                 of their former ones",
                registry
            )?,
            identities_max: register_int_gauge_with_registry!(
                "iperf_mesh_gossip_identities_max",
                "Number of runs of agents from which on new nodes are refused",
                registry
            )?,
            fragmented: register_int_counter_with_registry!(
                "iperf_mesh_gossip_fragmented_total",
                "Datagrams of gossip that were sent as IP fragments, because they were larger than \
                 the MTU",
                registry
            )?,
            send_errors: register_int_counter_vec_with_registry!(
                "iperf_mesh_gossip_send_errors_total",
                "Datagrams of gossip that the kernel of this node did not send",
                &["error"],
                registry
            )?,
            unheard: register_int_gauge_with_registry!(
                "iperf_mesh_gossip_unheard_peers",
                "Peers that speak on the control port, but that gossip does not hear",
                registry
            )?,
            unsealed: register_int_gauge_with_registry!(
                "iperf_mesh_gossip_unsealed_peers",
                "Peers to which this node does not seal its gossip",
                registry
            )?,
        })
    }

    pub(super) fn show_unheard(&self, peers: usize) {
        self.unheard.set(i64::try_from(peers).unwrap_or(i64::MAX));
    }

    pub(super) fn show(&self, status: &GossipStatus) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.digest.set(number(status.digest_bytes));
        self.digest_max.set(number(status.digest_bytes_max));
        raise(&self.restarts, status.restarts);
        self.identities.set(number(status.identities));
        self.unsealed.set(number(status.unsealed_peers));
        self.identities_max.set(number(status.identities_max));
        for (reason, total) in Rejection::ALL.iter().zip(status.refused) {
            let counter = self.refused.with_label_values(&[reason.as_str()]);
            raise(&counter, total);
        }
        raise(&self.fragmented, status.fragmented);
        for (kind, total) in SendError::ALL.iter().zip(status.send_errors) {
            let counter = self.send_errors.with_label_values(&[kind.as_str()]);
            raise(&counter, total);
        }
    }
}

/// Raises `counter` to `total`. The total is counted elsewhere, from the same time on.
pub(super) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
