//! A mesh that suffers random faults for some minutes. Afterwards, everything is repaired and the
//! mesh must recover.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::defaults;
use super::environment::{NodeState, TestBehaviour, World};
use super::fault::{Fault, FaultWindow, Lie};
use super::kernel::{Clock, Host, Overlap, Safeguards};
use super::network::{Network, NetworkConditions};
use crate::wire::Refusal;
use crate::{
    DRIFT_PPM_MAX, MARGIN, PortRange, Protocol, QUIET_TIME, START_WINDOW, Settings, TIMEOUT_MAX,
    TestSpec, Time, schedule,
};

const SECOND: Duration = Duration::from_secs(1);

/// Separate the random numbers of lies, of refusals, and of keys, from those of all other faults.
const LIES: u64 = 0x1e5;
const REFUSALS: u64 = 0x2ef5;
const KEYS: u64 = 0x6e75;

/// One in this many storms hits a sealed mesh.
const SEALED_EVERY: u64 = 3;

/// The time from the end of the last fault until every node may take part in tests again and gossip
/// has told all nodes so.
const RECOVERY: Duration = Duration::from_secs(QUIET_TIME.as_secs() + 30);

/// A mesh and the faults that it suffers. Two runs of one storm are identical.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    /// The source of all random numbers.
    pub seed: u64,
    /// The number of nodes.
    pub nodes: usize,
    /// The tests of a meeting.
    pub tests: Vec<TestSpec>,
    /// The pause after a sweep.
    pub interval: Duration,
    /// The one-way delay of a message.
    pub latency: Duration,
    /// The number of ports for the iperf3 servers.
    pub ports: u16,
    /// The silence after which a node has departed; `None` has the meaning that it has in
    /// [`crate::Settings`].
    pub forget_after: Option<Duration>,
    /// Whether the mesh has keys, and seals its messages with them.
    pub is_sealed: bool,
    /// The faults that the mesh suffers.
    pub faults: Vec<FaultWindow>,
    /// Whether the kernel ends an iperf3 at its deadline while its agent stands still.
    pub kernel_timer: bool,
    /// Whether an iperf3 that is started too late ends at once.
    pub start_guard: bool,
}

/// The result of a storm.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Tests that touched one node at the same time. There must be none.
    pub overlaps: Vec<Overlap>,
    /// Sweeps, meetings and processes that did not end in time, in words. There must be none.
    pub stuck: Vec<String>,
    /// The cells without a successful test one sweep after the last fault, in words. There must be
    /// none.
    pub unmeasured: Vec<String>,
    /// The number of clients that the server of another test let in. It must be 0.
    pub intruders: u64,
    /// The number of messages that arrived and did not open, in a sealed mesh.
    pub unopened: u64,
    /// The number of tests that ran.
    pub tests: u64,
    /// The time from the end of the last fault until every cell was measured, including the quiet
    /// time of restarted agents.
    pub recovery: Duration,
    /// The last events, if they were recorded.
    pub trace: Vec<String>,
}

impl Verdict {
    /// Returns whether all guarantees held.
    pub fn is_good(&self) -> bool {
        self.violations() == [false; 4]
    }

    /// Returns, for each guarantee, whether it was violated.
    fn violations(&self) -> [bool; 4] {
        [
            !self.overlaps.is_empty(),
            self.intruders > 0,
            !self.stuck.is_empty(),
            !self.unmeasured.is_empty(),
        ]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for overlap in &self.overlaps {
            writeln!(f, "OVERLAP {overlap}")?;
        }
        for stuck in &self.stuck {
            writeln!(f, "STUCK {stuck}")?;
        }
        for cell in &self.unmeasured {
            writeln!(f, "UNMEASURED {cell}")?;
        }
        if self.intruders > 0 {
            writeln!(f, "INTRUDERS {}", self.intruders)?;
        }
        Ok(())
    }
}

