//! The faults: what each breaks when it begins, and mends when it is over.

use super::World;
use crate::sim::fault::Fault;
use crate::sim::iperf::Death;
use crate::sim::network::Weather;
use crate::{Input, Protocol};

impl World {
    pub(super) fn begin(&mut self, spell: usize) {
        let fault = self.spells[spell].fault.clone();
        self.trace.note(self.now, || format!("begins: {fault:?}"));
        match fault {
            Fault::Weather(weather) => self.network.weather = weather,
            Fault::Cut(from, to) => self.cut(&from, &to),
            Fault::Part(one, other) => {
                self.cut(&one, &other);
                self.cut(&other, &one);
            }
            Fault::Replay(count) => (0..count).for_each(|_| self.replay()),
            Fault::Crash(node) => self.crash(node, true),
            Fault::PowerCut(node) => self.crash(node, false),
            Fault::Leave(node) => {
                let host = &mut self.hosts[node];
                host.leaving = true;
                let life = host.life;
                self.tell(node, life, Input::Stop);
            }
            Fault::Freeze(node) => self.hosts[node].frozen += 1,
            Fault::FreezeAtSpawn(node) => self.hosts[node].freezes_at_spawn += 1,
            Fault::Suspend(node) => self.suspend(node),
            Fault::Slow(node, by) => self.hosts[node].slow = by,
            Fault::StaleView(node) => self.hosts[node].stale += 1,
            Fault::Upgrade(node, wire) => {
                self.hosts[node].wire = wire;
                let tests = &mut self.hosts[node].settings.tests;
                // Its tests are others as well: it has learned UDP, or unlearned it.
                let udp = tests.iter().any(|test| test.protocol == Protocol::Udp);
                let mut first = tests[0].clone();
                first.protocol = if udp { Protocol::Tcp } else { Protocol::Udp };
                *tests = vec![first];
                self.renew(node);
            }
            Fault::KillIperf3(node) => {
                for pid in self.processes.on(node) {
                    self.plan_death(pid, self.now, Death::Broken);
                }
            }
            Fault::Tests { hang, fail, unheard } => {
                self.course.hang = hang;
                self.course.fail = fail;
                self.course.unheard = unheard;
            }
            Fault::SlowDeaths(by) => self.course.slow_deaths = by,
        }
    }

    pub(super) fn end(&mut self, spell: usize) {
        let fault = self.spells[spell].fault.clone();
        self.trace.note(self.now, || format!("is over: {fault:?}"));
        match fault {
            Fault::Weather(_) => self.network.weather = Weather::default(),
            Fault::Cut(from, to) => self.mend(&from, &to),
            Fault::Part(one, other) => {
                self.mend(&one, &other);
                self.mend(&other, &one);
            }
            Fault::Crash(node) | Fault::PowerCut(node) => self.revive(node),
            Fault::Leave(node) => {
                // Stopping has a bound: then the agent goes, whatever it is in.
                if self.hosts[node].leaving && self.hosts[node].agent.is_some() {
                    self.crash(node, true);
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
            Fault::Slow(node, _) => self.hosts[node].slow = std::time::Duration::ZERO,
            Fault::StaleView(node) => self.hosts[node].stale -= 1,
            Fault::Upgrade(node, _) => {
                let host = &mut self.hosts[node];
                host.wire = 0;
                host.settings.tests = host.usual_tests.clone();
                self.renew(node);
            }
            Fault::Tests { .. } => {
                self.course.hang = 0.0;
                self.course.fail = 0.0;
                self.course.unheard = 0.0;
            }
            Fault::SlowDeaths(_) => self.course.slow_deaths = std::time::Duration::ZERO,
            Fault::Replay(_) | Fault::KillIperf3(_) => {}
        }
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

    fn crash(&mut self, node: usize, is_heard: bool) {
        self.hosts[node].agent = None;
        self.sweep_away(node, is_heard);
        self.spread();
    }

    fn revive(&mut self, node: usize) {
        if self.hosts[node].agent.is_none() {
            self.begin_life(node, false);
            self.spread();
        }
    }

    /// A new version takes the place of the old one.
    fn renew(&mut self, node: usize) {
        self.crash(node, true);
        self.revive(node);
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
        self.processes.on(node).into_iter().for_each(|pid| self.exclusion.release(pid));
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
            let is_over = self.processes.get(pid).is_some_and(|process| process.deadline <= local);
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
    these.iter().flat_map(|&one| those.iter().map(move |&other| (one, other)))
}
