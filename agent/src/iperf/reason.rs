//! Derives a [`Reason`] from an error message of iperf3.
//!
//! The messages differ between versions, mostly in how they begin. The parts that are matched here
//! are the same from 3.9 to 3.21. Exit codes are not used, because 3.11 to 3.13 exit with 0 after a
//! failed test.

use iperf3_mesh_core::Reason;

/// Messages that mean that the server is serving another client.
const BUSY: &[&str] = &["busy running a test"];

/// Messages that mean that the control or data connection could not be made. 3.9 reports this only
/// as "Bad file descriptor". "unable to read from stream socket" means that the first UDP datagram
/// got no answer.
const CONNECT: &[&str] = &[
    "unable to connect",
    "unable to read from stream socket",
    "unable to send control message: Bad file descriptor",
];

/// Messages that mean that an established connection broke.
const INTERRUPTED: &[&str] = &[
    "control socket has closed",
    "has terminated",
    "unexpectedly closed",
    "idle timeout for receiving",
    "unable to write to stream socket",
    "unable to send control message",
    "unable to receive control message",
    "unable to send results",
    "unable to receive results",
    "test duration expired",
];

/// Returns the reason for a failure of iperf3, given its message. `begun` says whether iperf3 had
/// already made a data connection.
pub(super) fn of(message: &str, begun: bool) -> Reason {
    let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if has(BUSY) {
        Reason::Busy
    } else if has(CONNECT) {
        Reason::Connect
    } else if has(INTERRUPTED) {
        if begun {
            Reason::Interrupted
        } else {
            Reason::Connect
        }
    } else {
        Reason::Iperf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_before_the_test_is_a_failed_connection() {
        let message = "error - unable to send control message: Connection reset by peer";
        assert_eq!(of(message, false), Reason::Connect);
        assert_eq!(of(message, true), Reason::Interrupted);
    }

    #[test]
    fn an_unknown_message_is_a_failure_of_iperf() {
        assert_eq!(of("test authorization failed", false), Reason::Iperf);
        assert_eq!(of("", true), Reason::Iperf);
    }
}
