//! The virtual-time kernel: it does for each coordinator in virtual time what the agent does in
//! real time.
//!
//! The kernel has the clock, the queue of events, the machines, the iperf3 processes, and the
//! checker that watches which tests touch which node. A [`Policy`] makes every decision that has
//! more than one possible result. Nothing here makes a decision that belongs to the coordinator.
//!
//! The kernel is split by concern: `agents` passes inputs to coordinators and carries out their
//! outputs, `processes` starts and ends iperf3, `machines` freezes, suspends and kills.

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
pub use exclusion_checker::Overlap;
pub use host::Host;
pub use policy::{DELIVERY_TIMEOUT, Delivery, FinishedTest, Policy, Seal, TestEnd};
pub use process_table::TestKey;
use process_table::{Death, Pid, ProcessTable};
use queue::Queue;
pub(super) use trace::Trace;

use super::ids::Incarnation;
use crate::wire::Message;
use crate::{Input, Member, Node, Time};

enum Event<E> {
    /// A message, sent by the given incarnation of another node, reaches a node.
    Arrives {
        to: usize,
        from: usize,
        sender: Incarnation,
        message: Message,
        seal: Seal,
    },
    /// A ping reaches a node. Its sender awaits the answer until then.
    PingArrives {
        to: usize,
        from: usize,
        sender: Incarnation,
        message: Message,
        seal: Seal,
        until: Time,
    },
    /// An agent handles an input, unless another incarnation of it runs by then.
    Handles(usize, Incarnation, Input),
    Wakes(usize),
    Listens(Pid),
    Connects(Pid),
    DeadlinePasses(Pid),
    Dies(Pid, Death),
    Policy(E),
}

/// The safeguards that limit how long an iperf3 runs while its agent stands still. Each one can be
/// removed, to show that the checkers notice its absence.
#[derive(Clone, Copy, Debug)]
pub struct Safeguards {
    /// The kernel ends an iperf3 at its deadline.
    pub kernel_timer: bool,
    /// An iperf3 that is started too late ends at once.
    pub start_guard: bool,
}

/// Simulated machines with real coordinators. Two runs with the same policy are identical.
pub struct Kernel<P: Policy> {
    /// The policy, which makes every decision that has more than one possible result.
    pub policy: P,
    pub(super) safeguards: Safeguards,
    pub(super) now: Time,
    queue: Queue<Event<P::Event>>,
    pub(super) hosts: Vec<Host>,
    pub(super) processes: ProcessTable,
    pub(super) exclusion: ExclusionChecker,
    /// The number of clients that the server of another test let in.
    pub(super) intruders: u64,
    pub(super) trace: Trace,
}

impl<P: Policy> Kernel<P> {
    /// Creates machines, numbered from 0, on which no agent runs yet.
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

    /// Returns the true time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Returns the time on the clock of a node.
    pub fn local(&self, number: usize) -> Time {
        self.hosts[number].clock.local(self.now)
    }

    /// Returns the machines, by number.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns one machine.
    pub fn host_mut(&mut self, number: usize) -> &mut Host {
        &mut self.hosts[number]
    }

    /// Returns the tests whose processes touch the node.
    pub fn touching(&self, number: usize) -> impl Iterator<Item = &TestKey> {
        self.exclusion.touching(number)
    }

    /// Returns the overlaps so far. Rule 1 says that there are none.
    pub fn overlaps(&self) -> &[Overlap] {
        self.exclusion.overlaps()
    }

    /// Returns the sweep that a node works on; 0 before the first one, and while no agent runs.
    pub fn sweep_of(&self, number: usize) -> u64 {
        let agent = self.hosts[number].agent.as_ref();
        agent.map_or(0, |agent| agent.status(Time::default()).sweep.number)
    }

    /// Returns a live node as it describes itself in gossip now.
    pub fn member(&self, number: usize) -> Member {
        Member {
            sweep: self.sweep_of(number),
            ..super::defaults::member(number, self.hosts[number].settings.epoch)
        }
    }

    /// Plans an event of the policy.
    pub fn plan(&mut self, at: Time, event: P::Event) {
        self.queue.plan(at, Event::Policy(event));
    }

    /// Lets time pass until `done` returns true; returns false if it has not by `end`.
    pub fn run(&mut self, end: Time, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            if !self.step(end) {
                return false;
            }
        }
        true
    }

    /// Lets the next event happen; returns false if none is due by `end`.
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

    /// Lets time pass until `end`; all events that are due by then happen.
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
                seal,
            } => self.arrive(to, (from, sender), message, seal),
            Event::PingArrives {
                to,
                from,
                sender,
                message,
                seal,
                until,
            } => {
                if self.is_accepted(to, from, seal) {
                    self.answer_ping(to, from, sender, message, until);
                }
            }
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
    /// Returns the coordinator of a node.
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
