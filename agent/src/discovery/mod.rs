//! Finds the first peers and hands their addresses to gossip, which finds the others.
//!
//! Names are resolved again and again: an address that was not there at the start, or changed, is
//! found, and two halves of a mesh that lost each other meet again. A name that does not resolve is
//! logged once, not each time. In Kubernetes the agents' pods are found, too, beside the names:
//! either will do, so a mesh needs neither the API server nor DNS for more than a beginning.

pub mod addresses;
pub mod error;
pub mod kubernetes;
mod pod;
pub mod pods;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use iperf3_mesh_core::gossip::Gossip;
use iperf3_mesh_core::{Input, NodeName};
use tokio::sync::mpsc;

use crate::config::{Config, Discovery};
use crate::metrics::Metrics;
use error::{DiscoveryError, Reporter};
use kubernetes::{Pace, Search, Watcher};

/// The longest wait for a name.
pub const RESOLVED_WITHIN: Duration = Duration::from_secs(5);

/// The pause between two looks as long as there is no peer.
const PAUSE_ALONE: Duration = Duration::from_secs(1);

/// The pause between two looks when the names may always have new addresses.
const PAUSE_DNS: Duration = Duration::from_secs(10);

/// The pause between two looks when the mesh is there.
const PAUSE: Duration = Duration::from_secs(30);

/// Where what is found goes.
pub struct DiscoverySink<'a> {
    /// Takes the addresses.
    pub gossip: &'a Gossip,
    /// Takes the nodes that are gone, and those of the cluster.
    pub inputs: mpsc::Sender<Input>,
}

/// Looks for peers for ever; `own` is where this agent gossips.
pub async fn discover(
    finds: &DiscoverySink<'_>,
    config: &Config,
    own: SocketAddr,
    metrics: Metrics,
) {
    match config.discovery {
        Discovery::Dns => find_names(finds, config, own, PAUSE_DNS).await,
        Discovery::Static => find_names(finds, config, own, PAUSE).await,
        Discovery::Kubernetes => {
            let pods = async {
                match watcher(config, own) {
                    Ok(watcher) => find_pods(finds, watcher, &config.node_name, metrics).await,
                    // What a pod lacks it gets with the next pod only.
                    Err(error) => Reporter::new(metrics).error(&error),
                }
            };
            tokio::join!(find_names(finds, config, own, PAUSE), pods);
        }
    }
}

/// Resolves the names to join for ever, once each `pause` when the mesh is there. Addresses of the
/// other family than `own`, of which a dual-stack Service has one for each agent, cannot be reached
/// from it.
async fn find_names(finds: &DiscoverySink<'_>, config: &Config, own: SocketAddr, pause: Duration) {
    let mut failing = BTreeSet::new();
    loop {
        let mut resolved =
            addresses::resolve(&config.join, config.ports.gossip, RESOLVED_WITHIN).await;
        let mut failed = BTreeSet::new();
        for failure in &resolved.failures {
            let target = failure.target.to_string();
            if !failing.contains(&target) {
                tracing::warn!(target, "{failure}; trying again");
            }
            failed.insert(target);
        }
        failing = failed;
        resolved
            .addresses
            .retain(|address| address.is_ipv4() == own.is_ipv4());
        finds.gossip.join(&resolved.addresses);
        tokio::time::sleep(finds.pause(pause)).await;
    }
}

/// What asks the API server of the cluster that this pod runs in.
///
/// # Errors
/// If the pod lacks what it takes to ask.
pub fn watcher(config: &Config, own: SocketAddr) -> Result<Watcher, DiscoveryError> {
    Watcher::new(Search {
        server: kube::Config::incluster()?,
        namespace: config.namespace.clone(),
        label_selector: config.label_selector.clone(),
        gossip: own,
        pace: Pace::default(),
    })
}

/// Hands on for ever what `watcher` finds: when it changes, and again and again, since gossip tries
/// a few addresses at a time, and a node may fall silent after its pod is gone. This agent is on
/// the node `own`.
pub async fn find_pods(
    finds: &DiscoverySink<'_>,
    watcher: Watcher,
    own: &NodeName,
    metrics: Metrics,
) {
    let mut pods = watcher.pods();
    let hand_on = async {
        loop {
            let (addresses, gone, cluster) = {
                let pods = pods.borrow_and_update();
                (
                    pods.addresses(),
                    pods.gone(Instant::now()),
                    pods.cluster(own),
                )
            };
            finds.gossip.join(&addresses);
            let gone = gone.into_iter().map(Input::Gone);
            for input in gone.chain([Input::Cluster(cluster)]) {
                // Closed only when the agent ends.
                let _ = finds.inputs.send(input).await;
            }
            // Never closed: the watcher below runs for ever.
            let _ = tokio::time::timeout(finds.pause(PAUSE), pods.changed()).await;
        }
    };
    tokio::join!(watcher.run(metrics), hand_on);
}

impl DiscoverySink<'_> {
    /// The pause until the next look, `pause` when the mesh is there.
    fn pause(&self, pause: Duration) -> Duration {
        let is_alone = self.gossip.views().borrow().members().is_empty();
        if is_alone { PAUSE_ALONE } else { pause }
    }
}
