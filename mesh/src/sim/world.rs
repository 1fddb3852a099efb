//! The event loop of the simulation: it does for each coordinator what the agent does, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::checker::{Checker, Test};
use super::iperf::{self, CLIENT_START, DEATH, Kind, Processes, SERVER_START};
use super::network::{Fate, Network};
use super::queue::Queue;
use super::{Options, Report};
use crate::wire::Message;
use crate::{
    Epoch, Figures, Input, Member, Node, NodeName, Output, PortRange, Presence, Reason, RunId,
    Settings, Time, View, WIRE_VERSION, schedule,
};

/// How long the sender of a lost message waits until it knows.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// A sweep that takes this many times its bound, and ten minutes more, is stuck.
const STUCK_FACTOR: u32 = 10;

enum Event {
    Input(usize, Input),
    Wake(usize),
    ServerListens(usize, RunId),
    ClientConnects(usize, RunId),
    ClientEnds(usize, RunId, bool),
    Dies(usize, RunId),
}

struct Host {
    node: Node,
    wake: Option<Time>,
    processes: Processes,
    sweep: u64,
    completed: u64,
}

pub(super) struct World {
    options: Options,
    now: Time,
    queue: Queue<Event>,
    hosts: Vec<Host>,
    network: Network,
    checker: Checker,
    rng: StdRng,
    messages: u64,
    /// The highest sweep that gossip has spread.
    gossiped_sweep: u64,
}

impl World {
    pub(super) fn new(options: &Options) -> Self {
        let mut rng = StdRng::seed_from_u64(options.seed);
        let network = Network::new(options.latency, options.loss, rng.random());
        let epoch = |rng: &mut StdRng| Epoch(rng.random());
        let start = Time::from_nanos(0);
        let hosts: Vec<Host> = (0..options.nodes)
            .map(|number| Host {
                node: Node::new(settings(options, number, epoch(&mut rng)), start),
                wake: None,
                processes: Processes::default(),
                sweep: 0,
                completed: 0,
            })
            .collect();
        let mut world = Self {
            options: options.clone(),
            now: start,
            queue: Queue::new(),
            checker: Checker::new(options.nodes),
            hosts,
            network,
            rng,
            messages: 0,
            gossiped_sweep: 0,
        };
        world.gossip();
        world
    }

    pub(super) fn run(mut self) -> Report {
        let bound = schedule::sweep_bound(self.options.nodes, &self.options.tests);
        let patience = (bound * STUCK_FACTOR + Duration::from_secs(600) + self.options.interval)
            * u32::try_from(self.options.sweeps).unwrap_or(u32::MAX);
        let end = self.now + patience;
        let mut done = false;
        while !done && self.now <= end {
            let Some((at, event)) = self.queue.next() else {
                break;
            };
            self.now = at;
            self.happen(event);
            done = self.hosts.iter().all(|host| host.completed >= self.options.sweeps);
        }
        let mut sweeps = self.checker.sweeps();
        sweeps.retain(|sweep| sweep.number <= self.options.sweeps);
        Report {
            sweeps,
            overlaps: self.checker.overlaps(),
            stuck: !done,
            messages: self.messages,
            elapsed: self.now.since(Time::default()),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(host, input) => self.input(host, input),
            Event::Wake(host) => {
                if self.hosts[host].wake.is_some_and(|wake| wake <= self.now) {
                    self.hosts[host].wake = None;
                    self.input(host, Input::Tick);
                }
            }
            Event::ServerListens(host, run) => {
                let process = self.hosts[host].processes.get_mut(run);
                if let Some(Kind::Server { listening, .. }) =
                    process.map(|process| &mut process.kind)
                {
                    *listening = true;
                    self.input(host, Input::ServerReady(run));
                }
            }
            Event::ClientConnects(host, run) => self.connect(host, run),
            Event::ClientEnds(host, run, well) => self.client_ends(host, run, well),
            Event::Dies(host, run) => self.die(host, run),
        }
    }

    fn input(&mut self, host: usize, input: Input) {
        self.hosts[host].node.handle(self.now, input);
        while let Some(output) = self.hosts[host].node.poll() {
            self.output(host, output);
        }
        if let Some(deadline) = self.hosts[host].node.deadline() {
            let deadline = deadline.max(self.now);
            if self.hosts[host].wake.is_none_or(|wake| deadline < wake) {
                self.hosts[host].wake = Some(deadline);
                self.queue.plan(deadline, Event::Wake(host));
            }
        }
    }

    fn output(&mut self, host: usize, output: Output) {
        match output {
            Output::Send(_, message) => self.send(host, message),
            Output::StartServer(start) => {
                self.checker.enter(host, &start.meeting);
                self.hosts[host].processes.start_server(&start);
                self.queue.plan(self.now + SERVER_START, Event::ServerListens(host, start.run));
                self.queue.plan(start.deadline, Event::Dies(host, start.run));
            }
            Output::StartClient(start) => {
                self.checker.enter(host, &start.meeting);
                self.checker.enter(number_of(&start.peer), &start.meeting);
                let run = start.run;
                self.hosts[host].processes.start_client(start);
                self.queue.plan(self.now + CLIENT_START, Event::ClientConnects(host, run));
            }
            Output::Kill(run) => self.kill(host, run, self.now + DEATH),
            Output::SweepBegan(number) => {
                self.hosts[host].sweep = number;
                if number > self.gossiped_sweep {
                    self.gossiped_sweep = number;
                    self.gossip();
                }
            }
            Output::SweepEnded(report) => self.hosts[host].completed = report.number,
            Output::Cell { .. } | Output::Departed(_) | Output::Reservation { .. } => {}
        }
    }

