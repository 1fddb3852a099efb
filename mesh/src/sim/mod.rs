//! The simulator: the shipped coordinator of every node, in virtual time.
//!
//! Two ways to use it. [`run`] lets a mesh measure itself, be it with failing tests, lost packets
//! or nodes that come and go, and tells how long it takes: that is what `iperf3-mesh plan` asks. A
//! [`Storm`] is a mesh in which everything breaks that can; its [`Verdict`] tells whether the
//! guarantees held. `docs/simulation.md` tells how to read one that did not.
//!
//! A run is decided by its options alone, the seed among them, so that it can be repeated to the
//! nanosecond. What is simulated is what is around the coordinators: their machines (`host`,
//! `clock`), the iperf3 processes (`iperf`), the control network (`network`), gossip, and what can
//! go wrong with each (`fault`). The `world` brings them together; `exclusion` watches which iperf3
//! really touch which node, `result_log` what came of the tests.

mod clock;
mod exclusion_checker;
mod fault;
mod gossip;
mod host;
mod iperf;
mod network;
mod queue;
mod result_log;
mod steady_state;
mod storm;
mod trace;
mod world;

pub use exclusion_checker::Overlap;
pub use fault::{Fault, FaultWindow};
pub use network::NetworkConditions;
pub use result_log::SweepStats;
pub use steady_state::{Options, Report, run};
pub use storm::{Storm, Verdict};
