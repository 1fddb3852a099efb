//! Discovery: finds the first peers and passes their addresses to gossip, which finds the others.
//!
//! The names to join are resolved again and again. So an address that did not exist at the start,
//! or that changed, is found, and two halves of a mesh that lost each other meet again. In
//! Kubernetes the agents' pods are found as well. Either source suffices, so a mesh needs the API
//! server or DNS only at its start.

pub mod addresses;
pub mod error;
pub mod kubernetes;
mod names;
mod pod;
pub mod pods;
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

/// The longest time that the resolution of a name may take.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two searches in a mesh that relies on DNS, where new addresses may appear at
/// any time.
const PAUSE_DNS: Duration = Duration::from_secs(10);

/// The pause between two searches in any other mesh.
const PAUSE: Duration = Duration::from_secs(30);

/// Looks for peers for ever. `own` is the gossip address of this agent.
pub async fn discover(
    sink: &DiscoverySink<'_>,
    config: &Config,
    own: SocketAddr,
    metrics: Metrics,
) {
    let resolve =
        async || addresses::resolve(&config.join, config.ports.gossip, RESOLVE_TIMEOUT).await;
    match config.discovery {
        Discovery::Dns => find_names(sink, resolve, own, PAUSE_DNS).await,
        Discovery::Static => find_names(sink, resolve, own, PAUSE).await,
        Discovery::Kubernetes => {
            let pods = async {
                match watcher(config, own) {
                    Ok(watcher) => find_pods(sink, watcher, &config.node_name, metrics).await,
                    // A pod that lacks its credentials gets them only when it is replaced.
                    Err(error) => Reporter::new(metrics).failed(&error),
                }
            };
            tokio::join!(find_names(sink, resolve, own, PAUSE), pods);
        }
    }
}

/// A watcher that queries the API server of the cluster of this pod.
///
/// # Errors
/// If the pod has no credentials for the API server, or they are invalid.
pub fn watcher(config: &Config, own: SocketAddr) -> Result<Watcher, DiscoveryError> {
    Watcher::new(Search {
        server: kube::Config::incluster()?,
        namespace: config.namespace.clone(),
        label_selector: config.label_selector.clone(),
        gossip: own,
        pace: Pace::default(),
    })
}

/// Passes on what `watcher` finds, for ever: after each change, and again and again, because gossip
/// contacts a few addresses at a time, and a node may fall silent after its pod is gone. `own` is
/// the name of this agent's node.
pub async fn find_pods(
    sink: &DiscoverySink<'_>,
    watcher: Watcher,
    own: &NodeName,
    metrics: Metrics,
) {
    let mut pods = watcher.pods();
    let pass_on = async {
        loop {
            let (addresses, gone, cluster) = {
                let pods = pods.borrow_and_update();
                (
                    pods.addresses(),
                    pods.gone(Instant::now()),
                    pods.cluster(own),
                )
            };
            sink.gossip.join(&addresses);
            let gone = gone.into_iter().map(Input::Gone);
            for input in gone.chain([Input::Cluster(cluster)]) {
                // Closed only when the agent ends.
                let _ = sink.inputs.send(input).await;
            }
            // Never closed: the watcher below runs for ever.
            let _ = tokio::time::timeout(sink.pause(PAUSE), pods.changed()).await;
        }
    };
    tokio::join!(watcher.run(metrics), pass_on);
}
