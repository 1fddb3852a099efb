//! The simulator: the shipped coordinator of every node, in virtual time.
//!
//! [`run`] simulates a mesh in operation, optionally with failing tests, lost packets or replaced
//! nodes, and measures its sweeps: `iperf3-mesh plan` shows these figures. A [`Storm`] simulates a
//! mesh that suffers random faults; its [`Verdict`] tells whether the guarantees held.
//! `docs/simulation.md` explains how to analyse a storm in which they did not hold.
//!
//! The options, which include the seed, determine a run to the nanosecond. [`kernel`] simulates
//! clocks, machines, messages and iperf3 processes; a [`kernel::Policy`] makes every decision that
//! has more than one possible result. The policy here is `environment`, which decides by chance and
//! contains the control network (`network`), gossip and faults (`fault`). The tests of the core
//! have policies of their own in `iperf3-mesh-core-testkit`.

pub mod defaults;
mod environment;
mod fault;
mod gossip;
pub mod ids;
pub mod kernel;
mod network;
mod result_log;
mod steady_state;
mod storm;

pub use fault::{Fault, FaultWindow, Lie};
pub use kernel::Overlap;
pub use network::NetworkConditions;
pub use result_log::SweepStats;
pub use steady_state::{Options, Report, run};
pub use storm::{Storm, Verdict};
