//! Real coordinators in virtual time. A test scripts the network and the iperf3 processes, and can
//! freeze, restart and remove nodes.
//!
//! Nothing here knows how a reservation works. After every input, the harness checks the guarantee
//! against the iperf3 processes that really run: no two tests touch one node, and nothing touches a
//! node that considers itself free. Every node has its own boot-time clock. The clocks are hours
//! apart, and drift apart by the maximum that the protocol permits.

use std::fmt;
use std::time::Duration;

use iperf3_mesh_core::sim::defaults;
use iperf3_mesh_core::sim::kernel::{Clock, Delivery, Host, Kernel, Policy, TestEnd};
use iperf3_mesh_core::wire::{Complaint, Message};
use iperf3_mesh_core::{
    DRIFT_PPM_MAX, Epoch, Input, Member, Node, Output, PeerState, Protocol, ServerFailure,
    ServerStart, Settings, TestSpec, Time, View,
};

use crate::log::{Entry, Event};
use crate::{MILLI, SECOND};

/// The time that a test takes beyond its length.
const OVERHEAD: Duration = Duration::from_millis(12);

/// The number of lines of the trace that a failed test shows.
const TRACE_LINES: usize = 60;

/// Real coordinators under scripted conditions. By default, every message arrives after 1 ms and
/// every test succeeds.
pub struct Harness {
    kernel: Kernel<Script>,
}

/// A test's decision about one event.
type Decide<A, B> = Box<dyn FnMut(&A) -> B>;

pub(crate) struct Script {
    delivery: Decide<Message, Delivery>,
    listening: Decide<ServerStart, Result<(), ServerFailure>>,
    complaint: Decide<ServerStart, Option<Complaint>>,
    hangs: Box<dyn FnMut(u64) -> bool>,
    /// The number of clients that have connected.
    clients: u64,
    pub(crate) log: Vec<Entry>,
    /// Whether the present input is a tick and the node has done nothing yet.
    is_idle_tick: bool,
    /// Whether each node has stopped, or has forgotten an earlier epoch. Processes of an earlier
    /// meeting may touch such a node although it is free.
    exempt: Vec<bool>,
}

impl Harness {
    /// Creates nodes that know each other, with TCP tests of 5 s and a pause of 300 s.
    pub fn new(nodes: usize) -> Self {
        Self::with(nodes, |_, _| {})
    }

    /// Works like [`Self::new`], with changed settings.
    pub fn with(nodes: usize, change: impl FnMut(usize, &mut Settings)) -> Self {
        let mut harness = Self::strangers(nodes, change);
        harness.introduce_all();
        harness
    }

    /// Works like [`Self::with`], but the nodes do not know each other.
    pub fn strangers(nodes: usize, mut change: impl FnMut(usize, &mut Settings)) -> Self {
        let settings: Vec<Settings> = (0..nodes)
            .map(|number| {
                let mut settings = Self::settings(number);
                change(number, &mut settings);
                settings
            })
            .collect();
        let hosts = settings
            .iter()
            .enumerate()
            .map(|(number, settings)| Host::new(settings.clone(), clock(number)))
            .collect();
        let mut kernel = Kernel::new(hosts, Script::new(nodes));
        kernel.switch_trace_on();
        for (number, settings) in settings.iter().enumerate() {
            kernel.start_agent(number, settings.epoch, settings.skip_quiet_time);
        }
        Self { kernel }
    }

    /// Returns the settings that a node has unless a test changes them.
    pub fn settings(number: usize) -> Settings {
        Settings {
            epoch: Epoch(100 + number as u64),
            interval: 300 * SECOND,
            ..defaults::settings(number, vec![defaults::test_spec(Protocol::Tcp)])
        }
    }

    /// From now on, lets `decide` choose the fate of each message.
    pub fn on_message(&mut self, decide: impl FnMut(&Message) -> Delivery + 'static) {
        self.kernel.policy.delivery = Box::new(decide);
    }

    /// From now on, lets `decide` choose whether a server comes to listen.
    pub fn on_listen(
        &mut self,
        decide: impl FnMut(&ServerStart) -> Result<(), ServerFailure> + 'static,
    ) {
        self.kernel.policy.listening = Box::new(decide);
    }

