//! The laboratory: real agents, each in a network namespace of its own with a shaped link, and
//! checkers that trust none of them.
//!
//! `tests/netns.rs` and the benches use it. It needs the right to make namespaces (see
//! [`privilege`]) and does not touch the machine's network.

pub mod baseline;
pub mod evidence;
mod goodput;
pub mod hosts;
pub mod logs;
pub mod matrix;
pub mod mesh;
pub(crate) mod netns;
pub mod privilege;
pub mod samples;
mod sockdiag;
pub mod testing;
pub mod trial;
mod udp;

/// The default ports of an agent's iperf3: `--iperf-port` and `--iperf-ports`.
pub const IPERF_PORTS: std::ops::RangeInclusive<u16> = 5201..=5208;
