//! A stage for real coordinators in virtual time: the script rules the post and the iperf3
//! processes, and can let nodes vanish and return. Nothing here knows how a reservation works;
//! after every event the stage looks for itself whether the guarantee still holds, from the
//! processes that really live.
//!
//! Every node has a boot clock of its own, hours apart and drifting apart by the most that the
//! protocol permits.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod clock;
mod log;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use clock::Clock;
use iperf3_mesh_core::wire::{MeetingId, Message};
use iperf3_mesh_core::{
    Epoch, Input, Member, Node, NodeName, Output, PeerState, PortRange, Protocol, ServerFailure,
    ServerStart, Settings, TestSpec, Time, View, WIRE_VERSION,
};
pub(crate) use log::{Entry, What};
pub(crate) use processes::Death;
use processes::{Kind, Processes};
use proptest::test_runner::Config as ProptestConfig;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);

/// How long the sender of a message waits until it knows that it was not handed over.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// What becomes of a message.
#[derive(Clone, Debug)]
pub(crate) enum Post {
    /// Each copy of it arrives after a delay of its own.
    Arrives(Vec<Duration>),
    /// It arrives, but its sender is told that it could not be handed over: the answer alone was
    /// lost.
    Doubted,
    /// Lost; whether its sender comes to know it.
    Lost { told: bool },
}

impl Post {
    pub(crate) fn prompt() -> Self {
        Self::Arrives(vec![MILLI])
    }
}

#[derive(Debug)]
pub(crate) enum Event {
    Input(usize, Input),
    Listens(usize, u64),
    Connects(usize, u64),
    Dies(usize, u64, Death),
}

struct Actor {
    node: Node,
    clock: Clock,
    settings: Settings,
    vanished: bool,
    /// What waits for an agent that stands still.
    frozen: Option<Vec<Input>>,
    /// It has said that it takes part in no meeting any more, or has no memory of its earlier
    /// life: that it is free does not mean that nothing of an earlier meeting is left.
    excused: bool,
}

type Script<A, B> = Box<dyn FnMut(&A) -> B>;

pub(crate) struct Stage {
    pub(crate) now: Time,
    actors: Vec<Actor>,
    queue: BTreeMap<(Time, u64), Event>,
    planned: u64,
    processes: Processes,
    /// What becomes of each message.
    pub(crate) post: Script<Message, Post>,
    /// Whether a server comes to listen.
    pub(crate) opening: Script<ServerStart, Result<(), ServerFailure>>,
    /// Whether a client's test hangs, given the number of clients before it.
    pub(crate) hangs: Script<u64, bool>,
    clients: u64,
    pub(crate) log: Vec<Entry>,
}

impl Stage {
    /// That many nodes with the settings of [`settings`], each of which knows all others.
    pub(crate) fn new(nodes: usize) -> Self {
        Self::with(nodes, |_, _| {})
    }

    /// The same with changed settings.
    pub(crate) fn with(nodes: usize, mut change: impl FnMut(usize, &mut Settings)) -> Self {
        let mut stage = Self::empty(nodes, &mut change);
        stage.introduce_all();
        stage
    }

    /// Nodes that do not know each other.
    pub(crate) fn empty(nodes: usize, mut change: impl FnMut(usize, &mut Settings)) -> Self {
        let now = Time::default();
        let actors = (0..nodes).map(|number| {
            let mut settings = settings(number);
            change(number, &mut settings);
            let clock = Clock::of(number);
            let node = Node::new(settings.clone(), clock.local(now));
            Actor {
                node,
                clock,
                settings,
                vanished: false,
                frozen: None,
                excused: false,
            }
        });
        Self {
            now,
            actors: actors.collect(),
            queue: BTreeMap::new(),
            planned: 0,
            processes: Processes::default(),
            post: Box::new(|_| Post::prompt()),
            opening: Box::new(|_| Ok(())),
            hangs: Box::new(|_| false),
            clients: 0,
            log: Vec::new(),
        }
    }

    /// Hands everybody a view of all the others, live.
    pub(crate) fn introduce_all(&mut self) {
        let members = (0..self.actors.len())
            .map(|number| self.member(number))
            .collect();
        let view = View::new(members, false);
        (0..self.actors.len()).for_each(|to| self.input(to, Input::View(view.clone())));
    }

    /// The node as it describes itself.
    pub(crate) fn member(&self, number: usize) -> Member {
        let Settings {
            name,
            epoch,
            address,
            ..
        } = &self.actors[number].settings;
        Member {
            name: name.clone(),
            epoch: *epoch,
            wire: WIRE_VERSION,
            zone: String::new(),
            control: SocketAddr::new(*address, 9878),
            http_port: 9876,
            sweep: self.node(number).status(self.local(number)).sweep.number,
            state: PeerState::Live,
        }
    }

