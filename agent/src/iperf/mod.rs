//! iperf3 as a child process, as the client or as the server.
//!
//! A [`Client`] or a [`Server`] is one iperf3 process. It is started under [`Limits`], is dead by
//! its deadline whatever happens to it, to its peer or to this agent, and is always reaped. This
//! module decides nothing: the coordinator chooses peers, times and durations, and decides what a
//! failure means for the matrix.

mod buffer;
mod client;
mod command;
mod fence;
mod filter;
mod limits;
mod lookout;
mod orphans;
mod package;
mod plan;
mod probe;
mod problem;
mod process;
mod program;
mod reason;
mod report;
mod server;
mod temporary;
mod trial;
mod version;
mod vulnerabilities;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use iperf3_mesh_core::TestSpec;
use nix::errno::Errno;
use thiserror::Error;

use crate::metrics::Resource;

pub use buffer::{BufferLimit, DEFAULT_BUFFER_LIMIT, buffer_limits};
pub use client::{Client, ClientEnd};
pub use command::{Needs, needs};
pub use fence::Landlock;
pub use limits::Limits;
pub use orphans::reap_orphans;
pub use package::PackageVersion;
pub use problem::{ProbeError, Problem};
pub use process::Kill;
pub use report::Report;
#[cfg(feature = "fuzzing")]
pub(crate) use server::read_output;
pub use server::{NotReady, Server, ServerEnd};
pub use temporary::{UnusableDirectory, remove_stale, room, try_filling};
pub use trial::NoFilter;
pub use version::{LEAST, Version};
pub use vulnerabilities::FIRST_SAFE;

use fence::{Fence, Permit, Ports};
use filter::{Filter, Gate};
use lookout::Lookout;
use process::{Process, Stdout};
use temporary::PrivateDirectory;

/// The iperf3 program of this node.
#[derive(Clone, Debug)]
pub struct Iperf {
    program: PathBuf,
    version: Version,
    landlock: Landlock,
    package: Option<PackageVersion>,
    /// `None` if the system refuses the file in memory that the filter needs.
    filter: Option<Filter>,
    is_filtered: bool,
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
    /// The largest socket buffer that the peer's server can have, in bytes; `None` if it is
    /// unknown, and the default limit of the kernel is assumed.
    pub buffer: Option<u64>,
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
    /// The port (TCP and UDP) on which the server listens.
    pub port: u16,
    /// The only address from which a client may connect.
    pub peer: IpAddr,
    /// The limits of the process.
    pub limits: Limits,
}

