//! One state: the nodes as they are, what is under way, and what runs. Also what a node's outputs
//! do to it.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::wire::{Body, MeetingId, Message};
use crate::{
    Epoch, Input, Member, Node, NodeName, Output, PeerState, PortRange, ReservationOutcome,
    Settings, View, WIRE_VERSION,
};

use super::network::Envelope;
use super::processes::{Process, Stage};
use super::{BrokenAssumption, Model, NOW, number_of};

/// How much a restart adds to the epoch.
const LIFE: u64 = 100;

/// What happened for the first time, perhaps: outcome and reason of a reservation, and the like.
pub(super) type Sightings = BTreeSet<ReservationOutcome>;

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) letters: Vec<Envelope>,
    pub(super) processes: Vec<Process>,
    pub(super) asks: u8,
    pub(super) restarts: u8,
}

impl World {
    pub(super) fn new(model: &Model) -> Self {
        let nodes = (0..model.nodes).map(|number| {
            let settings = settings(model, number, Epoch(number as u64), true);
            Arc::new(Node::model_hooks(
                settings,
                NOW,
                model.agendas[number].clone(),
            ))
        });
        let mut world = Self {
            nodes: nodes.collect(),
            letters: Vec::new(),
            processes: Vec::new(),
            asks: model.asks,
            restarts: model.restarts,
        };
        let view = world.view();
        for number in 0..model.nodes {
            world.input(
                model,
                number,
                Input::View(view.clone()),
                &mut Sightings::new(),
            );
        }
        world
    }

    /// What everybody would know if gossip were instantaneous.
    pub(super) fn view(&self) -> View {
        let members = (0..).zip(&self.nodes).map(|(number, node)| Member {
            name: Model::name(number),
            epoch: node.epoch(),
            wire: WIRE_VERSION,
            zone: String::new(),
            control: SocketAddr::new(address(number), 9878),
            http_port: 9876,
            sweep: 1,
            state: PeerState::Live,
        });
        View::new(members.collect(), false)
    }

    /// Hands the node an input, and does what it says.
    pub(super) fn input(
        &mut self,
        model: &Model,
        number: usize,
        input: Input,
        seen: &mut Sightings,
    ) {
        self.tell(model, number, seen, |node| node.handle(NOW, input));
    }

    /// Does something to the node, and then what it says.
    pub(super) fn tell(
        &mut self,
        model: &Model,
        number: usize,
        seen: &mut Sightings,
        what: impl FnOnce(&mut Node),
    ) {
        let node = Arc::make_mut(&mut self.nodes[number]);
        what(node);
        let outputs: Vec<_> = std::iter::from_fn(|| node.poll()).collect();
        node.rest(NOW, model.agendas[number].clone());
        for output in outputs {
            self.perform(model, number, output, seen);
        }
        self.tidy();
    }

    fn perform(&mut self, model: &Model, number: usize, output: Output, seen: &mut Sightings) {
        match output {
            Output::Send(_, message) => {
                let letter = Envelope::new(message);
                if let Err(at) = self.letters.binary_search(&letter) {
                    self.letters.insert(at, letter);
                }
            }
            Output::StartClient(start) => {
                let mut client = Process::client(number, start, model.kill());
                if model.trouble == Some(BrokenAssumption::LateStart) {
                    client.stage = Stage::Decided(client.left * 2);
                }
                self.processes.push(client);
            }
            Output::StartServer(start) => {
                self.processes
                    .push(Process::server(number, start, model.kill()));
            }
            Output::Kill(run) => {
                let is_it = |process: &&mut Process| {
                    process.node == number && process.run == run && !process.orphan
                };
                if let Some(process) = self.processes.iter_mut().find(is_it) {
                    process.kill(model.kill());
                }
            }
            Output::ReservationEnded { outcome, .. } => {
                seen.insert(outcome);
            }
            Output::Cell { .. }
            | Output::Departed(_)
            | Output::SweepBegan(_)
            | Output::Missing(_)
            | Output::SweepEnded(_) => {}
        }
    }

