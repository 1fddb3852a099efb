//! Checks whether the kernel's neighbour table has room for the mesh.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use tokio::task::JoinSet;

use super::Finding;
use super::running;
use crate::config::Config;
use crate::discovery::addresses::Resolved;
use crate::neighbours::{NeighbourTable, on_network};

const SUBJECT: &str = "neighbour table";

/// The maximum number of agents to ask for the size of the mesh.
const ASKED_MAX: usize = 3;

/// Compares the table with the largest mesh that the running agents or the names to join tell of.
pub(super) async fn check(config: &Config, own: Option<IpAddr>, resolved: &Resolved) -> Finding {
    let table = own.and_then(|own| Some((own, NeighbourTable::read(own)?)));
    let Some((own, table)) = table else {
        // Many kernels show the limit only in the first network namespace.
        return Finding::ok(SUBJECT, "unknown limit");
    };
    let named: BTreeSet<IpAddr> = resolved.addresses.iter().map(SocketAddr::ip).collect();
    let reader = &running::reader(config);
    let mut answers: JoinSet<_> = named
        .iter()
        .filter(|address| **address != own)
        .take(ASKED_MAX)
        .chain([&own])
        .map(|address| SocketAddr::new(*address, config.ports.listen))
        .map(|http| {
            let reader = reader.clone();
            async move { running::ask(&reader, http).await }
        })
        .collect();
    let mut nodes = named.len();
    while let Some(answer) = answers.join_next().await {
        if let Ok(Ok(running)) = answer {
            nodes = nodes.max(running.nodes());
        }
    }
    finding(&table, on_network(own, nodes as u64))
}

fn finding(table: &NeighbourTable, nodes: u64) -> Finding {
    if table.is_small_for(nodes) {
        Finding::warning(SUBJECT, table.problem(nodes), table.hint(nodes))
    } else {
        Finding::ok(SUBJECT, table.to_string())
    }
}
