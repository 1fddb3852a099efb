//! An agent as a child process, on a loopback address or in a host of the laboratory.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::answers::{CellEntry, Matrix};
use crate::events::{self, Event};
use crate::http::{self, Series};
use crate::lab::hosts::Host;
use crate::lab::netns::Namespace;
use crate::{Ended, Network, Program, STOP};

/// The port of the agent's HTTP server.
const LISTEN_PORT: u16 = 9876;

/// The settings of a fast mesh: the shortest tests, little traffic and almost no pause.
pub const QUICK: [&str; 7] = [
    "--duration=1s",
    "--timeout=5s",
    "--interval=1s",
    "--bitrate=20M",
    "--forget-after=1m",
    "--log-format=json",
    "--discovery=static",
];

/// One run of an agent. The agent is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Agent {
    /// The name of the agent's node.
    pub name: String,
    /// The address of the agent.
    pub address: Ipv4Addr,
    /// The process of the agent.
    pub program: Program,
    placement: Placement,
}

/// The network that an agent is in.
#[derive(Clone, Debug)]
enum Placement {
    /// The loopback of the test's own namespace.
    Loopback,
    /// A host of the laboratory.
    Host(Namespace),
}

impl Agent {
    /// Starts the agent `name` on this host of `network`, with [`QUICK`] and without quiet time. It
    /// joins host 1. The command line ends with `args`.
    pub fn start(network: Network, host: u8, name: &str, args: &[&str]) -> Self {
        let join = format!("--join={}", network.address(1));
        let args = [&QUICK[..], &["--skip-quiet-time", &join], args].concat();
        Self::start_with(network, host, name, &args)
    }

    /// Starts the agent with only its name, its address and `args`.
    pub fn start_with(network: Network, host: u8, name: &str, args: &[&str]) -> Self {
        Self::start_in(network, host, name, args, |_| {})
    }

    /// Starts the agent as a supervisor does that prepares the process with `prepare`.
    pub fn start_in(
        network: Network,
        host: u8,
        name: &str,
        args: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let address = network.address(host);
        let mut command = Program::command(&arguments(name, address, args), &[]);
        prepare(&mut command);
        Self {
            name: name.to_owned(),
            address,
            program: Program::start_command(command),
            placement: Placement::Loopback,
        }
    }

    /// Starts a lone agent that writes its log to `log`.
    pub fn start_logging_to(network: Network, name: &str, log: impl Into<Stdio>) -> Self {
        let address = network.address(1);
        let args = arguments(name, address, &QUICK);
        Self {
            name: name.to_owned(),
            address,
            program: Program::start_logging_to(&args, log),
            placement: Placement::Loopback,
        }
    }

    /// Starts the agent of a host of the laboratory with `args`. The agent appends its output to
    /// the file `log`, so that the file has the events of all runs.
    pub(crate) fn start_on(host: &Host, log: PathBuf, args: &[&str]) -> Self {
        let arguments = arguments(&host.name, host.address, args);
        let mut command = Program::command(&arguments, &[]);
        host.namespace.enter(&mut command);
        Self {
            name: host.name.clone(),
            address: host.address,
            program: Program::start_logging(command, log),
            placement: Placement::Host(host.namespace.clone()),
        }
    }

    /// Starts an agent that looks for its address itself on a host of the laboratory, with
    /// [`QUICK`], without quiet time, and with `args`. The test asks it on loopback, because its
    /// address may change.
    pub fn start_without_address(host: &Host, args: &[&str]) -> Self {
        Self::start_another(host, &host.name, args)
    }

    /// Starts another agent on a host of the laboratory, like [`Self::start_without_address`], with
    /// a name of its own. It needs ports of its own in `args`.
    pub fn start_another(host: &Host, name: &str, args: &[&str]) -> Self {
        let arguments = [
            &["agent", "--node-name", name],
            &QUICK[..],
            &["--skip-quiet-time"],
            args,
        ]
        .concat();
        let mut command = Program::command(&arguments, &[]);
        host.namespace.enter(&mut command);
        Self {
            name: name.to_owned(),
            address: Ipv4Addr::LOCALHOST,
            program: Program::start_command(command),
            placement: Placement::Host(host.namespace.clone()),
        }
    }

    /// Returns the address of the agent's HTTP server.
    pub fn http(&self) -> SocketAddr {
        (self.address, LISTEN_PORT).into()
    }

    /// Returns the body of `path`, requested from the agent's own network.
    ///
    /// # Errors
    /// If the agent does not answer with status 200 in time.
    pub fn get(&self, path: &str) -> io::Result<String> {
        match &self.placement {
            Placement::Loopback => http::get(self.http(), path),
            Placement::Host(namespace) => namespace.inside(|| http::get(self.http(), path)),
        }
    }

