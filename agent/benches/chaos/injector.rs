//! Breaks what was dealt, when its time has come, and undoes it. Judges nothing, but keeps the
//! record.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::faults::{Fault, Kind, PATIENCE};
use iperf3_mesh_testkit::boot_ns;
use iperf3_mesh_testkit::lab::agents::Agent;
use iperf3_mesh_testkit::lab::hosts::{self, Lab};
use iperf3_mesh_testkit::lab::mesh::Mesh;
use iperf3_mesh_testkit::lab::samples::Eye;

/// After which a host without an iperf3 is looked at again.
const RETRY: Duration = Duration::from_millis(50);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// How often what was broken. A fault that found nothing to break is not among them.
    pub(crate) done: BTreeMap<Kind, usize>,
    /// When an agent was started for the last time, on the clock of the events; 0 if none was.
    pub(crate) last_start: u64,
    /// `iperf_mesh_overlaps_total` of all lives that ended.
    pub(crate) counted: f64,
    /// Agents that did not say their count before their end.
    pub(crate) mute: Vec<String>,
}

impl Record {
    /// Adds what an agent has counted.
    pub(crate) fn count(&mut self, agent: &Agent<'_>) {
        let name = "iperf_mesh_overlaps_total";
        let series = agent.metrics().unwrap_or_default();
        match series.iter().find(|series| series.name == name) {
            Some(series) => self.counted += series.value,
            None => self.mute.push(format!("{}: no {name}", agent.name())),
        }
    }
}

/// What ends a fault.
enum Mend<'lab> {
    Start(String),
    /// The agent, and what else was stopped.
    Thaw(String, Vec<Pid>),
    /// Mended when dropped.
    Link(#[allow(dead_code, reason = "held, not read")] hosts::Fault<'lab>),
    Nothing,
}

/// Breaks and restores a mesh.
pub(crate) struct Injector<'mesh, 'lab> {
    lab: &'lab Lab,
    mesh: &'mesh mut Mesh<'lab>,
    eye: Eye,
    record: Record,
}

impl<'mesh, 'lab> Injector<'mesh, 'lab> {
    /// One for the agents of `mesh` and the links of `lab`.
    pub(crate) fn new(lab: &'lab Lab, mesh: &'mesh mut Mesh<'lab>) -> Self {
        Self {
            lab,
            mesh,
            eye: Eye::new(lab),
            record: Record::default(),
        }
    }

    /// Breaks everything in `faults`, and returns when all of it is mended.
    pub(crate) fn run(mut self, faults: &[Fault]) -> Record {
        let began = Instant::now();
        let mut begins: BTreeSet<(Duration, usize)> = faults
            .iter()
            .enumerate()
            .map(|(index, fault)| (fault.at, index))
            .collect();
        let mut ends: BTreeMap<(Duration, usize), Mend<'lab>> = BTreeMap::new();
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
            match self.inflict(fault) {
                Some(undo) => drop(ends.insert((now + fault.lasts, index), undo)),
                None if now < fault.at + PATIENCE => drop(begins.insert((now + RETRY, index))),
                None => {}
            }
        }
    }

    /// What undoes it; `None` if there was nothing to break.
    fn inflict(&mut self, fault: &Fault) -> Option<Mend<'lab>> {
        let Fault {
            kind, node, peer, ..
        } = fault;
        let undo = match kind {
            Kind::Kill => {
                self.record.count(self.mesh.agent(node));
                self.mesh.kill(node);
                Mend::Start(node.clone())
            }
            Kind::Restart => {
                self.record.count(self.mesh.agent(node));
                self.mesh.terminate(node);
                Mend::Start(node.clone())
            }
            Kind::Freeze => {
                self.mesh.agent(node).freeze();
                Mend::Thaw(node.clone(), Vec::new())
            }
            Kind::FreezeBoth => {
                if self.tests(node).is_empty() {
                    return None;
                }
                // First the agent, so that it starts no other one.
                self.mesh.agent(node).freeze();
                let pids = self.tests(node);
                signal(&pids, Signal::SIGSTOP);
                Mend::Thaw(node.clone(), pids)
            }
            Kind::KillTest => {
                let pids = self.tests(node);
                if pids.is_empty() {
                    return None;
                }
                signal(&pids, Signal::SIGKILL);
                Mend::Nothing
            }
            Kind::Unplug => Mend::Link(self.lab.unplug(node)),
            Kind::Deafen => Mend::Link(self.lab.deafen(node, peer)),
        };
        *self.record.done.entry(*kind).or_default() += 1;
        Some(undo)
    }

    fn undo(&mut self, undo: Mend<'lab>) {
        match undo {
            Mend::Start(node) => {
                self.record.last_start = boot_ns();
                self.mesh.restart(&node);
            }
            Mend::Thaw(node, pids) => {
                // The agent last: nobody but the kernel keeps its iperf3 from going on.
                signal(&pids, Signal::SIGCONT);
                self.mesh.agent(&node).thaw();
            }
            Mend::Link(fault) => drop(fault),
            Mend::Nothing => {}
        }
    }

    /// The iperf3 that runs on a host.
    fn tests(&mut self, node: &str) -> Vec<Pid> {
        let processes = self
            .eye
            .look()
            .processes
            .into_iter()
            .filter(|it| it.host == node);
        processes
            .map(|it| Pid::from_raw(i32::try_from(it.pid).unwrap()))
            .collect()
    }
}

fn signal(pids: &[Pid], signal: Signal) {
    for &pid in pids {
        // It may have ended since it was looked at.
        let _ = kill(pid, signal);
    }
}
