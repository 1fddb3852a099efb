//! Finds the first peers and hands their addresses to gossip, which finds the others.
//!
//! Names are resolved again and again: an address that was not there at the start, or changed, is found, and two
//! halves of a mesh that lost each other meet again. A name that does not resolve is logged once, not each time.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::gossip::Gossip;

use crate::config::{Config, Discovery};
use crate::net;

/// The longest wait for a name.
pub const RESOLVED_WITHIN: Duration = Duration::from_secs(5);

/// The pause between two looks as long as there is no peer.
const PAUSE_ALONE: Duration = Duration::from_secs(1);

/// The pause between two looks when the names may always have new addresses.
const PAUSE_DNS: Duration = Duration::from_secs(10);

/// The pause between two looks when the mesh is there.
const PAUSE: Duration = Duration::from_secs(30);

/// Looks for peers for ever.
pub async fn find_peers(gossip: &Gossip, config: &Config) {
    let mut failing = BTreeSet::new();
    loop {
        let resolved = net::resolve(&config.join, config.ports.gossip, RESOLVED_WITHIN).await;
        let mut failed = BTreeSet::new();
        for failure in &resolved.failures {
            let target = failure.target.to_string();
            if !failing.contains(&target) {
                tracing::warn!(target, "{failure}; trying again");
            }
            failed.insert(target);
        }
        failing = failed;
        gossip.join(&resolved.addresses);
        let is_alone = gossip.views().borrow().members().is_empty();
        let pause = match config.discovery {
            _ if is_alone => PAUSE_ALONE,
            Discovery::Dns => PAUSE_DNS,
            Discovery::Static => PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}
