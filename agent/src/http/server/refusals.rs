//! Refusals: counted by reason, and logged at most once a minute for each reason.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use strum::IntoStaticStr;

use crate::telemetry::{MINUTE, Throttles};

/// The reason why a client got no answer from the routes. It is a label in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Rejection {
    /// There are too many connections of this client, or of too many others.
    TooManyConnections,
    /// An idle connection was closed, because its place was needed.
    Displaced,
    /// The system could not accept the connection, for example for lack of file descriptors.
    AcceptFailed,
    /// The request is not HTTP, or its head exceeds the limits.
    BadHttp,
    /// The body is too large, too slow or incomplete.
    BadBody,
    /// The header `Host` names another host.
    BadHost,
    /// The client did not read its answer in time.
    SlowReader,
    /// The answers that wait for their readers take too much memory.
    Memory,
}

/// Counts and logs refusals. It is cheap to clone.
#[derive(Clone)]
pub(super) struct Refusals {
    count: Arc<dyn Fn(Rejection) + Send + Sync>,
    throttles: Arc<Throttles<Rejection>>,
}

impl Refusals {
    pub(super) fn new(count: impl Fn(Rejection) + Send + Sync + 'static) -> Self {
        Self {
            count: Arc::new(count),
            throttles: Arc::new(Throttles::new(MINUTE)),
        }
    }

    /// Counts a refusal of the client `from`.
    pub(super) fn add(&self, reason: Rejection, from: IpAddr) {
        if let Some(count) = self.counted(reason) {
            let reason: &str = reason.into();
            tracing::info!(reason, %from, count, "a client was refused");
        }
    }

    /// Counts a failure to accept a connection.
    pub(super) fn add_failure(&self, error: &std::io::Error) {
        if let Some(count) = self.counted(Rejection::AcceptFailed) {
            tracing::warn!(%error, count, "cannot accept a connection");
        }
    }

    /// Counts, and returns the number of refusals since the last line if it is time for another.
    fn counted(&self, reason: Rejection) -> Option<u64> {
        (self.count)(reason);
        self.throttles.count(reason, 1, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn refusals_are_all_counted_and_logged_once_a_minute() {
        let total = Arc::new(AtomicU64::new(0));
        let counted = total.clone();
        let refusals = Refusals::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(refusals.counted(Rejection::BadHttp), Some(1));
        for _ in 0..1000 {
            assert_eq!(refusals.counted(Rejection::BadHttp), None);
        }
        assert_eq!(
            refusals.counted(Rejection::BadBody),
            Some(1),
            "another kind"
        );
        assert_eq!(total.load(Ordering::Relaxed), 1002);
    }
}