    /// Returns the status and the body of `path`, requested from the agent's own network; status 0
    /// if there is no answer.
    pub fn ask(&self, path: &str) -> (u16, String) {
        let answer = match &self.placement {
            Placement::Loopback => http::ask(self.http(), path),
            Placement::Host(namespace) => namespace.inside(|| http::ask(self.http(), path)),
        };
        answer.unwrap_or_default()
    }

    /// Runs the program with `args` in the agent's own network until it ends.
    ///
    /// # Panics
    /// If the program still runs after `limit`.
    #[track_caller]
    pub fn run_beside(&self, args: &[&str], limit: Duration) -> Ended {
        let mut command = Program::command(args, &[]);
        if let Placement::Host(namespace) = &self.placement {
            namespace.enter(&mut command);
        }
        Program::start_command(command).ended(limit)
    }

    /// Returns the agent's matrix.
    ///
    /// # Errors
    /// If the agent does not answer with a matrix in time.
    pub fn matrix(&self) -> Result<Matrix, String> {
        let answer = self.get("/api/v1/matrix");
        Matrix::parse(&answer.map_err(|error| error.to_string())?)
    }

    /// Returns the agent's series.
    ///
    /// # Errors
    /// If the agent does not answer in time.
    pub fn series(&self) -> io::Result<Vec<Series>> {
        Ok(http::series(&self.get("/metrics")?))
    }

    /// Returns the sum of the agent's series of this name; `None` if there is none, or no answer.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.labelled(name, &[])
    }

    /// Returns the sum of the agent's series of this name with these labels; `None` if there is
    /// none, or no answer.
    pub fn labelled(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matches = |series: &Series| {
            series.name == name && labels.iter().all(|(label, value)| series.has(label, value))
        };
        self.series()
            .ok()?
            .into_iter()
            .filter(matches)
            .map(|series| series.value)
            .reduce(|sum, value| sum + value)
    }

    /// Returns the state of every node in the agent's matrix, by name; empty if the agent does not
    /// answer.
    pub fn states(&self) -> BTreeMap<String, String> {
        self.matrix()
            .unwrap_or_default()
            .nodes
            .into_iter()
            .map(|node| (node.name, node.state))
            .collect()
    }

    /// Returns the sources and destinations of the successful cells; empty if the agent does not
    /// answer.
    pub fn good_cells(&self) -> Vec<(String, String)> {
        self.matrix()
            .unwrap_or_default()
            .cells
            .into_iter()
            .filter(|cell| cell.success == Some(true))
            .map(|cell| (cell.source_node, cell.destination_node))
            .collect()
    }

    /// Returns whether the agent answers, and neither shows nor exports anything about `node`.
    pub fn has_forgotten(&self, node: &str) -> bool {
        let is_shown = |matrix: Matrix| {
            let has_node =
                |cell: &CellEntry| cell.source_node == node || cell.destination_node == node;
            matrix.state(node).is_some() || matrix.cells.iter().any(has_node)
        };
        let is_exported = |all: Vec<Series>| {
            all.iter()
                .any(|series| series.has("destination_node", node))
        };
        self.matrix().is_ok_and(|matrix| !is_shown(matrix))
            && self.series().is_ok_and(|series| !is_exported(series))
    }

    /// Returns the test events in the agent's log; on a host of the laboratory, those of all runs.
    ///
    /// # Panics
    /// If an event lacks a field.
    pub fn events(&self) -> Vec<Event> {
        let log = self.program.stderr();
        // The last line may be incomplete.
        let complete = log.rfind('\n').map_or("", |end| &log[..end]);
        events::parse(complete).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Suspends the agent; its sockets stay open.
    pub fn freeze(&self) {
        self.program.signal(Signal::SIGSTOP);
    }

    /// Resumes the agent after [`Agent::freeze`].
    pub fn thaw(&self) {
        self.program.signal(Signal::SIGCONT);
    }

    /// Stops the agent with SIGTERM and waits for its end.
    ///
    /// # Panics
    /// If the agent still runs after [`STOP`].
    #[track_caller]
    pub fn terminate(&mut self) -> Ended {
        self.program.signal(Signal::SIGTERM);
        self.program.ended(STOP)
    }
}

fn arguments(name: &str, address: Ipv4Addr, args: &[&str]) -> Vec<String> {
    let address = address.to_string();
    [
        "agent",
        "--node-name",
        name,
        "--advertise-address",
        &address,
    ]
    .iter()
    .chain(args)
    .map(|&arg| arg.to_owned())
    .collect()
}