impl Storm {
    /// Creates the storm of this seed: 2 to 12 nodes, and up to two dozen faults in up to four
    /// minutes.
    pub fn random(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let nodes = rng.random_range(2..=12);
        let bidir = rng.random_bool(0.3);
        let patient = rng.random_bool(0.1);
        let spec = |protocol: Protocol, rng: &mut StdRng| {
            let duration = SECOND * rng.random_range(1..=3);
            let slack = SECOND * rng.random_range(1..=8);
            let timeout = if patient {
                TIMEOUT_MAX
            } else {
                duration + slack
            };
            let omit = Duration::ZERO;
            TestSpec {
                protocol,
                duration,
                omit,
                timeout,
                bitrate: None,
                streams: 1,
                bidir,
            }
        };
        let protocols: &[Protocol] = match rng.random_range(0..4) {
            0 => &[Protocol::Tcp, Protocol::Udp],
            1 => &[Protocol::Udp],
            _ => &[Protocol::Tcp],
        };
        let tests = protocols
            .iter()
            .map(|&protocol| spec(protocol, rng))
            .collect();
        let lasts = rng.random_range(30.0..240.0);
        let count = rng.random_range(0..=24);
        Self {
            seed,
            nodes,
            tests,
            interval: SECOND * rng.random_range(0..20),
            latency: Duration::from_secs_f64(10f64.powf(rng.random_range(-4.0..-1.0))),
            ports: if rng.random_bool(0.2) { 1 } else { 8 },
            forget_after: rng
                .random_bool(0.3)
                .then(|| SECOND * rng.random_range(20..=90)),
            is_sealed: seed % SEALED_EVERY == 1,
            faults: (0..count)
                .map(|_| window(rng, nodes, lasts))
                .chain(lies(seed, nodes, lasts))
                .chain(refusals(seed, nodes, lasts))
                .chain(keys(seed, nodes, lasts))
                .collect(),
            kernel_timer: true,
            start_guard: true,
        }
    }

    /// Returns the same mesh with only these faults.
    pub fn with_faults(&self, faults: Vec<FaultWindow>) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// Returns the same storm with only those faults that are needed to violate the same
    /// guarantees.
    pub fn reduced(&self) -> Self {
        let violations = self.run().violations();
        let mut storm = self.clone();
        let mut at = 0;
        while at < storm.faults.len() {
            let mut faults = storm.faults.clone();
            faults.remove(at);
            let less = storm.with_faults(faults);
            if less.run().violations() == violations {
                storm = less;
            } else {
                at += 1;
            }
        }
        storm
    }

    /// Returns the time at which the last fault is over.
    pub fn end(&self) -> Duration {
        self.faults
            .iter()
            .map(|fault| fault.at + fault.lasts)
            .max()
            .unwrap_or_default()
    }

    /// Simulates the storm and the recovery.
    pub fn run(&self) -> Verdict {
        self.judge(self.world())
    }

    /// Works like [`Self::run`], and records the events.
    pub fn run_traced(&self) -> Verdict {
        let mut world = self.world();
        world.switch_trace_on();
        self.judge(world)
    }

    fn world(&self) -> World {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let drift = i32::try_from(DRIFT_PPM_MAX).unwrap_or(0);
        let hosts = (0..self.nodes)
            .map(|number| {
                let hours = rng.random_range(0..100u64);
                let offset = hours * 3_600_000_000_000;
                let clock = Clock {
                    offset,
                    drift_ppm: rng.random_range(-drift..=drift),
                };
                Host::new(self.settings(number), clock)
            })
            .collect();
        let network = Network::new(self.nodes, self.latency, 0.0, rng.random());
        let behaviour = TestBehaviour::healthy(Duration::from_millis(12));
        let mut world = World::simulated(hosts, network, behaviour, rng.random());
        world.safeguards = Safeguards {
            kernel_timer: self.kernel_timer,
            start_guard: self.start_guard,
        };
        world.policy.longest_meeting = Some(self.longest_meeting());
        let silent_after = (0..self.nodes).map(|_| SECOND * rng.random_range(6..=20));
        world.simulate_gossip(silent_after.collect());
        if self.is_sealed {
            world.seal_messages();
        }
        world.plan_faults(self.faults.clone());
        world.start_all();
        world
    }

    /// Returns the longest possible duration of a meeting: all its tests up to their last instants,
    /// and the hold after the last one.
    fn longest_meeting(&self) -> Duration {
        let tests = self
            .tests
            .iter()
            .map(|test| test.timeout + START_WINDOW + MARGIN);
        let usual = tests.sum::<Duration>() * 3;
        let is_long =
            |fault: &FaultWindow| matches!(fault.fault, Fault::Hostile(_, Lie::LongPlans));
        if self.faults.iter().any(is_long) {
            // One lease of a test that is as long as the protocol permits.
            usual.max(TIMEOUT_MAX + START_WINDOW + MARGIN)
        } else {
            usual
        }
    }

    fn settings(&self, number: usize) -> Settings {
        Settings {
            ports: PortRange {
                first: 5201,
                count: self.ports,
            },
            interval: self.interval,
            forget_after: self.forget_after,
            ..defaults::settings(number, self.tests.clone())
        }
    }

