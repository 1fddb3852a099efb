//! iperf3 as a child process, in both roles.
//!
//! One run of iperf3 is a [`Client`] or a [`Server`]: it is started under [`Limits`], is dead by
//! its deadline whatever happens to it, its peer or this agent, and is always reaped. Nothing is
//! decided here: who tests whom, when and for how long comes from outside, and what a failure means
//! for the matrix goes there.

mod client;
mod command;
mod limits;
mod probe;
mod process;
mod reason;
mod report;
mod server;
mod version;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use iperf3_mesh_core::TestSpec;
use thiserror::Error;

pub use client::{Client, ClientEnd};
pub use limits::Limits;
pub use probe::ProbeError;
pub use process::Kill;
pub use report::Report;
pub use server::{NotReady, Server, ServerEnd};
pub use version::{LEAST, Version};

use process::{Process, Stdout};

/// The iperf3 of this node.
#[derive(Clone, Debug)]
pub struct Iperf {
    program: PathBuf,
    version: Version,
    /// Bytes of the socket buffer of UDP tests.
    buffer: u64,
}

/// A test that this node runs.
#[derive(Clone, Debug)]
pub struct ClientRun {
    /// The settings of the test.
    pub spec: TestSpec,
    /// This node's address, from which the test comes.
    pub local: IpAddr,
    /// The peer's address.
    pub remote: IpAddr,
    /// The port of the peer's iperf3.
    pub port: u16,
    /// When it may start and must be dead.
    pub limits: Limits,
}

/// A test that this node serves.
#[derive(Clone, Debug)]
pub struct ServerRun {
    /// The settings of the test.
    pub spec: TestSpec,
    /// This node's address, on which alone the server listens.
    pub local: IpAddr,
    /// The port to listen on, TCP and UDP.
    pub port: u16,
    /// The only address from which a client may come.
    pub peer: IpAddr,
    /// When it may start and must be dead.
    pub limits: Limits,
}

/// Why iperf3 was not started. The outcome of the test is [`iperf3_mesh_core::Reason::Spawn`].
#[derive(Debug, Error)]
pub enum SpawnError {
    /// `start_by` or the deadline has passed: this agent or the machine stood still.
    #[error("iperf3 was not started: the time to start it has passed")]
    TooLate,
    /// The system refused.
    #[error("iperf3: {program:?} could not be started: {source}")]
    System {
        /// What was to be run.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Iperf {
    /// Finds `program`, a path or a name in PATH, and asks for its version. Takes five seconds at
    /// most.
    ///
    /// # Errors
    ///
    /// If it is missing, is something else or is too old, with the hint.
    pub async fn probe(program: &Path) -> Result<Self, ProbeError> {
        let (program, version) = probe::probe(program).await?;
        Ok(Self {
            program,
            version,
            buffer: buffer(),
        })
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it was found.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a test. To be called on the thread that lives as long as the agent, as iperf3 dies
    /// with the thread that started it, and within the runtime.
    ///
    /// # Errors
    ///
    /// If iperf3 was not started, be it that it is too late for that.
    pub fn client(&self, run: ClientRun) -> Result<Client, SpawnError> {
        let args = command::client(
            self.version,
            self.buffer,
            &run.spec,
            run.local,
            run.remote,
            run.port,
        );
        let process = self.spawn(&args, run.limits, Stdout::Keep)?;
        Ok(Client {
            process,
            spec: run.spec,
        })
    }

    /// Starts a server for one test. Where to call it from: see [`Iperf::client`]. It listens only
    /// when [`Server::ready`] says so.
    ///
    /// # Errors
    ///
    /// If iperf3 was not started, be it that it is too late for that.
    pub fn server(&self, run: &ServerRun) -> Result<Server, SpawnError> {
        let args = command::server(self.version, &run.spec, run.local, run.port);
        let (seen, watch) = server::watch_output(run.peer);
        let process = self.spawn(&args, run.limits, Stdout::Watch(watch))?;
        Ok(Server::new(process, seen))
    }

    fn spawn(
        &self,
        args: &[String],
        limits: Limits,
        output: Stdout,
    ) -> Result<Process, SpawnError> {
        Process::spawn(self.program.as_os_str(), args, limits, output).map_err(|source| {
            if limits::is_too_late(&source) {
                SpawnError::TooLate
            } else {
                SpawnError::System {
                    program: self.program.clone(),
                    source,
                }
            }
        })
    }
}

/// [`command::BUFFER`], or less where this kernel allows less. A container may not see the limits;
/// then they are taken for the default ones.
fn buffer() -> u64 {
    ["/proc/sys/net/core/rmem_max", "/proc/sys/net/core/wmem_max"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .map(|limit| limit.saturating_mul(2))
        .fold(command::BUFFER, u64::min)
}
