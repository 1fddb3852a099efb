//! A trial of the filter: whether iperf3 loads it, found out without a test.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::Duration;

use iperf3_mesh_core::{Protocol, TestSpec};
use thiserror::Error;

use super::filter::Filter;
use super::{Iperf, Limits, NotReady, ServerRun, SpawnError};
use crate::clock::boot_now;

/// How long the server of a trial may take.
const WITHIN: Duration = Duration::from_secs(3);

/// The reason why the servers of this node run without the filter.
#[derive(Debug, Error)]
pub enum NoFilter {
    /// The agent was built for another processor, or the system has no files in memory.
    #[error("it cannot be held in memory: {0}")]
    Memory(io::Error),
    /// There is no loopback address to try it on.
    #[error("there is no free port on loopback to try it: {0}")]
    Port(io::Error),
    /// iperf3 did not start.
    #[error("{0}")]
    Spawn(SpawnError),
    /// The server did not listen.
    #[error("a server on loopback does not listen: {0}")]
    NotReady(NotReady),
    /// The loader did not take it.
    #[error("the loader of {0} ignores LD_PRELOAD")]
    Ignored(String),
}

impl NoFilter {
    /// Returns the fix, as one or two sentences.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Memory(_) => {
                "Use an agent for this processor (x86_64, aarch64 or riscv64), and allow \
                 memfd_create in the seccomp profile."
            }
            Self::Ignored(_) => {
                "Install an iperf3 that is linked dynamically, give it no capabilities and no other \
                 user ID, and mount /proc."
            }
            Self::Port(_) | Self::Spawn(_) | Self::NotReady(_) => {
                "Correct the other findings first, and check again."
            }
        }
    }
}

impl Iperf {
    /// Starts a server on loopback to find out whether the filter works in it.
    ///
    /// # Errors
    /// Returns the reason if the filter does not work.
    pub async fn try_filter(&mut self) -> Result<(), NoFilter> {
        self.is_filtered = false;
        if self.filter.is_none() {
            self.filter = Some(Filter::new().map_err(NoFilter::Memory)?);
        }
        let (local, port) = free_port().map_err(NoFilter::Port)?;
        let until = boot_now() + WITHIN;
        let run = ServerRun {
            spec: TestSpec {
                protocol: Protocol::Tcp,
                duration: Duration::from_secs(1),
                omit: Duration::ZERO,
                timeout: WITHIN,
                bitrate: None,
                streams: 1,
                bidir: false,
            },
            local,
            port,
            peer: local,
            limits: Limits {
                start_by: until,
                deadline: until,
            },
        };
        let mut server = self.server(&run).map_err(NoFilter::Spawn)?;
        server.ready().await.map_err(NoFilter::NotReady)?;
        self.is_filtered = server.is_filtered();
        server.killer().kill();
        server.wait().await;
        if self.is_filtered {
            Ok(())
        } else {
            Err(NoFilter::Ignored(self.program.display().to_string()))
        }
    }
}

fn free_port() -> io::Result<(IpAddr, u16)> {
    let bind = |address: IpAddr| TcpListener::bind((address, 0))?.local_addr();
    let listener =
        bind(Ipv4Addr::LOCALHOST.into()).or_else(|_| bind(Ipv6Addr::LOCALHOST.into()))?;
    Ok((listener.ip(), listener.port()))
}
