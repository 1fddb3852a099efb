//! The members that the cluster has told of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::NodeName;

/// The members that the cluster has told of. Nobody else is a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The addresses of each node's pods.
    nodes: BTreeMap<NodeName, BTreeSet<IpAddr>>,
    /// The addresses of all members.
    addresses: BTreeSet<IpAddr>,
    /// Whether the name of a member must be that of the node at its address.
    are_named: bool,
}

impl Listed {
    /// The members have these addresses, and any name.
    pub fn addresses(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            nodes: BTreeMap::new(),
            addresses: addresses.into_iter().map(|ip| ip.to_canonical()).collect(),
            are_named: false,
        }
    }

    /// The members have the names of these nodes, each with an address of its own pods.
    pub fn nodes(pods: impl IntoIterator<Item = (NodeName, IpAddr)>) -> Self {
        let mut listed = Self {
            are_named: true,
            ..Self::default()
        };
        for (node, ip) in pods {
            let ip = ip.to_canonical();
            listed.nodes.entry(node).or_default().insert(ip);
            listed.addresses.insert(ip);
        }
        listed
    }

    /// Returns whether a member has this address.
    pub(super) fn has_address(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip)
    }

    /// Returns whether `name` may be the member at this address.
    pub(super) fn has_node(&self, name: &NodeName, ip: IpAddr) -> bool {
        if self.are_named {
            self.nodes.get(name).is_some_and(|ips| ips.contains(&ip))
        } else {
            self.has_address(ip)
        }
    }
}
