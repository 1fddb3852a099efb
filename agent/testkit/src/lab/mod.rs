//! The laboratory: real agents, each in a network namespace of its own with a shaped link, and
//! judges that believe none of them.
//!
//! Used by `tests/netns.rs` and the benches (`benches/net.rs`, `benches/idle.rs`,
//! `benches/chaos/`). It needs the right to make namespaces (see [`privilege`]) and no network of
//! the machine.

pub mod agents;
pub mod baseline;
pub mod evidence;
pub mod goodput;
pub mod hosts;
pub mod matrix;
pub mod mesh;
pub mod netns;
pub mod privilege;
pub mod samples;
pub mod sockdiag;
pub mod trial;
pub mod udp;

/// The ports that an agent's iperf3 may use by default: `--iperf-port` and `--iperf-ports`.
pub const IPERF_PORTS: std::ops::RangeInclusive<u16> = 5201..=5208;
