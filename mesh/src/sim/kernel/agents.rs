//! The agents: passes inputs to the coordinators, and carries out their outputs.

use std::net::IpAddr;
use std::time::Duration;

use super::host::Waiting;
use super::policy::{DELIVERY_TIMEOUT, Policy, Seal};
use super::process_table::{Death, Start};
use super::trace::{brief, describe};
use super::{Event, Kernel};
use crate::sim::ids::{Incarnation, number_at, number_of};
use crate::wire::Message;
use crate::{Epoch, Input, Node, Output, Time};

/// How soon a node can be woken again. It keeps the simulation from looping at one instant.
const TICK: Duration = Duration::from_micros(1);

impl<P: Policy> Kernel<P> {
    /// Starts an agent on a node, with an empty memory.
    pub fn start_agent(&mut self, number: usize, epoch: Epoch, skip_quiet_time: bool) {
        let now = self.now;
        let host = &mut self.hosts[number];
        host.incarnation += 1;
        host.settings.epoch = epoch;
        host.settings.skip_quiet_time = skip_quiet_time;
        host.backlog.clear();
        host.wake = None;
        host.busy_until = now;
        host.agent = Some(Node::new(host.settings.clone(), host.clock.local(now)));
        self.trace
            .note(now, || format!("n{number} starts with epoch {epoch}"));
        self.handle(number, Input::Tick);
    }

    /// Passes an input to a node now, or when its standstill ends.
    pub fn input(&mut self, number: usize, input: Input) {
        self.deliver(number, self.hosts[number].incarnation, input);
    }

    /// Works like [`Self::input`], unless that incarnation of the agent has ended.
    pub(super) fn deliver(&mut self, number: usize, incarnation: Incarnation, input: Input) {
        let host = &mut self.hosts[number];
        if host.incarnation != incarnation || host.agent.is_none() {
            return;
        }
        if host.stands_still() {
            host.backlog.push(Waiting::Input(input));
        } else {
            self.handle(number, input);
        }
    }

    /// Works like [`Self::deliver`], but a slow agent takes its time.
    pub(super) fn receive(&mut self, number: usize, incarnation: Incarnation, input: Input) {
        let delay = self.policy.reaction_time(number);
        if delay.is_zero() {
            return self.deliver(number, incarnation, input);
        }
        let host = &mut self.hosts[number];
        let at = (self.now + delay).max(host.busy_until);
        host.busy_until = at;
        self.queue
            .plan(at, Event::Handles(number, incarnation, input));
    }

    /// Passes an input to a running agent, and carries out the resulting outputs.
    pub(in crate::sim) fn handle(&mut self, number: usize, input: Input) {
        self.feed(number, input);
        self.drain(number);
    }

    /// Passes an input to a node, and leaves its outputs to [`Self::drain`].
    fn feed(&mut self, number: usize, input: Input) {
        if self.hosts[number].agent.is_none() {
            return;
        }
        P::before_input(self, number, &input);
        let host = &mut self.hosts[number];
        if let Some(agent) = &mut host.agent {
            agent.handle(host.clock.local(self.now), input);
        }
    }

    /// Carries out the outputs of a node, and plans when to wake it.
    pub fn drain(&mut self, number: usize) {
        while let Some(output) = self.hosts[number].agent.as_mut().and_then(Node::poll) {
            self.trace.note(self.now, || describe(number, &output));
            P::perform(self, number, output);
        }
        self.sleep(number);
        P::after_input(self, number);
    }

    fn sleep(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(deadline) = host.agent.as_ref().and_then(Node::deadline) else {
            return;
        };
        let at = host.clock.instant(deadline).max(self.now + TICK);
        if host.wake.is_none_or(|wake| at < wake) {
            host.wake = Some(at);
            self.queue.plan(at, Event::Wakes(number));
        }
    }

