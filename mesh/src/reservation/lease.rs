//! The instants of a reservation.
//!
//! Each test has a lease of its own. The client's node counts it from the instant at which it
//! *sent* its request, the server's node from the instant at which it *received* that request.
//! Sending is never later than receiving. However long the request took, the client's iperf3 is
//! therefore dead before the server's node is free again.

use std::time::Duration;

use crate::protocol::{MARGIN, START_WINDOW};
use crate::rules;
use crate::{TestSpec, Time};

/// The two instants at the client's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientLease {
    /// The instant by which the client must start; it must not start later.
    pub(crate) start_by: Time,
    /// The instant by which the client's iperf3 is dead.
    pub(crate) use_until: Time,
}

impl ClientLease {
    /// Returns the lease of a request sent at `sent`.
    ///
    /// The slack is the difference between the test's timeout and its length. Half of it is for the
    /// time until the start, half for the set-up inside iperf3.
    pub(crate) fn from_request(sent: Time, test: &TestSpec) -> Self {
        let timeout = if !rules::client_has_deadline() {
            60 * test.timeout
        } else {
            test.timeout
        };
        Self {
            start_by: sent + start_window(test),
            use_until: sent + timeout,
        }
    }

    /// Returns the lease of the same request for the `agreed` test instead of the one `asked` for.
    pub(crate) fn shortened(self, asked: &TestSpec, agreed: &TestSpec) -> Self {
        let earlier = |asked: Duration, agreed: Duration| asked.saturating_sub(agreed);
        Self {
            start_by: self.start_by - earlier(start_window(asked), start_window(agreed)),
            use_until: self.use_until - earlier(asked.timeout, agreed.timeout),
        }
    }
}

fn start_window(test: &TestSpec) -> Duration {
    let slack = test.timeout.saturating_sub(test.length());
    START_WINDOW.min(slack / 2)
}

/// The two instants at the server's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerLease {
    /// The instant by which the server's iperf3 is dead.
    pub(crate) use_until: Time,
    /// The instant by which the peer's client is dead, and the slot is free again.
    pub(crate) hold_until: Time,
}

impl ServerLease {
    /// Returns the lease of a request received at `received`.
    pub(crate) fn from_request(received: Time, test: &TestSpec) -> Self {
        let use_until = received + test.timeout;
        let margin = if !rules::hold_outlasts_use() {
            Duration::ZERO
        } else {
            MARGIN
        };
        Self {
            use_until,
            hold_until: use_until + margin,
        }
    }
}
