//! The fault plan: which faults, where, when and for how long. A seed determines it, so that a run
//! can be repeated as far as real processes permit. [`super::injector`] executes it.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGKILL to an agent, which is started again after a while.
    Kill,
    /// SIGTERM to an agent, which is started again at once.
    Restart,
    /// SIGSTOP to an agent for longer than a lease; its iperf3 keeps running.
    Freeze,
    /// SIGSTOP to an agent in a test and to its iperf3 for longer than a lease.
    FreezeBoth,
    /// SIGKILL to an iperf3.
    KillTest,
    /// The link of a host goes down.
    Unplug,
    /// Packets from one host to another are dropped, but not the reverse direction.
    Block,
}

/// How many faults of each kind a shuffled batch has. Restarts are planned apart: every agent gets
/// one per run, one agent after the other.
const BATCH: [(Kind, usize); 6] = [
    // Rare, since the node then spends a minute in its quiet time and can do nothing wrong.
    (Kind::Kill, 1),
    (Kind::Freeze, 3),
    (Kind::FreezeBoth, 3),
    (Kind::KillTest, 4),
    (Kind::Unplug, 2),
    (Kind::Block, 3),
];

/// The time between two faults, milliseconds: one or two of six nodes are faulty most of the time.
const GAP_MS: std::ops::RangeInclusive<u64> = 3_000..=8_000;

/// The time between the restarts of two agents.
const RESTART_STEP: Duration = Duration::from_secs(4);

/// The time between two faults of one node.
const RESPITE: Duration = Duration::from_secs(2);

/// The longest time that a fault waits for its node to run the iperf3 that it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// The quiet time of a restarted agent: a constant of the protocol.
pub(crate) const QUIET_TIME: Duration = Duration::from_secs(61);

/// A planned fault.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The time since the start of the run.
    pub(crate) at: Duration,
    /// Its duration.
    pub(crate) lasts: Duration,
    /// Its kind.
    pub(crate) kind: Kind,
    /// The faulty node.
    pub(crate) node: String,
    /// The host whose packets to `node` are dropped by [`Kind::Block`].
    pub(crate) peer: String,
}

impl Fault {
    fn needs_test(&self) -> bool {
        matches!(self.kind, Kind::FreezeBoth | Kind::KillTest)
    }

    /// Its latest end.
    fn end(&self) -> Duration {
        let patience = if self.needs_test() {
            PATIENCE
        } else {
            Duration::ZERO
        };
        self.at + self.lasts + patience
    }

    /// The earliest time at which the node is in the state that `next` needs.
    fn ready_for(&self, next: &Self) -> Duration {
        let makes_quiet = matches!(self.kind, Kind::Kill | Kind::Restart);
        let wait = if makes_quiet && next.needs_test() {
            QUIET_TIME
        } else {
            RESPITE
        };
        self.end() + wait
    }

    fn collides(&self, other: &Self) -> bool {
        self.node == other.node
            && self.at < other.ready_for(self)
            && other.at < self.ready_for(other)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill -9",
            Self::Restart => "restart",
            Self::Freeze => "freeze the agent",
            Self::FreezeBoth => "freeze agent and iperf3",
            Self::KillTest => "kill iperf3",
            Self::Unplug => "link down",
            Self::Block => "one-way block",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        let (node, kind) = (&self.node, self.kind);
        write!(f, "at {at:5.1} s for {lasts:4.1} s  {node}  {kind}")?;
        if kind == Kind::Block {
            write!(f, " from {}", self.peer)
        } else {
            Ok(())
        }
    }
}

/// The faults of a run of that length, in the order of time. All of them end within it.
pub(crate) fn plan(seed: u64, nodes: &[String], length: Duration) -> Vec<Fault> {
    let mut planner = Planner {
        rng: StdRng::seed_from_u64(seed),
        nodes,
        planned: Vec::new(),
    };
    planner.restart_all(length);
    planner.mix(length);
    planner.planned.sort_by_key(|fault| fault.at);
    planner.planned
}

struct Planner<'a> {
    rng: StdRng,
    nodes: &'a [String],
    planned: Vec<Fault>,
}

impl Planner<'_> {
    fn restart_all(&mut self, length: Duration) {
        let mut at = length.mul_f64(self.rng.random_range(0.3..0.5));
        for node in self.nodes {
            self.planned.push(Fault {
                at,
                lasts: Duration::ZERO,
                kind: Kind::Restart,
                node: node.clone(),
                peer: String::new(),
            });
            at += RESTART_STEP;
        }
    }

    fn mix(&mut self, length: Duration) {
        let mut batch = Vec::new();
        let mut at = self.gap();
        while at < length {
            if batch.is_empty() {
                batch = self.shuffled_batch();
            }
            let kind = batch.pop().expect("it was filled if it was empty");
            let lasts = self.lasts(kind);
            let fault = self.placed(kind, at, lasts, length);
            self.planned.extend(fault);
            at += self.gap();
        }
    }

    fn shuffled_batch(&mut self) -> Vec<Kind> {
        let mut batch: Vec<Kind> = BATCH
            .iter()
            .flat_map(|&(kind, times)| vec![kind; times])
            .collect();
        batch.shuffle(&mut self.rng);
        batch
    }

    /// The fault at a node that has no other one then; `None` if there is no such node.
    fn placed(
        &mut self,
        kind: Kind,
        at: Duration,
        lasts: Duration,
        length: Duration,
    ) -> Option<Fault> {
        let mut nodes = self.nodes.to_vec();
        nodes.shuffle(&mut self.rng);
        let peers = nodes.iter().cycle().skip(1);
        let collides = |fault: &Fault| self.planned.iter().any(|other| other.collides(fault));
        nodes
            .iter()
            .zip(peers)
            .map(|(node, peer)| Fault {
                at,
                lasts,
                kind,
                node: node.clone(),
                peer: peer.clone(),
            })
            .find(|fault| fault.end() <= length && !collides(fault))
    }

    fn gap(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(GAP_MS))
    }

    fn lasts(&mut self, kind: Kind) -> Duration {
        let seconds = match kind {
            Kind::Restart | Kind::KillTest => return Duration::ZERO,
            Kind::Kill => 1.0..10.0,
            // Longer than the lease of a test, which is five seconds here.
            Kind::Freeze | Kind::FreezeBoth => 6.0..14.0,
            Kind::Unplug => 2.0..12.0,
            Kind::Block => 4.0..15.0,
        };
        Duration::from_secs_f64(self.rng.random_range(seconds))
    }
}