    fn send(&mut self, host: usize, message: Message) {
        self.messages += 1;
        let to = number_of(&message.to);
        match self.network.fate() {
            Fate::Arrives(delay) => {
                self.queue.plan(self.now + delay, Event::Input(to, Input::Message(message)));
            }
            Fate::Lost => {
                let Some(meeting) = message.meeting else {
                    return;
                };
                let input = Input::Undelivered { to: message.to, meeting };
                self.queue.plan(self.now + DELIVERY_TIMEOUT, Event::Input(host, input));
            }
        }
    }

    /// What gossip does: everybody hears of the present state within two seconds.
    fn gossip(&mut self) {
        let members = (0..).zip(&self.hosts).map(|(number, host)| Member {
            name: name_of(number),
            epoch: host.node.epoch(),
            wire: WIRE_VERSION,
            zone: String::new(),
            control: SocketAddr::new(address_of(number), 9878),
            http_port: 9876,
            sweep: host.sweep,
            presence: Presence::Live,
        });
        let view = View::new(members.collect(), false);
        for host in 0..self.hosts.len() {
            let delay = Duration::from_secs_f64(0.2 + 1.8 * self.rng.random::<f64>());
            self.queue.plan(self.now + delay, Event::Input(host, Input::View(view.clone())));
        }
    }

    fn connect(&mut self, host: usize, run: RunId) {
        let Some(process) = self.hosts[host].processes.get_mut(run) else {
            return;
        };
        let Kind::Client { start, .. } = &process.kind else {
            return;
        };
        let (start, target) = (start.clone(), number_of(&start.peer));
        let accepted = self.hosts[target].processes.accept(start.remote.1, (host, run));
        let Some(server) = accepted else {
            self.queue
                .plan(self.now + self.options.latency * 2, Event::ClientEnds(host, run, false));
            return;
        };
        if let Some(process) = self.hosts[host].processes.get_mut(run)
            && let Kind::Client { server: slot, .. } = &mut process.kind
        {
            *slot = Some((target, server));
        }
        let hangs = self.options.fail > 0.0 && self.rng.random_bool(self.options.fail);
        let (end, well) = iperf::course(&start, self.now, self.options.overhead, hangs);
        let test = Test {
            sweep: start.sweep,
            protocol: start.spec.protocol,
            bidir: start.spec.bidir,
            start: self.now,
            end,
            well,
        };
        self.checker.tested([host, target], &test);
        self.queue.plan(end, Event::ClientEnds(host, run, well));
    }

    fn client_ends(&mut self, host: usize, run: RunId, well: bool) {
        let Some(process) = self.hosts[host].processes.reap(run) else {
            return;
        };
        let Kind::Client { start, server, killed } = process.kind else {
            return;
        };
        self.checker.leave(host, &process.meeting);
        self.checker.leave(number_of(&start.peer), &process.meeting);
        if let Some((target, server)) = server {
            self.kill(target, server, self.now + self.options.latency + DEATH);
        }
        let outcome = if well { Ok(Figures::default()) } else { Err(Reason::Timeout) };
        let reverse = (start.spec.bidir && !killed).then(|| outcome.clone());
        let forward = (!killed).then_some(outcome);
        self.input(host, Input::ClientEnded { run, forward, reverse });
    }

    fn kill(&mut self, host: usize, run: RunId, at: Time) {
        self.queue.plan(at, Event::Dies(host, run));
    }

    fn die(&mut self, host: usize, run: RunId) {
        let Some(process) = self.hosts[host].processes.get_mut(run) else {
            return;
        };
        if let Kind::Client { killed, .. } = &mut process.kind {
            *killed = true;
            self.client_ends(host, run, false);
            return;
        }
        let Some(process) = self.hosts[host].processes.reap(run) else {
            return;
        };
        self.checker.leave(host, &process.meeting);
        let Kind::Server { listening, client, .. } = process.kind else {
            return;
        };
        if let Some((client_host, client)) = client {
            let notices = self.now + self.options.latency + DEATH;
            self.queue.plan(notices, Event::ClientEnds(client_host, client, false));
        }
        let input = if listening {
            Input::ServerEnded { run, accepted: client.is_some() }
        } else {
            Input::ServerFailed(run, crate::ServerFailure::Spawn)
        };
        self.input(host, input);
    }
}

fn settings(options: &Options, number: usize, epoch: Epoch) -> Settings {
    Settings {
        name: name_of(number),
        epoch,
        address: address_of(number),
        ports: PortRange { first: 5201, count: 8 },
        tests: options.tests.clone(),
        interval: options.interval,
        forget_after: None,
        no_past: true,
    }
}

/// Node names that sort as their numbers do.
fn name_of(number: usize) -> NodeName {
    NodeName::new(&format!("n{number:06}")).unwrap_or_else(|_| unreachable!("a letter and digits"))
}

fn number_of(name: &NodeName) -> usize {
    name.as_str()[1..].parse().unwrap_or(usize::MAX)
}

fn address_of(number: usize) -> IpAddr {
    let bits = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + u32::try_from(number).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}