    /// Hands `to` a view of these members.
    pub(crate) fn show(&mut self, to: usize, members: Vec<Member>) {
        self.input(to, Input::View(View::new(members, false)));
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.actors[number].node
    }

    pub(crate) fn local(&self, number: usize) -> Time {
        self.actors[number].clock.local(self.now)
    }

    pub(crate) fn is_free(&self, number: usize) -> bool {
        self.node(number).is_free()
    }

    /// The machine is gone, with everything that runs on it.
    pub(crate) fn vanish(&mut self, number: usize) {
        self.actors[number].vanished = true;
        self.processes.vanish(number);
    }

    /// The agent stands still: it is told nothing and does nothing. Its processes go on until their
    /// own deadlines.
    pub(crate) fn freeze(&mut self, number: usize) {
        self.actors[number].frozen = Some(Vec::new());
    }

    /// The agent goes on, and hears all at once what it has missed.
    pub(crate) fn thaw(&mut self, number: usize) {
        for input in self.actors[number].frozen.take().into_iter().flatten() {
            self.input(number, input);
        }
    }

    /// Begins another life on that machine, whose memory is empty.
    pub(crate) fn restart(&mut self, number: usize, epoch: Epoch, skip_quiet_time: bool) {
        self.vanish(number);
        let now = self.local(number);
        let actor = &mut self.actors[number];
        actor.settings = Settings {
            epoch,
            skip_quiet_time,
            ..actor.settings.clone()
        };
        actor.node = Node::new(actor.settings.clone(), now);
        actor.vanished = false;
        actor.excused = true;
    }

