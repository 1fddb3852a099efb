//! iperf3 as a child process, in both roles.
//!
//! One process of iperf3 is a [`Client`] or a [`Server`]. It is started under [`Limits`], is dead
//! by its deadline whatever happens to it, its peer or this agent, and is always reaped. Nothing is
//! decided here: the coordinator chooses peers, times and durations, and decides what a failure
//! means for the matrix.

mod client;
mod command;
mod limits;
mod probe;
mod process;
mod reason;
mod report;
mod server;
mod version;
mod vulnerabilities;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use iperf3_mesh_core::TestSpec;
use thiserror::Error;

pub use client::{Client, ClientEnd};
pub use limits::Limits;
pub use probe::ProbeError;
pub use process::Kill;
pub use report::Report;
#[cfg(feature = "fuzzing")]
pub(crate) use server::read_output;
pub use server::{NotReady, Server, ServerEnd};
pub use version::{LEAST, Version};
pub use vulnerabilities::FIRST_SAFE;

use process::{Process, Stdout};

/// The iperf3 of this node.
#[derive(Clone, Debug)]
pub struct Iperf {
    program: PathBuf,
    version: Version,
    /// Bytes of the socket buffer of UDP tests.
    buffer: u64,
}

/// A test that this node runs as the client.
#[derive(Clone, Debug)]
pub struct ClientRun {
    /// The settings of the test.
    pub spec: TestSpec,
    /// This node's address, from which the client connects.
    pub local: IpAddr,
    /// The address and port of the peer's server.
    pub remote: SocketAddr,
    /// The limits of the process.
    pub limits: Limits,
}

/// A test that this node runs as the server.
#[derive(Clone, Debug)]
pub struct ServerRun {
    /// The settings of the test.
    pub spec: TestSpec,
    /// This node's address, the only one on which the server listens.
    pub local: IpAddr,
    /// The port, TCP and UDP, on which it listens.
    pub port: u16,
    /// The only address from which a client may connect.
    pub peer: IpAddr,
    /// The limits of the process.
    pub limits: Limits,
}

/// Why iperf3 was not started. The outcome of the test is [`iperf3_mesh_core::Reason::Spawn`].
#[derive(Debug, Error)]
pub enum SpawnError {
    /// `start_by` or the deadline has passed, because this agent or the machine was frozen.
    #[error("iperf3 was not started: the time to start it has passed")]
    TooLate,
    /// The system refused.
    #[error("iperf3: {program:?} could not be started: {source}")]
    System {
        /// The path of the program.
        program: PathBuf,
        /// Why it was not started.
        source: io::Error,
    },
}

impl Iperf {
    /// Finds `program`, a path or a name in PATH, and reads its version. Takes at most 5 s.
    ///
    /// # Errors
    ///
    /// If it is missing, not iperf3 or too old; the message says how to fix it.
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

    /// The path of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the client of a test. To be called within the runtime, on a thread that lives as long
    /// as the agent: iperf3 dies with the thread that started it.
    ///
    /// # Errors
    ///
    /// If iperf3 was not started, also because it is too late.
    pub fn client(&self, run: ClientRun) -> Result<Client, SpawnError> {
        let args = command::client(self.version, self.buffer, &run.spec, run.local, run.remote);
        let process = self.spawn(&args, run.limits, Stdout::Keep)?;
        Ok(Client {
            process,
            spec: run.spec,
        })
    }

    /// Starts the server of a test, on the same conditions as [`Iperf::client`]. It listens once
    /// [`Server::ready`] returns.
    ///
    /// # Errors
    ///
    /// If iperf3 was not started, also because it is too late.
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

/// [`command::BUFFER`], or less if this kernel allows less. A container may not see the limits; the
/// defaults are assumed then.
fn buffer() -> u64 {
    ["/proc/sys/net/core/rmem_max", "/proc/sys/net/core/wmem_max"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .map(|limit| limit.saturating_mul(2))
        .fold(command::BUFFER, u64::min)
}
