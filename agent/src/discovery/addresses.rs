//! From the names of agents to join to their addresses.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;

use crate::config::JoinTarget;

/// What became of the names to join.
#[derive(Debug, Default)]
pub struct Resolved {
    /// All addresses, in the order of the targets, each once.
    pub addresses: Vec<SocketAddr>,
    /// The targets without an address.
    pub failures: Vec<Unresolved>,
}

/// A target without an address. It may get one at any time: to be logged and tried again.
#[derive(Debug, thiserror::Error)]
#[error("{target}, an agent to join, has no address: {cause}")]
pub struct Unresolved {
    /// Whom to join.
    pub target: JoinTarget,
    /// What the resolver says.
    pub cause: io::Error,
}

/// Resolves all `targets` at once, each within `deadline`. A name means all its addresses; a target
/// without a port gets `default_port`.
///
/// The resolver of the C library cannot be stopped: after the deadline its thread may go on for
/// some seconds. A runtime that must end in time is ended with `shutdown_background`.
pub async fn resolve(targets: &[JoinTarget], default_port: u16, deadline: Duration) -> Resolved {
    let mut lookups = JoinSet::new();
    for (order, target) in targets.iter().cloned().enumerate() {
        lookups
            .spawn(async move { (order, lookup(&target, default_port, deadline).await, target) });
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

async fn lookup(
    target: &JoinTarget,
    default_port: u16,
    deadline: Duration,
) -> io::Result<Vec<SocketAddr>> {
    let port = target.port.map_or(default_port, NonZeroU16::get);
    let answer = tokio::time::timeout(deadline, lookup_host((target.host.as_str(), port))).await;
    let late = |_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {deadline:?}"),
        )
    };
    let addresses: Vec<SocketAddr> = answer.map_err(late)??.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name is known, but has no address",
        ));
    }
    Ok(addresses)
}
