//! Chance: the policy of `plan` and of the storms.
//!
//! Split by concern: `views` spreads what the nodes know of each other, `faults` begins and ends
//! faults, `hostile` is what hostile agents do, and `seals` decides which sealed messages open.
//! Every random number comes from the seed.

mod faults;
mod hostile;
mod seals;
mod views;

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::fault::{FaultWindow, Lie};
use super::gossip::Epidemic;
use super::ids::{Incarnation, number_of};
use super::kernel::{Delivery, FinishedTest, Host, Kernel, Policy, Seal, TestEnd};
use super::network::Network;
use super::result_log::ResultLog;
use crate::wire::{Complaint, Message};
use crate::{
    Epoch, MeetingStatus, Node, Output, Reason, RunId, ServerFailure, ServerStart, TestSpec, Time,
    View,
};
use seals::Seals;

/// The probability that a port is taken on a node where most ports are taken.
const PORT_TAKEN: f64 = 0.8;

/// The maximum number of old messages that are kept for replays.
const SENT_MAX: usize = 5000;

/// A simulated mesh.
pub(super) type World = Kernel<Environment>;

pub(super) enum Event {
    Gossips(usize),
    GossipArrives {
        from: usize,
        to: usize,
    },
    ViewChanges(usize),
    FaultBegins(usize),
    FaultEnds(usize),
    /// The deadline of a client that a hostile agent has not started.
    NeverStarted(usize, Incarnation, RunId),
}

/// The behaviour of tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct TestBehaviour {
    /// The time that a test takes beyond its length.
    pub(super) overhead: Duration,
    /// The share of tests that hang, and how long one hangs before it fails if nothing kills it
    /// earlier.
    pub(super) hang: f64,
    pub(super) hang_time: Duration,
    /// The share of tests that fail at some point.
    pub(super) fail: f64,
    /// The share of deaths that the other end does not notice.
    pub(super) unnoticed: f64,
    /// The maximum time that a process takes to die.
    pub(super) slow_deaths: Duration,
}

impl TestBehaviour {
    /// Returns the behaviour in which all tests succeed.
    pub(super) fn healthy(overhead: Duration) -> Self {
        Self {
            overhead,
            hang: 0.0,
            hang_time: Duration::MAX,
            fail: 0.0,
            unnoticed: 0.0,
            slow_deaths: Duration::ZERO,
        }
    }
}

/// The environment's part of one node.
pub(super) struct NodeState {
    /// The node's tests when no upgrade has changed them for a while.
    usual_tests: Vec<TestSpec>,
    /// The last sweep that the node's agent completed, and the last one that it began.
    pub(super) completed: u64,
    begun: u64,
    /// Only a later sweep than this one is judged: some node may have begun this one before the
    /// recovery.
    judged_after: u64,
    /// The sweep to judge, and when the agent began it: the first whole one after the recovery.
    pub(super) judged: Option<(u64, Time)>,
    /// The present lies of the agent; an honest one has none.
    lies: Vec<Lie>,
    /// The number of faults that keep the agent from running.
    down: u32,
    /// The number of faults that take most of the node's ports.
    ports_taken: u32,
    /// The number of faults that keep the node's view from changing.
    stale: u32,
    /// The maximum time that the agent takes to handle what it receives.
    slow: Duration,
    /// Whether the agent is stopping: it says goodbye and ends as soon as it is in no meeting.
    leaving: bool,
}

pub(super) struct Environment {
    network: Network,
    behaviour: TestBehaviour,
    pub(super) nodes: Vec<NodeState>,
    /// The simulated gossip; `None` if every node is told of every change.
    epidemic: Option<Epidemic>,
    /// The view that all nodes get if gossip is not simulated.
    latest: View,
    pub(super) result_log: ResultLog,
    faults: Vec<FaultWindow>,
    /// The active faults, in the order in which they began.
    active: Vec<usize>,
    /// Old messages, the newest first.
    sent: VecDeque<(Message, Seal)>,
    /// The sealed side of the agents; `None` if the mesh has no key.
    seals: Option<Seals>,
    pub(super) messages: u64,
    /// The number of messages that did not open.
    pub(super) unopened: u64,
    /// Meetings that took longer than [`Self::longest_meeting`], in words.
    pub(super) overlong: Vec<String>,
    /// The maximum duration of a meeting; `None` means no limit.
    pub(super) longest_meeting: Option<Duration>,
    highest_sweep: u64,
    /// Whether the sweeps that begin now are judged.
    is_judged: bool,
    rng: StdRng,
}

