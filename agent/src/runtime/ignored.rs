//! The messages that had no effect: each is counted, and the log gets one line a minute if they are
//! many. A few are normal, because messages cross and come late.

use std::time::{Duration, Instant};

use iperf3_mesh_core::{Ignored, NodeName};

use crate::metrics::Metrics;
use crate::text::short;

/// The least time between two lines.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// The number of messages since the last line from which on they are worth a line. A healthy node
/// stays far below it in a minute.
const MANY: u64 = 30;

/// Counts and logs ignored messages.
pub(super) struct IgnoredMessages {
    metrics: Metrics,
    count: Count,
}

/// The messages since the last line.
struct Count {
    messages: u64,
    since: Instant,
}

impl IgnoredMessages {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            count: Count::new(),
        }
    }

    /// Records a message of this kind in the name of `from`.
    pub(super) fn record(&mut self, from: &NodeName, kind: &'static str, reason: Ignored) {
        self.metrics.ignored_message(reason);
        tracing::debug!(%from, kind, %reason, "a message had no effect");
        if let Some(count) = self.count.add(Instant::now()) {
            tracing::warn!(
                from = short(from.as_str()),
                kind,
                %reason,
                count,
                "many messages had no effect in the last minute, the last one in the name of this \
                 node: a peer is confused, or an intruder sends messages in other nodes' names. \
                 iperf_mesh_ignored_messages_total counts all of them"
            );
        }
    }
}

impl Count {
    fn new() -> Self {
        Self {
            messages: 0,
            since: Instant::now(),
        }
    }

    /// Counts a message, and returns the number since the last line if it is time for another one.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.messages += 1;
        if now - self.since < LOG_PAUSE {
            return None;
        }
        self.since = now;
        let messages = std::mem::take(&mut self.messages);
        (messages >= MANY).then_some(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_gets_a_line_a_minute_if_messages_are_many() {
        let mut count = Count::new();
        let start = count.since;
        for _ in 1..MANY {
            assert_eq!(count.add(start), None);
        }
        assert_eq!(count.add(start + LOG_PAUSE), Some(MANY));
        // Few messages, however late.
        assert_eq!(count.add(start + 3 * LOG_PAUSE), None);
    }
}