    /// Simulates the storm, the recovery and one more sweep, and checks the guarantees.
    fn judge(&self, mut world: World) -> Verdict {
        let calm = Time::default() + self.end();
        world.run(calm + RECOVERY, |_| false);
        world.begin_judgement();
        // A node that is in a sweep finishes or closes it, or returns to the others; then follow a
        // pause and another sweep.
        let bound = schedule::sweep_bound(self.nodes, &self.tests);
        let patience = (bound + self.interval) * 4 + self.longest_meeting() * 4 + 2 * QUIET_TIME;
        let is_done = |world: &World| world.policy.nodes.iter().all(NodeState::is_judged);
        let done = world.run(world.now + patience, is_done);
        let sweeps = world.policy.result_log.sweeps();
        let mut verdict = Verdict {
            recovery: world.now.since(calm),
            intruders: world.intruders,
            unopened: world.policy.unopened,
            tests: sweeps.iter().map(|sweep| sweep.tests).sum(),
            ..Verdict::default()
        };
        if !done {
            verdict.stuck = laggards(&world);
        }
        verdict.stuck.extend(leftovers(&world));
        verdict.stuck.append(&mut world.policy.overlong);
        verdict.unmeasured = unmeasured(&world);
        verdict.overlaps = world.exclusion.into_overlaps();
        // No rule protects a node whose own agent breaks the rules.
        let is_hostile = |node| self.faults.iter().any(|fault| fault.is_of_hostile(node));
        verdict.overlaps.retain(|overlap| !is_hostile(overlap.node));
        verdict.trace = world.trace.into_lines();
        verdict
    }
}

/// Returns the nodes that have not completed the sweep to judge.
fn laggards(world: &World) -> Vec<String> {
    world
        .hosts
        .iter()
        .zip(&world.policy.nodes)
        .filter(|(_, node)| !node.is_judged())
        .map(|(host, node)| {
            let local = host.clock.local(world.now);
            let status = host.agent.as_ref().map(|agent| agent.status(local));
            format!(
                "{} has not completed {:?}: {status:?}",
                host.settings.name, node.judged
            )
        })
        .collect()
}

/// Returns the processes that should be dead but are not.
fn leftovers(world: &World) -> Vec<String> {
    world
        .processes
        .iter()
        .filter(|process| world.local(process.host) > process.deadline + MARGIN)
        .map(|process| format!("still running: {process}"))
        .collect()
}

/// Returns the cells that have not succeeded since their source began the sweep to judge.
fn unmeasured(world: &World) -> Vec<String> {
    let mut cells = Vec::new();
    for (source, host) in world.hosts.iter().enumerate() {
        for test in &host.settings.tests {
            for destination in (0..world.hosts.len()).filter(|&other| other != source) {
                let log = &world.policy.result_log;
                let last = log.last_success(source, destination, test.protocol);
                let judged = world.policy.nodes[source].judged;
                let is_measured = last
                    .zip(judged)
                    .is_some_and(|((_, at), (_, began))| at >= began);
                if !is_measured {
                    let protocol = test.protocol.as_str();
                    let cell = format!("n{source} -> n{destination} {protocol}");
                    cells.push(format!("{cell} in {judged:?}, last in {last:?}"));
                }
            }
        }
    }
    cells
}

/// Draws a random fault at a random time.
fn window(rng: &mut StdRng, nodes: usize, within: f64) -> FaultWindow {
    let lasts = Duration::from_secs_f64(10f64.powf(rng.random_range(-0.7..1.8)));
    let at = Duration::from_secs_f64(rng.random_range(3.0..3.0 + within));
    let fault = fault(rng, nodes);
    let at_once = matches!(fault, Fault::Replay(_) | Fault::KillIperf3(_));
    FaultWindow {
        at,
        lasts: if at_once { Duration::ZERO } else { lasts },
        fault,
    }
}

/// Draws the lies of the hostile agents: in every fourth storm, of less than half of the nodes.
fn lies(seed: u64, nodes: usize, within: f64) -> Vec<FaultWindow> {
    if !seed.is_multiple_of(4) {
        return Vec::new();
    }
    let rng = &mut StdRng::seed_from_u64(seed ^ LIES);
    let first = rng.random_range(0..nodes);
    let hostile = (0..nodes.div_ceil(2).saturating_sub(1).max(1))
        .map(|place| (first + place) % nodes)
        .collect::<Vec<_>>();
    let count = rng.random_range(1..=4);
    (0..count)
        .map(|_| {
            let node = hostile[rng.random_range(0..hostile.len())];
            FaultWindow {
                at: Duration::from_secs_f64(rng.random_range(3.0..3.0 + within)),
                lasts: Duration::from_secs_f64(rng.random_range(5.0..120.0)),
                fault: Fault::Hostile(node, lie(rng, nodes)),
            }
        })
        .collect()
}

