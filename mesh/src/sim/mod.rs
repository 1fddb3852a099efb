//! The simulator: the shipped coordinator of every node, in virtual time.
//!
//! A run is decided by its [`Options`] alone, the seed among them, so that it can be repeated to the nanosecond.
//! What is simulated is what is around the coordinator: the control network (`network`), the iperf3 processes
//! (`iperf`) and the gossip. The `checker` watches which iperf3 really run, not what the nodes believe.

mod checker;
mod iperf;
mod network;
mod queue;
mod world;

use std::time::Duration;

pub use checker::SweepStats;

use crate::TestSpec;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes.
    pub nodes: usize,
    /// The tests of a meeting, as in [`crate::Settings`].
    pub tests: Vec<TestSpec>,
    /// The pause after a sweep.
    pub interval: Duration,
    /// How many sweeps.
    pub sweeps: u64,
    /// The one-way delay of a message; each is delayed by up to a tenth more.
    pub latency: Duration,
    /// The share of messages that are lost.
    pub loss: f64,
    /// What a test costs beyond its length: processes, connections, the exchange of results.
    pub overhead: Duration,
    /// The share of tests that hang until they are killed at their timeout.
    pub fail: f64,
    /// Two runs with the same options and seed are the same.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The sweeps that were completed, in order.
    pub sweeps: Vec<SweepStats>,
    /// How often a node was in two meetings at once. Must be 0.
    pub overlaps: u64,
    /// Whether the run was broken off since a sweep did not end.
    pub stuck: bool,
    /// Control messages that were sent.
    pub messages: u64,
    /// The virtual time of the whole run.
    pub elapsed: Duration,
}

/// Runs the simulation to its end.
pub fn run(options: &Options) -> Report {
    world::World::new(options).run()
}
