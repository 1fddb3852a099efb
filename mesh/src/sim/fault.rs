//! The faults that a storm consists of; `environment/faults.rs` carries them out.
//!
//! Clock errors are not faults: each host has its own clock offset and drift for the whole run
//! (`kernel/clock.rs`).

use std::time::Duration;

use super::network::NetworkConditions;
use crate::wire::Refusal;

/// A fault and the time during which it lasts. When it ends, everything that it broke is repaired.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultWindow {
    /// The time at which the fault begins, counted from the start of the simulation.
    pub at: Duration,
    /// The duration of the fault.
    pub lasts: Duration,
    /// The fault.
    pub fault: Fault,
}

impl FaultWindow {
    /// Returns whether this makes the node hostile.
    pub(super) fn is_of_hostile(&self, node: usize) -> bool {
        matches!(self.fault, Fault::Hostile(hostile, _) if hostile == node)
    }
}

/// One thing that goes wrong. Nodes are given by number.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Messages are lost, duplicated, delayed or reordered.
    NetworkConditions(NetworkConditions),
    /// Nothing that the first nodes send reaches the second nodes.
    Cut(Vec<usize>, Vec<usize>),
    /// No packet passes between the first nodes and the second nodes.
    Part(Vec<usize>, Vec<usize>),
    /// This many old messages arrive once more.
    Replay(usize),
    /// The agent is killed together with its iperf3 processes. It restarts when the fault ends.
    Crash(usize),
    /// The machine loses power, so no other node is told that anything has ended. The agent
    /// restarts when the fault ends.
    PowerCut(usize),
    /// The agent stops cleanly and says goodbye. It restarts when the fault ends.
    Leave(usize),
    /// The agent stops running. Its iperf3 processes continue until the kernel ends them.
    Freeze(usize),
    /// The agent stops running at the moment at which it is about to start its next iperf3.
    FreezeAtSpawn(usize),
    /// The machine and everything on it stop running.
    Suspend(usize),
    /// The agent takes up to this long to handle what it receives.
    Slow(usize, Duration),
    /// The agent's view of the mesh does not change.
    StaleView(usize),
    /// The agent restarts with another wire version and other tests. When the fault ends, it
    /// restarts with those of the mesh.
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
    /// A process that is killed or past its deadline takes up to this long to die.
    SlowDeaths(Duration),
    /// The key file of the agent has only these of the keys of the mesh, 2 and 1, or another one.
    /// Only a sealed mesh has keys.
    Keys(usize, Vec<u8>),
    /// The agent is hostile. When the fault ends, it restarts as an honest one.
    Hostile(usize, Lie),
}

/// A habit of a hostile agent, which otherwise behaves like an honest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Its sweep number is the highest possible one.
    HighestSweep,
    /// Its sweep number rises every second.
    RisingSweep,
    /// Its sweep number falls every second.
    FallingSweep,
    /// Its sweep number is another one every second, also from one message to the next.
    ErraticSweep,
    /// It asks every second for a meeting of the longest and heaviest tests, and never ends one.
    LongPlans,
    /// It claims the address of this node.
    Address(usize),
    /// It sends messages in the names of others, about meetings that it guesses.
    Forgeries,
    /// It never starts a client.
    NoClients,
    /// It refuses every request, predicts each time that it will be free after this time, and asks
    /// nobody. A node whose slot is stuck does the same.
    Refuses(Refusal, Option<Duration>),
}
