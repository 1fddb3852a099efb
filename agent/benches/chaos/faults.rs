//! What is broken, where, when and for how long: dealt by a seed, so that a run can be repeated as
//! far as real processes permit. Breaks nothing itself (see [`super::injector`]).

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// A way to break something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `kill -9` of an agent; it is started again after a while.
    Kill,
    /// SIGTERM to an agent; it is started again at once.
    Restart,
    /// An agent is stopped in its tracks for longer than a lease; its iperf3 goes on.
    Freeze,
    /// An agent in a test and its iperf3 are stopped for longer than a lease.
    FreezeBoth,
    /// An iperf3 is killed.
    KillTest,
    /// The cable of a host is cut.
    Unplug,
    /// What one host sends to another is dropped, not what comes back.
    Deafen,
}

/// How often each comes up. A restart is no card: all agents get theirs one after the other, once
/// in a run.
const DECK: [(Kind, usize); 6] = [
    // Rarely: it costs the node a quiet minute, in which it can do nothing wrong.
    (Kind::Kill, 1),
    (Kind::Freeze, 3),
    (Kind::FreezeBoth, 3),
    (Kind::KillTest, 4),
    (Kind::Unplug, 2),
    (Kind::Deafen, 3),
];

/// From one fault to the next, milliseconds: a node or two out of six are ill at most times.
const GAP_MS: std::ops::RangeInclusive<u64> = 3_000..=8_000;

/// From one agent's restart to the next one's.
const RESTART_STEP: Duration = Duration::from_secs(4);

/// A node has this long between two of its faults.
const RESPITE: Duration = Duration::from_secs(2);

/// A fault that needs an iperf3 waits so long at most for its node to run one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// How long a restarted agent stays out of all meetings: a constant of the protocol.
pub(crate) const QUIET_TIME: Duration = Duration::from_secs(61);

/// Something that is to be broken.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// When, counted from the beginning.
    pub(crate) at: Duration,
    /// For how long.
    pub(crate) lasts: Duration,
    /// How.
    pub(crate) kind: Kind,
    /// Where.
    pub(crate) node: String,
    /// Whom that node does not hear, if it is deafened.
    pub(crate) peer: String,
}

impl Fault {
    fn needs_test(&self) -> bool {
        matches!(self.kind, Kind::FreezeBoth | Kind::KillTest)
    }

    /// When it is over at the latest.
    fn over(&self) -> Duration {
        self.at
            + self.lasts
            + if self.needs_test() {
                PATIENCE
            } else {
                Duration::ZERO
            }
    }

    /// From when on `next` finds the node as it needs it.
    fn leaves(&self, next: &Self) -> Duration {
        let makes_quiet = matches!(self.kind, Kind::Kill | Kind::Restart);
        self.over()
            + if makes_quiet && next.needs_test() {
                QUIET_TIME
            } else {
                RESPITE
            }
    }

    fn collides(&self, other: &Self) -> bool {
        self.node == other.node && self.at < other.leaves(self) && other.at < self.leaves(other)
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
            Self::Deafen => "one-way block",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(
            f,
            "at {at:5.1} s for {:4.1} s  {}  {}",
            lasts, self.node, self.kind
        )?;
        if self.kind == Kind::Deafen {
            write!(f, " from {}", self.peer)
        } else {
            Ok(())
        }
    }
}

/// The faults of a run of that length, in the order of time; all of them are over at its end.
pub(crate) fn deal(seed: u64, nodes: &[String], length: Duration) -> Vec<Fault> {
    let mut dealer = Dealer {
        rng: StdRng::seed_from_u64(seed),
        nodes,
        dealt: Vec::new(),
    };
    dealer.restart_all(length);
    dealer.mix(length);
    dealer.dealt.sort_by_key(|fault| fault.at);
    dealer.dealt
}

struct Dealer<'a> {
    rng: StdRng,
    nodes: &'a [String],
    dealt: Vec<Fault>,
}

impl Dealer<'_> {
    fn restart_all(&mut self, length: Duration) {
        let mut at = length.mul_f64(self.rng.random_range(0.3..0.5));
        for node in self.nodes {
            let (kind, node) = (Kind::Restart, node.clone());
            self.dealt.push(Fault {
                at,
                lasts: Duration::ZERO,
                kind,
                node,
                peer: String::new(),
            });
            at += RESTART_STEP;
        }
    }

    fn mix(&mut self, length: Duration) {
        let mut deck = Vec::new();
        let mut at = self.gap();
        while at < length {
            if deck.is_empty() {
                deck = DECK
                    .iter()
                    .flat_map(|&(kind, times)| vec![kind; times])
                    .collect();
                deck.shuffle(&mut self.rng);
            }
            let kind = deck.pop().expect("it was filled if it was empty");
            let lasts = self.lasts(kind);
            let mut nodes = self.nodes.to_vec();
            nodes.shuffle(&mut self.rng);
            let peers = nodes.iter().cycle().skip(1);
            let mut possible = nodes.iter().zip(peers).map(|(node, peer)| {
                let (node, peer) = (node.clone(), peer.clone());
                Fault {
                    at,
                    lasts,
                    kind,
                    node,
                    peer,
                }
            });
            // At a node that has nothing else then, if there is one.
            let free = |fault: &Fault| !self.dealt.iter().any(|dealt| dealt.collides(fault));
            let fault = possible.find(|fault| fault.over() <= length && free(fault));
            self.dealt.extend(fault);
            at += self.gap();
        }
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
            Kind::Deafen => 4.0..15.0,
        };
        Duration::from_secs_f64(self.rng.random_range(seconds))
    }
}
