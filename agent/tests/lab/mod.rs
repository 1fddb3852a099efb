//! The laboratory: real agents as separate processes, each in a network namespace of its own with a
//! shaped link, and a checker that believes none of them.
//!
//! Shared by the end-to-end tests (`tests/netns.rs`) and the benches (`benches/net.rs`,
//! `benches/chaos/`). It takes nothing from the agent's crates: what it knows of the agent are the
//! flags, the log events and the HTTP answers that users see. Linux only; it needs the right to
//! make namespaces (see [`privilege`]) and no network of the machine.

#![allow(dead_code, reason = "the tests and the benches each use a part of it")]
#![allow(
    clippy::print_stderr,
    reason = "the agents' last words, after a failure"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a laboratory that cannot be set up has nothing better to do than panic"
)]

pub(crate) mod agents;
pub(crate) mod answers;
pub(crate) mod baseline;
pub(crate) mod checker;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod goodput;
pub(crate) mod hosts;
pub(crate) mod http;
pub(crate) mod matrix;
pub(crate) mod mesh;
pub(crate) mod netns;
pub(crate) mod privilege;
pub(crate) mod procfs;
pub(crate) mod samples;
pub(crate) mod sockdiag;
pub(crate) mod trial;
pub(crate) mod udp;
pub(crate) mod waiting;

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

pub(crate) use waiting::wait_until;

/// The ports that an agent's iperf3 may use when nothing else is said: `--iperf-port` and
/// `--iperf-ports`.
pub(crate) const IPERF_PORTS: std::ops::RangeInclusive<u16> = 5201..=5208;

/// Now, on the clock of the agents' events (`CLOCK_BOOTTIME`), in nanoseconds. All namespaces share
/// it.
pub(crate) fn boot_ns() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
    u64::try_from(now.as_nanos()).unwrap()
}
