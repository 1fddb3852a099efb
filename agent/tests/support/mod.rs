//! What the tests of the real program on this machine's loopback share: networks that are drawn at
//! random, programs that never outlive their test, and looks at what they leave behind.
//!
//! Nothing here takes anything from the agent's crates: what it knows of the program are its flags,
//! output, log events and HTTP answers. Reading those is shared with the laboratory of the
//! end-to-end tests.

#![allow(dead_code, reason = "each of the tests uses a part of it")]
#![allow(
    clippy::print_stderr,
    reason = "a program's last words, after a failure"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

pub(crate) mod agents;
#[path = "../lab/answers.rs"]
pub(crate) mod answers;
#[path = "../lab/events.rs"]
pub(crate) mod events;
#[path = "../lab/http.rs"]
pub(crate) mod http;
mod network;
pub(crate) mod processes;
mod program;
#[path = "../lab/waiting.rs"]
mod waiting;

pub(crate) use network::Network;
pub(crate) use program::{Ended, Program};
pub(crate) use waiting::wait_until;

use std::time::Duration;

/// For what takes moments on an idle machine, such as the start of a program. Builds may load this
/// one.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// For agents to hear of each other and to complete a sweep of three nodes, or for gossip to
/// believe in a death.
pub(crate) const SWEEP: Duration = Duration::from_secs(60);

/// How long a program may take to end after it was asked to.
pub(crate) const STOP: Duration = Duration::from_secs(5);

/// Waits until `condition` holds, or fails the test with what was awaited and what `seen` shows
/// instead.
#[track_caller]
pub(crate) fn await_that(
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
