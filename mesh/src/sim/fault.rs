//! The faults that a storm consists of; `environment/faults.rs` carries them out.
//!
//! Clocks are no fault here: each host has its own offset and drift for the whole run
//! (`kernel/clock.rs`).

use std::time::Duration;

use super::network::NetworkConditions;

/// A fault and the time during which it lasts. At its end, everything that it broke is repaired.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultWindow {
    /// When it begins, counted from the start of the simulation.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// The fault.
    pub fault: Fault,
}

/// One thing that goes wrong. Nodes are given by number.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Messages are lost, duplicated, delayed or reordered.
    NetworkConditions(NetworkConditions),
    /// Nothing that the first nodes send reaches the second ones.
    Cut(Vec<usize>, Vec<usize>),
    /// No packet passes between the first nodes and the second ones.
    Part(Vec<usize>, Vec<usize>),
    /// So many old messages arrive once more.
    Replay(usize),
    /// The agent is killed, and its iperf3 processes with it. It restarts at the end.
    Crash(usize),
    /// The machine loses its power, so that no other node is told of the end of anything. Its agent
    /// restarts at the end.
    PowerCut(usize),
    /// The agent stops cleanly and says goodbye. It restarts at the end.
    Leave(usize),
    /// The agent stands still. Its iperf3 processes run on until the kernel ends them.
    Freeze(usize),
    /// The agent stands still from the moment at which it is about to start its next iperf3.
    FreezeAtSpawn(usize),
    /// The machine stands still, with everything on it.
    Suspend(usize),
    /// The agent takes up to so long to handle what it receives.
    Slow(usize, Duration),
    /// The agent's view of the mesh does not change.
    StaleView(usize),
    /// The agent restarts with another wire version and other tests. At the end it restarts with
    /// those of the mesh.
    Upgrade(usize, i8),
    /// All iperf3 processes on the node are killed, once.
    KillIperf3(usize),
    /// Other programs take most of the node's iperf3 ports.
    PortsTaken(usize),
    /// Some tests hang or fail.
    Tests {
        /// The share of tests that hang until they are killed.
        hang: f64,
        /// The share of tests that fail at some point.
        fail: f64,
        /// The share of process deaths that the other end does not notice.
        unnoticed: f64,
    },
    /// A process that is killed or past its deadline takes up to so long to die.
    SlowDeaths(Duration),
}
