//! The agents: what a coordinator is told, and what is done with what it says.

use std::time::Duration;

use rand::RngExt;

use super::{Event, World, number_of};
use crate::sim::host::{Life, Waiting};
use crate::sim::iperf::{Death, Start};
use crate::sim::network::HANDED_OVER_WITHIN;
use crate::wire::Message;
use crate::{Epoch, Input, MeetingStatus, Node, Output};

/// How many old messages are kept to be repeated.
const SENT_MAX: usize = 5000;

/// How often a node with nothing to do is looked after, so that the simulation cannot loop at one
/// instant.
const TICK: Duration = Duration::from_micros(1);

impl World {
    /// Begins a life of the agent on that node.
    pub(super) fn begin_life(&mut self, number: usize, skip_quiet_time: bool) {
        let epoch = Epoch(self.rng.random());
        let now = self.now;
        let host = &mut self.hosts[number];
        host.life += 1;
        host.settings.epoch = epoch;
        host.settings.skip_quiet_time = skip_quiet_time;
        host.backlog.clear();
        host.wake = None;
        host.leaving = false;
        host.busy_until = now;
        host.completed = 0;
        host.agent = Some(Node::new(host.settings.clone(), host.clock.local(now)));
        self.trace
            .note(now, || format!("n{number} begins life {epoch}"));
        if let Some(epidemic) = &mut self.epidemic {
            epidemic.forget(number);
        }
        self.handle(number, Input::Tick);
    }

    pub(in crate::sim) fn begin_all(&mut self, skip_quiet_time: bool) {
        (0..self.hosts.len()).for_each(|number| self.begin_life(number, skip_quiet_time));
        self.spread();
    }

    /// Tells an agent something at once, unless it has ended; if it stands still, when it goes on.
    pub(super) fn tell(&mut self, number: usize, life: Life, input: Input) {
        let host = &mut self.hosts[number];
        if host.life != life || host.agent.is_none() {
            return;
        }
        if host.stands_still() {
            host.backlog.push(Waiting::Input(input));
        } else {
            self.handle(number, input);
        }
    }

    /// An agent has something to hear: as [`Self::tell`], but a slow one takes its time.
    pub(super) fn hear(&mut self, number: usize, life: Life, input: Input) {
        let host = &mut self.hosts[number];
        if host.slow.is_zero() {
            return self.tell(number, life, input);
        }
        let at = self.now + host.slow.mul_f64(self.rng.random::<f64>());
        let at = at.max(host.busy_until);
        host.busy_until = at;
        self.queue.plan(at, Event::Hears(number, life, input));
    }

    pub(super) fn handle(&mut self, number: usize, input: Input) {
        let now = self.now;
        let host = &mut self.hosts[number];
        let Some(agent) = &mut host.agent else { return };
        agent.handle(host.clock.local(now), input);
        while let Some(output) = self.hosts[number].agent.as_mut().and_then(Node::poll) {
            self.perform(number, output);
        }
        self.sleep(number);
        let host = &self.hosts[number];
        if host.leaving && host.agent.as_ref().is_some_and(Node::is_free) {
            self.say_goodbye(number);
        }
    }

    fn sleep(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(deadline) = host.agent.as_ref().and_then(Node::deadline) else {
            return;
        };
        let at = host.clock.instant(deadline).max(self.now + TICK);
        if host.wake.is_none_or(|wake| at < wake) {
            host.wake = Some(at);
            self.queue.plan(at, Event::Wake(number));
        }
    }

    pub(super) fn wake(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.wake == Some(self.now) {
            host.wake = None;
            let life = host.life;
            self.hear(number, life, Input::Tick);
        }
    }

