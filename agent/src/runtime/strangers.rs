//! The strangers at this node's iperf3 servers: each is counted, and the log gets one line a
//! minute.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use iperf3_mesh_core::NodeName;

use crate::metrics::Metrics;
use crate::telemetry::{MINUTE, Throttles};
use crate::text::short;

/// The greatest number of strangers that one server counts. Its own count comes out of iperf3.
const COUNT_MAX: u64 = 1 << 32;

/// Counts and logs strangers.
pub(super) struct Strangers {
    metrics: Metrics,
    throttle: Throttles<()>,
}

impl Strangers {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            throttle: Throttles::new(MINUTE),
        })
    }

    /// Records the strangers at the server of one test, for which only `peer` was expected.
    pub(super) fn record(&self, count: u64, last: IpAddr, peer: &NodeName) {
        let count = count.min(COUNT_MAX);
        self.metrics.unexpected_clients(count);
        if let Some(count) = self.throttle.count((), count, Instant::now()) {
            tracing::warn!(
                count,
                %last,
                peer = short(peer.as_str()),
                "turned away connections and datagrams to the iperf3 port of this node that did \
                 not come from the peer of the meeting"
            );
        }
    }
}