    pub(super) fn wake(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.wake == Some(self.now) {
            host.wake = None;
            let incarnation = host.incarnation;
            self.receive(number, incarnation, Input::Tick);
        }
    }

    /// Ends the agent's standstill: the agent handles its backlog.
    pub(super) fn catch_up(&mut self, number: usize) {
        self.hosts[number].awake_since = self.now;
        if self.policy.ticks_before_backlog() {
            self.handle(number, Input::Tick);
        }
        let mut backlog = std::mem::take(&mut self.hosts[number].backlog);
        if let Some(messages_first) = self.policy.messages_first() {
            let is_message = |w: &Waiting| matches!(w, Waiting::Input(Input::Message(_)));
            backlog.sort_by_key(|waiting| is_message(waiting) != messages_first);
        }
        let mut backlog = backlog.into_iter();
        for waiting in backlog.by_ref() {
            match waiting {
                Waiting::Input(input) => self.handle(number, input),
                Waiting::Spawn(start) => self.spawn(number, start),
            }
            if self.hosts[number].stands_still() {
                break;
            }
        }
        // If another standstill has begun, the rest goes before what has arrived in the meantime.
        let host = &mut self.hosts[number];
        drop(host.backlog.splice(0..0, backlog));
        if host.is_up() {
            self.handle(number, Input::Tick);
        }
    }

    /// Carries out an output that sends, starts or kills something. The other outputs only inform.
    pub fn perform(&mut self, number: usize, output: Output) {
        match output {
            Output::Send(to, message) => self.send(number, to.ip(), &message),
            Output::Ping {
                to,
                message,
                within,
            } => self.send_ping(number, to.ip(), &message, within),
            Output::StartServer(start) => self.decide_to_spawn(number, Start::Server(start)),
            Output::StartClient(start) => self.decide_to_spawn(number, Start::Client(start)),
            Output::Kill(run) => {
                let incarnation = self.hosts[number].incarnation;
                if let Some(pid) = self.processes.find(number, incarnation, run) {
                    self.plan_death(pid, self.now, Death::Killed);
                }
            }
            Output::Cell { .. }
            | Output::Complaint { .. }
            | Output::Departed(_)
            | Output::Missing(_)
            | Output::ImplausibleFigure { .. }
            | Output::ReservationEnded { .. }
            | Output::SweepBegan(_)
            | Output::Ignored { .. }
            | Output::SweepEnded(_) => {}
        }
    }

    fn decide_to_spawn(&mut self, number: usize, start: Start) {
        let host = &mut self.hosts[number];
        if host.freezes_at_spawn > 0 {
            host.freezes_at_spawn -= 1;
            host.frozen += 1;
        }
        if host.stands_still() {
            host.backlog.push(Waiting::Spawn(start));
        } else {
            self.spawn(number, start);
        }
    }

    /// Returns the node at this address. A node that has moved to another address is found by name.
    fn host_at(&self, address: IpAddr, message: &Message) -> Option<usize> {
        let candidates = [number_at(address), number_of(&message.to)];
        candidates.into_iter().find(|&node| node < self.hosts.len())
    }

    fn send(&mut self, from: usize, to: IpAddr, message: &Message) {
        let Some(to) = self.host_at(to, message) else {
            return;
        };
        let sender = self.hosts[from].incarnation;
        let delivery = self.policy.deliver(from, to, message);
        let seal = self.policy.seal(from, to, message);
        if delivery.reported_lost {
            self.report_lost(from, sender, message);
        }
        for delay in delivery.delays {
            self.plan_arrival(delay, to, (from, sender), message.clone(), seal);
        }
    }

    fn send_ping(&mut self, from: usize, to: IpAddr, message: &Message, within: Duration) {
        let Some(to) = self.host_at(to, message) else {
            return;
        };
        let sender = self.hosts[from].incarnation;
        let until = self.now + within;
        let delivery = self.policy.deliver(from, to, message);
        let seal = self.policy.seal(from, to, message);
        for delay in delivery
            .delays
            .into_iter()
            .filter(|_| !delivery.reported_lost)
        {
            let message = message.clone();
            self.queue.plan(
                self.now + delay,
                Event::PingArrives {
                    to,
                    from,
                    sender,
                    message,
                    seal,
                    until,
                },
            );
        }
    }

