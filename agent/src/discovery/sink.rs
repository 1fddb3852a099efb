//! The receivers of the results of discovery.

use std::net::SocketAddr;
use std::time::Duration;

use iperf3_mesh_core::Input;
use iperf3_mesh_core::gossip::Gossip;
use tokio::sync::mpsc;

use super::addresses::Seeds;

/// The pause between two searches while there is no peer.
const PAUSE_ALONE: Duration = Duration::from_secs(1);

/// The receivers of the results of discovery.
pub struct DiscoverySink<'a> {
    /// Receives the addresses.
    pub gossip: &'a Gossip,
    /// Receives the nodes that are gone, and the nodes of the cluster.
    pub inputs: mpsc::Sender<Input>,
    /// Receives the agents to join, whenever they have been resolved.
    pub seeds: &'a (dyn Fn(Seeds) + Send + Sync),
    /// The gossip address of this agent.
    pub own: SocketAddr,
}

impl DiscoverySink<'_> {
    /// Returns the pause until the next search: `pause`, or [`PAUSE_ALONE`] while there is no peer.
    pub(super) fn pause(&self, pause: Duration) -> Duration {
        let is_alone = self.gossip.views().borrow().members().is_empty();
        if is_alone { PAUSE_ALONE } else { pause }
    }
}
