//! The faults: what each one breaks when it begins, and repairs when it ends.

use std::time::Duration;

use super::{Event, TestBehaviour, World};
use crate::sim::fault::{Fault, FaultWindow};
use crate::sim::network::NetworkConditions;
use crate::{Input, Protocol, TestSpec, Time};

impl World {
    pub(in crate::sim) fn plan_faults(&mut self, faults: Vec<FaultWindow>) {
        for (number, fault) in faults.iter().enumerate() {
            let begins = Time::default() + fault.at;
            self.plan(begins, Event::FaultBegins(number));
            self.plan(begins + fault.lasts, Event::FaultEnds(number));
        }
        self.policy.faults = faults;
    }

    pub(super) fn begin_fault(&mut self, number: usize) {
        let fault = self.policy.faults[number].fault.clone();
        self.trace.note(self.now, || format!("begins: {fault:?}"));
        self.policy.active.push(number);
        match fault {
            Fault::Cut(from, to) => self.cut(&from, &to),
            Fault::Part(one, other) => {
                self.cut(&one, &other);
                self.cut(&other, &one);
            }
            Fault::Replay(count) => (0..count).for_each(|_| self.replay_any()),
            Fault::Crash(node) => {
                self.policy.nodes[node].down += 1;
                self.crash(node);
            }
            Fault::PowerCut(node) => {
                self.policy.nodes[node].down += 1;
                self.cut_power(node);
                self.spread();
            }
            Fault::Leave(node) => {
                self.policy.nodes[node].down += 1;
                self.policy.nodes[node].leaving = true;
                self.input(node, Input::Stop);
            }
            Fault::Freeze(node) => self.freeze(node),
            Fault::FreezeAtSpawn(node) => self.freeze_at_spawn(node),
            Fault::Suspend(node) => self.suspend(node),
            Fault::StaleView(node) => self.policy.nodes[node].stale += 1,
            Fault::Upgrade(node, wire) => self.upgrade(node, wire),
            Fault::PortsTaken(node) => self.policy.nodes[node].ports_taken += 1,
            Fault::KillIperf3(node) => self.kill_processes(node),
            Fault::Keys(node, keys) => self.replace_keys(node, Some(&keys)),
            Fault::Hostile(node, lie) => self.policy.nodes[node].lies.push(lie),
            Fault::NetworkConditions(_)
            | Fault::Slow(..)
            | Fault::Tests { .. }
            | Fault::SlowDeaths(_) => self.apply_conditions(),
        }
    }

    pub(super) fn end_fault(&mut self, number: usize) {
        let fault = self.policy.faults[number].fault.clone();
        self.trace.note(self.now, || format!("ends: {fault:?}"));
        self.policy.active.retain(|&active| active != number);
        match fault {
            Fault::Cut(from, to) => self.restore(&from, &to),
            Fault::Part(one, other) => {
                self.restore(&one, &other);
                self.restore(&other, &one);
            }
            Fault::Crash(node) => self.revive(node),
            Fault::PowerCut(node) => {
                self.restore_power(node);
                self.revive(node);
            }
            Fault::Leave(node) => {
                // Stopping has a time limit, after which the agent ends even in the middle of a
                // meeting.
                if self.policy.nodes[node].leaving && self.hosts[node].agent.is_some() {
                    self.crash(node);
                }
                self.revive(node);
            }
            Fault::Freeze(node) => self.thaw(node),
            Fault::FreezeAtSpawn(node) => self.thaw_at_spawn(node),
            Fault::Suspend(node) => self.resume(node),
            Fault::StaleView(node) => self.policy.nodes[node].stale -= 1,
            Fault::Upgrade(node, _) => self.downgrade(node),
            Fault::PortsTaken(node) => self.policy.nodes[node].ports_taken -= 1,
            Fault::Keys(node, _) => self.replace_keys(node, None),
            Fault::Hostile(node, lie) => {
                self.policy.nodes[node].lies.retain(|&other| other != lie);
                self.restart(node);
            }
            Fault::NetworkConditions(_)
            | Fault::Slow(..)
            | Fault::Tests { .. }
            | Fault::SlowDeaths(_) => self.apply_conditions(),
            Fault::Replay(_) | Fault::KillIperf3(_) => {}
        }
    }

    /// Applies the faults that set a condition. If several faults set the same condition, the one
    /// that began last counts.
    fn apply_conditions(&mut self) {
        let policy = &mut self.policy;
        policy.network.conditions = NetworkConditions::default();
        policy.behaviour = TestBehaviour::healthy(policy.behaviour.overhead);
        policy
            .nodes
            .iter_mut()
            .for_each(|node| node.slow = Duration::ZERO);
        for &number in &policy.active {
            match policy.faults[number].fault {
                Fault::NetworkConditions(conditions) => policy.network.conditions = conditions,
                Fault::Slow(node, by) => policy.nodes[node].slow = by,
                Fault::Tests {
                    hang,
                    fail,
                    unnoticed,
                } => {
                    policy.behaviour = TestBehaviour {
                        hang,
                        fail,
                        unnoticed,
                        ..policy.behaviour
                    }
                }
                Fault::SlowDeaths(by) => policy.behaviour.slow_deaths = by,
                _ => {}
            }
        }
    }

    fn crash(&mut self, node: usize) {
        self.end_agent(node);
        self.spread();
    }

    /// Removes one of the faults that keep the agent from running, and restarts it after the last.
    fn revive(&mut self, node: usize) {
        self.policy.nodes[node].down -= 1;
        if self.policy.nodes[node].down == 0 && self.hosts[node].agent.is_none() {
            self.start(node, false);
            self.spread();
        }
    }

    /// Replaces the agent's version by a new one. The tests change, too: the new version adds or
    /// drops UDP.
    fn upgrade(&mut self, node: usize, wire: i8) {
        let host = &mut self.hosts[node];
        host.wire = wire;
        let has_udp = host
            .settings
            .tests
            .iter()
            .any(|test| test.protocol == Protocol::Udp);
        let protocol = if has_udp {
            Protocol::Tcp
        } else {
            Protocol::Udp
        };
        host.settings.tests = vec![TestSpec {
            protocol,
            ..self.policy.nodes[node].usual_tests[0].clone()
        }];
        self.restart(node);
    }

    /// Restores the version and the tests of the mesh.
    fn downgrade(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.wire = 0;
        host.settings.tests = self.policy.nodes[node].usual_tests.clone();
        self.restart(node);
    }

    fn replace_keys(&mut self, node: usize, keys: Option<&[u8]>) {
        if let Some(seals) = &mut self.policy.seals {
            seals.replace_keys(node, keys);
        }
    }

    fn restart(&mut self, node: usize) {
        self.policy.nodes[node].down += 1;
        self.crash(node);
        self.revive(node);
    }

    fn cut(&mut self, from: &[usize], to: &[usize]) {
        for (from, to) in pairs(from, to) {
            self.policy.network.cut(from, to);
        }
    }

    fn restore(&mut self, from: &[usize], to: &[usize]) {
        for (from, to) in pairs(from, to) {
            self.policy.network.restore(from, to);
        }
    }
}

/// Returns all pairs of a node of the first group and a node of the second one.
fn pairs<'a>(first: &'a [usize], second: &'a [usize]) -> impl Iterator<Item = (usize, usize)> + 'a {
    first
        .iter()
        .flat_map(|&one| second.iter().map(move |&other| (one, other)))
}
