//! From iperf3's own words to a [`Reason`].
//!
//! The words changed from version to version and keep growing at the front; what is matched here
//! held from 3.9 to 3.21. It only reads words: exit codes say nothing (3.11 to 3.13 end a failed
//! test with 0).

use iperf3_mesh_core::Reason;

/// Another client is being served.
const BUSY: &[&str] = &["busy running a test"];

/// The connection for control or data was not made. "Bad file descriptor" is all that 3.9 says of
/// it. "unable to read from stream socket" is UDP's first datagram left without an answer.
const CONNECT: &[&str] = &[
    "unable to connect",
    "unable to read from stream socket",
    "unable to send control message: Bad file descriptor",
];

/// The connection was made and broke.
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

/// Why iperf3 failed, by what it said of it. `begun`: it had a data connection before.
pub(super) fn of(words: &str, begun: bool) -> Reason {
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    if says(BUSY) {
        Reason::Busy
    } else if says(CONNECT) {
        Reason::Connect
    } else if says(INTERRUPTED) {
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
    fn what_breaks_before_the_test_has_begun_is_a_failed_connection() {
        let words = "error - unable to send control message: Connection reset by peer";
        assert_eq!(of(words, false), Reason::Connect);
        assert_eq!(of(words, true), Reason::Interrupted);
    }

    #[test]
    fn unknown_words_are_iperfs_own_failure() {
        assert_eq!(of("test authorization failed", false), Reason::Iperf);
        assert_eq!(of("", true), Reason::Iperf);
    }
}
