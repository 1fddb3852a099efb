//! The event loop of the simulation: it does for each coordinator what the agent does, in virtual
//! time.
//!
//! Split by concern: `agents` feeds the coordinators and does what they say, `processes` lets
//! iperf3 live and die, `views` spreads what the nodes know of each other, `faults` breaks things
//! and mends them. Nothing here decides anything that the coordinator should.

mod agents;
mod faults;
mod processes;
mod views;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::exclusion_checker::{ExclusionChecker, Pid};
use super::fault::FaultWindow;
use super::gossip::{self, Epidemic};
use super::host::{Host, Life};
use super::iperf::{Death, Processes};
use super::network::Network;
use super::queue::Queue;
use super::result_log::ResultLog;
use super::trace::Trace;
use crate::wire::Message;
use crate::{Input, NodeName, Time, View};

pub(super) enum Event {
    /// A message comes to a node, from that life of another.
    Arrives {
        to: usize,
        from: usize,
        from_life: Life,
        message: Message,
    },
    /// A slow agent comes to hear something.
    Hears(usize, Life, Input),
    Wake(usize),
    Gossips(usize),
    GossipArrives {
        from: usize,
        to: usize,
    },
    ViewChanges(usize),
    Listens(Pid),
    Connects(Pid),
    /// The time of a process is over.
    IsDue(Pid),
    Dies(Pid, Death),
    Begins(usize),
    Ends(usize),
}

/// What happens to tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct TestBehaviour {
    /// What a test costs beyond its length.
    pub(super) overhead: Duration,
    /// The share of tests that hang, and after how long they fail if they are not killed before.
    pub(super) hang: f64,
    pub(super) hang_time: Duration,
    /// The share of tests that fail somewhere on their way.
    pub(super) fail: f64,
    /// The share of ends that the other side does not hear of.
    pub(super) unheard: f64,
    /// How long a process takes to die, at most.
    pub(super) slow_deaths: Duration,
    /// What keeps iperf3 within its bounds when the agent stands still; each can be taken away.
    pub(super) kernel_timer: bool,
    pub(super) start_guard: bool,
}

impl TestBehaviour {
    pub(super) fn well(overhead: Duration) -> Self {
        Self {
            overhead,
            hang: 0.0,
            hang_time: Duration::MAX,
            fail: 0.0,
            unheard: 0.0,
            slow_deaths: Duration::ZERO,
            kernel_timer: true,
            start_guard: true,
        }
    }
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) queue: Queue<Event>,
    pub(super) hosts: Vec<Host>,
    pub(super) network: Network,
    /// `None`: everybody is told of everything at once.
    pub(super) epidemic: Option<Epidemic>,
    /// What everybody is told then.
    pub(super) latest: View,
    pub(super) processes: Processes,
    pub(super) exclusion: ExclusionChecker,
    pub(super) result_log: ResultLog,
    pub(super) course: TestBehaviour,
    pub(super) spells: Vec<FaultWindow>,
    /// Those that are on, in the order in which they began.
    pub(super) active: Vec<usize>,
    /// Old messages, for those that come twice after a long time.
    pub(super) sent: VecDeque<Message>,
    pub(super) messages: u64,
    /// Clients that were let in by the server of another test.
    pub(super) intruders: u64,
    /// Meetings that took longer than any meeting may, in words.
    pub(super) endless: Vec<String>,
    /// How long a meeting may take at most; `None` if nobody wants to know.
    pub(super) longest: Option<Duration>,
    /// The highest sweep of all nodes.
    pub(super) highest_sweep: u64,
    pub(super) trace: Trace,
    pub(super) rng: StdRng,
}

impl TestBehaviour {
    /// The same as long as nothing is wrong.
    fn without_faults(self) -> Self {
        let Self {
            overhead,
            kernel_timer,
            start_guard,
            ..
        } = self;
        Self {
            kernel_timer,
            start_guard,
            ..Self::well(overhead)
        }
    }
}

impl World {
    pub(super) fn new(
        hosts: Vec<Host>,
        network: Network,
        course: TestBehaviour,
        seed: u64,
    ) -> Self {
        let nodes = hosts.len();
        Self {
            now: Time::default(),
            queue: Queue::new(),
            network,
            epidemic: None,
            latest: View::default(),
            processes: Processes::new(nodes),
            exclusion: ExclusionChecker::new(nodes),
            result_log: ResultLog::new(nodes),
            course,
            spells: Vec::new(),
            active: Vec::new(),
            sent: VecDeque::new(),
            messages: 0,
            intruders: 0,
            endless: Vec::new(),
            longest: None,
            highest_sweep: 0,
            trace: Trace::default(),
            rng: StdRng::seed_from_u64(seed),
            hosts,
        }
    }

    /// Lets gossip be what it is: slow, and known to some before others.
    pub(super) fn gossip_slowly(&mut self, patience: Vec<Duration>) {
        for node in 0..patience.len() {
            let at = self.now + gossip::INTERVAL.mul_f64(self.rng.random::<f64>());
            self.queue.plan(at, Event::Gossips(node));
        }
        self.epidemic = Some(Epidemic::new(patience));
    }

    pub(super) fn plan_spells(&mut self, spells: Vec<FaultWindow>) {
        for (number, spell) in spells.iter().enumerate() {
            let begins = Time::default() + spell.at;
            self.queue.plan(begins, Event::Begins(number));
            self.queue.plan(begins + spell.lasts, Event::Ends(number));
        }
        self.spells = spells;
    }

    /// Lets time pass until `done`; false if that does not come before `end`.
    pub(super) fn run(&mut self, end: Time, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            let Some((at, event)) = self.queue.next_by(end) else {
                return false;
            };
            self.now = at;
            self.happen(event);
            if !self.exclusion.overlaps().is_empty() {
                self.trace.come_to_an_end();
            }
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives {
                to,
                from,
                from_life,
                message,
            } => {
                self.arrive(to, from, from_life, message);
            }
            Event::Hears(host, life, input) => self.tell(host, life, input),
            Event::Wake(host) => self.wake(host),
            Event::Gossips(host) => self.gossip(host),
            Event::GossipArrives { from, to } => self.gossip_arrives(from, to),
            Event::ViewChanges(host) => self.show_view(host),
            Event::Listens(pid) => self.listen(pid),
            Event::Connects(pid) => self.connect(pid),
            Event::IsDue(pid) => self.is_due(pid),
            Event::Dies(pid, death) => self.die(pid, death),
            Event::Begins(spell) => self.begin(spell),
            Event::Ends(spell) => self.end(spell),
        }
    }
}

/// Node names that sort as their numbers do.
pub(super) fn name_of(number: usize) -> NodeName {
    NodeName::new(&format!("n{number:04}")).unwrap_or_else(|_| unreachable!("a letter and digits"))
}

pub(super) fn number_of(name: &NodeName) -> usize {
    name.as_str()[1..].parse().unwrap_or(usize::MAX)
}

pub(super) fn address_of(number: usize) -> IpAddr {
    let bits = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + u32::try_from(number).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}
