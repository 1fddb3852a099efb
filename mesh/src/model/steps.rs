//! The events that can happen next in a state, and the states that they lead to.

use std::time::Duration;

use crate::protocol::QUIET_TIME;
use crate::sim::ids::{name_of, number_of};
use crate::{Figures, Input, MeetingStatus, Reason, ServerFailure};

use super::processes::{FarEnd, Kind, Phase, Process};
use super::world::{Outcomes, World};
use super::{BrokenAssumption, Model, NOW, UNIT, others};

/// A placeholder; it has a meaning only for a server that failed to start.
const SPAWN: ServerFailure = ServerFailure::Spawn;

/// An event. Processes and messages are given by index.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The schedule of the first node chooses the second one.
    Ask(usize, usize),
    /// A message arrives, for the first time or again.
    Deliver(usize),
    /// The node is told that its message may be lost, whether it is lost or not.
    ReportLost(usize),
    /// A timer of the node's agent fires, in time or late.
    Tick(usize),
    /// The process starts.
    Start(usize),
    /// The server comes to listen.
    Listen(usize),
    /// The client connects to the server.
    Connect(usize, usize),
    /// The test of this client and this server is complete, and the client is reaped.
    Succeed(usize, usize),
    /// The process has failed and is reaped.
    End(usize),
    /// The server has failed, because its port was taken.
    PortTaken(usize),
    /// Gossip tells the node the present epochs.
    View(usize),
    /// The node's agent dies and restarts.
    Restart(usize),
    /// Time passes.
    Pass,
}

impl World {
    /// Returns all steps. Some of them may change nothing.
    pub(super) fn steps(&self, model: &Model) -> Vec<Step> {
        let mut steps = vec![Step::Pass];
        for (number, node) in self.nodes.iter().enumerate() {
            let others = others(model.nodes, number).into_iter();
            if node.is_free() && self.asks > 0 {
                let known = others.clone().filter(|other| node.peer(other).is_some());
                steps.extend(known.map(|other| Step::Ask(number, number_of(&other))));
            }
            if !node.is_free() {
                steps.push(Step::ReportLost(number));
            }
            if node.slot_deadline().is_some_and(|deadline| deadline <= NOW) {
                steps.push(Step::Tick(number));
            }
            if self.restarts > 0 {
                steps.push(Step::Restart(number));
            }
            let mut known = others.map(|other| (node.peer(&other), number_of(&other)));
            if known.any(|(peer, other)| {
                peer.is_none_or(|peer| peer.member.epoch != self.nodes[other].epoch())
            }) {
                steps.push(Step::View(number));
            }
        }
        steps.extend((0..self.messages.len()).map(Step::Deliver));
        for (at, process) in self.processes.iter().enumerate() {
            self.steps_of(model, at, process, &mut steps);
        }
        steps
    }

    fn steps_of(&self, model: &Model, at: usize, process: &Process, steps: &mut Vec<Step>) {
        steps.push(Step::End(at));
        match (process.phase, &process.kind) {
            (Phase::Decided(_), _) => steps.push(Step::Start(at)),
            (Phase::Alive, Kind::Server { listens: false, .. }) if !process.orphan => {
                steps.push(Step::Listen(at));
                if model.ports > 1 {
                    steps.push(Step::PortTaken(at));
                }
            }
            // The connection of a one-way test changes nothing: its client disturbs the server's
            // node anyway.
            (Phase::Alive, Kind::Client { .. }) if process.two_way => {
                steps.extend(self.steps_of_client(at, process));
            }
            _ => {}
        }
    }

    fn steps_of_client(&self, at: usize, client: &Process) -> impl Iterator<Item = Step> {
        let servers = self
            .processes
            .iter()
            .enumerate()
            .filter(|(_, server)| server.is_alive());
        servers.filter_map(
            move |(server, Process { node, kind, .. })| match (&client.kind, kind) {
                (
                    Kind::Client { to, port },
                    Kind::Server {
                        port: open,
                        listens: true,
                        far_end,
                    },
                ) if to == node && port == open => match far_end {
                    FarEnd::Awaited => Some(Step::Connect(at, server)),
                    FarEnd::Sends(_) => Some(Step::Succeed(at, server)),
                    FarEnd::Done => None,
                },
                _ => None,
            },
        )
    }

