//! The iperf3 processes: from the decision to start one until its death, and what the agent hears
//! of it.

use std::time::Duration;

use rand::RngExt;

use super::{Event, World, number_of};
use crate::sim::exclusion_checker::{Pid, Role};
use crate::sim::iperf::{CLIENT_START, DEATH, Death, Kind, Process, SERVER_START, Start};
use crate::sim::result_log::Test;
use crate::{Figures, Input, Outcome, Reason, ServerFailure, Time};

/// After how long a client tries again to reach its server.
const RETRY: Duration = Duration::from_secs(1);

/// How likely a port is to be taken on a node where most are.
const PORT_TAKEN: f64 = 0.8;

/// How often a process on a machine that stands still looks whether it goes on.
const STANDSTILL: Duration = Duration::from_millis(100);

impl World {
    /// Starts an iperf3, unless it is too late for it.
    pub(super) fn spawn(&mut self, number: usize, start: Start) {
        let host = &self.hosts[number];
        let is_late = host.clock.local(self.now) > start.start_by();
        if is_late && self.course.start_guard {
            return self.tell(number, host.life, start.too_late());
        }
        let process = Process::new(number, host.life, start);
        let due = host.clock.instant(process.deadline).max(self.now);
        let is_client = matches!(process.kind, Kind::Client { .. });
        self.trace
            .note(self.now, || format!("n{number} starts {process}"));
        let pid = self.processes.start(process);
        self.touch(pid);
        let (after, event) = if is_client {
            (CLIENT_START, Event::Connects(pid))
        } else {
            (SERVER_START, Event::Listens(pid))
        };
        self.queue.plan(self.now + after, event);
        self.queue.plan(due, Event::IsDue(pid));
    }

    /// The process touches whom it touches from now on.
    pub(super) fn touch(&mut self, pid: Pid) {
        let Some(process) = self.processes.get(pid) else {
            return;
        };
        let (role, other) = match &process.kind {
            Kind::Client { start, .. } => (Role::Client, Some(number_of(&start.peer))),
            Kind::Server { sends, .. } => (Role::Server, sends.then_some(process.test.client)),
        };
        for node in [Some(process.host), other].into_iter().flatten() {
            self.exclusion
                .touch(self.now, node, pid, &process.test, role);
        }
    }

    /// The process is dead some time after `at`, unless it is dying already.
    pub(super) fn plan_death(&mut self, pid: Pid, at: Time, death: Death) {
        let Some(process) = self.processes.get_mut(pid) else {
            return;
        };
        if std::mem::replace(&mut process.dying, true) {
            return;
        }
        let slow = self.course.slow_deaths.mul_f64(self.rng.random::<f64>());
        self.queue
            .plan(at + DEATH.max(slow), Event::Dies(pid, death));
    }

    pub(super) fn listen(&mut self, pid: Pid) {
        if self.waits_for_its_machine(pid, Event::Listens(pid)) {
            return;
        }
        let Some(process) = self.processes.get_mut(pid) else {
            return;
        };
        if let Kind::Server { listens, .. } = &mut process.kind {
            *listens = true;
        }
        let (host, life, run) = (process.host, process.life, process.run);
        if self.hosts[host].ports_taken > 0 && self.rng.random_bool(PORT_TAKEN) {
            self.processes.reap(pid);
            self.exclusion.release(pid);
            return self.hear(
                host,
                life,
                Input::ServerFailed(run, ServerFailure::PortTaken),
            );
        }
        self.hear(host, life, Input::ServerReady(run));
    }

    /// Puts off what a process on a machine that stands still would do.
    fn waits_for_its_machine(&mut self, pid: Pid, event: Event) -> bool {
        let host = self.processes.get(pid).map(|process| process.host);
        let waits = host.is_some_and(|host| self.hosts[host].suspended > 0);
        if waits {
            self.queue.plan(self.now + STANDSTILL, event);
        }
        waits
    }

    pub(super) fn connect(&mut self, pid: Pid) {
        if self.waits_for_its_machine(pid, Event::Connects(pid)) {
            return;
        }
        let Some(process) = self.processes.get(pid) else {
            return;
        };
        let Kind::Client { start, .. } = &process.kind else {
            return;
        };
        let (host, target, port) = (process.host, number_of(&start.peer), start.remote.port());
        let length = start.spec.length() + self.course.overhead;
        if !self.network.is_connected(host, target) || self.hosts[target].suspended > 0 {
            // TCP goes on trying until the deadline.
            return self.queue.plan(self.now + RETRY, Event::Connects(pid));
        }
        let Some(server) = self.processes.listener(target, port) else {
            let refused = self.now + 2 * self.network.latency();
            return self.plan_death(pid, refused, Death::Broken);
        };
        let test = process.test.clone();
        self.processes.join(pid, server, self.now);
        let is_own = self
            .processes
            .get(server)
            .is_some_and(|server| server.test == test);
        self.intruders += u64::from(!is_own);
        self.begin_to_send(server);
        let (end, death) = self.draw_end(length);
        if let Some(end) = end {
            // Not a death yet: it may be killed before.
            self.queue.plan(self.now + end, Event::Dies(pid, death));
        }
    }

    /// A two-way server touches its client's node, too.
    fn begin_to_send(&mut self, pid: Pid) {
        let kind = self.processes.get_mut(pid).map(|server| &mut server.kind);
        if let Some(Kind::Server { start, sends, .. }) = kind {
            *sends = start.spec.bidir;
            self.touch(pid);
        }
    }