    /// Lets a node accept a ping, and its sender learn that. An agent accepts only what is
    /// addressed to it.
    pub(super) fn answer_ping(
        &mut self,
        to: usize,
        from: usize,
        sender: Incarnation,
        message: Message,
        until: Time,
    ) {
        let host = &self.hosts[to];
        let is_addressed =
            host.settings.name == message.to && host.settings.epoch == message.to_epoch;
        if host.dark > 0 || !host.is_up() || !is_addressed {
            return;
        }
        let incarnation = host.incarnation;
        let at = self.now + self.policy.reaction_time(to) + self.policy.latency();
        let answered = Input::Answered {
            node: message.to.clone(),
            epoch: message.to_epoch,
        };
        self.receive(to, incarnation, Input::Message(message));
        if at <= until && self.policy.is_connected(from, to) {
            self.queue.plan(at, Event::Handles(from, sender, answered));
        }
    }

    /// Delivers a message once more. No agent waits to learn its fate, because no incarnation is 0.
    pub(in crate::sim) fn replay(&mut self, message: Message, seal: Seal) {
        let (to, from) = (number_of(&message.to), number_of(&message.from));
        self.plan_arrival(Duration::ZERO, to, (from, 0), message, seal);
    }

    fn plan_arrival(
        &mut self,
        delay: Duration,
        to: usize,
        (from, sender): (usize, Incarnation),
        message: Message,
        seal: Seal,
    ) {
        self.queue.plan(
            self.now + delay,
            Event::Arrives {
                to,
                from,
                sender,
                message,
                seal,
            },
        );
    }

    /// Plans to tell the sender that the message may be lost.
    fn report_lost(&mut self, from: usize, sender: Incarnation, message: &Message) {
        if let Some(meeting) = message.meeting.clone() {
            let input = Input::Undelivered {
                to: message.to.clone(),
                meeting,
            };
            self.queue.plan(
                self.now + DELIVERY_TIMEOUT,
                Event::Handles(from, sender, input),
            );
        }
    }

    /// Returns whether the agent of a node takes a message from another one: it runs, speaks a
    /// compatible version, and can open the message.
    pub(super) fn is_accepted(&mut self, to: usize, from: usize, seal: Seal) -> bool {
        let host = &self.hosts[to];
        let is_understood = (host.wire - self.hosts[from].wire).abs() <= 1;
        let is_awake = host.dark == 0 && host.suspended == 0;
        // An agent opens only what it receives: what has opened once does not open again.
        host.agent.is_some() && is_understood && (!is_awake || self.policy.opens(to, seal))
    }

    pub(super) fn arrive(
        &mut self,
        to: usize,
        (from, sender): (usize, Incarnation),
        message: Message,
        seal: Seal,
    ) {
        if self.hosts[to].dark > 0 {
            return self.report_lost(from, sender, &message);
        }
        if !self.is_accepted(to, from, seal) {
            // The machine or the agent rejects the message at once.
            if let Some(meeting) = message.meeting {
                let input = Input::Undelivered {
                    to: message.to,
                    meeting,
                };
                self.receive(from, sender, input);
            }
            return;
        }
        let host = &self.hosts[to];
        let incarnation = host.incarnation;
        let (stands_still, is_suspended) = (host.stands_still(), host.suspended > 0);
        if stands_still {
            self.report_lost(from, sender, &message);
        }
        if !is_suspended {
            self.trace
                .note(self.now, || format!("n{to} receives {}", brief(&message)));
            self.receive(to, incarnation, Input::Message(message));
        }
    }
}