    /// Returns the state after that step.
    pub(super) fn after(&self, model: &Model, step: Step, seen: &mut Outcomes) -> Self {
        let mut world = self.clone();
        match step {
            Step::Ask(number, other) => {
                world.asks -= 1;
                let other = name_of(other);
                world.change(model, number, seen, |node| node.ask_now(NOW, &other));
            }
            Step::Deliver(at) => {
                let message = (*self.messages[at].message).clone();
                let to = number_of(&message.to);
                world.input(model, to, Input::Message(message), seen);
            }
            Step::ReportLost(number) => world.report_lost(model, number, seen),
            Step::Tick(number) => world.input(model, number, Input::Tick, seen),
            Step::Start(at) => world.start(model, at),
            Step::Listen(at) => world.listen(model, at, seen),
            Step::Connect(client, server) => {
                let to = world.processes[client].node;
                world.processes[server].send_to(FarEnd::Sends(to));
            }
            Step::Succeed(client, server) => {
                world.processes[server].send_to(FarEnd::Done);
                let success =
                    |client: &Process| client.exit_input(Ok(Figures::of_bandwidth(1.0)), SPAWN);
                world.end(model, client, success, seen);
            }
            Step::End(at) => {
                let failure = |process: &Process| process.exit_input(Err(Reason::Iperf), SPAWN);
                world.end(model, at, failure, seen);
            }
            Step::PortTaken(at) => {
                let taken = ServerFailure::PortTaken;
                let failure = |server: &Process| server.exit_input(Err(Reason::Iperf), taken);
                world.end(model, at, failure, seen);
            }
            Step::View(number) => world.input(model, number, Input::View(self.view()), seen),
            Step::Restart(number) => world.restart(model, number),
            Step::Pass => world.pass(self.next_instant()),
        }
        world
    }

    /// Returns how much time passes in one step: a unit, or all of it if only quiet times are
    /// running.
    pub(super) fn next_instant(&self) -> Duration {
        if self.nodes.iter().all(|node| node.quiet_for(NOW).is_zero()) {
            return UNIT;
        }
        let mut later = self.clone();
        later.pass(UNIT);
        if later.fingerprint_without_quiet_times() == self.fingerprint_without_quiet_times() {
            QUIET_TIME
        } else {
            UNIT
        }
    }

    /// Describes the step in words.
    pub(super) fn describe(&self, step: Step) -> String {
        match step {
            Step::Ask(number, other) => format!("n{number} asks n{other}"),
            Step::Deliver(at) => {
                let message = &self.messages[at].message;
                let (from, to) = (&message.from, &message.to);
                let meeting = message
                    .meeting
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                format!("{to} gets {} of {meeting} from {from}", message.body.kind())
            }
            Step::Start(at) => format!("starts: {}", self.processes[at]),
            Step::Listen(at) => format!("listens: {}", self.processes[at]),
            Step::Connect(client, server) => {
                format!(
                    "{} connects to {}",
                    self.processes[client], self.processes[server]
                )
            }
            Step::Succeed(client, _) => format!("completes: {}", self.processes[client]),
            Step::End(at) => format!("fails: {}", self.processes[at]),
            Step::PortTaken(at) => format!("finds its port taken: {}", self.processes[at]),
            step => format!("{step:?}"),
        }
    }

    fn report_lost(&mut self, model: &Model, number: usize, seen: &mut Outcomes) {
        let meeting = self.nodes[number].status(NOW).meeting;
        let id = self.nodes[number].meeting_id().cloned();
        if let (Some(MeetingStatus { peer: to, .. }), Some(meeting)) = (meeting, id) {
            self.input(model, number, Input::Undelivered { to, meeting }, seen);
        }
    }

    fn start(&mut self, model: &Model, at: usize) {
        let process = &mut self.processes[at];
        process.phase = Phase::Alive;
        if model.broken_assumption == Some(BrokenAssumption::LateStart) {
            process.left = model.tests[0].timeout;
        }
    }

    fn listen(&mut self, model: &Model, at: usize, seen: &mut Outcomes) {
        let (node, run) = (self.processes[at].node, self.processes[at].run);
        if let Kind::Server { listens, .. } = &mut self.processes[at].kind {
            *listens = true;
        }
        let buffer = None;
        self.input(model, node, Input::ServerReady { run, buffer }, seen);
    }

    fn end(
        &mut self,
        model: &Model,
        at: usize,
        exit_input: impl FnOnce(&Process) -> Input,
        seen: &mut Outcomes,
    ) {
        let process = self.processes.remove(at);
        if !process.orphan {
            self.input(model, process.node, exit_input(&process), seen);
        }
    }
}
