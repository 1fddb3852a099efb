//! The fence around an iperf3 process: what it may do, and nothing else. iperf3 parses bytes of
//! strangers, and runs as the same user as the agent.
//!
//! Landlock restricts its files, its TCP ports and its signals, where the kernel has it. On every
//! kernel, iperf3 cannot gain privileges, and limits bound its memory, files and open files. The
//! kernel applies all of it before exec: see `limits`.

mod resources;
mod rules;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::Resource;

use super::limits;
use super::temporary::PrivateDirectory;

/// The version of Landlock from which it restricts TCP ports (Linux 6.7).
const PORTS_FROM: u32 = 4;

/// The version of Landlock from which it restricts signals (Linux 6.12).
const SIGNALS_FROM: u32 = 6;

/// The part of the fence that depends on the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// The kernel has it, with this version of its interface.
    Version(u32),
    /// The kernel is older than 5.13, or was built without it.
    Missing,
    /// The kernel was started without it.
    Disabled,
    /// A seccomp profile or a sandbox denies it.
    Denied(Errno),
    /// This iperf3 runs outside of it only. The text is the problem inside.
    Unfit(String),
}

impl Landlock {
    /// Returns what the kernel has.
    pub fn of_kernel() -> Self {
        match limits::landlock_version() {
            Ok(version) => Self::Version(version),
            Err(Errno::ENOSYS) => Self::Missing,
            Err(Errno::EOPNOTSUPP) => Self::Disabled,
            Err(error) => Self::Denied(error),
        }
    }

    /// Returns the value of the label of `iperf_mesh_fence_info`.
    pub fn label(&self) -> String {
        match self {
            Self::Version(version) => format!("abi{version}"),
            Self::Missing => "missing".to_owned(),
            Self::Disabled => "disabled".to_owned(),
            Self::Denied(_) => "denied".to_owned(),
            Self::Unfit(_) => "unfit".to_owned(),
        }
    }

    /// Returns one sentence about what to do for more protection; `None` if there is nothing more.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Version(SIGNALS_FROM..) => None,
            Self::Version(..PORTS_FROM) => Some("Linux 6.12 restricts ports and signals, too."),
            Self::Version(_) => Some("Linux 6.12 restricts signals, too."),
            Self::Missing => Some("Run Linux 5.13 or later, built with CONFIG_SECURITY_LANDLOCK."),
            Self::Disabled => Some(
                "Add landlock to the kernel's parameter `lsm=` (cat /sys/kernel/security/lsm).",
            ),
            Self::Denied(_) => Some(
                "Let the container's seccomp profile allow the landlock_* system calls, as \
                 RuntimeDefault of containerd and CRI-O does.",
            ),
            Self::Unfit(_) => Some(
                "Install iperf3 and its libraries below /usr or /usr/local, or list the directory \
                 of its libraries in LD_LIBRARY_PATH.",
            ),
        }
    }
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "Landlock {version} restricts its files")?;
                match version {
                    SIGNALS_FROM.. => f.write_str(", TCP ports and signals"),
                    PORTS_FROM.. => f.write_str(" and TCP ports"),
                    _ => Ok(()),
                }
            }
            Self::Missing => f.write_str("this kernel has no Landlock"),
            Self::Disabled => f.write_str("Landlock is disabled"),
            Self::Denied(error) => write!(f, "Landlock is denied: {}", error.desc()),
            Self::Unfit(problem) => {
                write!(f, "this iperf3 does not run within Landlock: {problem}")
            }
        }
    }
}

/// The TCP ports that a process may use. UDP is not restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// None.
    None,
    /// A server may listen on this port.
    Listen(u16),
    /// A client may connect to this port, from any free port.
    Connect(u16),
}

/// The ports and the number of streams of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permit {
    pub(super) ports: Ports,
    /// The number of streams, in both directions.
    pub(super) streams: u64,
}

/// A fence that is ready for one process.
#[derive(Debug)]
pub(super) struct Fence {
    /// The rules of Landlock; `None` if the kernel has none.
    pub(super) rules: Option<OwnedFd>,
    /// The limits on resources.
    pub(super) resources: Vec<(Resource, u64)>,
    /// The only directory in which the process can write; `None` if it cannot write at all.
    pub(super) directory: Option<PrivateDirectory>,
}

impl Fence {
    /// Builds the fence around a `program` that may write in `directory` only.
    ///
    /// # Errors
    /// Returns an error if the kernel does not take the rules.
    pub(super) fn new(
        landlock: &Landlock,
        program: &Path,
        directory: Option<PrivateDirectory>,
        permit: Permit,
    ) -> io::Result<Self> {
        let path = directory.as_ref().map(PrivateDirectory::path);
        let rules = match landlock {
            Landlock::Version(_) => rules::build(program, path, permit.ports)?,
            _ => None,
        };
        Ok(Self {
            rules,
            resources: resources::of(permit.streams),
            directory,
        })
    }
}
