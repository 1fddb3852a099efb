//! A mesh in which everything breaks that can, for some minutes; then all is mended, and it must
//! recover.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::clock::Clock;
use super::exclusion_checker::Overlap;
use super::fault::{Fault, FaultWindow};
use super::host::Host;
use super::network::{Network, NetworkConditions};
use super::world::{TestBehaviour, World, address_of, name_of};
use crate::{
    DRIFT_PPM_MAX, Epoch, MARGIN, PortRange, Protocol, QUIET_TIME, START_WINDOW, Settings,
    TIMEOUT_MAX, TestSpec, Time, schedule,
};

const SECOND: Duration = Duration::from_secs(1);

/// After the last fault: until everybody may take part again, and gossip has told everybody of
/// everybody.
const RECOVERY: Duration = Duration::from_secs(QUIET_TIME.as_secs() + 30);

/// What a mesh goes through. Two runs of one storm are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    /// What chance is drawn from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// The tests of a meeting.
    pub tests: Vec<TestSpec>,
    /// The pause after a sweep.
    pub interval: Duration,
    /// The one-way delay of a message.
    pub latency: Duration,
    /// How many ports the iperf3 servers have.
    pub ports: u16,
    /// After how long a silent node has departed; `None` as in [`crate::Settings`].
    pub forget_after: Option<Duration>,
    /// What goes wrong.
    pub spells: Vec<FaultWindow>,
    /// Whether the kernel ends an iperf3 whose agent stands still.
    pub kernel_timer: bool,
    /// Whether an iperf3 that is started too late ends at once.
    pub start_guard: bool,
}

/// What came of a storm.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Tests that touched a node at once. Must be empty.
    pub overlaps: Vec<Overlap>,
    /// What did not come to its end in time, in words. Must be empty.
    pub stuck: Vec<String>,
    /// The cells without a good result one sweep after the end of the storm, in words. Must be
    /// empty.
    pub unmeasured: Vec<String>,
    /// Clients that were let in by the server of another test. Must be 0.
    pub intruders: u64,
    /// How many tests were run.
    pub tests: u64,
    /// From the end of the storm until everything was measured, the quiet time of restarted agents
    /// included.
    pub recovery: Duration,
    /// The last things that happened, if they were to be noted.
    pub trace: Vec<String>,
}

impl Verdict {
    /// Whether all guarantees held.
    pub fn is_good(&self) -> bool {
        self.harm() == [false; 4]
    }

    /// Which guarantees did not hold.
    fn harm(&self) -> [bool; 4] {
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
    /// The storm of that seed: 2 to 12 nodes, and up to two dozen faults in up to four minutes.
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
            spells: (0..count).map(|_| spell(rng, nodes, lasts)).collect(),
            kernel_timer: true,
            start_guard: true,
        }
    }

    /// The same storm with these faults only.
    pub fn with_spells(&self, spells: Vec<FaultWindow>) -> Self {
        Self {
            spells,
            ..self.clone()
        }
    }

    /// The same storm without any fault that is not needed for the same harm to be done.
    pub fn reduced(&self) -> Self {
        let harm = self.run().harm();
        let mut storm = self.clone();
        let mut at = 0;
        while at < storm.spells.len() {
            let mut spells = storm.spells.clone();
            spells.remove(at);
            let less = storm.with_spells(spells);
            if less.run().harm() != harm {
                at += 1;
            } else {
                storm = less;
            }
        }
        storm
    }

    /// When the last fault is over.
    pub fn end(&self) -> Duration {
        self.spells
            .iter()
            .map(|spell| spell.at + spell.lasts)
            .max()
            .unwrap_or_default()
    }

    /// Lets it happen.
    pub fn run(&self) -> Verdict {
        self.happen(self.world())
    }

    /// Lets it happen, and notes what does.
    pub fn run_traced(&self) -> Verdict {
        let mut world = self.world();
        world.trace.switch_on();
        self.happen(world)
    }

    fn world(&self) -> World {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let drift = i32::try_from(DRIFT_PPM_MAX).unwrap_or(0);
        let hosts = (0..self.nodes).map(|number| {
            let hours = rng.random_range(0..100u64);
            let offset = hours * 3_600_000_000_000;
            let clock = Clock {
                offset,
                drift_ppm: rng.random_range(-drift..=drift),
            };
            Host::new(self.settings(number), clock)
        });
        let hosts = hosts.collect();
        let network = Network::new(self.nodes, self.latency, 0.0, rng.random());
        let course = TestBehaviour {
            kernel_timer: self.kernel_timer,
            start_guard: self.start_guard,
            ..TestBehaviour::well(Duration::from_millis(12))
        };
        let mut world = World::new(hosts, network, course, rng.random());
        world.longest = Some(self.longest_meeting());
        world.gossip_slowly(
            (0..self.nodes)
                .map(|_| SECOND * rng.random_range(6..=20))
                .collect(),
        );
        world.plan_spells(self.spells.clone());
        world.begin_all(true);
        world
    }

    /// The longest that a meeting can take: all its tests to their last instant, and the hold after
    /// the last one.
    fn longest_meeting(&self) -> Duration {
        let tests = self
            .tests
            .iter()
            .map(|test| test.timeout + START_WINDOW + MARGIN);
        tests.sum::<Duration>() * 3
    }

    fn settings(&self, number: usize) -> Settings {
        Settings {
            name: name_of(number),
            epoch: Epoch(0),
            address: address_of(number),
            ports: PortRange {
                first: 5201,
                count: self.ports,
            },
            tests: self.tests.clone(),
            interval: self.interval,
            forget_after: self.forget_after,
            skip_quiet_time: true,
        }
    }

    fn happen(&self, mut world: World) -> Verdict {
        let calm = Time::default() + self.end();
        world.run(calm + RECOVERY, |_| false);
        let (recovered, last) = (world.now, world.highest_sweep + 1);
        // Whoever is in a sweep finishes it, or closes it; then there is a pause, and another
        // sweep.
        let bound = schedule::sweep_bound(self.nodes, &self.tests);
        let patience = (bound + self.interval) * 2 + self.longest_meeting() * 4 + 2 * QUIET_TIME;
        let is_swept = |world: &World| world.hosts.iter().all(|host| host.completed >= last);
        let done = world.run(recovered + patience, is_swept);
        let mut verdict = Verdict {
            recovery: world.now.since(calm),
            intruders: world.intruders,
            tests: world
                .result_log
                .sweeps()
                .iter()
                .map(|sweep| sweep.tests)
                .sum(),
            ..Verdict::default()
        };
        if !done {
            verdict.stuck = laggards(&world, last);
        }
        verdict.stuck.extend(leftovers(&world));
        verdict.stuck.append(&mut world.endless);
        verdict.unmeasured = unmeasured(&world, last);
        verdict.overlaps = world.exclusion.into_overlaps();
        verdict.trace = world.trace.into_lines();
        verdict
    }
}

