//! The strangers at this node's iperf3 servers: each is counted, and the log gets one line a
//! minute.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iperf3_mesh_core::NodeName;

use crate::metrics::Metrics;
use crate::text::short;

/// The pause between two lines.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// The greatest number of strangers that one server counts. Its own count comes out of iperf3.
const COUNT_MAX: u64 = 1 << 32;

/// Counts and logs strangers.
pub(super) struct Strangers {
    metrics: Metrics,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    last: Option<Instant>,
    unlogged: u64,
}

impl Strangers {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            log: Mutex::default(),
        })
    }

    /// Records the strangers at the server of one test, for which only `peer` was expected.
    pub(super) fn record(&self, count: u64, last: IpAddr, peer: &NodeName) {
        let count = count.min(COUNT_MAX);
        self.metrics.unexpected_clients(count);
        if let Some(count) = self.due(count, Instant::now()) {
            tracing::warn!(
                count,
                %last,
                peer = short(peer.as_str()),
                "turned away connections and datagrams to the iperf3 port of this node that did \
                 not come from the peer of the meeting"
            );
        }
    }

    /// Returns the number for a line that is due now.
    fn due(&self, count: u64, now: Instant) -> Option<u64> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.unlogged = log.unlogged.saturating_add(count);
        if log.last.is_some_and(|last| now - last < LOG_PAUSE) {
            return None;
        }
        log.last = Some(now);
        Some(std::mem::take(&mut log.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use iperf3_mesh_core::Protocol;

    use super::*;
    use crate::config::FailedCells;
    use crate::metrics::Settings;

    #[test]
    fn log_gets_a_line_a_minute_with_all_strangers_since() {
        let metrics = Metrics::new(Settings {
            source: NodeName::new("a").expect("a name"),
            protocols: vec![Protocol::Tcp],
            failed_cells: FailedCells::Zero,
            pause: Duration::from_secs(1),
            iperf3_version: String::new(),
            landlock: String::new(),
        });
        let strangers = Strangers::new(metrics.expect("metrics"));
        let start = Instant::now();
        assert_eq!(strangers.due(3, start), Some(3));
        assert_eq!(strangers.due(4, start + LOG_PAUSE / 2), None);
        assert_eq!(strangers.due(5, start + LOG_PAUSE), Some(9));
    }
}
