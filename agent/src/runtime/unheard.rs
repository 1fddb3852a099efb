//! Peers that speak on the control port while gossip does not hear them: a sign that 9877/udp is
//! blocked between the two nodes, or that the network drops IP fragments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use iperf3_mesh_core::wire::Message;
use iperf3_mesh_core::{Node, NodeName, PeerState, Time};

use crate::telemetry::Throttle;
use crate::text::short;

/// How long gossip may take to hear a peer that speaks. A peer that returns after a fault speaks
/// before gossip has heard it again.
const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// How long a peer counts as speaking after its last message.
const SPEAKS_FOR: Duration = Duration::from_secs(3600);
/// The shortest time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(600);
/// The maximum number of peers that are remembered. The names come from messages.
const PEERS_MAX: usize = 1024;
/// The maximum number of peers that a warning names.
const NAMED_MAX: usize = 5;

#[derive(Debug)]
pub(super) struct Unheard {
    /// The first and the last message of each peer since gossip lost it.
    spoken: BTreeMap<NodeName, (Time, Time)>,
    throttle: Throttle,
}

impl Unheard {
    pub(super) const fn new() -> Self {
        Self {
            spoken: BTreeMap::new(),
            throttle: Throttle::new(WARN_EVERY),
        }
    }

    /// Records a message that has just arrived.
    pub(super) fn hear(&mut self, node: &Node, message: &Message, now: Time) {
        let is_for_node = message.to_epoch == node.epoch();
        if is_for_node && !is_heard(node, &message.from) {
            self.speak(&message.from, now);
        }
    }

    /// Returns the number of peers that gossip does not hear. Warns about them now and then.
    pub(super) fn update(&mut self, node: &Node, now: Time) -> usize {
        let Self { spoken, throttle } = self;
        spoken.retain(|peer, (_, last)| !is_heard(node, peer) && now.since(*last) < SPEAKS_FOR);
        let unheard: Vec<&NodeName> = lasting(spoken).collect();
        if !unheard.is_empty() && throttle.count(1, Instant::now()).is_some() {
            let named = unheard.iter().take(NAMED_MAX);
            let named: Vec<String> = named.map(|name| short(name.as_str())).collect();
            tracing::warn!(
                peers = unheard.len(),
                ?named,
                "peers speak on the control port, but gossip does not hear them: 9877/udp is \
                 blocked between the nodes, or the network drops IP fragments"
            );
        }
        unheard.len()
    }

    fn speak(&mut self, peer: &NodeName, now: Time) {
        if let Some((_, last)) = self.spoken.get_mut(peer) {
            *last = now;
        } else if self.spoken.len() < PEERS_MAX {
            self.spoken.insert(peer.clone(), (now, now));
        }
    }
}

/// Returns the peers that keep speaking. A single message proves nothing: it may be the last one of
/// a peer that has ended.
fn lasting(spoken: &BTreeMap<NodeName, (Time, Time)>) -> impl Iterator<Item = &NodeName> {
    spoken
        .iter()
        .filter(|(_, (first, last))| last.since(*first) >= HEARD_WITHIN)
        .map(|(peer, _)| peer)
}

fn is_heard(node: &Node, peer: &NodeName) -> bool {
    node.peer(peer)
        .is_some_and(|peer| !matches!(peer.member.state, PeerState::Silent | PeerState::Missing))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn peer_is_unheard_if_it_keeps_speaking() {
        let start = Time::default();
        let peer = NodeName::new("n2").unwrap();
        let mut unheard = Unheard::new();
        unheard.speak(&peer, start);
        unheard.speak(&peer, start + Duration::from_secs(29));
        assert_eq!(lasting(&unheard.spoken).count(), 0);
        unheard.speak(&peer, start + Duration::from_secs(30));
        assert_eq!(lasting(&unheard.spoken).collect::<Vec<_>>(), [&peer]);
    }
}
