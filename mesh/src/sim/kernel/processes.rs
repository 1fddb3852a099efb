//! The course of an iperf3 process, from the decision to start it until its death, and what its
//! agent is told.

use std::time::Duration;

use super::exclusion_checker::Role;
use super::policy::{FinishedTest, Policy, TestEnd};
use super::process_table::{CLIENT_START, DEATH, Death, Kind, Pid, Process, SERVER_START, Start};
use super::{Event, Kernel};
use crate::sim::ids::number_of;
use crate::{Input, Reason, Time};

/// How long a client waits before it tries again to reach its server.
const RETRY: Duration = Duration::from_secs(1);

/// How often a process on a suspended machine checks whether it may go on.
const SUSPEND_POLL: Duration = Duration::from_millis(100);

impl<P: Policy> Kernel<P> {
    /// Starts an iperf3, unless it is too late to start it.
    pub(super) fn spawn(&mut self, number: usize, start: Start) {
        let host = &self.hosts[number];
        let is_late = host.clock.local(self.now) > start.start_by();
        if is_late && self.safeguards.start_guard {
            return self.deliver(number, host.incarnation, start.too_late());
        }
        let process = Process::new(number, host.incarnation, start);
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
        self.queue.plan(due, Event::DeadlinePasses(pid));
    }

    /// Records that from now on the process touches its own node and the node that it sends to.
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

    /// Plans the death of a process soon after `at`, unless it is dying already.
    pub(super) fn plan_death(&mut self, pid: Pid, at: Time, death: Death) {
        let Some(process) = self.processes.get_mut(pid) else {
            return;
        };
        if std::mem::replace(&mut process.dying, true) {
            return;
        }
        let delay = DEATH.max(self.policy.death_delay());
        self.queue.plan(at + delay, Event::Dies(pid, death));
    }

    pub(super) fn listen(&mut self, pid: Pid) {
        if self.waits_for_its_machine(pid, Event::Listens(pid)) {
            return;
        }
        let Some(process) = self.processes.get_mut(pid) else {
            return;
        };
        let (host, incarnation, run) = (process.host, process.incarnation, process.run);
        let Kind::Server { start, listens, .. } = &mut process.kind else {
            return;
        };
        if let Err(failure) = self.policy.listen(host, start) {
            self.processes.reap(pid);
            self.exclusion.release(pid);
            return self.receive(host, incarnation, Input::ServerFailed(run, failure));
        }
        *listens = true;
        let ready = Input::ServerReady { run, buffer: None };
        self.receive(host, incarnation, ready);
    }