    /// It has stopped sending.
    fn stop_sending(&mut self, pid: Pid) {
        let Some(server) = self.processes.get_mut(pid) else {
            return;
        };
        if let Kind::Server { sends, .. } = &mut server.kind {
            *sends = false;
            self.exclusion.leave(pid, server.test.client);
        }
    }

    /// After how long the test ends, and how; never, if it hangs.
    fn draw_end(&mut self, length: Duration) -> (Option<Duration>, Death) {
        let mut happens = |share: f64| share > 0.0 && self.rng.random_bool(share);
        if happens(self.course.hang) {
            let ends = (self.course.hang_time < Duration::MAX).then_some(self.course.hang_time);
            (ends, Death::Broken)
        } else if happens(self.course.fail) {
            (
                Some(length.mul_f64(self.rng.random::<f64>())),
                Death::Broken,
            )
        } else {
            (Some(length), Death::Done)
        }
    }

    /// The kernel ends the process, or, where there is no timer, the agent does if it can.
    pub(super) fn is_due(&mut self, pid: Pid) {
        let Some(process) = self.processes.get(pid) else {
            return;
        };
        let host = &self.hosts[process.host];
        let needs_agent = !self.course.kernel_timer && host.frozen > 0;
        if needs_agent || host.suspended > 0 {
            return self.queue.plan(self.now + STANDSTILL, Event::IsDue(pid));
        }
        self.plan_death(pid, self.now, Death::Deadline);
    }

    pub(super) fn die(&mut self, pid: Pid, death: Death) {
        let Some(process) = self.processes.get(pid) else {
            return;
        };
        let host = &self.hosts[process.host];
        if host.suspended > 0 {
            // Nothing runs there. What came due meanwhile is done first thing when the machine goes
            // on.
            return self
                .queue
                .plan(self.now + STANDSTILL, Event::Dies(pid, death));
        }
        let is_client = matches!(process.kind, Kind::Client { .. });
        if is_client && death == Death::Done && !self.can_agree(process) {
            // The client waits for its server until its own deadline.
            return;
        }
        self.end_process(pid, death);
    }

    /// Whether the two ends of a test can agree that it is over.
    fn can_agree(&self, client: &Process) -> bool {
        let server = client.other.and_then(|server| self.processes.get(server));
        server.is_some_and(|server| {
            self.hosts[server.host].suspended == 0
                && self.network.is_connected(client.host, server.host)
        })
    }

    fn end_process(&mut self, pid: Pid, death: Death) {
        let Some(process) = self.processes.reap(pid) else {
            return;
        };
        self.trace
            .note(self.now, || format!("{process} is dead: {death:?}"));
        self.exclusion.release(pid);
        self.enter_into_ledger(&process, death);
        let other = process
            .other
            .filter(|other| self.processes.get(*other).is_some());
        if let Some(other) = other {
            self.end_other(&process, other, death);
        }
        let input = match &process.kind {
            Kind::Server { listens: true, .. } => Input::ServerEnded {
                run: process.run,
                accepted: process.other.is_some(),
            },
            Kind::Server { .. } => Input::ServerFailed(process.run, ServerFailure::Spawn),
            Kind::Client { start, .. } => {
                let forward = outcome(death);
                let reverse = forward.clone().filter(|_| start.spec.bidir);
                Input::ClientEnded {
                    run: process.run,
                    forward,
                    reverse,
                }
            }
        };
        self.hear(process.host, process.life, input);
    }

    /// What the process at the other end makes of the death of this one.
    fn end_other(&mut self, dead: &Process, other: Pid, death: Death) {
        if death == Death::Done {
            // It has stopped sending before the client was told that all is well.
            self.stop_sending(other);
            return self.plan_death(other, self.now + self.network.latency(), Death::Done);
        }
        let Some(survivor) = self.processes.get(other) else {
            return;
        };
        let is_heard = self.network.is_connected(dead.host, survivor.host)
            && (self.course.unheard == 0.0 || !self.rng.random_bool(self.course.unheard));
        if is_heard {
            self.plan_death(other, self.now + self.network.latency(), Death::Broken);
        }
    }

    fn enter_into_ledger(&mut self, process: &Process, death: Death) {
        if let Kind::Client {
            start,
            since: Some(since),
        } = &process.kind
        {
            self.result_log.tested(&Test {
                sweep: start.sweep,
                client: process.host,
                server: number_of(&start.peer),
                protocol: start.spec.protocol,
                bidir: start.spec.bidir,
                start: *since,
                end: self.now,
                well: death == Death::Done,
                is_first_life: self.hosts[process.host].life == 1
                    && self.hosts[number_of(&start.peer)].life == 1,
            });
        }
    }

    /// The machine is dark: its iperf3 are gone at once, and nobody hears of it.
    pub(super) fn vanish(&mut self, number: usize) {
        for pid in self.processes.on(number) {
            self.processes.reap(pid);
            self.exclusion.release(pid);
        }
    }
}

fn outcome(death: Death) -> Option<Outcome> {
    match death {
        Death::Done => Some(Ok(Figures::default())),
        Death::Deadline => Some(Err(Reason::Timeout)),
        Death::Broken => Some(Err(Reason::Interrupted)),
        Death::Killed => None,
    }
}
