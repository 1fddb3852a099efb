//! The membership as one node sees it. Views lag and disagree, so nothing that must be certain may
//! depend on a view.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::{AddressProblem, Auth, Epoch, Life, NodeName};

/// The state of a peer, as gossip reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// The node was heard from recently.
    Live,
    /// The node was not heard from for some seconds: it is dead, frozen or cut off.
    Silent,
    /// The node left with a goodbye.
    Left,
    /// The node was never heard from, although the cluster has it. Only a node's own list has this
    /// state; a [`View`] never has it.
    Missing,
    /// Two live agents use the name of the node.
    Conflict,
}

/// Another node, as it describes itself in gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name.
    pub name: NodeName,
    /// The epoch of the agent.
    pub epoch: Epoch,
    /// The life of the agent, whose first half is the epoch. Agents of wire version 3 have none.
    pub life: Option<Life>,
    /// The protection of the agent.
    pub auth: Auth,
    /// The wire version.
    pub wire: u16,
    /// The zone, empty if the node has none.
    pub zone: String,
    /// The address for control messages.
    pub control: SocketAddr,
    /// The port of the read API, on the address of `control`.
    pub http_port: u16,
    /// The version of the node's iperf3, such as 3.12; empty if it is not known.
    pub iperf3: String,
    /// The present sweep of the node.
    pub sweep: u64,
    /// The state of the node.
    pub state: PeerState,
}

/// Whatever gossip presents as a member, and this node has nothing to do with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedMember {
    /// The reason.
    pub problem: AddressProblem,
    /// The name that it uses.
    pub name: NodeName,
    /// The address that it gives for control messages.
    pub address: SocketAddr,
}

/// All members, sorted by name, with each name once. The observing node itself may or may not be
/// among them. A view is cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    members: Arc<[Member]>,
    namesake: Option<SocketAddr>,
    refused: Arc<[RefusedMember]>,
}

impl View {
    /// Creates a view and sorts `members` by name. If a name occurs more than once, the last one
    /// stays. `namesake` is the control address of another live agent that uses this node's own
    /// name.
    pub fn new(mut members: Vec<Member>, namesake: Option<SocketAddr>) -> Self {
        members.reverse();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members.dedup_by(|a, b| a.name == b.name);
        Self {
            members: members.into(),
            namesake,
            refused: Arc::default(),
        }
    }

    /// Adds what gossip presents as a member, and this node has nothing to do with.
    #[must_use]
    pub fn with_refused(mut self, mut refused: Vec<RefusedMember>) -> Self {
        refused.sort();
        refused.dedup();
        self.refused = refused.into();
        self
    }

    /// Returns what gossip presents as a member, and this node has nothing to do with, sorted by
    /// reason.
    pub fn refused(&self) -> &[RefusedMember] {
        &self.refused
    }

    /// Returns whether another live agent uses this node's own name.
    pub fn is_name_taken(&self) -> bool {
        self.namesake.is_some()
    }

    /// Returns the control address of another live agent that uses this node's own name.
    pub fn namesake(&self) -> Option<SocketAddr> {
        self.namesake
    }

    /// Returns the members, sorted by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the member of this name.
    pub fn get(&self, name: &NodeName) -> Option<&Member> {
        let at = self
            .members
            .binary_search_by(|member| member.name.cmp(name))
            .ok()?;
        self.members.get(at)
    }
}

/// A node that should have an agent, according to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// The address of the agent.
    pub address: IpAddr,
    /// How long the cluster has considered the agent not ready.
    pub unready_for: Duration,
}
