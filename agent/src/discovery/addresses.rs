//! Resolves the agents to join (`--join`) to their addresses.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use iperf3_mesh_core::gossip::canonical;
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cli::option_name;
use crate::config::JoinTarget;
use crate::resolver;

/// The lookups that may run at once. Each holds a thread until the resolver gives up, and other
/// work needs threads as well.
static LOOKUPS: Semaphore = Semaphore::const_new(4);

/// The result of resolving all targets.
#[derive(Debug, Default)]
pub struct Resolved {
    /// All addresses without duplicates, in the order of the targets.
    pub addresses: Vec<SocketAddr>,
    /// The targets that did not resolve.
    pub failures: Vec<Unresolved>,
}

/// The addresses of the agents to join, and the names without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// The addresses, in the order of the targets.
    pub addresses: Vec<SocketAddr>,
    /// The targets that do not resolve at present, sorted.
    pub unresolved: Vec<String>,
}

impl From<Resolved> for Seeds {
    fn from(resolved: Resolved) -> Self {
        let mut unresolved: Vec<String> = resolved
            .failures
            .iter()
            .map(|failure| failure.target.to_string())
            .collect();
        unresolved.sort();
        unresolved.dedup();
        Self {
            addresses: resolved.addresses,
            unresolved,
        }
    }
}

/// A target that did not resolve. It is tried again, because it may resolve later.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {target} of {}: {cause}", option_name("join"))]
pub struct Unresolved {
    /// The host to join, and its port if one was given.
    pub target: JoinTarget,
    /// The error of the resolver.
    pub cause: io::Error,
}

impl Unresolved {
    /// Returns one sentence that says how to fix the error.
    pub fn hint(&self) -> &'static str {
        resolver::hint(&self.cause.to_string())
    }
}

/// Resolves all `targets`, a few of them at once, and each within `timeout`. A name yields all its
/// addresses; a target without a port gets `default_port`.
///
/// The resolver of the C library cannot be cancelled: its thread may continue for some seconds
/// after the timeout. A runtime that must end in time must be ended with `shutdown_background`.
pub async fn resolve(targets: &[JoinTarget], default_port: u16, timeout: Duration) -> Resolved {
    let mut lookups = JoinSet::new();
    for (order, target) in targets.iter().cloned().enumerate() {
        lookups.spawn(async move { (order, lookup(&target, default_port, timeout).await, target) });
    }
    let mut answers = lookups.join_all().await;
    answers.sort_by_key(|(order, ..)| *order);

    let mut resolved = Resolved::default();
    let mut seen = HashSet::new();
    for (_, answer, target) in answers {
        match answer {
            Ok(found) => {
                resolved
                    .addresses
                    .extend(found.into_iter().filter(|address| seen.insert(*address)));
            }
            Err(cause) => resolved.failures.push(Unresolved { target, cause }),
        }
    }
    resolved
}

/// Returns the addresses that an agent with the gossip address `own` contacts to join `seeds`,
/// without duplicates.
///
/// - Loopback leads to an agent of this host. Unless `own` is loopback, that agent listens on the
///   address of this host, which replaces loopback. The name of this node, which may stand for
///   127.0.1.1 here, becomes `own`.
/// - The addresses of the other family than that of `own` are left out, because they cannot be
///   reached; a dual-stack Service has an address of each family for every agent.
pub fn reachable(seeds: &[SocketAddr], own: SocketAddr) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    seeds
        .iter()
        .map(|seed| match seed.ip().is_loopback() {
            true if !own.ip().is_loopback() => SocketAddr::new(own.ip(), seed.port()),
            _ => *seed,
        })
        .filter(|seed| seed.is_ipv4() == own.is_ipv4() && seen.insert(*seed))
        .collect()
}

async fn lookup(
    target: &JoinTarget,
    default_port: u16,
    timeout: Duration,
) -> io::Result<Vec<SocketAddr>> {
    let port = target.port.map_or(default_port, NonZeroU16::get);
    let too_late = |_| {
        let text = format!("the resolver did not answer within {timeout:?}");
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    let host = target.host.clone();
    // The permit is that of the thread, which may continue after the timeout.
    let answer = async {
        let permit = LOOKUPS.acquire().await;
        let lookup = async move {
            let _permit = permit;
            Ok::<Vec<_>, io::Error>(lookup_host((host, port)).await?.collect())
        };
        tokio::spawn(lookup).await?
    };
    let answer = tokio::time::timeout(timeout, answer).await;
    let answer = answer.map_err(too_late)??;
    let addresses: Vec<SocketAddr> = answer.into_iter().map(canonical).collect();
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name exists, but has no address",
        ));
    }
    Ok(addresses)
}