fn laggards(world: &World, sweep: u64) -> Vec<String> {
    let behind = world.hosts.iter().filter(|host| host.completed < sweep);
    let words = behind.map(|host| {
        let status = host
            .agent
            .as_ref()
            .map(|agent| agent.status(host.clock.local(world.now)));
        format!(
            "{} has not completed sweep {sweep}: {status:?}",
            host.settings.name
        )
    });
    words.collect()
}

/// Processes that are alive although they should be dead.
fn leftovers(world: &World) -> Vec<String> {
    let is_over =
        |host: usize, deadline: Time| world.hosts[host].clock.local(world.now) > deadline + MARGIN;
    let over = world
        .processes
        .iter()
        .filter(|process| is_over(process.host, process.deadline));
    over.map(|process| format!("a process of n{} lives on: {}", process.host, process.test))
        .collect()
}

fn unmeasured(world: &World, sweep: u64) -> Vec<String> {
    let mut cells = Vec::new();
    for (source, host) in world.hosts.iter().enumerate() {
        for test in &host.settings.tests {
            for destination in (0..world.hosts.len()).filter(|&other| other != source) {
                let last = world
                    .result_log
                    .last_good(source, destination, test.protocol);
                if last.is_none_or(|last| last < sweep) {
                    let protocol = test.protocol.as_str();
                    let cell = format!("n{source} -> n{destination} {protocol}");
                    cells.push(format!("{cell} in sweep {sweep}, last in {last:?}"));
                }
            }
        }
    }
    cells
}

fn spell(rng: &mut StdRng, nodes: usize, within: f64) -> FaultWindow {
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

fn fault(rng: &mut StdRng, nodes: usize) -> Fault {
    let node = rng.random_range(0..nodes);
    match rng.random_range(0..19) {
        0 | 1 => Fault::NetworkConditions(weather(rng)),
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
            unheard: rng.random_range(0.0..1.0),
        },
        17 => Fault::PortsTaken(node),
        _ => Fault::SlowDeaths(Duration::from_millis(rng.random_range(1..=890))),
    }
}

fn weather(rng: &mut StdRng) -> NetworkConditions {
    NetworkConditions {
        loss: rng.random_range(0.0..0.5),
        doubt: rng.random_range(0.0..0.3),
        twice: rng.random_range(0.0..0.5),
        jitter: Duration::from_secs_f64(10f64.powf(rng.random_range(-3.0..0.6))),
    }
}

/// The nodes, parted at random; neither side is empty.
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
