//! The members that a node believes in. Membership is an input: views lag and disagree, and nothing
//! that must be certain may rest on them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Epoch, NodeName};

/// What gossip believes of a member at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// Heard of lately.
    Live,
    /// Not heard of for some seconds; may be dead, frozen or cut off.
    Silent,
    /// Said goodbye.
    Left,
    /// Never heard of, though the cluster says that it is there. No [`View`] says so, only the
    /// node's own list.
    Missing,
    /// Two live agents go by this name.
    Conflict,
}

/// Another node, as it describes itself in gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// Its present life.
    pub epoch: Epoch,
    /// The wire version that it speaks.
    pub wire: u16,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// Where its agent takes control messages.
    pub control: SocketAddr,
    /// Where its agent answers the read API, on the address of `control`.
    pub http_port: u16,
    /// The sweep that it works on.
    pub sweep: u64,
    /// Whether it is there.
    pub state: PeerState,
}

/// The members, sorted by name, each name once; whether the node itself is among them does not
/// matter. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    members: Arc<[Member]>,
    /// Another live agent goes by this node's own name.
    pub name_taken: bool,
    /// The control address of that agent, for people; `None` if it is not known.
    pub namesake: Option<SocketAddr>,
}

impl View {
    /// Sorts `members` by name. Of several with one name the last one stays.
    pub fn new(mut members: Vec<Member>, name_taken: bool) -> Self {
        members.reverse();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members.dedup_by(|a, b| a.name == b.name);
        Self {
            members: members.into(),
            name_taken,
            namesake: None,
        }
    }

    /// The members, sorted by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that name.
    pub fn get(&self, name: &NodeName) -> Option<&Member> {
        let at = self
            .members
            .binary_search_by(|member| member.name.cmp(name))
            .ok()?;
        self.members.get(at)
    }
}
