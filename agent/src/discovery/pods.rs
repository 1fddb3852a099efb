//! The agents' pods as the API server last told of them: where they gossip, which nodes have one,
//! and which have lost theirs.
//! Asks nobody anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use iperf3_mesh_core::{ClusterNode, NodeName};
use k8s_openapi::jiff::Timestamp;

use super::pod::{self, Pod};

/// How long a node without a pod is spoken of. Its agent falls silent some time around the
/// deletion; one that does not, lives.
const GONE_FOR: Duration = Duration::from_secs(15 * 60);

/// The pods, by name.
#[derive(Debug, Default)]
pub struct PodStore {
    pods: BTreeMap<String, PodEntry>,
    /// Nodes that had a pod and have none, and since when.
    gone: BTreeMap<NodeName, Instant>,
}

/// What is remembered of a pod.
#[derive(Debug)]
pub(super) struct PodEntry {
    node: Option<NodeName>,
    gossip: Option<SocketAddr>,
    /// It was asked to end.
    is_ending: bool,
    /// Since when it has not worked, as far as Kubernetes sees that.
    unready_since: Option<Timestamp>,
}

/// The name of `pod`, and what is to be remembered of it; `own` is where this agent gossips.
pub(super) fn pod_entry(pod: &Pod, own: SocketAddr) -> Option<(String, PodEntry)> {
    let gossip = pod::gossip_address(pod, own).filter(|address| *address != own);
    let pod_entry = PodEntry {
        node: pod::node(pod),
        gossip,
        is_ending: pod.metadata.deletion_timestamp.is_some(),
        unready_since: pod::unready_since(pod),
    };
    Some((pod.metadata.name.clone()?, pod_entry))
}

impl PodStore {
    /// Where the pods' agents gossip.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses: BTreeSet<SocketAddr> =
            self.pods.values().filter_map(|pod| pod.gossip).collect();
        addresses.into_iter().collect()
    }

    /// The nodes on which a pod runs and is not about to end. None if that of `own`, this agent's,
    /// has no pod: then agents do not go by the names of their nodes.
    pub fn cluster(&self, own: &NodeName) -> BTreeMap<NodeName, ClusterNode> {
        if !self.pods.values().any(|pod| pod.node.as_ref() == Some(own)) {
            return BTreeMap::new();
        }
        let now = Timestamp::now();
        let staying = self.pods.values().filter(|pod| !pod.is_ending);
        let nodes = staying.filter_map(|pod| {
            let unready_for = pod.unready_since.map(|since| now.duration_since(since));
            let unready_for = unready_for
                .and_then(|time| time.try_into().ok())
                .unwrap_or_default();
            Some((
                pod.node.clone()?,
                ClusterNode {
                    address: pod.gossip?.ip(),
                    unready_for,
                },
            ))
        });
        nodes.collect()
    }

    /// The nodes whose pod was deleted not long before `now`, and that have no other. A node is
    /// among them only if its pod was seen before: agents that run elsewhere, or under another
    /// name, never are.
    pub fn gone(&self, now: Instant) -> Vec<NodeName> {
        let recent = self
            .gone
            .iter()
            .filter(|(_, since)| now - **since < GONE_FOR);
        recent.map(|(node, _)| node.clone()).collect()
    }

    /// How many pods there are.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// These are all pods.
    pub(super) fn replace(&mut self, pods: BTreeMap<String, PodEntry>) {
        let before = self.nodes();
        self.pods = pods;
        self.note_gone(before);
    }

    /// This pod is new, or has changed.
    pub(super) fn put(&mut self, pod: &Pod, own: SocketAddr) {
        let before = self.nodes();
        self.pods.extend(pod_entry(pod, own));
        self.note_gone(before);
    }

    /// This pod is gone.
    pub(super) fn remove(&mut self, pod: &Pod) {
        let before = self.nodes();
        if let Some(name) = &pod.metadata.name {
            self.pods.remove(name);
        }
        self.note_gone(before);
    }

    fn nodes(&self) -> BTreeSet<NodeName> {
        self.pods
            .values()
            .filter_map(|pod| pod.node.clone())
            .collect()
    }

    fn note_gone(&mut self, before: BTreeSet<NodeName>) {
        let (now, nodes) = (Instant::now(), self.nodes());
        self.gone
            .retain(|node, since| now - *since < GONE_FOR && !nodes.contains(node));
        let lost = before.into_iter().filter(|node| !nodes.contains(node));
        self.gone.extend(lost.map(|node| (node, now)));
    }
}
