//! What can go wrong, and for how long.

use std::time::Duration;

use super::network::NetworkConditions;

/// A fault, from its beginning until it is over: at its end whatever it broke is whole again.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultWindow {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub fault: Fault,
}

/// What goes wrong. Nodes go by their numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Messages are lost, doubled, late or overtaken.
    NetworkConditions(NetworkConditions),
    /// Nothing that the first ones send arrives at the second ones.
    Cut(Vec<usize>, Vec<usize>),
    /// No packet passes between the first ones and the second ones.
    Part(Vec<usize>, Vec<usize>),
    /// Messages that were sent some time ago arrive once more.
    Replay(usize),
    /// The agent is killed, and its iperf3 with it. At the end of the spell it begins a new life.
    Crash(usize),
    /// The machine loses its power, so that nobody is told of the end of anything. At the end of
    /// the spell its agent begins a new life.
    PowerCut(usize),
    /// The agent stops as it should, and says goodbye. At the end of the spell it begins a new
    /// life.
    Leave(usize),
    /// The agent stands still; its iperf3 goes on until the kernel ends it.
    Freeze(usize),
    /// The agent stands still from the moment at which it is to start its next iperf3.
    FreezeAtSpawn(usize),
    /// The machine stands still, with everything on it.
    Suspend(usize),
    /// The agent takes up to so long for everything that it hears.
    Slow(usize, Duration),
    /// The agent's view of the mesh is not brought up to date.
    StaleView(usize),
    /// The agent begins a new life with another wire version, and other tests. At the end of the
    /// spell it begins one with those of the mesh.
    Upgrade(usize, i8),
    /// All iperf3 on the node are killed, once.
    KillIperf3(usize),
    /// Others have taken most of the node's iperf3 ports.
    PortsTaken(usize),
    /// So many of the tests hang until they are killed, and so many more fail at once.
    Tests {
        /// The share that hang.
        hang: f64,
        /// The share that fail after a part of their time.
        fail: f64,
        /// The share of ends of which the other side does not hear.
        unheard: f64,
    },
    /// It takes up to so long until a process that is killed, or past its deadline, is dead.
    SlowDeaths(Duration),
}
