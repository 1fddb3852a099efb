//! Derives a [`Reason`] from an error message of iperf3.
//!
//! The messages differ between versions, mostly in how they begin. The parts that are matched here
//! are the same from 3.9 to 3.21. Exit codes are not used, because 3.11 to 3.13 exit with 0 after a
//! failed test.

use iperf3_mesh_core::Reason;
use nix::sys::signal::Signal;

/// Messages that mean that this end lacked something that the test needs. The texts of errno stand
/// at the end of a message; the others name what failed, because iperf3 often adds an errno that
/// has nothing to do with it.
const RESOURCES: &[&str] = &[
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "File too large",
    // The file behind a stream's buffer cannot be filled.
    "Bad address",
    "Too many open files",
    // This node has no free local port, or has lost its address.
    "Address already in use",
    "Cannot assign requested address",
    "Cannot allocate memory",
    "No buffer space available",
    "failed to read /dev/urandom",
    "unable to create a new stream",
    "unable to create a new test",
    "unable to create new timer",
    "unable to create thread",
    "socket buffer size",
    "unable to set socket window size",
];

/// Messages that mean that the server is serving another client.
const BUSY: &[&str] = &["busy running a test"];

/// Messages that mean that the control or data connection could not be made. 3.9 reports this only
/// as "Bad file descriptor". "unable to read from stream socket" means that the first UDP datagram
/// got no answer.
const CONNECT: &[&str] = &[
    "unable to connect",
    "unable to read from stream socket",
    "unable to send control message: Bad file descriptor",
    "unable to send cookie to server",
    "unable to send parameters to server",
    "unable to receive cookie at server",
    "unable to receive parameters from client",
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
    "unable to read from the control socket",
    "unable to write to the control socket",
    "stream socket has closed",
    "select failed",
    "Transport endpoint is not connected",
    "Connection reset by peer",
    "Broken pipe",
];

/// Returns the reason for a failure of iperf3, given its message. `begun` says whether iperf3 had
/// already made a data connection.
pub(super) fn of(message: &str, begun: bool) -> Reason {
    let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if has(BUSY) {
        Reason::Busy
    } else if has(RESOURCES) {
        Reason::Resources
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

/// Returns the reason for the end of an iperf3 that this signal has ended, and a message.
pub(super) fn of_signal(number: i32) -> (Reason, String) {
    let name = Signal::try_from(number).map_or_else(|_| number.to_string(), |it| it.to_string());
    match number {
        libc::SIGBUS => (
            Reason::Resources,
            format!("ended by {name}: a file in its temporary directory could not be filled"),
        ),
        libc::SIGKILL => (
            Reason::Iperf,
            format!("ended by {name} of another program, or of the kernel for lack of memory"),
        ),
        _ => (Reason::Iperf, format!("ended by {name}")),
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
    fn a_lack_of_something_is_told_from_a_broken_connection() {
        for message in [
            "error - unable to connect to server: Address already in use",
            "error - failed to read /dev/urandom: Bad address",
            "error - unable to create a new stream: Bad file descriptor",
            "error - unable to accept stream connection: Too many open files",
            "error - socket buffer size not set correctly",
            "error - unable to create thread: Resource temporarily unavailable",
        ] {
            assert_eq!(of(message, true), Reason::Resources, "{message}");
        }
        let udp = "error - unable to read from stream socket: Resource temporarily unavailable";
        assert_eq!(of(udp, false), Reason::Connect);
    }

    #[test]
    fn what_the_end_of_the_other_side_causes_is_a_symptom() {
        for message in [
            "the client has unexpectedly closed the connection",
            "error - unable to receive parameters from client: ",
            "error - unable to receive cookie at server: Bad file descriptor",
            "error - select failed: Bad file descriptor",
            "error - unable to initialize stream: Transport endpoint is not connected",
        ] {
            let reason = of(message, true);
            assert!(
                matches!(reason, Reason::Connect | Reason::Interrupted),
                "{message}: {reason}"
            );
        }
    }

    #[test]
    fn a_signal_is_named_and_told_from_a_full_directory() {
        assert_eq!(of_signal(libc::SIGBUS).0, Reason::Resources);
        let (reason, message) = of_signal(libc::SIGKILL);
        assert_eq!(reason, Reason::Iperf);
        assert!(message.starts_with("ended by SIGKILL"), "{message}");
        assert_eq!(of_signal(64).1, "ended by 64");
    }

    #[test]
    fn an_unknown_message_is_a_failure_of_iperf() {
        assert_eq!(of("test authorization failed", false), Reason::Iperf);
        assert_eq!(of("", true), Reason::Iperf);
    }
}
