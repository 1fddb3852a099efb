//! All agents of a laboratory, observed from the first start to the last end, and the evidence that
//! this yields.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::evidence;
use super::hosts::Lab;
use super::logs::Logs;
use super::samples::{Observer, Sampler};
use crate::agents::Agent;
use crate::checker::{self, Interval};
use crate::{STOP, boot_ns, wait_until};

/// A running mesh. If it is dropped without [`Mesh::finish`], its agents are killed.
#[derive(Debug)]
pub struct Mesh<'lab> {
    lab: &'lab Lab,
    args: Vec<String>,
    agents: BTreeMap<String, Agent>,
    sampler: Sampler,
    /// The nodes whose agents died, and the times of these deaths.
    deaths: Vec<(String, u64)>,
    failed_stops: Vec<String>,
    // This field stands after the agents, so that they are dead before their logs are removed.
    logs: Logs,
}

impl<'lab> Mesh<'lab> {
    /// Starts an agent with `args` on every host, without quiet time, and starts the sampler.
    pub fn start(lab: &'lab Lab, args: &[&str]) -> Self {
        let mut mesh = Self {
            lab,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            agents: BTreeMap::new(),
            sampler: Sampler::start(lab),
            deaths: Vec::new(),
            failed_stops: Vec::new(),
            logs: Logs::create(),
        };
        for host in lab.hosts() {
            mesh.start_agent(&host.name, &["--skip-quiet-time"]);
        }
        mesh
    }

    /// Starts the agent of a host again, this time with its quiet time.
    pub fn restart(&mut self, name: &str) {
        self.start_agent(name, &[]);
    }

    /// Starts the agent of a host with the arguments `more`. Every agent joins two others.
    fn start_agent(&mut self, name: &str, more: &[&str]) {
        let joins: Vec<String> = self
            .lab
            .hosts()
            .iter()
            .filter(|host| host.name != name)
            .take(2)
            .map(|host| format!("--join={}", host.address))
            .collect();
        let args: Vec<&str> = ["--discovery=static", "--log-format=json"]
            .into_iter()
            .chain(joins.iter().chain(&self.args).map(String::as_str))
            .chain(more.iter().copied())
            .collect();
        let log = self.logs.path().join(format!("{name}.log"));
        let agent = Agent::start_on(self.lab.host(name), log, &args);
        self.agents.insert(name.to_owned(), agent);
    }

    /// Returns the last agent of a host.
    pub fn agent(&self, name: &str) -> &Agent {
        &self.agents[name]
    }

    /// Returns all agents in the order of their names.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// Kills an agent with SIGKILL.
    pub fn kill(&mut self, name: &str) {
        self.agents.get_mut(name).unwrap().program.kill();
        self.deaths.push((name.to_owned(), boot_ns()));
    }

    /// Stops an agent with SIGTERM and waits for its end. [`Evidence::faults`] has the agents that
    /// did not stop within [`STOP`] or failed.
    pub fn terminate(&mut self, name: &str) {
        let program = &mut self.agents.get_mut(name).unwrap().program;
        program.signal(Signal::SIGTERM);
        match program.ended_within(STOP) {
            Some(ended) if ended.code == Some(0) => {}
            Some(ended) => {
                let code = ended.code;
                let fault = format!("{name}: ended with code {code:?} after SIGTERM");
                self.failed_stops.push(fault);
            }
            None => {
                let fault = format!("{name}: still running {STOP:?} after SIGTERM");
                self.failed_stops.push(fault);
                program.kill();
            }
        }
        self.deaths.push((name.to_owned(), boot_ns()));
    }

    /// Waits until every matrix has all hosts; returns whether this was the case within `limit`.
    pub fn assembled(&self, limit: Duration) -> bool {
        let hosts = self.lab.hosts().len();
        wait_until(limit, || {
            self.agents().all(|agent| agent.states().len() == hosts)
        })
    }

    /// Returns all tests so far. A test without an end lasts until now.
    ///
    /// # Panics
    /// If an event lacks a field.
    pub fn tests(&self) -> Vec<Interval> {
        let events: Vec<_> = self.agents().flat_map(Agent::events).collect();
        checker::intervals(&events, &BTreeMap::new(), boot_ns()).0
    }

    /// Stops all running agents and returns the evidence of the whole run.
    ///
    /// # Panics
    /// If an event lacks a field.
    pub fn finish(mut self) -> Evidence {
        let names: Vec<String> = self.agents.keys().cloned().collect();
        for name in names {
            if self.agents.get_mut(&name).unwrap().program.is_running() {
                self.terminate(&name);
            }
        }
        let remains = remains(self.lab);
        let events: Vec<_> = self.agents().flat_map(Agent::events).collect();
        let samples = self.sampler.stop();
        let deaths = evidence::deaths(&samples);
        let (intervals, invalid) = checker::intervals(&events, &deaths, boot_ns());
        let unseen = evidence::unseen(&samples, &intervals);
        let instants = evidence::instants(&samples);
        Evidence {
            overlaps: checker::overlaps(&intervals),
            sampled_overlaps: evidence::overlaps(&instants, &self.lab.names()),
            leftovers: evidence::leftovers(&instants, &intervals, &self.deaths),
            instants: instants.len(),
            intervals,
            faults: [self.failed_stops, remains, invalid, unseen].concat(),
            logs: self.logs,
        }
    }
}

/// Returns the iperf3 processes and open ports that are left after the last agent.
fn remains(lab: &Lab) -> Vec<String> {
    let sample = Observer::new(lab).sample();
    let processes = sample
        .processes
        .iter()
        .map(|it| format!("{}: iperf3 {} remains", it.host, it.pid()));
    let ports = sample
        .listeners
        .iter()
        .map(|it| format!("{}: port {} remains", it.host, it.port));
    processes.chain(ports).collect()
}

/// The evidence of a run.
#[derive(Debug)]
pub struct Evidence {
    /// All tests.
    pub intervals: Vec<Interval>,
    /// Cases of two meetings at one node, according to the events.
    pub overlaps: Vec<String>,
    /// Cases of two meetings at one node, according to the samples.
    pub sampled_overlaps: Vec<String>,
    /// Processes and ports outside any test.
    pub leftovers: Vec<String>,
    /// The number of instants that the samples cover.
    pub instants: usize,
    /// Everything else that is wrong, such as invalid events and agents that did not stop.
    pub faults: Vec<String>,
    /// The logs of the agents.
    pub logs: Logs,
}

impl Evidence {
    /// Returns all violations of all kinds.
    pub fn violations(&self) -> Vec<String> {
        let kinds = [
            ("overlap", &self.overlaps),
            ("overlap (samples)", &self.sampled_overlaps),
            ("leftover", &self.leftovers),
            ("fault", &self.faults),
        ];
        kinds
            .into_iter()
            .flat_map(|(kind, found)| found.iter().map(move |text| format!("{kind}: {text}")))
            .collect()
    }
}
