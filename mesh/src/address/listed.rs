//! The members that the cluster has told of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::NodeName;

/// The members that the cluster has told of. Nobody else is a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    addresses: BTreeSet<IpAddr>,
    source: Source,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Source {
    /// Nobody but DNS and the options of this node has told of a member.
    #[default]
    Seeds,
    /// The cluster has listed its pods, and each node has the address of one of its own pods.
    Nodes(BTreeMap<NodeName, BTreeSet<IpAddr>>),
    /// The cluster has listed its pods, but the members have other names than its nodes.
    Pods,
}

impl Listed {
    /// The addresses of the agents to join. They count until the cluster has listed its pods.
    pub fn seeds(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            addresses: addresses.into_iter().map(|ip| ip.to_canonical()).collect(),
            source: Source::Seeds,
        }
    }

    /// The nodes of the cluster, each with an address of its pods.
    pub fn nodes(pods: impl IntoIterator<Item = (NodeName, IpAddr)>) -> Self {
        let mut addresses = BTreeSet::new();
        let mut nodes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (node, ip) in pods {
            let ip = ip.to_canonical();
            nodes.entry(node).or_default().insert(ip);
            addresses.insert(ip);
        }
        Self {
            addresses,
            source: Source::Nodes(nodes),
        }
    }

    /// The addresses of the pods of a cluster whose nodes have other names than the members.
    pub fn pods(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            source: Source::Pods,
            ..Self::seeds(addresses)
        }
    }

    /// Returns the list that follows when `found` are the agents to join. If not all of them could
    /// be found, those of this list remain.
    pub(super) fn with_seeds(&self, found: Self, are_complete: bool) -> Self {
        if self.source != Source::Seeds {
            return self.clone();
        }
        let mut next = found;
        if !are_complete {
            next.addresses.extend(&self.addresses);
        }
        next
    }

    /// Returns whether a member has this address.
    pub(super) fn has_address(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip)
    }

    /// Returns whether `name` may be the member at this address.
    pub(super) fn has_node(&self, name: &NodeName, ip: IpAddr) -> bool {
        match &self.source {
            Source::Nodes(nodes) => nodes.get(name).is_some_and(|ips| ips.contains(&ip)),
            Source::Seeds | Source::Pods => self.has_address(ip),
        }
    }
}
