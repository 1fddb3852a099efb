//! All agents of a laboratory, watched from their first start to their last end, and what that
//! proves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::agents::{Agent, Logs};
use super::evidence;
use super::hosts::Lab;
use super::samples::{Eye, Sampler};
use crate::checker::{self, Interval};
use crate::{boot_ns, wait_until};

/// An agent that is asked to stop is gone within this time.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A mesh at work. Dropped without [`Mesh::finish`] it kills its agents and shows their last words.
#[derive(Debug)]
pub struct Mesh<'lab> {
    lab: &'lab Lab,
    args: Vec<String>,
    agents: BTreeMap<String, Agent<'lab>>,
    sampler: Option<Sampler>,
    deaths: Vec<(String, u64)>,
    slow_stops: Vec<String>,
    // After the agents: they are dead before their logs go. Taken by the evidence.
    logs: Option<Logs>,
}

impl<'lab> Mesh<'lab> {
    /// Starts an agent with `args` on every host, without a past, and begins to look at what runs.
    pub fn start(lab: &'lab Lab, args: &[&str]) -> Self {
        let mut mesh = Self {
            lab,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            agents: BTreeMap::new(),
            sampler: Some(Sampler::start(lab)),
            deaths: Vec::new(),
            slow_stops: Vec::new(),
            logs: Some(Logs::create()),
        };
        for host in lab.hosts() {
            mesh.begin(&host.name, &["--skip-quiet-time"]);
        }
        mesh
    }

    /// Starts the agent of a host once more. It has a past now.
    pub fn restart(&mut self, name: &str) {
        self.begin(name, &[]);
    }

    fn begin(&mut self, name: &str, more: &[&str]) {
        let more = more.iter().map(|&arg| arg.to_owned());
        let args: Vec<String> = self.args.iter().cloned().chain(more).collect();
        let agent = Agent::start(self.lab, name, self.logs.as_ref().unwrap().path(), &args);
        self.agents.insert(name.to_owned(), agent);
    }

    /// The agent of a host, in its last life.
    pub fn agent(&self, name: &str) -> &Agent<'lab> {
        &self.agents[name]
    }

    /// All agents, in the order of their names.
    pub fn agents(&self) -> impl Iterator<Item = &Agent<'lab>> {
        self.agents.values()
    }

    /// Kills an agent without warning.
    pub fn kill(&mut self, name: &str) {
        let dead_by = self.agents.get_mut(name).unwrap().kill();
        self.deaths.push((name.to_owned(), dead_by));
    }

    /// Asks an agent to stop, and waits until it has.
    pub fn terminate(&mut self, name: &str) {
        let agent = self.agents.get_mut(name).unwrap();
        match agent.terminate(STOP_LIMIT) {
            Some((status, _)) if status.success() => {}
            Some((status, _)) => self.slow_stops.push(format!("{name}: ended with {status}")),
            None => {
                self.slow_stops
                    .push(format!("{name}: still there {STOP_LIMIT:?} after SIGTERM"));
                agent.kill();
            }
        }
        self.deaths.push((name.to_owned(), boot_ns()));
    }

    /// Waits until everybody's matrix has all hosts; whether it came to that.
    pub fn assembled(&self, limit: Duration) -> bool {
        let hosts = self.lab.hosts().len();
        let knows_all = |agent: &Agent<'_>| {
            agent
                .matrix()
                .is_ok_and(|matrix| matrix.nodes.len() == hosts)
        };
        wait_until(limit, || self.agents().all(knows_all))
    }

    /// The tests so far; one that is under way lasts until now.
    ///
    /// # Panics
    /// If an event lacks something.
    pub fn tests(&self) -> Vec<Interval> {
        let events: Vec<_> = self
            .agents()
            .flat_map(|agent| agent.events().unwrap())
            .collect();
        checker::intervals(&events, &BTreeMap::new(), boot_ns()).0
    }

    /// Stops all agents that still live, and says what the whole run proves.
    pub fn finish(mut self) -> Evidence {
        let names: Vec<String> = self.agents.keys().cloned().collect();
        for name in names {
            if self.agents.get_mut(&name).unwrap().lives() {
                self.terminate(&name);
            }
        }
        let samples = self.sampler.take().unwrap().stop();
        let after = Eye::new(self.lab).look();
        let mut faults = std::mem::take(&mut self.slow_stops);
        let remains = after
            .processes
            .iter()
            .map(|it| format!("{}: iperf3 {} remains", it.host, it.pid));
        faults.extend(remains);
        faults.extend(
            after
                .listeners
                .iter()
                .map(|it| format!("{}: port {} remains", it.host, it.port)),
        );

        let mut events = Vec::new();
        for agent in self.agents() {
            match agent.events() {
                Ok(found) => events.extend(found),
                Err(error) => faults.push(error),
            }
        }
        let deaths = evidence::deaths(&samples);
        let (intervals, odd) = checker::intervals(&events, &deaths, boot_ns());
        faults.extend(odd);
        faults.extend(evidence::unseen(&samples, &intervals));
        let instants = evidence::instants(&samples);
        Evidence {
            overlaps: checker::overlaps(&intervals),
            sampled_overlaps: evidence::overlaps(&instants, &self.lab.names()),
            leftovers: evidence::leftovers(&instants, &intervals, &self.deaths),
            looks: instants.len(),
            intervals,
            faults,
            logs: self.logs.take().unwrap(),
        }
    }
}

impl Drop for Mesh<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for agent in self.agents() {
                eprintln!("--- {}, last words:\n{}", agent.name(), agent.last_words());
            }
        }
    }
}

/// What a run proves.
#[derive(Debug)]
pub struct Evidence {
    /// All tests.
    pub intervals: Vec<Interval>,
    /// Two meetings at one node, by the events.
    pub overlaps: Vec<String>,
    /// Two meetings at one node, by what ran.
    pub sampled_overlaps: Vec<String>,
    /// Processes and ports that had no right to be there.
    pub leftovers: Vec<String>,
    /// How many instants the samples speak of.
    pub looks: usize,
    /// Whatever else is wrong: events that make no sense, agents that did not stop.
    pub faults: Vec<String>,
    /// What the agents said.
    pub logs: Logs,
}

impl Evidence {
    /// Every violation, of whatever kind.
    pub fn violations(&self) -> Vec<String> {
        let kinds = [
            ("overlap", &self.overlaps),
            ("overlap (samples)", &self.sampled_overlaps),
            ("leftover", &self.leftovers),
            ("fault", &self.faults),
        ];
        let named = |(kind, found): (&'static str, &Vec<String>)| {
            found
                .iter()
                .map(move |text| format!("{kind}: {text}"))
                .collect::<Vec<_>>()
        };
        kinds.into_iter().flat_map(named).collect()
    }
}