    /// Postpones an event of a process on a suspended machine, and returns whether it did.
    fn waits_for_its_machine(&mut self, pid: Pid, event: Event<P::Event>) -> bool {
        let host = self.processes.get(pid).map(|process| process.host);
        let waits = host.is_some_and(|host| self.hosts[host].suspended > 0);
        if waits {
            self.queue.plan(self.now + SUSPEND_POLL, event);
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
        let spec = start.spec.clone();
        if !self.policy.is_connected(host, target) || self.hosts[target].suspended > 0 {
            // TCP keeps trying until the deadline.
            return self.queue.plan(self.now + RETRY, Event::Connects(pid));
        }
        let Some(server) = self.processes.listener(target, port) else {
            let refused = self.now + 2 * self.policy.latency();
            return self.plan_death(pid, refused, Death::Failed(Reason::Connect));
        };
        let test = process.test.clone();
        self.processes.join(pid, server, self.now);
        let is_own = self
            .processes
            .get(server)
            .is_some_and(|server| server.test == test);
        self.intruders += u64::from(!is_own);
        self.begin_to_send(server);
        let (after, death) = match self.policy.test_end(&spec) {
            TestEnd::Completed(after) => (after, Death::Completed),
            TestEnd::Failed(after) => (after, Death::Failed(Reason::Interrupted)),
            TestEnd::Never => return,
        };
        // This is not yet certain: the process may be killed before.
        self.queue.plan(self.now + after, Event::Dies(pid, death));
    }

    /// Records that a two-way server now touches its client's node, too.
    fn begin_to_send(&mut self, pid: Pid) {
        let kind = self.processes.get_mut(pid).map(|server| &mut server.kind);
        if let Some(Kind::Server { start, sends, .. }) = kind {
            *sends = start.spec.bidir;
            self.touch(pid);
        }
    }

    /// Records that the server has stopped sending, so that it no longer touches its client's node.
    fn stop_sending(&mut self, pid: Pid) {
        let Some(server) = self.processes.get_mut(pid) else {
            return;
        };
        if let Kind::Server { sends, .. } = &mut server.kind {
            *sends = false;
            self.exclusion.leave(pid, server.test.client);
        }
    }

    /// Ends the process at its deadline by the kernel's timer. If there is no timer, the agent ends
    /// the process, unless the agent is frozen.
    pub(super) fn pass_deadline(&mut self, pid: Pid) {
        let Some(process) = self.processes.get(pid) else {
            return;
        };
        let host = &self.hosts[process.host];
        let needs_agent = !self.safeguards.kernel_timer && host.frozen > 0;
        if needs_agent || host.suspended > 0 {
            return self
                .queue
                .plan(self.now + SUSPEND_POLL, Event::DeadlinePasses(pid));
        }
        self.plan_death(pid, self.now, Death::Deadline);
    }

    pub(super) fn die(&mut self, pid: Pid, death: Death) {
        let Some(process) = self.processes.get(pid) else {
            return;
        };
        let host = &self.hosts[process.host];
        if host.suspended > 0 {
            // Nothing runs on a suspended machine: `resume` first ends what came due in the
            // meantime.
            return self
                .queue
                .plan(self.now + SUSPEND_POLL, Event::Dies(pid, death));
        }
        let is_client = matches!(process.kind, Kind::Client { .. });
        if is_client && death == Death::Completed && !self.can_agree(process) {
            // The client waits for its server until its own deadline.
            return;
        }
        self.end_process(pid, death);
    }

    /// Returns whether the two ends of a test can agree that it is over.
    fn can_agree(&self, client: &Process) -> bool {
        let server = client.other.and_then(|server| self.processes.get(server));
        server.is_some_and(|server| {
            self.hosts[server.host].suspended == 0
                && self.policy.is_connected(client.host, server.host)
        })
    }

    fn end_process(&mut self, pid: Pid, death: Death) {
        let Some(process) = self.processes.reap(pid) else {
            return;
        };
        self.trace
            .note(self.now, || format!("{process} is dead: {death:?}"));
        self.exclusion.release(pid);
        self.report_test(&process, death);
        let other = process
            .other
            .filter(|other| self.processes.get(*other).is_some());
        if let Some(other) = other {
            self.end_other(&process, other, death);
        }
        let complaint = match &process.kind {
            Kind::Server { start, .. } => self.policy.complaint(start),
            Kind::Client { .. } => None,
        };
        let input = process.exit_input(death, complaint);
        self.receive(process.host, process.incarnation, input);
    }

    /// Ends the other end of a test after the death of one end, if the other end notices it.
    fn end_other(&mut self, dead: &Process, other: Pid, death: Death) {
        let at = self.now + self.policy.latency();
        if death == Death::Completed {
            // The server stopped sending before it told the client that the test is complete.
            self.stop_sending(other);
            return self.plan_death(other, at, Death::Completed);
        }
        let Some(survivor) = self.processes.get(other) else {
            return;
        };
        if self.policy.notices_death(dead.host, survivor.host) {
            self.plan_death(other, at, Death::Failed(Reason::Interrupted));
        }
    }

    fn report_test(&mut self, process: &Process, death: Death) {
        if let Kind::Client {
            start,
            connected_at: Some(connected_at),
        } = &process.kind
        {
            let test = FinishedTest {
                sweep: start.sweep,
                client: process.host,
                server: number_of(&start.peer),
                protocol: start.spec.protocol,
                bidir: start.spec.bidir,
                start: *connected_at,
                end: self.now,
                succeeded: death == Death::Completed,
            };
            P::on_test_finished(self, &test);
        }
    }
}
