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
        let slack = test.timeout.saturating_sub(test.length());
        let timeout = if !rules::client_has_deadline() {
            60 * test.timeout
        } else {
            test.timeout
        };
        Self {
            start_by: sent + START_WINDOW.min(slack / 2),
            use_until: sent + timeout,
        }
    }
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
