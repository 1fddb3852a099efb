//! The harness of the agent's tests and benches: the real program as a child process, alone, on
//! loopback networks, or in network namespaces with shaped links, and checkers of what it did.
//!
//! It depends on no crate of the workspace: what it knows of the program are its flags, output, log
//! events and HTTP answers, as users see them. Linux only.

#![allow(
    clippy::print_stderr,
    reason = "the end of a program's log, after a failure"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

pub mod agents;
pub mod answers;
pub mod checker;
pub mod events;
pub mod http;
pub mod lab;
mod network;
pub mod processes;
pub mod procfs;
mod program;
mod waiting;

pub use network::Network;
pub use program::{Ended, Program, executable};
pub use waiting::wait_until;

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// For what takes moments on an idle machine, such as the start of a program. Builds may load this
/// one.
pub const SOON: Duration = Duration::from_secs(20);

/// For agents to hear of each other and to complete a sweep of three nodes, or for gossip to
/// believe in a death.
pub const SWEEP: Duration = Duration::from_secs(60);

/// How long a program may take to end after it was asked to.
pub const STOP: Duration = Duration::from_secs(5);

/// Waits until `condition` holds, or fails the test with what was awaited and what `seen` shows
/// instead.
#[track_caller]
pub fn await_that(
    what: &str,
    limit: Duration,
    condition: impl FnMut() -> bool,
    seen: impl FnOnce() -> String,
) {
    assert!(
        wait_until(limit, condition),
        "not within {limit:?}: {what}\n{}",
        seen()
    );
}

/// Now, on the clock of the agents' events (`CLOCK_BOOTTIME`), in nanoseconds. All namespaces share
/// it.
pub fn boot_ns() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
    u64::try_from(now.as_nanos()).unwrap()
}
