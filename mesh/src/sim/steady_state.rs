//! A mesh that is left to itself: how long its sweeps take, and what they cost.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::clock::Clock;
use super::fault::{Fault, FaultWindow};
use super::host::Host;
use super::network::Network;
use super::result_log::SweepStats;
use super::world::{TestBehaviour, World, address_of, name_of};
use crate::{Epoch, PortRange, Settings, TestSpec, Time, schedule};

/// A sweep that takes this many times its bound, and ten minutes more, is stuck.
const STUCK_FACTOR: u32 = 10;

/// How long a node that is replaced is away.
const AWAY: Duration = Duration::from_secs(10);

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
    /// The share of packets that are lost; TCP sends them again.
    pub loss: f64,
    /// What a test costs beyond its length: processes, connections, the exchange of results.
    pub overhead: Duration,
    /// The share of tests that hang.
    pub fail: f64,
    /// How long they hang, if their timeout does not end them before.
    pub fail_time: Duration,
    /// The nodes' clocks differ by up to that much.
    pub skew: Duration,
    /// The share of nodes that are replaced in each sweep, rounded up: they say goodbye, and are
    /// back in a new life.
    pub churn: f64,
    /// Two runs with the same options and seed are the same.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The sweeps that were completed, in order.
    pub sweeps: Vec<SweepStats>,
    /// How often a node was touched by two tests at once. Must be 0.
    pub overlaps: usize,
    /// Whether the run was broken off since a sweep did not end.
    pub stuck: bool,
    /// Control messages that were sent.
    pub messages: u64,
    /// The virtual time of the whole run.
    pub elapsed: Duration,
}

/// Runs the simulation to its end.
pub fn run(options: &Options) -> Report {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let hosts = (0..options.nodes).map(|number| {
        let offset = options.skew.mul_f64(rng.random::<f64>()).as_nanos();
        let clock = Clock {
            offset: u64::try_from(offset).unwrap_or(u64::MAX),
            drift_ppm: 0,
        };
        Host::new(settings(options, number), clock)
    });
    let hosts = hosts.collect();
    let network = Network::new(options.nodes, options.latency, options.loss, rng.random());
    let course = TestBehaviour {
        hang: options.fail,
        hang_time: options.fail_time,
        ..TestBehaviour::well(options.overhead)
    };
    let mut world = World::new(hosts, network, course, rng.random());
    world.plan_spells(replacements(options, &mut rng));
    world.begin_all(true);

    let bound = schedule::sweep_bound(options.nodes, &options.tests);
    let patience = (bound * STUCK_FACTOR + Duration::from_secs(600) + options.interval)
        * u32::try_from(options.sweeps).unwrap_or(u32::MAX);
    let is_done = |world: &World| {
        world
            .hosts
            .iter()
            .all(|host| host.completed >= options.sweeps)
    };
    let done = world.run(Time::default() + patience, is_done);
    let mut sweeps = world.result_log.sweeps();
    sweeps.retain(|sweep| sweep.number <= options.sweeps);
    Report {
        sweeps,
        overlaps: world.exclusion.overlaps().len(),
        stuck: !done,
        messages: world.messages,
        elapsed: world.now.since(Time::default()),
    }
}

/// When which nodes are replaced.
fn replacements(options: &Options, rng: &mut StdRng) -> Vec<FaultWindow> {
    let bound = schedule::sweep_bound(options.nodes, &options.tests);
    let each = (options.nodes as f64 * options.churn).ceil() as usize;
    let mut spells = Vec::new();
    for sweep in 0..u32::try_from(options.sweeps).unwrap_or(u32::MAX) {
        for _ in 0..each {
            let node = rng.random_range(0..options.nodes);
            let at = (bound + options.interval) * sweep + bound.mul_f64(rng.random::<f64>());
            spells.push(FaultWindow {
                at,
                lasts: AWAY,
                fault: Fault::Leave(node),
            });
        }
    }
    spells
}

fn settings(options: &Options, number: usize) -> Settings {
    Settings {
        name: name_of(number),
        epoch: Epoch(0),
        address: address_of(number),
        ports: PortRange {
            first: 5201,
            count: 8,
        },
        tests: options.tests.clone(),
        interval: options.interval,
        forget_after: None,
        skip_quiet_time: true,
    }
}
