//! Discovery: finds the first peers and passes their addresses to gossip, which finds the others.
//!
//! The names to join are resolved again and again. This finds addresses that changed or did not
//! exist at the start, and reunites two halves of a mesh that lost each other. In Kubernetes, the
//! agents' pods are found as well. Once a mesh has started, it no longer depends on the API server
//! or on DNS.

pub mod addresses;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod kubernetes;
mod names;
mod pod;
pub mod pods;
mod server_clock;
mod sink;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use iperf3_mesh_core::{Input, NodeName};

use crate::config::{Config, Discovery};
use crate::metrics::Metrics;
use error::{DiscoveryError, Reporter};
use kubernetes::{Pace, Search, Watcher};
use names::find_names;

pub use sink::DiscoverySink;

/// How long to wait for a name to resolve.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two searches in a mesh that relies on DNS, where new addresses may appear at
/// any time.
const PAUSE_DNS: Duration = Duration::from_secs(10);

/// The pause between two searches in any other mesh.
const PAUSE: Duration = Duration::from_secs(30);

/// Looks for peers, and never returns.
pub async fn discover(sink: &DiscoverySink<'_>, config: &Config, metrics: Metrics) {
    let resolve =
        async || addresses::resolve(&config.join, config.ports.gossip, RESOLVE_TIMEOUT).await;
    match config.discovery {
        Discovery::Dns => find_names(sink, resolve, PAUSE_DNS).await,
        Discovery::Static => find_names(sink, resolve, PAUSE).await,
        Discovery::Kubernetes => {
            let pods = async {
                match watcher(config, sink.own) {
                    Ok(watcher) => find_pods(sink, watcher, &config.node_name, metrics).await,
                    // The pod gets the missing credentials only when it is replaced, so there is no
                    // point in retrying.
                    Err(error) => Reporter::new(metrics).failed(&error),
                }
            };
            let resolve_and_list = async || {
                let resolved = resolve().await;
                let found = addresses::reachable(&resolved.addresses, sink.own);
                sink.gossip.list_seeds(&found, resolved.failures.is_empty());
                resolved
            };
            tokio::join!(find_names(sink, resolve_and_list, PAUSE), pods);
        }
    }
}

/// Creates a watcher that queries the API server of this pod's cluster.
///
/// # Errors
/// Returns an error if the pod has no credentials for the API server, or if they are invalid.
pub fn watcher(config: &Config, own: SocketAddr) -> Result<Watcher, DiscoveryError> {
    Watcher::new(Search {
        server: kube::Config::incluster()?,
        namespace: config.namespace.clone(),
        label_selector: config.label_selector.clone(),
        gossip: own,
        pace: Pace::default(),
    })
}

/// Passes on the pods that `watcher` finds, and never returns. It does so after each change and
/// also at intervals, because gossip contacts only a few addresses at a time, and because a node
/// may fall silent after its pod is gone. `own` is the name of this agent's node.
pub async fn find_pods(
    sink: &DiscoverySink<'_>,
    watcher: Watcher,
    own: &NodeName,
    metrics: Metrics,
) {
    let mut pods = watcher.pods();
    let pass_on = async {
        loop {
            let (addresses, gone, cluster, listed) = {
                let pods = pods.borrow_and_update();
                (
                    pods.addresses(),
                    pods.gone(Instant::now()),
                    pods.cluster(own),
                    pods.listed(own),
                )
            };
            if let Some(listed) = listed {
                sink.gossip.list(listed);
            }
            sink.gossip.join(&addresses);
            let gone = gone.into_iter().map(Input::Gone);
            for input in gone.chain(cluster.map(Input::Cluster)) {
                // Sending fails only when the agent ends.
                let _ = sink.inputs.send(input).await;
            }
            // The channel is never closed, because the watcher below never returns.
            let _ = tokio::time::timeout(sink.pause(PAUSE), pods.changed()).await;
        }
    };
    tokio::join!(watcher.run(metrics), pass_on);
}