/// Draws the node that refuses every request: one in every sixth storm.
fn refusals(seed: u64, nodes: usize, within: f64) -> Option<FaultWindow> {
    let rng = &mut StdRng::seed_from_u64(seed ^ REFUSALS);
    let refusals = [
        Refusal::Busy,
        Refusal::Expecting,
        Refusal::Sweep,
        Refusal::Quota,
    ];
    let free_in = Duration::from_millis(rng.random_range(0..2000));
    let lie = Lie::Refuses(
        refusals[rng.random_range(0..refusals.len())],
        rng.random_bool(0.8).then_some(free_in),
    );
    (seed % 6 == 2).then(|| FaultWindow {
        at: Duration::from_secs_f64(rng.random_range(3.0..3.0 + within)),
        lasts: Duration::from_secs_f64(rng.random_range(20.0..120.0)),
        fault: Fault::Hostile(rng.random_range(0..nodes), lie),
    })
}

/// Draws the key files that are not up to date in a sealed mesh: some agents have only one key of a
/// rotation, and some have none that others have.
fn keys(seed: u64, nodes: usize, within: f64) -> Vec<FaultWindow> {
    if seed % SEALED_EVERY != 1 {
        return Vec::new();
    }
    let rng = &mut StdRng::seed_from_u64(seed ^ KEYS);
    let count = rng.random_range(0..=nodes);
    (0..count)
        .map(|_| {
            let keys = [&[1][..], &[2], &[3], &[1, 2]];
            let keys = keys[rng.random_range(0..keys.len())].to_vec();
            FaultWindow {
                at: Duration::from_secs_f64(rng.random_range(3.0..3.0 + within)),
                lasts: Duration::from_secs_f64(rng.random_range(1.0..120.0)),
                fault: Fault::Keys(rng.random_range(0..nodes), keys),
            }
        })
        .collect()
}

fn lie(rng: &mut StdRng, nodes: usize) -> Lie {
    match rng.random_range(0..8) {
        0 => Lie::HighestSweep,
        1 => Lie::RisingSweep,
        2 => Lie::FallingSweep,
        3 => Lie::ErraticSweep,
        4 => Lie::LongPlans,
        5 => Lie::Address(rng.random_range(0..nodes)),
        6 => Lie::Forgeries,
        _ => Lie::NoClients,
    }
}

fn fault(rng: &mut StdRng, nodes: usize) -> Fault {
    let node = rng.random_range(0..nodes);
    match rng.random_range(0..19) {
        0 | 1 => Fault::NetworkConditions(conditions(rng)),
        2 => {
            let (one, other) = sides(rng, nodes);
            Fault::Cut(one, other)
        }
        3 => {
            let (one, other) = sides(rng, nodes);
            Fault::Part(one, other)
        }
        4 => Fault::Cut(vec![node], vec![(node + 1) % nodes]),
        5 => Fault::Replay(rng.random_range(1..50)),
        6 => Fault::Crash(node),
        7 => Fault::PowerCut(node),
        8 => Fault::Leave(node),
        9 => Fault::Freeze(node),
        10 => Fault::FreezeAtSpawn(node),
        11 => Fault::Suspend(node),
        12 => Fault::Slow(node, Duration::from_secs_f64(rng.random_range(0.01..4.0))),
        13 => Fault::StaleView(node),
        14 => Fault::Upgrade(node, rng.random_range(-1..=2)),
        15 => Fault::KillIperf3(node),
        16 => Fault::Tests {
            hang: rng.random_range(0.0..0.9),
            fail: rng.random_range(0.0..0.5),
            unnoticed: rng.random_range(0.0..1.0),
        },
        17 => Fault::PortsTaken(node),
        _ => Fault::SlowDeaths(Duration::from_millis(rng.random_range(1..=890))),
    }
}

fn conditions(rng: &mut StdRng) -> NetworkConditions {
    NetworkConditions {
        loss: rng.random_range(0.0..0.5),
        delivery_uncertain: rng.random_range(0.0..0.3),
        duplicated: rng.random_range(0.0..0.5),
        jitter: Duration::from_secs_f64(10f64.powf(rng.random_range(-3.0..0.6))),
    }
}

/// Divides the nodes into two sides at random; neither side is empty.
fn sides(rng: &mut StdRng, nodes: usize) -> (Vec<usize>, Vec<usize>) {
    let first = rng.random_range(0..nodes);
    let is_one = |node: &usize, rng: &mut StdRng| *node == first || rng.random_bool(0.4);
    let (mut one, mut other): (Vec<usize>, Vec<usize>) =
        (0..nodes).partition(|node| is_one(node, rng));
    if other.is_empty() {
        other.extend(one.pop());
    }
    (one, other)
}
