//! Executes the fault plan: injects each fault when its time has come, and undoes it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::boot_ns;
use iperf3_mesh_testkit::lab::hosts::{self, Lab};
use iperf3_mesh_testkit::lab::mesh::Mesh;
use iperf3_mesh_testkit::lab::samples::Observer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::faults::{Fault, Kind, PATIENCE};

/// The time after which a host without an iperf3 is examined again.
const RETRY: Duration = Duration::from_millis(50);

/// The faults that were injected, and what the agents counted.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The number of faults of each kind, without those that found no iperf3.
    pub(crate) done: BTreeMap<Kind, usize>,
    /// The time of the last restart, on the clock of the events; 0 if there was none.
    pub(crate) last_start: u64,
    /// The sum of `iperf_mesh_overlaps_total` over all runs of all agents.
    pub(crate) counted: f64,
    /// Agents that did not report their count before their end.
    pub(crate) uncounted: Vec<String>,
}

impl Record {
    /// Adds the overlaps that an agent has counted.
    pub(crate) fn count(&mut self, agent: &Agent) {
        let name = "iperf_mesh_overlaps_total";
        match agent.metric(name) {
            Some(count) => self.counted += count,
            None => self.uncounted.push(format!("{}: no {name}", agent.name)),
        }
    }
}

/// The action that ends a fault.
enum Undo<'lab> {
    Start(String),
    /// Resumes an agent and these processes of iperf3.
    Thaw(String, Vec<Pid>),
    /// The fault ends when dropped.
    Link(#[allow(dead_code, reason = "held, not read")] hosts::Fault<'lab>),
    Nothing,
}

/// Injects faults into a mesh.
pub(crate) struct Injector<'mesh, 'lab> {
    lab: &'lab Lab,
    mesh: &'mesh mut Mesh<'lab>,
    observer: Observer,
    record: Record,
}

impl<'mesh, 'lab> Injector<'mesh, 'lab> {
    /// An injector for the agents of `mesh` and the links of `lab`.
    pub(crate) fn new(lab: &'lab Lab, mesh: &'mesh mut Mesh<'lab>) -> Self {
        Self {
            lab,
            mesh,
            observer: Observer::new(lab),
            record: Record::default(),
        }
    }

    /// Injects all `faults`; returns when all of them are undone.
    pub(crate) fn run(mut self, faults: &[Fault]) -> Record {
        let began = Instant::now();
        let mut begins: BTreeSet<(Duration, usize)> = faults
            .iter()
            .enumerate()
            .map(|(index, fault)| (fault.at, index))
            .collect();
        let mut ends: BTreeMap<(Duration, usize), Undo<'lab>> = BTreeMap::new();
        loop {
            let next = begins
                .first()
                .into_iter()
                .chain(ends.first_key_value().map(|it| it.0));
            let Some(&(at, index)) = next.min() else {
                return self.record;
            };
            thread::sleep(at.saturating_sub(began.elapsed()));
            if let Some(undo) = ends.remove(&(at, index)) {
                self.undo(undo);
                continue;
            }
            begins.remove(&(at, index));
            let (fault, now) = (&faults[index], began.elapsed());
            match self.inject(fault) {
                Some(undo) => drop(ends.insert((now + fault.lasts, index), undo)),
                None if now < fault.at + PATIENCE => drop(begins.insert((now + RETRY, index))),
                None => {}
            }
        }
    }

    /// Injects a fault; `None` if it needs an iperf3 and the node runs none.
    fn inject(&mut self, fault: &Fault) -> Option<Undo<'lab>> {
        let Fault {
            kind, node, peer, ..
        } = fault;
        let undo = match kind {
            Kind::Kill => {
                self.record.count(self.mesh.agent(node));
                self.mesh.kill(node);
                Undo::Start(node.clone())
            }
            Kind::Restart => {
                self.record.count(self.mesh.agent(node));
                self.mesh.terminate(node);
                Undo::Start(node.clone())
            }
            Kind::Freeze => {
                self.mesh.agent(node).freeze();
                Undo::Thaw(node.clone(), Vec::new())
            }
            Kind::FreezeBoth => {
                if self.tests(node).is_empty() {
                    return None;
                }
                // The agent first, so that it starts no other one.
                self.mesh.agent(node).freeze();
                let pids = self.tests(node);
                signal(&pids, Signal::SIGSTOP);
                Undo::Thaw(node.clone(), pids)
            }
            Kind::KillTest => {
                let pids = self.tests(node);
                if pids.is_empty() {
                    return None;
                }
                signal(&pids, Signal::SIGKILL);
                Undo::Nothing
            }
            Kind::Unplug => Undo::Link(self.lab.unplug(node)),
            Kind::Block => Undo::Link(self.lab.block(peer, node)),
        };
        *self.record.done.entry(*kind).or_default() += 1;
        Some(undo)
    }

    fn undo(&mut self, undo: Undo<'lab>) {
        match undo {
            Undo::Start(node) => {
                self.record.last_start = boot_ns();
                self.mesh.restart(&node);
            }
            Undo::Thaw(node, pids) => {
                // The agent last, so that for a moment only the kernel can stop its iperf3.
                signal(&pids, Signal::SIGCONT);
                self.mesh.agent(&node).thaw();
            }
            Undo::Link(fault) => drop(fault),
            Undo::Nothing => {}
        }
    }

    /// The iperf3 processes that run on a host.
    fn tests(&mut self, node: &str) -> Vec<Pid> {
        self.observer
            .sample()
            .processes
            .into_iter()
            .filter(|it| it.host == node)
            .map(|it| Pid::from_raw(i32::try_from(it.pid()).unwrap()))
            .collect()
    }
}

fn signal(pids: &[Pid], signal: Signal) {
    for &pid in pids {
        // It may have ended since the sample.
        let _ = kill(pid, signal);
    }
}
