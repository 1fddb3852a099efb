//! The agents: what a coordinator is told, and what is done with what it says.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use super::{Event, World, address_of, name_of, number_of};
use crate::sim::gossip::{FANOUT, INTERVAL};
use crate::sim::host::{Life, Waiting};
use crate::sim::iperf::{Death, Start};
use crate::sim::network::HANDED_OVER_WITHIN;
use crate::wire::Message;
use crate::{Epoch, Input, Member, Node, Output, Presence, Time, View, WIRE_VERSION};

/// How many old messages are kept to be repeated.
const SENT_MAX: usize = 5000;

/// What gossip adds to wire versions, so that there is room below.
const WIRE_BASE: u16 = 100;

/// How often a node with nothing to do is looked after, so that the simulation cannot loop at one instant.
const TICK: Duration = Duration::from_micros(1);

impl World {
    /// Begins a life of the agent on that node.
    pub(super) fn begin_life(&mut self, number: usize, no_past: bool) {
        let epoch = Epoch(self.rng.random());
        let now = self.now;
        let host = &mut self.hosts[number];
        host.life += 1;
        host.settings.epoch = epoch;
        host.settings.no_past = no_past;
        host.backlog.clear();
        host.wake = None;
        host.leaving = false;
        host.busy_until = now;
        host.completed = 0;
        host.agent = Some(Node::new(host.settings.clone(), host.clock.local(now)));
        self.trace.note(now, || format!("n{number} begins life {epoch}"));
        if let Some(epidemic) = &mut self.epidemic {
            epidemic.forget(number);
        }
        self.handle(number, Input::Tick);
    }

    pub(in crate::sim) fn begin_all(&mut self, no_past: bool) {
        (0..self.hosts.len()).for_each(|number| self.begin_life(number, no_past));
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

    fn handle(&mut self, number: usize, input: Input) {
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

    /// An agent that stood still goes on with what has waited for it. Whether it first looks at its clock is chance, and
    /// so is whether it reads its messages before it looks after its processes.
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
        let still_waiting: Vec<_> = backlog.collect();
        let host = &mut self.hosts[number];
        if !still_waiting.is_empty() {
            let after = std::mem::replace(&mut host.backlog, still_waiting);
            host.backlog.extend(after);
        }
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
            Output::Cell { destination, protocol, outcome } => {
                if outcome.is_ok() {
                    let sweep = self.sweep_of(number);
                    self.ledger.good(sweep, number, number_of(&destination), protocol);
                }
            }
            Output::Departed(_) | Output::Reservation { .. } => {}
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
            self.queue.plan(self.now + delay, Event::Arrives { to, from, from_life, message });
        }
    }

    /// The sender will be told that the message may not have been handed over.
    fn doubt(&mut self, from: usize, from_life: Life, message: &Message) {
        if let Some(meeting) = message.meeting.clone() {
            let input = Input::Undelivered { to: message.to.clone(), meeting };
            self.queue.plan(self.now + HANDED_OVER_WITHIN, Event::Hears(from, from_life, input));
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
                let input = Input::Undelivered { to: message.to, meeting };
                self.hear(from, from_life, input);
            }
            return;
        }
        let (life, is_deaf, is_gone) = (host.life, host.stands_still(), host.suspended > 0);
        if is_deaf {
            self.doubt(from, from_life, &message);
        }
        if !is_gone {
            self.trace.note(self.now, || format!("n{to} hears {}", brief(&message)));
            self.hear(to, life, Input::Message(message));
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
        self.queue.plan(self.now, Event::Arrives { to, from, from_life: 0, message });
    }

    pub(super) fn say_goodbye(&mut self, number: usize) {
        self.trace.note(self.now, || format!("n{number} has left"));
        self.hosts[number].agent = None;
        if let Some(epidemic) = &mut self.epidemic {
            epidemic.leave(number);
            for other in (0..self.hosts.len()).filter(|&other| other != number) {
                self.gossip_to(number, other);
            }
        }
        self.spread();
    }

    fn sweep_of(&self, number: usize) -> u64 {
        self.hosts[number].agent.as_ref().map_or(0, |agent| agent.status(Time::default()).sweep)
    }

    fn member(&self, number: usize, presence: Presence) -> Member {
        let host = &self.hosts[number];
        Member {
            name: name_of(number),
            epoch: host.settings.epoch,
            wire: (WIRE_VERSION + WIRE_BASE).saturating_add_signed(host.wire.into()),
            zone: String::new(),
            control: SocketAddr::new(address_of(number), 9878),
            http_port: 9876,
            sweep: self.sweep_of(number),
            presence,
        }
    }

