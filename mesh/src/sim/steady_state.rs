//! A mesh without injected faults, but with packet loss, failing tests and replaced nodes: how long
//! its sweeps take and what they cost.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::defaults;
use super::environment::{TestBehaviour, World};
use super::fault::{Fault, FaultWindow, Lie};
use super::kernel::{Clock, Host};
use super::network::Network;
use super::result_log::SweepStats;
use crate::wire::Refusal;
use crate::{Settings, TestSpec, Time, schedule};

/// The factor in the limit of a sweep: a sweep is stuck if it takes longer than its bound times
/// this factor, plus ten minutes.
const STUCK_FACTOR: u32 = 10;

/// Longer than any simulation.
const FOR_GOOD: Duration = Duration::from_secs(1 << 30);

/// How long a replaced node is absent.
const ABSENCE: Duration = Duration::from_secs(10);

/// The mesh to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of nodes.
    pub nodes: usize,
    /// The tests of a meeting, as in [`crate::Settings`].
    pub tests: Vec<TestSpec>,
    /// The pause after a sweep.
    pub interval: Duration,
    /// The number of sweeps to simulate.
    pub sweeps: u64,
    /// The one-way delay of a message; up to a tenth of it is added at random.
    pub latency: Duration,
    /// The share of packets that are lost; TCP sends them again.
    pub loss: f64,
    /// The time that a test takes beyond its length, for processes, connections and the exchange of
    /// results.
    pub overhead: Duration,
    /// The share of tests that hang.
    pub fail: f64,
    /// How long a test hangs, unless its timeout ends it before.
    pub fail_time: Duration,
    /// The maximum difference between two nodes' clocks.
    pub skew: Duration,
    /// The share of nodes that are replaced in each sweep, rounded up. A replaced node says goodbye
    /// and starts anew.
    pub churn: f64,
    /// The number of nodes that lose their power in the middle of the first sweep, for good.
    pub dead: usize,
    /// How the last node refuses every request, and when it then claims to be free again; `None` if
    /// all nodes are honest.
    pub refuses: Option<(Refusal, Option<Duration>)>,
    /// The seed of all random numbers. Two runs with the same options and seed are identical.
    pub seed: u64,
}

/// The figures of a simulation.
#[derive(Clone, Debug)]
pub struct Report {
    /// The sweeps that were completed, in order.
    pub sweeps: Vec<SweepStats>,
    /// How often two tests touched one node at the same time. This must be 0.
    pub overlaps: usize,
    /// Whether the simulation was aborted because a sweep did not end.
    pub stuck: bool,
    /// The number of control messages that were sent.
    pub messages: u64,
}

/// Runs the simulation to its end.
pub fn run(options: &Options) -> Report {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let hosts = (0..options.nodes)
        .map(|number| {
            let offset = options.skew.mul_f64(rng.random::<f64>()).as_nanos();
            let clock = Clock {
                offset: u64::try_from(offset).unwrap_or(u64::MAX),
                drift_ppm: 0,
            };
            Host::new(settings(options, number), clock)
        })
        .collect();
    let network = Network::new(options.nodes, options.latency, options.loss, rng.random());
    let behaviour = TestBehaviour {
        hang: options.fail,
        hang_time: options.fail_time,
        ..TestBehaviour::healthy(options.overhead)
    };
    let mut world = World::simulated(hosts, network, behaviour, rng.random());
    let mut faults = replacements(options, &mut rng);
    faults.extend(power_cuts(options));
    faults.extend(refusals(options));
    world.plan_faults(faults);
    world.start_all();

    let bound = schedule::sweep_bound(options.nodes, &options.tests);
    let patience = (bound * STUCK_FACTOR + Duration::from_secs(600) + options.interval)
        * u32::try_from(options.sweeps).unwrap_or(u32::MAX);
    let done = world.run(Time::default() + patience, |world| {
        let hostile = usize::from(options.refuses.is_some());
        let living = options.nodes - options.dead.max(hostile);
        let nodes = &world.policy.nodes[..living];
        nodes.iter().all(|node| node.completed >= options.sweeps)
    });
    let mut sweeps = world.policy.result_log.sweeps();
    sweeps.retain(|sweep| sweep.number <= options.sweeps);
    Report {
        sweeps,
        overlaps: world.exclusion.overlaps().len(),
        stuck: !done,
        messages: world.policy.messages,
    }
}

/// Returns the replacements of all sweeps: each one replaces a random node at a random time.
fn replacements(options: &Options, rng: &mut StdRng) -> Vec<FaultWindow> {
    let bound = schedule::sweep_bound(options.nodes, &options.tests);
    let each = (options.nodes as f64 * options.churn).ceil() as usize;
    let mut faults = Vec::new();
    for sweep in 0..u32::try_from(options.sweeps).unwrap_or(u32::MAX) {
        for _ in 0..each {
            let node = rng.random_range(0..options.nodes);
            let at = (bound + options.interval) * sweep + bound.mul_f64(rng.random::<f64>());
            faults.push(FaultWindow {
                at,
                lasts: ABSENCE,
                fault: Fault::Leave(node),
            });
        }
    }
    faults
}

/// Returns the power cuts of the nodes that die.
fn power_cuts(options: &Options) -> impl Iterator<Item = FaultWindow> {
    let at = schedule::sweep_bound(options.nodes, &options.tests) / 2;
    let node = move |number| FaultWindow {
        at,
        lasts: FOR_GOOD,
        fault: Fault::PowerCut(number),
    };
    (options.nodes - options.dead..options.nodes).map(node)
}

/// Returns the lie of the last node, from the beginning on.
fn refusals(options: &Options) -> Option<FaultWindow> {
    let (refusal, free_in) = options.refuses?;
    Some(FaultWindow {
        at: Duration::ZERO,
        lasts: FOR_GOOD,
        fault: Fault::Hostile(options.nodes - 1, Lie::Refuses(refusal, free_in)),
    })
}

fn settings(options: &Options, number: usize) -> Settings {
    Settings {
        interval: options.interval,
        ..defaults::settings(number, options.tests.clone())
    }
}
