//! The virtual-time kernel: does for each coordinator what the agent does, in virtual time.
//!
//! It has the clock, the queue of events, the machines, the iperf3 processes, and the checker that
//! watches which tests touch which node. A [`Policy`] decides everything that may go one way or
//! another. Nothing here decides anything that the coordinator should.
//!
//! Split by concern: `agents` gives inputs to coordinators and carries out their outputs,
//! `processes` starts and ends iperf3, `machines` freezes, suspends and kills.

mod agents;
mod clock;
mod exclusion_checker;
mod host;
mod machines;
mod policy;
mod process_table;
mod processes;
mod queue;
mod trace;

pub use clock::Clock;
pub(super) use exclusion_checker::ExclusionChecker;
pub use exclusion_checker::{Overlap, TestKey};
pub use host::Host;
pub use policy::{DELIVERY_TIMEOUT, Delivery, FinishedTest, Policy, TestEnd};
use process_table::{Death, Pid, ProcessTable};
use queue::Queue;
pub(super) use trace::Trace;

use super::ids::Incarnation;
use crate::wire::Message;
use crate::{Input, Member, Node, Time};

enum Event<E> {
    /// A message reaches a node; sent by that incarnation of another one.
    Arrives {
        to: usize,
        from: usize,
        sender: Incarnation,
        message: Message,
    },
    /// An agent handles an input, unless it is no longer that incarnation.
    Handles(usize, Incarnation, Input),
    Wakes(usize),
    Listens(Pid),
    Connects(Pid),
    DeadlinePasses(Pid),
    Dies(Pid, Death),
    Policy(E),
}

/// The safeguards that bound an iperf3 while its agent stands still. Each can be removed, to see
/// that the checkers notice.
#[derive(Clone, Copy, Debug)]
pub struct Safeguards {
    /// The kernel ends an iperf3 at its deadline.
    pub kernel_timer: bool,
    /// An iperf3 that is started too late ends at once.
    pub start_guard: bool,
}

/// Simulated machines with real coordinators. Two runs with the same policy are the same.
pub struct Kernel<P: Policy> {
    /// Decides everything that may go one way or another.
    pub policy: P,
    pub(super) safeguards: Safeguards,
    pub(super) now: Time,
    queue: Queue<Event<P::Event>>,
    pub(super) hosts: Vec<Host>,
    pub(super) processes: ProcessTable,
    pub(super) exclusion: ExclusionChecker,
    /// Clients that the server of another test let in.
    pub(super) intruders: u64,
    pub(super) trace: Trace,
}

impl<P: Policy> Kernel<P> {
    /// Machines numbered from 0, on which no agent runs yet.
    pub fn new(hosts: Vec<Host>, policy: P) -> Self {
        Self {
            policy,
            safeguards: Safeguards {
                kernel_timer: true,
                start_guard: true,
            },
            now: Time::default(),
            queue: Queue::new(),
            processes: ProcessTable::new(hosts.len()),
            exclusion: ExclusionChecker::new(hosts.len()),
            intruders: 0,
            trace: Trace::default(),
            hosts,
        }
    }

    /// The true time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The time on the clock of a node.
    pub fn local(&self, number: usize) -> Time {
        self.hosts[number].clock.local(self.now)
    }

    /// The machines, by number.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// One machine.
    pub fn host_mut(&mut self, number: usize) -> &mut Host {
        &mut self.hosts[number]
    }

    /// The tests whose processes touch the node.
    pub fn touching(&self, number: usize) -> impl Iterator<Item = &TestKey> {
        self.exclusion.touching(number)
    }

    /// The overlaps so far. Rule 1 says that there are none.
    pub fn overlaps(&self) -> &[Overlap] {
        self.exclusion.overlaps()
    }

    /// The sweep that a node works on; 0 before the first one, and while no agent runs.
    pub fn sweep_of(&self, number: usize) -> u64 {
        let agent = self.hosts[number].agent.as_ref();
        agent.map_or(0, |agent| agent.status(Time::default()).sweep.number)
    }

    /// A live node as it describes itself in gossip now.
    pub fn member(&self, number: usize) -> Member {
        Member {
            sweep: self.sweep_of(number),
            ..super::defaults::member(number, self.hosts[number].settings.epoch)
        }
    }

    /// Plans an event of the policy's own.
    pub fn plan(&mut self, at: Time, event: P::Event) {
        self.queue.plan(at, Event::Policy(event));
    }

    /// Lets time pass until `done`; false if that is not so by `end`.
    pub fn run(&mut self, end: Time, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            if !self.step(end) {
                return false;
            }
        }
        true
    }

    /// Lets the next event happen; false if none is due by `end`.
    pub fn step(&mut self, end: Time) -> bool {
        let Some((at, event)) = self.queue.next_by(end) else {
            return false;
        };
        self.now = at;
        self.happen(event);
        if !self.exclusion.overlaps().is_empty() {
            self.trace.end_after_overlap();
        }
        true
    }

    /// Lets time pass until `end`, and all events happen that are due by then.
    pub fn run_to(&mut self, end: Time) {
        self.run(end, |_| false);
        self.now = self.now.max(end);
    }

    fn happen(&mut self, event: Event<P::Event>) {
        match event {
            Event::Arrives {
                to,
                from,
                sender,
                message,
            } => self.arrive(to, from, sender, message),
            Event::Handles(number, incarnation, input) => self.deliver(number, incarnation, input),
            Event::Wakes(number) => self.wake(number),
            Event::Listens(pid) => self.listen(pid),
            Event::Connects(pid) => self.connect(pid),
            Event::DeadlinePasses(pid) => self.pass_deadline(pid),
            Event::Dies(pid, death) => self.die(pid, death),
            Event::Policy(event) => P::on_event(self, event),
        }
    }
}

impl<P: Policy> Kernel<P> {
    /// The coordinator of a node.
    ///
    /// # Panics
    /// If no agent runs on that node.
    pub fn node(&self, number: usize) -> &Node {
        self.hosts[number]
            .agent
            .as_ref()
            .unwrap_or_else(|| panic!("no agent runs on n{number}"))
    }
}
