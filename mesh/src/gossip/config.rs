//! The configuration of the gossip layer, and the errors of its start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::state;
use crate::seal::{Keyring, Secret, Signer};
use crate::{AddressRules, Auth, AuthMode, MeshName, NodeName, ZONE_LEN_MAX, is_zone};

/// The shortest gossip interval.
pub const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// The longest gossip interval.
pub const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// The maximum time that a goodbye takes.
pub const GOODBYE_MAX: Duration = Duration::from_millis(1500);

/// Whether gossip that is not sealed is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealMode {
    /// It is refused.
    Required,
    /// It is read, and sent to peers that do not seal. This is for the migration of a mesh.
    Permissive,
}

/// How gossip tells the members of the mesh from others.
#[derive(Clone, Debug)]
pub enum Security {
    /// Gossip is plain: whoever reaches the gossip port can be a member.
    Insecure,
    /// Gossip is sealed with the keys of the mesh; see [`crate::seal`].
    Sealed {
        /// Random bytes of this run, which nobody else knows.
        secret: Secret,
        /// The keys.
        keyring: Keyring,
        /// Whether gossip that is not sealed is read.
        mode: SealMode,
    },
}

impl From<SealMode> for AuthMode {
    fn from(mode: SealMode) -> Self {
        match mode {
            SealMode::Required => Self::Required,
            SealMode::Permissive => Self::Permissive,
        }
    }
}

impl Security {
    /// Returns what peers are told of it.
    pub(super) fn auth(&self) -> Auth {
        match self {
            Self::Insecure => Auth::default(),
            Self::Sealed { keyring, mode, .. } => Auth {
                mode: (*mode).into(),
                accepted: keyring.wire_ids().collect(),
            },
        }
    }
}

/// The settings of gossip, and the state that a node publishes about itself.
#[derive(Clone, Debug)]
pub struct GossipConfig {
    /// The name of the mesh. Nodes ignore the messages of another mesh.
    pub mesh: MeshName,
    /// The node's name.
    pub name: NodeName,
    /// The signing key of this run of the agent, which also determines its life and epoch.
    pub signer: Arc<Signer>,
    /// The Unix time of the start, in seconds. It only breaks ties between runs of one node of
    /// which a peer heard at the same time, so it may be wrong.
    pub generation: u64,
    /// The zone: at most [`ZONE_LEN_MAX`] bytes, empty if there is none.
    pub zone: String,
    /// The address at which peers reach the gossip of this node.
    pub advertise: SocketAddr,
    /// The rules for the addresses of the peers. Their own address is that of `advertise`,
    /// whichever was set.
    pub rules: AddressRules,
    /// The address to listen on for gossip.
    pub listen: SocketAddr,
    /// The address at which peers reach the control port of this node.
    pub control: SocketAddr,
    /// The port of the read API, on the IP address of `control`.
    pub http_port: u16,
    /// How members are told from others.
    pub security: Security,
    /// The maximum number of members, the same on all nodes of a mesh.
    pub members_max: usize,
    /// The version of the node's iperf3, such as 3.12; empty if it is not known.
    pub iperf3: String,
    /// The pause between two rounds of gossip, from [`INTERVAL_MIN`] to [`INTERVAL_MAX`]. Chitchat
    /// cannot change it later; the nodes of one mesh may use different intervals.
    pub interval: Duration,
}

/// Why gossip did not start.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// Peers cannot send anything to the advertised address.
    #[error(
        "cannot advertise {0} for gossip: set an address and a port that peers can reach, with \
         --advertise-address (MESH_ADVERTISE_ADDRESS) and --gossip-port (MESH_GOSSIP_PORT)"
    )]
    Advertise(SocketAddr),
    /// The zone is not a valid label value.
    #[error(
        "invalid zone {0:?}: expected at most {ZONE_LEN_MAX} letters, digits, '-', '_' and '.', with a \
         letter or a digit at both ends; correct --zone (MESH_ZONE)"
    )]
    Zone(String),
    /// The interval is out of range.
    #[error("invalid gossip interval {0:?}: expected {INTERVAL_MIN:?} to {INTERVAL_MAX:?}")]
    Interval(Duration),
    /// There is no thread for gossip.
    #[error("cannot start a thread for gossip: {0}; raise the limit of processes (`ulimit -u`)")]
    Thread(std::io::Error),
    /// The transport cannot be opened.
    #[error("cannot listen on {listen} for gossip: {reason}")]
    Listen {
        /// The address to listen on.
        listen: SocketAddr,
        /// The error of the transport, with a hint on how to fix it.
        reason: String,
    },
}

impl GossipConfig {
    /// Checks the values that can be invalid.
    pub(super) fn check(&self) -> Result<(), GossipError> {
        if !state::is_reachable(self.advertise) {
            return Err(GossipError::Advertise(self.advertise));
        }
        if !is_zone(&self.zone) {
            return Err(GossipError::Zone(self.zone.clone()));
        }
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&self.interval) {
            return Err(GossipError::Interval(self.interval));
        }
        Ok(())
    }
}