    /// The agent dies, and its processes with it; another life begins, which knows nothing.
    pub(super) fn restart(&mut self, model: &Model, number: usize) {
        let epoch = Epoch(self.nodes[number].epoch().0 + LIFE);
        let settings = settings(model, number, epoch, false);
        self.nodes[number] = Arc::new(Node::model_hooks(
            settings,
            NOW,
            model.agendas[number].clone(),
        ));
        self.processes
            .retain(|process| process.node != number || process.is_alive());
        for process in self
            .processes
            .iter_mut()
            .filter(|process| process.node == number)
        {
            process.kill(model.kill());
            process.orphan = true;
        }
        self.restarts -= 1;
        self.tidy();
    }

    /// Nobody does anything for so long.
    pub(super) fn pass(&mut self, by: Duration) {
        let ages = |node: &&mut Arc<Node>| !node.is_free() || !node.quiet_for(NOW).is_zero();
        for node in self.nodes.iter_mut().filter(ages) {
            Arc::make_mut(node).age(NOW, by);
        }
        for process in &mut self.processes {
            process.age(by);
        }
        self.processes
            .retain(|process| !process.orphan || process.is_alive());
        self.tidy();
    }

    /// Brings what is the same to the same form: the order of the processes means nothing, and
    /// neither do messages that nobody will heed any more.
    fn tidy(&mut self) {
        self.processes.sort_unstable();
        let letters = std::mem::take(&mut self.letters);
        let new: Vec<_> = letters
            .iter()
            .filter(|letter| self.is_new_request(letter))
            .collect();
        let new: Vec<_> = new
            .iter()
            .map(|letter| letter.message.meeting.clone())
            .collect();
        self.letters = letters
            .into_iter()
            .filter(|letter| self.is_heeded(letter, &new))
            .collect();
    }

    /// Whether the receiver has not seen this request yet.
    fn is_new_request(&self, Envelope { message, .. }: &Envelope) -> bool {
        let receiver = &self.nodes[number_of(&message.to)];
        let number = message.meeting.as_ref().map_or(0, |meeting| meeting.number);
        let seen = receiver
            .last_request(&message.from)
            .is_some_and(|(epoch, last)| epoch == message.from_epoch && number <= last);
        let is_request = matches!(message.body, Body::Request { .. });
        is_request && message.to_epoch == receiver.epoch() && !seen
    }

    /// Whether the message can still have an effect. `new` are the meetings that their granter may
    /// still enter.
    fn is_heeded(&self, letter: &Envelope, new: &[Option<MeetingId>]) -> bool {
        let message = &*letter.message;
        let is_new = new.contains(&message.meeting);
        let sender = self.is_in(&message.from, message.from_epoch, message);
        let receiver = self.is_in(&message.to, message.to_epoch, message) || is_new;
        match message.body {
            // For an earlier life of the receiver: it answers that to a sender who waits.
            Body::Request { .. } => {
                let is_stale = self.nodes[number_of(&message.to)].epoch() != message.to_epoch;
                is_new || sender && is_stale
            }
            // The answer to these is of use only to who is in the meeting.
            Body::Next { .. } | Body::Grant { .. } | Body::Go { .. } => receiver || sender,
            Body::Sweep | Body::Refuse { .. } | Body::End { .. } => receiver,
        }
    }

    /// Whether that life of that node is in the meeting that the message is about.
    fn is_in(&self, name: &NodeName, epoch: Epoch, message: &Message) -> bool {
        let node = &self.nodes[number_of(name)];
        node.epoch() == epoch && node.meeting_id() == message.meeting.as_ref()
    }

    /// What tells this state from all others.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.timeless().hash(&mut hasher);
        self.nodes
            .iter()
            .for_each(|node| node.quiet_for(NOW).hash(&mut hasher));
        hasher.finish()
    }

    /// What tells this state from those that differ in more than quiet times.
    pub(super) fn timeless(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self {
            nodes,
            letters,
            processes,
            asks,
            restarts,
        } = self;
        (nodes, letters, processes, asks, restarts).hash(&mut hasher);
        hasher.finish()
    }
}

fn settings(model: &Model, number: usize, epoch: Epoch, skip_quiet_time: bool) -> Settings {
    Settings {
        name: Model::name(number),
        epoch,
        address: address(number),
        ports: PortRange {
            first: 5201,
            count: model.ports,
        },
        tests: model.tests.clone(),
        interval: Duration::ZERO,
        forget_after: None,
        skip_quiet_time,
    }
}

fn address(number: usize) -> IpAddr {
    [10, 0, 0, u8::try_from(number).unwrap_or(u8::MAX)].into()
}