    /// An agent that stood still goes on with what has waited for it. Whether it first looks at its
    /// clock is chance, and so is whether it reads its messages before it looks after its
    /// processes.
    pub(super) fn go_on(&mut self, number: usize) {
        self.hosts[number].awake_since = self.now;
        if self.rng.random() {
            self.handle(number, Input::Tick);
        }
        let mut backlog = std::mem::take(&mut self.hosts[number].backlog);
        if self.rng.random() {
            let is_message = |w: &Waiting| matches!(w, Waiting::Input(Input::Message(_)));
            let messages_first: bool = self.rng.random();
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
        // If it stands still again, what is left has waited for longer than what has come since.
        let host = &mut self.hosts[number];
        drop(host.backlog.splice(0..0, backlog));
        if host.is_up() {
            self.handle(number, Input::Tick);
        }
    }

    fn perform(&mut self, number: usize, output: Output) {
        self.trace.note(self.now, || describe(number, &output));
        match output {
            Output::Send(_, message) => self.send(number, &message),
            Output::StartServer(start) => self.decide_to_spawn(number, Start::Server(start)),
            Output::StartClient(start) => self.decide_to_spawn(number, Start::Client(start)),
            Output::Kill(run) => {
                let life = self.hosts[number].life;
                if let Some(pid) = self.processes.find(number, life, run) {
                    self.plan_death(pid, self.now, Death::Killed);
                }
            }
            Output::SweepBegan(sweep) => {
                if sweep > self.highest_sweep {
                    self.highest_sweep = sweep;
                    self.spread();
                }
            }
            Output::SweepEnded(report) => self.hosts[number].completed = report.number,
            Output::Cell {
                destination,
                protocol,
                outcome,
            } => {
                if outcome.is_ok() {
                    let sweep = self.sweep_of(number);
                    self.result_log
                        .good(sweep, number, number_of(&destination), protocol);
                }
            }
            Output::Departed(_) | Output::Missing(_) | Output::ReservationEnded { .. } => {}
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

    fn send(&mut self, from: usize, message: &Message) {
        self.messages += 1;
        let to = number_of(&message.to);
        if to >= self.hosts.len() {
            return;
        }
        if self.epidemic.is_some() {
            self.sent.truncate(SENT_MAX);
            self.sent.push_front(message.clone());
        }
        let from_life = self.hosts[from].life;
        let fate = self.network.fate(from, to);
        if fate.doubted {
            self.doubt(from, from_life, message);
        }
        for delay in fate.arrives {
            let message = message.clone();
            self.queue.plan(
                self.now + delay,
                Event::Arrives {
                    to,
                    from,
                    from_life,
                    message,
                },
            );
        }
    }

    /// The sender will be told that the message may not have been handed over.
    fn doubt(&mut self, from: usize, from_life: Life, message: &Message) {
        if let Some(meeting) = message.meeting.clone() {
            let input = Input::Undelivered {
                to: message.to.clone(),
                meeting,
            };
            self.queue.plan(
                self.now + HANDED_OVER_WITHIN,
                Event::Hears(from, from_life, input),
            );
        }
    }

    pub(super) fn arrive(&mut self, to: usize, from: usize, from_life: Life, message: Message) {
        let host = &self.hosts[to];
        if host.dark > 0 {
            return self.doubt(from, from_life, &message);
        }
        let is_understood = (host.wire - self.hosts[from].wire).abs() <= 1;
        if host.agent.is_none() || !is_understood {
            // The machine, or the agent, says so at once.
            if let Some(meeting) = message.meeting {
                let input = Input::Undelivered {
                    to: message.to,
                    meeting,
                };
                self.hear(from, from_life, input);
            }
            return;
        }
        let (life, is_deaf, is_gone) = (host.life, host.stands_still(), host.suspended > 0);
        if is_deaf {
            self.doubt(from, from_life, &message);
        }
        if !is_gone {
            self.trace
                .note(self.now, || format!("n{to} hears {}", brief(&message)));
            self.hear(to, life, Input::Message(message));
        }
    }

    /// Notes a meeting that takes longer than any may.
    pub(super) fn look_for_endless_meeting(&mut self, number: usize) {
        let host = &self.hosts[number];
        let (local, slow) = (host.clock.local(self.now), host.slow * 10);
        let meeting = host
            .agent
            .as_ref()
            .and_then(|agent| agent.status(local).meeting);
        if let (Some(MeetingStatus { peer, role, began }), Some(longest)) = (meeting, self.longest)
            && local.since(began) > longest + slow
            && self.now.since(host.awake_since) > longest + slow
        {
            self.endless.push(format!(
                "n{number}, {role} of a meeting with {peer} since {began:?}"
            ));
        }
    }

    /// Some old message comes once more.
    pub(super) fn replay(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let message = self.sent[self.rng.random_range(0..self.sent.len())].clone();
        let (from, to) = (number_of(&message.from), number_of(&message.to));
        // Nobody waits for what becomes of it: no life has this number.
        self.queue.plan(
            self.now,
            Event::Arrives {
                to,
                from,
                from_life: 0,
                message,
            },
        );
    }
}

fn describe(number: usize, output: &Output) -> String {
    match output {
        Output::Send(_, message) => format!("n{number} says {}", brief(message)),
        output => format!("n{number} {output:?}"),
    }
}

fn brief(message: &Message) -> String {
    let Message {
        from,
        to,
        sweep,
        meeting,
        body,
        ..
    } = message;
    let meeting = meeting
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    match body {
        crate::wire::Body::Request { .. } => {
            format!("{from} -> {to} ({meeting}, sweep {sweep}) Request")
        }
        body => format!("{from} -> {to} ({meeting}, sweep {sweep}) {body:?}"),
    }
}