impl World {
    /// Creates a mesh whose agents do not run yet.
    pub(super) fn simulated(
        hosts: Vec<Host>,
        network: Network,
        behaviour: TestBehaviour,
        seed: u64,
    ) -> Self {
        let nodes = hosts.iter().map(|host| NodeState {
            usual_tests: host.settings.tests.clone(),
            completed: 0,
            begun: 0,
            judged_after: 0,
            judged: None,
            lies: Vec::new(),
            down: 0,
            ports_taken: 0,
            stale: 0,
            slow: Duration::ZERO,
            leaving: false,
        });
        let environment = Environment {
            network,
            behaviour,
            nodes: nodes.collect(),
            epidemic: None,
            latest: View::default(),
            result_log: ResultLog::new(hosts.len()),
            faults: Vec::new(),
            active: Vec::new(),
            sent: VecDeque::new(),
            seals: None,
            messages: 0,
            unopened: 0,
            overlong: Vec::new(),
            longest_meeting: None,
            highest_sweep: 0,
            is_judged: false,
            rng: StdRng::seed_from_u64(seed),
        };
        Self::new(hosts, environment)
    }

    /// Starts all agents, without a quiet time.
    pub(super) fn start_all(&mut self) {
        (0..self.hosts.len()).for_each(|number| self.start(number, true));
        self.spread();
    }

    /// Starts the agent of a node with a random epoch.
    fn start(&mut self, number: usize, skip_quiet_time: bool) {
        let epoch = Epoch(self.policy.rng.random());
        let node = &mut self.policy.nodes[number];
        node.leaving = false;
        node.completed = 0;
        node.begun = 0;
        node.judged = None;
        if let Some(epidemic) = &mut self.policy.epidemic {
            epidemic.forget(number);
        }
        if let Some(seals) = &mut self.policy.seals {
            seals.start(number, epoch);
        }
        self.start_agent(number, epoch, skip_quiet_time);
    }

    /// Gives all agents the keys of the mesh. No agent runs yet.
    pub(super) fn seal_messages(&mut self) {
        self.policy.seals = Some(Seals::new(self.hosts.len()));
    }

    /// Judges the sweeps that begin from now on.
    pub(super) fn begin_judgement(&mut self) {
        let sweeps = (0..self.hosts.len()).map(|number| self.sweep_of(number));
        let highest = sweeps.max().unwrap_or_default();
        for node in &mut self.policy.nodes {
            node.judged_after = highest;
        }
        self.policy.is_judged = true;
    }

    /// Records that an agent has begun this sweep.
    fn note_sweep(&mut self, number: usize, sweep: u64) {
        let node = &mut self.policy.nodes[number];
        let is_next = node.begun > 0 && sweep == node.begun + 1;
        if self.policy.is_judged && !node.is_judged() {
            if !is_next {
                node.judged_after = sweep;
            }
            let is_whole = is_next && sweep > node.judged_after;
            node.judged = is_whole.then_some((sweep, self.now));
        }
        node.begun = sweep;
        if sweep > self.policy.highest_sweep {
            self.policy.highest_sweep = sweep;
            self.spread();
        }
    }
}

impl NodeState {
    /// Returns whether the agent has completed the sweep to judge.
    pub(super) fn is_judged(&self) -> bool {
        self.judged
            .is_some_and(|(sweep, _)| self.completed == sweep || self.begun > sweep)
    }
}

impl Policy for Environment {
    type Event = Event;

    fn on_event(world: &mut World, event: Event) {
        match event {
            Event::Gossips(number) => world.gossip(number),
            Event::GossipArrives { from, to } => world.gossip_arrives(from, to),
            Event::ViewChanges(number) => world.show_view(number),
            Event::FaultBegins(fault) => world.begin_fault(fault),
            Event::FaultEnds(fault) => world.end_fault(fault),
            Event::NeverStarted(number, incarnation, run) => {
                world.end_client(number, incarnation, run);
            }
        }
    }

    fn perform(world: &mut World, number: usize, output: Output) {
        match &output {
            Output::SweepBegan(sweep) => world.note_sweep(number, *sweep),
            Output::SweepEnded(report) => world.policy.nodes[number].completed = report.number,
            Output::Cell {
                destination,
                protocol,
                outcome: Ok(_),
                ..
            } => {
                let (sweep, destination) = (world.sweep_of(number), number_of(destination));
                let log = &mut world.policy.result_log;
                log.record_success(sweep, world.now, number, destination, *protocol);
            }
            _ => {}
        }
        if let Some(output) = world.falsify(number, output) {
            world.perform(number, output);
        }
    }