/// The reason why iperf3 was not started. The outcome of the test is
/// [`iperf3_mesh_core::Reason::Spawn`].
#[derive(Debug, Error)]
pub enum SpawnError {
    /// `start_by` or the deadline had passed, because this agent or the machine was frozen.
    #[error("iperf3 was not started: the time to start it has passed")]
    TooLate,
    /// The directory for temporary files cannot be used.
    #[error("iperf3 was not started: {problem}. {}", problem.hint())]
    Directory {
        /// The problem of the directory.
        problem: UnusableDirectory,
    },
    /// The operating system refused to start the process.
    #[error(
        "iperf3: {program:?} could not be started: {source}. {}",
        problem::start_hint(source, program)
    )]
    System {
        /// The path of the program.
        program: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl SpawnError {
    /// Returns what this node lacked; `None` if it lacked nothing.
    pub fn lack(&self) -> Option<Resource> {
        match self {
            Self::TooLate => None,
            Self::Directory { problem } => Some(problem.lack()),
            Self::System { source, .. } => lack(source),
        }
    }
}

/// Returns what this node lacks according to an error of the operating system.
fn lack(error: &io::Error) -> Option<Resource> {
    match error.raw_os_error().map(Errno::from_raw)? {
        Errno::EMFILE | Errno::ENFILE => Some(Resource::OpenFiles),
        Errno::EAGAIN => Some(Resource::Processes),
        Errno::ENOMEM => Some(Resource::Memory),
        _ => None,
    }
}

impl Iperf {
    /// Finds `program`, a path or a name in `PATH`, and reads its version. This takes at most 5 s.
    ///
    /// # Errors
    ///
    /// Returns an error if the program is missing, does not run, is not iperf3 or is too old.
    pub async fn probe(program: &Path) -> Result<Self, ProbeError> {
        let found = probe::probe(program).await?;
        let filter = Filter::new().ok();
        Ok(Self {
            package: PackageVersion::of(&found.program),
            program: found.program,
            version: found.version,
            landlock: found.landlock,
            filter,
            is_filtered: false,
        })
    }

    /// Returns the version of iperf3.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns how far Landlock restricts iperf3.
    pub fn landlock(&self) -> &Landlock {
        &self.landlock
    }

    /// Returns the version of the package that iperf3 comes from; `None` if it is unknown.
    pub fn package(&self) -> Option<&PackageVersion> {
        self.package.as_ref()
    }

    /// Returns the known vulnerabilities that a message of a client can exploit, without those that
    /// the package has fixed.
    pub fn vulnerabilities(&self) -> Vec<&'static str> {
        self.unfixed(self.version.vulnerabilities())
    }

    /// Returns the same in iperf3's own authentication, which the agent does not use.
    pub fn vulnerabilities_in_authentication(&self) -> Vec<&'static str> {
        self.unfixed(self.version.vulnerabilities_in_authentication())
    }

    fn unfixed(&self, mut known: Vec<&'static str>) -> Vec<&'static str> {
        known.retain(|id| {
            !self
                .package
                .as_ref()
                .is_some_and(|package| package.fixes(id))
        });
        known
    }

    /// Returns whether [`Iperf::try_filter`] has found that the filter works.
    pub fn is_filtered(&self) -> bool {
        self.is_filtered
    }

    /// Returns the path of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the largest socket buffer that a server of this node can have in a UDP test, in
    /// bytes.
    pub fn largest_buffer() -> u64 {
        buffer::largest()
    }

    /// Starts the client of a test. Call this function within the runtime, on a thread that lives
    /// as long as the agent: iperf3 dies together with the thread that started it.
    ///
    /// # Errors
    ///
    /// Returns an error if iperf3 was not started, for example because it is too late.
    pub fn client(&self, run: ClientRun) -> Result<Client, SpawnError> {
        let buffer = buffer::lesser(buffer::largest(), run.buffer);
        let args = command::client(self.version, buffer, &run.spec, run.local, run.remote);
        let ports = Ports::Connect(run.remote.port());
        let fence = self.fence(&run.spec, ports)?;
        let process = self.spawn(&args, run.limits, fence, None, Stdout::Keep)?;
        Ok(Client {
            process,
            spec: run.spec,
        })
    }

    /// Starts the server of a test, under the same conditions as [`Iperf::client`]. The server
    /// listens once [`Server::ready`] has returned successfully.
    ///
    /// # Errors
    ///
    /// Returns an error if iperf3 was not started, for example because it is too late.
    pub fn server(&self, run: &ServerRun) -> Result<Server, SpawnError> {
        let args = command::server(self.version, &run.spec, run.local, run.port);
        let (seen, watch) = server::watch_output(run.peer, &run.spec);
        let filter = self.filter.as_ref();
        let gate = filter.and_then(|filter| filter.for_guest(run.peer, run.spec.bidir).ok());
        let fence = self.fence(&run.spec, Ports::Listen(run.port))?;
        let output = Stdout::Watch(watch);
        let process = self.spawn(&args, run.limits, fence, gate.as_ref(), output)?;
        let local = SocketAddr::new(run.local, run.port);
        let lookout = Lookout::new(local, run.peer, run.spec.protocol);
        Ok(Server::new(process, seen, gate, lookout))
    }

    /// Prepares the fence of a test.
    fn fence(&self, spec: &TestSpec, ports: Ports) -> Result<Fence, SpawnError> {
        let needs = needs(std::slice::from_ref(spec));
        let directory =
            PrivateDirectory::create(needs).map_err(|problem| SpawnError::Directory { problem })?;
        let permit = Permit {
            ports,
            streams: command::streams(spec),
        };
        Fence::new(&self.landlock, &self.program, Some(directory), permit)
            .map_err(|source| self.refused(source))
    }

    fn spawn(
        &self,
        args: &[String],
        limits: Limits,
        fence: Fence,
        gate: Option<&Gate>,
        output: Stdout,
    ) -> Result<Process, SpawnError> {
        let program = self.program.as_os_str();
        Process::spawn(program, args, limits, fence, gate, output).map_err(|source| {
            if limits::is_too_late(&source) {
                SpawnError::TooLate
            } else {
                self.refused(source)
            }
        })
    }

    fn refused(&self, source: io::Error) -> SpawnError {
        SpawnError::System {
            program: self.program.clone(),
            source,
        }
    }
}