    /// From now on, lets `decide` choose what each server complains about when it has ended.
    pub fn on_server_end(
        &mut self,
        decide: impl FnMut(&ServerStart) -> Option<Complaint> + 'static,
    ) {
        self.kernel.policy.complaint = Box::new(decide);
    }

    /// From now on, lets `decide` choose whether a test hangs, given the number of tests before it.
    pub fn hang_tests(&mut self, decide: impl FnMut(u64) -> bool + 'static) {
        self.kernel.policy.hangs = Box::new(decide);
    }

    /// Returns the true time.
    pub fn now(&self) -> Time {
        self.kernel.now()
    }

    /// Returns the time on the clock of a node.
    pub fn local(&self, number: usize) -> Time {
        self.kernel.local(number)
    }

    /// Returns the coordinator of a node.
    pub fn node(&self, number: usize) -> &Node {
        self.kernel.node(number)
    }

    /// Returns whether a node considers itself to be in no meeting.
    pub fn is_free(&self, number: usize) -> bool {
        self.node(number).is_free()
    }

    pub(crate) fn nodes(&self) -> usize {
        self.kernel.hosts().len()
    }

    pub(crate) fn log(&self) -> &[Entry] {
        &self.kernel.policy.log
    }

    /// Returns a live node as it describes itself now.
    pub fn member(&self, number: usize) -> Member {
        self.kernel.member(number)
    }

    /// Returns the same node in another state.
    pub fn member_in(&self, number: usize, state: PeerState) -> Member {
        Member {
            state,
            ..self.member(number)
        }
    }

    /// Shows these members to a node.
    pub fn show(&mut self, to: usize, members: Vec<Member>) {
        self.input(to, Input::View(View::new(members, None)));
    }

    /// Shows all members to all nodes, as they describe themselves now and with the change applied.
    pub fn gossip(&mut self, change: impl Fn(usize, &mut Member)) {
        let members: Vec<_> = (0..self.nodes())
            .map(|number| {
                let mut member = self.member(number);
                change(number, &mut member);
                member
            })
            .collect();
        (0..self.nodes()).for_each(|to| self.show(to, members.clone()));
    }

    /// Shows all members to all nodes, as live.
    pub fn introduce_all(&mut self) {
        self.gossip(|_, _| {});
    }

    /// Passes an input to a node, now or when it thaws.
    pub fn input(&mut self, number: usize, input: Input) {
        self.kernel.input(number, input);
    }

    /// Cuts the power of the machine.
    pub fn cut_power(&mut self, number: usize) {
        self.kernel.cut_power(number);
    }

    /// Freezes the agent. Its iperf3 processes continue until their own deadlines.
    pub fn freeze(&mut self, number: usize) {
        self.kernel.freeze(number);
    }

    /// Lets the agent run again. It handles at once what it has missed.
    pub fn thaw(&mut self, number: usize) {
        self.kernel.thaw(number);
    }

    /// Restarts the machine; its agent starts with an empty memory.
    pub fn restart(&mut self, number: usize, epoch: Epoch, skip_quiet_time: bool) {
        if self.kernel.hosts()[number].agent().is_some() {
            self.cut_power(number);
        }
        self.kernel.restore_power(number);
        self.kernel.policy.exempt[number] = true;
        self.kernel.start_agent(number, epoch, skip_quiet_time);
    }

    /// Stops a node in the way in which its agent stops it.
    pub fn stop(&mut self, number: usize) {
        self.kernel.policy.exempt[number] = true;
        self.input(number, Input::Stop);
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.kernel.run_to(self.now() + time);
    }

    /// Lets time pass until `done` returns true; returns false if it has not within `limit`.
    pub fn until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now() + limit;
        while !done(self) {
            if !self.kernel.step(end) {
                self.kernel.run_to(end);
                return false;
            }
        }
        true
    }

    /// Works like [`Self::until`], but panics with the trace if the condition does not hold within
    /// `limit`.
    pub fn wait(&mut self, limit: Duration, done: impl FnMut(&Self) -> bool) {
        assert!(self.until(limit, done), "not so within {limit:?}:\n{self}");
    }

    /// Waits until all nodes have completed this sweep.
    pub fn wait_for_sweep(&mut self, limit: Duration, sweep: u64) {
        self.wait(limit, |harness| harness.is_swept(sweep));
    }
}

