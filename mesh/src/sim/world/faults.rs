//! The faults: what each breaks when it begins, and mends when it is over.

use std::time::Duration;

use super::World;
use crate::sim::fault::Fault;
use crate::sim::iperf::Death;
use crate::sim::network::NetworkConditions;
use crate::{Input, Protocol, TestSpec};

impl World {
    pub(super) fn begin(&mut self, spell: usize) {
        let fault = self.spells[spell].fault.clone();
        self.trace.note(self.now, || format!("begins: {fault:?}"));
        self.active.push(spell);
        match fault {
            Fault::Cut(from, to) => self.cut(&from, &to),
            Fault::Part(one, other) => {
                self.cut(&one, &other);
                self.cut(&other, &one);
            }
            Fault::Replay(count) => (0..count).for_each(|_| self.replay()),
            Fault::Crash(node) => {
                self.hosts[node].down += 1;
                self.crash(node);
            }
            Fault::PowerCut(node) => {
                self.hosts[node].down += 1;
                self.hosts[node].dark += 1;
                self.vanish(node);
                self.crash(node);
            }
            Fault::Leave(node) => {
                let host = &mut self.hosts[node];
                host.down += 1;
                host.leaving = true;
                let life = host.life;
                self.tell(node, life, Input::Stop);
            }
            Fault::Freeze(node) => self.hosts[node].frozen += 1,
            Fault::FreezeAtSpawn(node) => self.hosts[node].freezes_at_spawn += 1,
            Fault::Suspend(node) => self.suspend(node),
            Fault::StaleView(node) => self.hosts[node].stale += 1,
            Fault::Upgrade(node, wire) => self.upgrade(node, wire),
            Fault::PortsTaken(node) => self.hosts[node].ports_taken += 1,
            Fault::KillIperf3(node) => {
                for pid in self.processes.on(node) {
                    self.plan_death(pid, self.now, Death::Broken);
                }
            }
            Fault::NetworkConditions(_)
            | Fault::Slow(..)
            | Fault::Tests { .. }
            | Fault::SlowDeaths(_) => {
                self.prevail();
            }
        }
    }

    pub(super) fn end(&mut self, spell: usize) {
        let fault = self.spells[spell].fault.clone();
        self.trace.note(self.now, || format!("is over: {fault:?}"));
        self.active.retain(|&active| active != spell);
        match fault {
            Fault::Cut(from, to) => self.mend(&from, &to),
            Fault::Part(one, other) => {
                self.mend(&one, &other);
                self.mend(&other, &one);
            }
            Fault::Crash(node) => self.revive(node),
            Fault::PowerCut(node) => {
                self.hosts[node].dark -= 1;
                self.revive(node);
            }
            Fault::Leave(node) => {
                // Stopping has a bound: then the agent goes, whatever it is in.
                if self.hosts[node].leaving && self.hosts[node].agent.is_some() {
                    self.crash(node);
                }
                self.revive(node);
            }
            Fault::Freeze(node) => self.thaw(node),
            Fault::FreezeAtSpawn(node) => {
                let host = &mut self.hosts[node];
                if host.freezes_at_spawn > 0 {
                    host.freezes_at_spawn -= 1;
                } else {
                    self.thaw(node);
                }
            }
            Fault::Suspend(node) => self.resume(node),
            Fault::StaleView(node) => self.hosts[node].stale -= 1,
            Fault::Upgrade(node, _) => self.restore(node),
            Fault::PortsTaken(node) => self.hosts[node].ports_taken -= 1,
            Fault::NetworkConditions(_)
            | Fault::Slow(..)
            | Fault::Tests { .. }
            | Fault::SlowDeaths(_) => {
                self.prevail();
            }
            Fault::Replay(_) | Fault::KillIperf3(_) => {}
        }
    }

    /// Of the faults of which there can be one at a time, the one that began last prevails.
    fn prevail(&mut self) {
        self.network.weather = NetworkConditions::default();
        self.course = self.course.without_faults();
        self.hosts
            .iter_mut()
            .for_each(|host| host.slow = Duration::ZERO);
        for &spell in &self.active {
            match self.spells[spell].fault {
                Fault::NetworkConditions(weather) => self.network.weather = weather,
                Fault::Slow(node, by) => self.hosts[node].slow = by,
                Fault::Tests {
                    hang,
                    fail,
                    unheard,
                } => {
                    (self.course.hang, self.course.fail) = (hang, fail);
                    self.course.unheard = unheard;
                }
                Fault::SlowDeaths(by) => self.course.slow_deaths = by,
                _ => {}
            }
        }
    }

    /// The agent is gone, and its iperf3 are told to die by the kernel.
    fn crash(&mut self, node: usize) {
        self.hosts[node].agent = None;
        for pid in self.processes.on(node) {
            self.plan_death(pid, self.now, Death::Killed);
        }
        self.spread();
    }

    /// One fault less keeps the agent from running.
    fn revive(&mut self, node: usize) {
        self.hosts[node].down -= 1;
        if self.hosts[node].down == 0 && self.hosts[node].agent.is_none() {
            self.begin_life(node, false);
            self.spread();
        }
    }

    /// A new version takes the place of the old one. Its tests are others as well: it has learned
    /// UDP, or unlearned it.
    fn upgrade(&mut self, node: usize, wire: i8) {
        let host = &mut self.hosts[node];
        host.wire = wire;
        let udp = host
            .settings
            .tests
            .iter()
            .any(|test| test.protocol == Protocol::Udp);
        let protocol = if udp { Protocol::Tcp } else { Protocol::Udp };
        host.settings.tests = vec![TestSpec {
            protocol,
            ..host.usual_tests[0].clone()
        }];
        self.renew(node);
    }

    fn restore(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.wire = 0;
        host.settings.tests = host.usual_tests.clone();
        self.renew(node);
    }

    fn renew(&mut self, node: usize) {
        self.hosts[node].down += 1;
        self.crash(node);
        self.revive(node);
    }

    fn cut(&mut self, from: &[usize], to: &[usize]) {
        for (from, to) in pairs(from, to) {
            self.network.cut(from, to);
        }
    }

    fn mend(&mut self, from: &[usize], to: &[usize]) {
        for (from, to) in pairs(from, to) {
            self.network.mend(from, to);
        }
    }

    fn thaw(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.frozen -= 1;
        if host.is_up() {
            self.go_on(node);
        }
    }

    /// Nothing on that machine runs any more, so that it disturbs nobody.
    fn suspend(&mut self, node: usize) {
        self.hosts[node].suspended += 1;
        self.processes
            .on(node)
            .into_iter()
            .for_each(|pid| self.exclusion.release(pid));
    }

    /// The machine goes on. A process that is past its deadline dies before it does anything else.
    fn resume(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.suspended -= 1;
        if host.suspended > 0 {
            return;
        }
        let local = host.clock.local(self.now);
        for pid in self.processes.on(node) {
            let is_over = self
                .processes
                .get(pid)
                .is_some_and(|process| process.deadline <= local);
            if is_over && self.course.kernel_timer {
                self.die(pid, Death::Deadline);
            } else {
                self.touch(pid);
            }
        }
        if self.hosts[node].is_up() {
            self.go_on(node);
        }
    }
}

/// All pairs of one of these and one of those.
fn pairs<'a>(these: &'a [usize], those: &'a [usize]) -> impl Iterator<Item = (usize, usize)> + 'a {
    these
        .iter()
        .flat_map(|&one| those.iter().map(move |&other| (one, other)))
}