    /// A node gossips, as it does all the time.
    pub(super) fn gossip(&mut self, number: usize) {
        self.queue.plan(self.now + INTERVAL, Event::Gossips(number));
        let (nodes, now) = (self.hosts.len(), self.now);
        if self.hosts[number].is_up() {
            self.look_for_endless_meeting(number);
            let (life, member) = (self.hosts[number].life, self.member(number, Presence::Live));
            if let Some(epidemic) = &mut self.epidemic {
                epidemic.describe(now, number, life, member);
            }
            let first = self.rng.random_range(0..nodes);
            let others = (0..nodes).map(|place| (first + place) % nodes);
            for other in others.filter(|&other| other != number).take(FANOUT) {
                self.gossip_to(number, other);
            }
            self.show_view(number);
        }
    }

    fn look_for_endless_meeting(&mut self, number: usize) {
        let host = &self.hosts[number];
        let (local, slow) = (host.clock.local(self.now), host.slow * 10);
        let meeting = host.agent.as_ref().and_then(|agent| agent.status(local).meeting);
        if let (Some((peer, role, began)), Some(longest)) = (meeting, self.longest)
            && local.since(began) > longest + slow
            && self.now.since(host.awake_since) > longest + slow
        {
            let role = role.as_str();
            self.endless
                .push(format!("n{number}, {role} of a meeting with {peer} since {began:?}"));
        }
    }

    fn gossip_to(&mut self, from: usize, to: usize) {
        if from != to && self.network.is_open(from, to) {
            let at = self.now + self.network.latency();
            self.queue.plan(at, Event::GossipArrives { from, to });
        }
    }

    pub(super) fn gossip_arrives(&mut self, from: usize, to: usize) {
        if self.hosts[to].is_up()
            && let Some(epidemic) = &mut self.epidemic
        {
            epidemic.tell(self.now, from, to);
        }
    }

    /// Everybody hears of the present state within two seconds, if gossip is not simulated.
    pub(super) fn spread(&mut self) {
        if self.epidemic.is_some() {
            return;
        }
        let presence = |number: usize| match &self.hosts[number] {
            host if host.agent.is_some() => Presence::Live,
            host if host.leaving => Presence::Left,
            _ => Presence::Silent,
        };
        let members = (0..self.hosts.len()).map(|number| self.member(number, presence(number)));
        self.latest = self.translate(0, &View::new(members.collect(), false));
        for number in 0..self.hosts.len() {
            let delay = Duration::from_secs_f64(0.2 + 1.8 * self.rng.random::<f64>());
            self.queue.plan(self.now + delay, Event::ViewChanges(number));
        }
    }

    /// A node gets to see what gossip has brought it.
    pub(super) fn show_view(&mut self, number: usize) {
        let host = &self.hosts[number];
        if host.stale > 0 || !host.is_up() {
            return;
        }
        let view = match &self.epidemic {
            Some(epidemic) => self.translate(number, &epidemic.view(self.now, number)),
            None => self.latest.clone(),
        };
        self.handle(number, Input::View(view));
    }

    /// Wire versions as the code of that node would see them, whose own version is always the one of the code: as far
    /// above it as the two are apart.
    fn translate(&self, observer: usize, view: &View) -> View {
        let own =
            (WIRE_VERSION + WIRE_BASE).saturating_add_signed(self.hosts[observer].wire.into());
        let members = view.members().iter().map(|member| Member {
            wire: WIRE_VERSION + member.wire.abs_diff(own),
            ..member.clone()
        });
        View::new(members.collect(), false)
    }
}

fn describe(number: usize, output: &Output) -> String {
    match output {
        Output::Send(_, message) => format!("n{number} says {}", brief(message)),
        output => format!("n{number} {output:?}"),
    }
}

fn brief(message: &Message) -> String {
    let Message { from, to, sweep, meeting, body, .. } = message;
    let meeting = meeting.as_ref().map(ToString::to_string).unwrap_or_default();
    match body {
        crate::wire::Body::Request { .. } => {
            format!("{from} -> {to} ({meeting}, sweep {sweep}) Request")
        }
        body => format!("{from} -> {to} ({meeting}, sweep {sweep}) {body:?}"),
    }
}
