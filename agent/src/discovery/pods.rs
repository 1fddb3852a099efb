//! The agents' pods as last received from the API server: their gossip addresses, the nodes that
//! have a pod, and the nodes that have lost theirs. This module does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use iperf3_mesh_core::{ClusterNode, Listed, NodeName};

use super::pod::{self, Pod};
use super::server_clock::ServerClock;

/// How long a node that lost its pod counts as gone. Its agent falls silent around the time of the
/// deletion. An agent that is not silent after this time runs elsewhere.
const GONE_FOR: Duration = Duration::from_secs(15 * 60);

/// The pods, by name.
#[derive(Debug, Default)]
pub struct PodStore {
    pods: BTreeMap<String, PodEntry>,
    /// Whether all pods have been listed at least once.
    is_listed: bool,
    /// The nodes that had a pod and have none now, with the time of the loss.
    gone: BTreeMap<NodeName, Instant>,
}

/// The part of a pod that is stored.
#[derive(Debug)]
pub(super) struct PodEntry {
    pub(super) node: Option<NodeName>,
    gossip: Option<SocketAddr>,
    /// All addresses of the pod.
    addresses: Vec<IpAddr>,
    /// Whether the deletion of the pod has begun.
    is_ending: bool,
    /// The time since which Kubernetes has not considered the pod ready.
    unready_since: Option<Instant>,
}

/// A pod that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadablePod {
    /// The name of the pod; empty if it has none.
    pub name: String,
    /// The reason.
    pub reason: String,
}

/// Returns the entry of `pod`. `own` is the gossip address of this agent, `clock` that of the
/// server that has sent the pod.
pub(super) fn pod_entry(pod: &Pod, own: SocketAddr, clock: &ServerClock) -> PodEntry {
    let gossip = pod::gossip_address(pod, own).filter(|address| *address != own);
    PodEntry {
        node: pod::node(pod),
        gossip,
        addresses: pod::addresses(pod),
        is_ending: pod.metadata.deletion_timestamp.is_some(),
        unready_since: pod::unready_since(pod).map(|since| clock.instant(since)),
    }
}

impl PodStore {
    /// Returns the gossip addresses of the other agents, sorted.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses: BTreeSet<SocketAddr> =
            self.pods.values().filter_map(|pod| pod.gossip).collect();
        addresses.into_iter().collect()
    }

    /// Returns the nodes with a running pod that is not being deleted; `None` before the first
    /// list. There are no nodes if this agent's node `own` has no pod, because agent names then
    /// differ from node names.
    pub fn cluster(&self, own: &NodeName) -> Option<BTreeMap<NodeName, ClusterNode>> {
        if !self.is_listed {
            return None;
        }
        if !self.is_on(own) {
            return Some(BTreeMap::new());
        }
        let nodes = self
            .pods
            .values()
            .filter(|pod| !pod.is_ending)
            .filter_map(|pod| {
                let node = ClusterNode {
                    address: pod.gossip?.ip(),
                    unready_for: pod
                        .unready_since
                        .map_or(Duration::ZERO, |since| since.elapsed()),
                };
                Some((pod.node.clone()?, node))
            });
        Some(nodes.collect())
    }

    /// Returns the members that the pods stand for; `None` before the first list. A pod that is
    /// being deleted counts as long as it exists: its agent may still be in a meeting. If this
    /// agent's node `own` has no pod, agent names differ from node names, and only the addresses
    /// count.
    pub fn listed(&self, own: &NodeName) -> Option<Listed> {
        let pods = || {
            self.pods.values().flat_map(|pod| {
                let node = pod.node.clone();
                pod.addresses.iter().map(move |ip| (node.clone(), *ip))
            })
        };
        self.is_listed.then(|| {
            if self.is_on(own) {
                Listed::nodes(pods().filter_map(|(node, ip)| Some((node?, ip))))
            } else {
                Listed::pods(pods().map(|(_, ip)| ip))
            }
        })
    }

    /// Returns whether `node` has a pod.
    fn is_on(&self, node: &NodeName) -> bool {
        self.pods
            .values()
            .any(|pod| pod.node.as_ref() == Some(node))
    }

    /// Returns the nodes that lost their last pod shortly before `now`. Only nodes whose pod was
    /// seen before are included, and therefore never the agents that run outside the cluster or
    /// under another name.
    pub fn gone(&self, now: Instant) -> Vec<NodeName> {
        self.gone
            .iter()
            .filter(|(_, since)| now - **since < GONE_FOR)
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// Returns the number of pods.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Replaces all pods. Those in `unreadable` keep their last entries.
    pub(super) fn replace(
        &mut self,
        mut pods: BTreeMap<String, PodEntry>,
        unreadable: &[UnreadablePod],
    ) {
        let before = self.nodes();
        for UnreadablePod { name, .. } in unreadable {
            pods.extend(self.pods.remove_entry(name));
        }
        self.pods = pods;
        self.is_listed = true;
        self.record_gone(before);
    }

    /// Adds or replaces the pod of this name.
    pub(super) fn put(&mut self, name: String, pod: PodEntry) {
        let before = self.nodes();
        self.pods.insert(name, pod);
        self.record_gone(before);
    }

    /// Removes the pod of this name.
    pub(super) fn remove(&mut self, name: &str) {
        let before = self.nodes();
        self.pods.remove(name);
        self.record_gone(before);
    }

    fn nodes(&self) -> BTreeSet<NodeName> {
        self.pods
            .values()
            .filter_map(|pod| pod.node.clone())
            .collect()
    }

    fn record_gone(&mut self, before: BTreeSet<NodeName>) {
        let (now, nodes) = (Instant::now(), self.nodes());
        self.gone
            .retain(|node, since| now - *since < GONE_FOR && !nodes.contains(node));
        let lost = before.into_iter().filter(|node| !nodes.contains(node));
        self.gone.extend(lost.map(|node| (node, now)));
    }
}
