//! One state: the nodes, the messages that may still arrive, and the iperf3 processes. This file
//! also has the effects of a node's outputs.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::sim::defaults;
use crate::sim::ids::number_of;
use crate::wire::{Body, MeetingId, Message};
use crate::{
    Epoch, Input, Member, Node, NodeName, Output, PortRange, ReservationOutcome, Settings, View,
};

use super::network::Envelope;
use super::processes::{Phase, Process};
use super::{BrokenAssumption, Model, NOW};

/// The number that a restart adds to the epoch.
const EPOCH_STEP: u64 = 100;

/// How reservations ended in the states seen so far.
pub(super) type Outcomes = BTreeSet<ReservationOutcome>;

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) messages: Vec<Envelope>,
    pub(super) processes: Vec<Process>,
    pub(super) asks: u8,
    pub(super) restarts: u8,
}

impl World {
    pub(super) fn new(model: &Model) -> Self {
        let nodes = (0..model.nodes).map(|number| {
            let settings = settings(model, number, Epoch(number as u64), true);
            Arc::new(Node::resting(
                settings,
                NOW,
                model.resting_plans[number].clone(),
            ))
        });
        let mut world = Self {
            nodes: nodes.collect(),
            messages: Vec::new(),
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
                &mut Outcomes::new(),
            );
        }
        world
    }

    /// Returns the view that all nodes would have if gossip were instantaneous.
    pub(super) fn view(&self) -> View {
        let members = (0..).zip(&self.nodes).map(|(number, node)| Member {
            sweep: 1,
            ..defaults::member(number, node.epoch())
        });
        View::new(members.collect(), None)
    }

    /// Passes an input to a node, and carries out the node's outputs.
    pub(super) fn input(
        &mut self,
        model: &Model,
        number: usize,
        input: Input,
        seen: &mut Outcomes,
    ) {
        self.change(model, number, seen, |node| node.handle(NOW, input));
    }

    /// Changes a node, and carries out the node's outputs.
    pub(super) fn change(
        &mut self,
        model: &Model,
        number: usize,
        seen: &mut Outcomes,
        what: impl FnOnce(&mut Node),
    ) {
        let node = Arc::make_mut(&mut self.nodes[number]);
        what(node);
        let outputs: Vec<_> = std::iter::from_fn(|| node.poll()).collect();
        node.rest(NOW, model.resting_plans[number].clone());
        for output in outputs {
            self.perform(model, number, output, seen);
        }
        self.normalize();
    }

    fn perform(&mut self, model: &Model, number: usize, output: Output, seen: &mut Outcomes) {
        match output {
            Output::Send(_, message) => {
                let envelope = Envelope::new(message);
                if let Err(at) = self.messages.binary_search(&envelope) {
                    self.messages.insert(at, envelope);
                }
            }
            Output::StartClient(start) => {
                let mut client = Process::client(number, start, model.kill());
                if model.broken_assumption == Some(BrokenAssumption::LateStart) {
                    client.phase = Phase::Decided(client.left * 2);
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
            | Output::Complaint { .. }
            | Output::Ping { .. }
            | Output::Departed(_)
            | Output::Ignored { .. }
            | Output::SweepBegan(_)
            | Output::Missing(_)
            | Output::ImplausibleFigure { .. }
            | Output::SweepEnded(_) => {}
        }
    }

    /// Restarts the agent with an empty memory. Its processes die with it.
    pub(super) fn restart(&mut self, model: &Model, number: usize) {
        let epoch = Epoch(self.nodes[number].epoch().0 + EPOCH_STEP);
        let settings = settings(model, number, epoch, false);
        self.nodes[number] = Arc::new(Node::resting(
            settings,
            NOW,
            model.resting_plans[number].clone(),
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
        self.normalize();
    }

    /// Lets time pass in which no other event happens.
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
        self.normalize();
    }

    /// Gives equivalent states one form: sorts the processes, whose order has no meaning, and drops
    /// messages that can no longer have an effect.
    fn normalize(&mut self) {
        self.processes.sort_unstable();
        let messages = std::mem::take(&mut self.messages);
        let new: Vec<_> = messages
            .iter()
            .filter(|envelope| self.is_new_request(envelope))
            .map(|envelope| envelope.message.meeting.clone())
            .collect();
        self.messages = messages
            .into_iter()
            .filter(|envelope| self.is_heeded(envelope, &new))
            .collect();
    }

    /// Returns whether the message is a request that its receiver has not seen yet.
    fn is_new_request(&self, Envelope { message, .. }: &Envelope) -> bool {
        let receiver = &self.nodes[number_of(&message.to)];
        let number = message.meeting.as_ref().map_or(0, |meeting| meeting.number);
        let is_new = receiver.is_new_request(&message.from, message.from_epoch, number);
        let is_request = matches!(message.body, Body::Request { .. });
        is_request && message.to_epoch == receiver.epoch() && is_new
    }

    /// Returns whether the message can still have an effect. `new` has the meetings that their
    /// granters may still enter.
    fn is_heeded(&self, envelope: &Envelope, new: &[Option<MeetingId>]) -> bool {
        let message = &*envelope.message;
        let is_new = new.contains(&message.meeting);
        let sender = self.is_in(&message.from, message.from_epoch, message);
        let receiver = self.is_in(&message.to, message.to_epoch, message) || is_new;
        match message.body {
            // A request to an earlier epoch of the receiver is refused, which a waiting sender
            // notices.
            Body::Request { .. } => {
                let is_stale = self.nodes[number_of(&message.to)].epoch() != message.to_epoch;
                is_new || sender && is_stale
            }
            // These have an effect, or an answer with one, only if a node is in the meeting.
            Body::Next { .. }
            | Body::Grant { .. }
            | Body::Go { .. }
            | Body::End { confirm: true, .. } => receiver || sender,
            Body::Sweep | Body::Refuse { .. } | Body::End { .. } => receiver,
        }
    }

    /// Returns whether the node, in this epoch, is in the meeting that the message is about.
    fn is_in(&self, name: &NodeName, epoch: Epoch, message: &Message) -> bool {
        let node = &self.nodes[number_of(name)];
        node.epoch() == epoch && node.meeting_id() == message.meeting.as_ref()
    }

    /// Returns a hash that identifies the state.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.fingerprint_without_quiet_times().hash(&mut hasher);
        self.nodes
            .iter()
            .for_each(|node| node.quiet_for(NOW).hash(&mut hasher));
        hasher.finish()
    }

    /// Returns a hash that identifies the state without its quiet times.
    pub(super) fn fingerprint_without_quiet_times(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self {
            nodes,
            messages,
            processes,
            asks,
            restarts,
        } = self;
        (nodes, messages, processes, asks, restarts).hash(&mut hasher);
        hasher.finish()
    }
}

fn settings(model: &Model, number: usize, epoch: Epoch, skip_quiet_time: bool) -> Settings {
    Settings {
        epoch,
        ports: PortRange {
            first: 5201,
            count: model.ports,
        },
        skip_quiet_time,
        ..defaults::settings(number, model.tests.clone())
    }
}