    /// Stops the node as its agent does.
    pub(crate) fn stop(&mut self, number: usize) {
        self.actors[number].excused = true;
        self.input(number, Input::Stop);
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Lets time pass until `done`, and tells whether that came within `limit`.
    pub(crate) fn until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                return false;
            }
        }
    }

    /// Lets the next event happen; false if there is none until then.
    pub(crate) fn step(&mut self, until: Time) -> bool {
        let event = self.queue.first_key_value().map(|(&(at, _), _)| at);
        let ticks = (0..self.actors.len()).filter_map(|number| Some((self.wake(number)?, number)));
        let tick = ticks.min();
        match (event, tick) {
            (Some(at), tick) if at <= until && tick.is_none_or(|(wake, _)| at <= wake) => {
                self.now = at;
                if let Some((_, event)) = self.queue.pop_first() {
                    self.happen(event);
                }
            }
            (_, Some((wake, number))) if wake <= until => {
                self.now = wake;
                self.tick(number);
            }
            _ => {
                self.now = until;
                return false;
            }
        }
        true
    }

    /// When the node wants to be woken, in true time.
    fn wake(&self, number: usize) -> Option<Time> {
        let actor = &self.actors[number];
        let is_awake = !actor.vanished && actor.frozen.is_none();
        let deadline = actor.node.deadline().filter(|_| is_awake)?;
        Some(actor.clock.true_time(deadline).max(self.now))
    }

    fn tick(&mut self, number: usize) {
        let before = self.log.len();
        self.input(number, Input::Tick);
        let is_idle = self.log.len() == before;
        let is_due = self.wake(number).is_some_and(|wake| wake <= self.now);
        assert!(
            !(is_idle && is_due),
            "n{number} wants to be woken again and again: {self}"
        );
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(number, input) => {
                if let (Input::Message(message), false) = (&input, self.actors[number].vanished) {
                    self.note(number, What::Got(message.clone()));
                }
                self.input(number, input);
            }
            Event::Listens(number, run) => {
                if self.processes.listen(number, run) {
                    self.input(number, Input::ServerReady(run));
                }
            }
            Event::Connects(number, run) => {
                let hangs = (self.hangs)(&self.clients);
                self.clients += 1;
                for (delay, event) in self.processes.connect(number, run, hangs) {
                    self.plan(delay, event);
                }
            }
            Event::Dies(number, run, death) => {
                let (input, consequences) = self.processes.die(number, run, death);
                for (delay, event) in consequences {
                    self.plan(delay, event);
                }
                if let Some(input) = input {
                    self.input(number, input);
                }
            }
        }
    }

    /// Hands the node an input, and does what it says.
    pub(crate) fn input(&mut self, number: usize, input: Input) {
        let now = self.local(number);
        let actor = &mut self.actors[number];
        if actor.vanished {
            return;
        }
        if let Some(missed) = &mut actor.frozen {
            missed.push(input);
            return;
        }
        actor.node.handle(now, input);
        while let Some(output) = self.actors[number].node.poll() {
            self.note(number, What::Did(output.clone()));
            self.perform(number, output);
        }
        self.check();
    }

    fn perform(&mut self, number: usize, output: Output) {
        let now = self.local(number);
        match output {
            Output::Send(_, message) => self.send(number, &message),
            Output::StartServer(start) => {
                assert!(now <= start.start_by, "{start:?}");
                let opens = (self.opening)(&start);
                self.plan_deadline(number, start.run, start.deadline);
                let event = match opens {
                    Ok(()) => Event::Listens(number, start.run),
                    Err(failure) => Event::Dies(number, start.run, Death::Failed(failure)),
                };
                self.plan(3 * MILLI, event);
                self.processes.start(
                    number,
                    start.run,
                    start.meeting,
                    Kind::server(start.port, start.spec.bidir),
                );
            }
            Output::StartClient(start) => {
                assert!(now <= start.start_by, "{start:?}");
                self.plan_deadline(number, start.run, start.deadline);
                self.plan(2 * MILLI, Event::Connects(number, start.run));
                let kind = Kind::client(number_of(&start.peer), start.remote.port(), start.spec);
                self.processes.start(number, start.run, start.meeting, kind);
            }
            Output::Kill(run) => self.plan(MILLI, Event::Dies(number, run, Death::Killed)),
            Output::Cell { .. }
            | Output::Departed(_)
            | Output::SweepBegan(_)
            | Output::SweepEnded(_)
            | Output::Missing(_)
            | Output::ReservationEnded { .. } => {}
        }
    }

    fn send(&mut self, from: usize, message: &Message) {
        // What goes over the wire is bytes.
        let message = Message::decode(&message.encode()).expect("sends only what can be read");
        let to = number_of(&message.to);
        match (self.post)(&message) {
            Post::Arrives(delays) => {
                for delay in delays {
                    self.plan(delay, Event::Input(to, Input::Message(message.clone())));
                }
            }
            Post::Doubted => {
                self.plan(MILLI, Event::Input(to, Input::Message(message.clone())));
                self.tell_undelivered(from, message);
            }
            Post::Lost { told: true } => self.tell_undelivered(from, message),
            Post::Lost { told: false } => {}
        }
    }

    fn tell_undelivered(&mut self, from: usize, message: Message) {
        if let Some(meeting) = message.meeting {
            let input = Input::Undelivered {
                to: message.to,
                meeting,
            };
            self.plan(DELIVERY_TIMEOUT, Event::Input(from, input));
        }
    }

    /// The process is killed at its deadline, on the clock of its node, whatever the agent does.
    fn plan_deadline(&mut self, number: usize, run: u64, deadline: Time) {
        let at = self.actors[number].clock.true_time(deadline);
        self.plan(
            at.since(self.now),
            Event::Dies(number, run, Death::Deadline),
        );
    }

    fn plan(&mut self, delay: Duration, event: Event) {
        self.planned += 1;
        self.queue.insert((self.now + delay, self.planned), event);
    }

    fn note(&mut self, node: usize, what: What) {
        self.log.push(Entry {
            at: self.now,
            local: self.local(node),
            node,
            what,
        });
    }

    /// The guarantee: processes of one meeting at most touch a node, and a node that calls itself
    /// free is.
    fn check(&self) {
        for (number, actor) in self.actors.iter().enumerate() {
            let meetings: BTreeSet<&MeetingId> = self.processes.touching(number).collect();
            assert!(
                meetings.len() <= 1,
                "n{number} is in {meetings:?} at once: {self}"
            );
            let is_free = actor.node.is_free() && !actor.vanished && !actor.excused;
            assert!(
                !is_free || meetings.is_empty(),
                "n{number} is free in {meetings:?}: {self}"
            );
        }
    }
}

/// The settings of the node of that number: TCP for 5 s, a long pause, nothing forgotten.
pub(crate) fn settings(number: usize) -> Settings {
    Settings {
        name: name(number),
        epoch: Epoch(100 + number as u64),
        address: [10, 0, 0, u8::try_from(number).expect("a small number")].into(),
        ports: PortRange {
            first: 5201,
            count: 8,
        },
        tests: vec![spec(Protocol::Tcp)],
        interval: 300 * SECOND,
        forget_after: None,
        skip_quiet_time: true,
    }
}

pub(crate) fn spec(protocol: Protocol) -> TestSpec {
    TestSpec {
        protocol,
        duration: 5 * SECOND,
        omit: Duration::ZERO,
        timeout: 10 * SECOND,
        bitrate: None,
        streams: 1,
        bidir: false,
    }
}

/// So many cases of a property test; a failure shows its smallest case, and is kept in no file.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub(crate) fn name(number: usize) -> NodeName {
    NodeName::new(&format!("n{number}")).expect("a letter and digits")
}

pub(crate) fn number_of(name: &NodeName) -> usize {
    name.as_str()[1..].parse().expect("a name of the stage")
}