impl fmt::Display for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&trace(&self.kernel))
    }
}

/// Returns a fast clock for nodes with odd numbers, and a slow clock for the others.
fn clock(number: usize) -> Clock {
    let hours = 1 + number as u64 * 7 % 5;
    let drift = i32::try_from(DRIFT_PPM_MAX).unwrap_or(i32::MAX);
    Clock {
        offset: hours * 3_600_000_000_000,
        drift_ppm: if number.is_multiple_of(2) {
            -drift
        } else {
            drift
        },
    }
}

fn trace(kernel: &Kernel<Script>) -> String {
    let lines: Vec<_> = kernel.last_lines(TRACE_LINES).collect();
    format!("at {:?}\n{}", kernel.now(), lines.join("\n"))
}

impl Script {
    fn new(nodes: usize) -> Self {
        Self {
            delivery: Box::new(|_| Delivery::after(MILLI)),
            listening: Box::new(|_| Ok(())),
            complaint: Box::new(|_| None),
            hangs: Box::new(|_| false),
            clients: 0,
            log: Vec::new(),
            is_idle_tick: false,
            exempt: vec![false; nodes],
        }
    }

    fn note(kernel: &mut Kernel<Self>, node: usize, event: Event) {
        let entry = Entry {
            at: kernel.now(),
            local: kernel.local(node),
            node,
            event,
        };
        kernel.policy.log.push(entry);
    }
}

impl Policy for Script {
    type Event = ();

    fn on_event(_: &mut Kernel<Self>, (): ()) {}

    fn before_input(kernel: &mut Kernel<Self>, number: usize, input: &Input) {
        kernel.policy.is_idle_tick = matches!(input, Input::Tick);
        if let Input::Message(message) = input {
            Self::note(kernel, number, Event::Received(message.clone()));
        }
    }

    fn perform(kernel: &mut Kernel<Self>, number: usize, output: Output) {
        kernel.policy.is_idle_tick = false;
        Self::note(kernel, number, Event::Output(output.clone()));
        let start_by = match &output {
            Output::StartServer(start) => Some(start.start_by),
            Output::StartClient(start) => Some(start.start_by),
            _ => None,
        };
        assert!(
            start_by.is_none_or(|start_by| kernel.local(number) <= start_by),
            "too late: {output:?}"
        );
        let output = match output {
            // This encodes the message, because the wire carries bytes.
            Output::Send(to, message) => {
                let read = Message::decode(&message.encode());
                Output::Send(
                    to,
                    read.unwrap_or_else(|error| panic!("{error}: {message:?}")),
                )
            }
            output => output,
        };
        kernel.perform(number, output);
    }

    fn after_input(kernel: &mut Kernel<Self>, number: usize) {
        assert!(kernel.overlaps().is_empty(), "overlap:\n{}", trace(kernel));
        let now = kernel.local(number);
        let agent = kernel.hosts()[number].agent();
        let is_due = agent.and_then(Node::deadline).is_some_and(|at| at <= now);
        assert!(
            !(kernel.policy.is_idle_tick && is_due),
            "n{number} is due again at once, and does nothing:\n{}",
            trace(kernel)
        );
        for (other, host) in kernel.hosts().iter().enumerate() {
            let is_free = host.agent().is_some_and(Node::is_free);
            if is_free && !kernel.policy.exempt[other] {
                let touching: Vec<_> = kernel.touching(other).collect();
                assert!(
                    touching.is_empty(),
                    "n{other} is free, but touched by {touching:?}:\n{}",
                    trace(kernel)
                );
            }
        }
    }

    fn deliver(&mut self, _: usize, _: usize, message: &Message) -> Delivery {
        (self.delivery)(message)
    }

    fn test_end(&mut self, spec: &TestSpec) -> TestEnd {
        let before = self.clients;
        self.clients += 1;
        if (self.hangs)(before) {
            TestEnd::Never
        } else {
            TestEnd::Completed(spec.length() + OVERHEAD)
        }
    }

    fn listen(&mut self, _: usize, start: &ServerStart) -> Result<(), ServerFailure> {
        (self.listening)(start)
    }

    fn complaint(&mut self, start: &ServerStart) -> Option<Complaint> {
        (self.complaint)(start)
    }
}