    fn after_input(world: &mut World, number: usize) {
        let agent = world.hosts[number].agent.as_ref();
        if world.policy.nodes[number].leaving && agent.is_some_and(Node::is_free) {
            world.say_goodbye(number);
        }
    }

    fn on_test_finished(world: &mut World, test: &FinishedTest) {
        let is_first = |number: usize| world.hosts[number].incarnation == 1;
        let since_the_start = is_first(test.client) && is_first(test.server);
        world.policy.result_log.record_test(test, since_the_start);
    }

    fn deliver(&mut self, from: usize, to: usize, _: &Message) -> Delivery {
        self.messages += 1;
        self.network.deliver(from, to)
    }

    fn seal(&mut self, from: usize, to: usize, message: &Message) -> Seal {
        let seals = self.seals.as_mut();
        let seal = seals.map_or(0, |seals| seals.seal(from, to, message, SENT_MAX));
        if self.epidemic.is_some() {
            self.sent.truncate(SENT_MAX);
            self.sent.push_front((message.clone(), seal));
        }
        seal
    }

    fn opens(&mut self, to: usize, seal: Seal) -> bool {
        let seals = self.seals.as_mut();
        let opens = seals.is_none_or(|seals| seals.opens(to, seal));
        self.unopened += u64::from(!opens);
        opens
    }

    fn test_end(&mut self, spec: &TestSpec) -> TestEnd {
        let TestBehaviour {
            overhead,
            hang,
            hang_time,
            fail,
            ..
        } = self.behaviour;
        let length = spec.length() + overhead;
        let mut happens = |share: f64| share > 0.0 && self.rng.random_bool(share);
        if happens(hang) {
            return if hang_time < Duration::MAX {
                TestEnd::Failed(hang_time)
            } else {
                TestEnd::Never
            };
        }
        if happens(fail) {
            return TestEnd::Failed(length.mul_f64(self.rng.random::<f64>()));
        }
        TestEnd::Completed(length)
    }

    fn listen(&mut self, number: usize, _start: &ServerStart) -> Result<(), ServerFailure> {
        if self.nodes[number].ports_taken > 0 && self.rng.random_bool(PORT_TAKEN) {
            return Err(ServerFailure::PortTaken);
        }
        Ok(())
    }

    /// Every other server complains, also about tests that succeed.
    fn complaint(&mut self, start: &ServerStart) -> Option<Complaint> {
        let complains = start.run.is_multiple_of(2);
        complains.then(|| Complaint::new(Reason::Resources, "unable to create a new stream"))
    }

    fn latency(&self) -> Duration {
        self.network.latency()
    }

    fn is_connected(&self, one: usize, other: usize) -> bool {
        self.network.is_connected(one, other)
    }

    fn notices_death(&mut self, dead: usize, survivor: usize) -> bool {
        let unnoticed = self.behaviour.unnoticed;
        self.is_connected(dead, survivor) && (unnoticed == 0.0 || !self.rng.random_bool(unnoticed))
    }

    fn death_delay(&mut self) -> Duration {
        self.behaviour.slow_deaths.mul_f64(self.rng.random::<f64>())
    }

    fn reaction_time(&mut self, number: usize) -> Duration {
        let slow = self.nodes[number].slow;
        if slow.is_zero() {
            return slow;
        }
        slow.mul_f64(self.rng.random::<f64>())
    }

    fn ticks_before_backlog(&mut self) -> bool {
        self.rng.random()
    }

    fn messages_first(&mut self) -> Option<bool> {
        let is_sorted: bool = self.rng.random();
        is_sorted.then(|| self.rng.random())
    }
}

impl World {
    /// Delivers a random old message once more.
    fn replay_any(&mut self) {
        let Environment { sent, rng, .. } = &mut self.policy;
        if !sent.is_empty() {
            let (message, seal) = sent[rng.random_range(0..sent.len())].clone();
            self.replay(message, seal);
        }
    }

    /// Records the meeting of a node if it takes longer than allowed.
    fn check_meeting_length(&mut self, number: usize) {
        let Some(longest) = self.policy.longest_meeting else {
            return;
        };
        let host = &self.hosts[number];
        let local = host.clock.local(self.now);
        let longest = longest + self.policy.nodes[number].slow * 10;
        let meeting = host
            .agent
            .as_ref()
            .and_then(|agent| agent.status(local).meeting);
        if let Some(MeetingStatus { peer, role, began }) = meeting
            && local.since(began) > longest
            && self.now.since(host.awake_since) > longest
        {
            self.policy.overlong.push(format!(
                "n{number}, {role} of a meeting with {peer} since {began:?}"
            ));
        }
    }
}
