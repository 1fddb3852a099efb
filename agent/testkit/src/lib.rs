//! The harness of the agent's tests and benches. It runs the real program as a child process, on
//! loopback networks or in network namespaces with shaped links, and checks what the program did.
//!
//! The harness depends on no crate of the workspace. It knows the program as users do: by its
//! flags, output, log events and HTTP answers. It runs on Linux only.

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
mod golden;
pub mod http;
pub mod lab;
mod network;
pub mod processes;
mod program;
mod waiting;

pub use golden::{assert_golden, golden_path};
pub use network::Network;
pub use program::{Ended, Program, executable};
pub use waiting::{await_that, wait_until};

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time limit of actions that take moments on an idle machine, such as the start of a program.
/// Other builds may load this machine.
pub const SOON: Duration = Duration::from_secs(20);

/// The time limit for agents to find each other and to complete a sweep of three nodes, and for
/// gossip to detect a dead node.
pub const SWEEP: Duration = Duration::from_secs(60);

/// How long a program may take to end after SIGTERM.
pub const STOP: Duration = Duration::from_secs(5);

/// Returns the present time on the clock of the agents' events (`CLOCK_BOOTTIME`), in nanoseconds.
/// All namespaces share this clock.
pub fn boot_ns() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
    u64::try_from(now.as_nanos()).unwrap()
}
