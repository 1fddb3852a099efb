//! The identities that chitchat knows, tracked from one poll to the next: when each one was first
//! seen, whether its heartbeat still rises, and the state that it publishes (parsed again only
//! after a change).
//!
//! This module draws no conclusions; `view` does that. The size of this module's data is that of
//! chitchat's own state, which the roster bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use chitchat::{Chitchat, ChitchatId, NodeState};
use tokio::time::Instant;

use super::frame::Id;
use super::roster::Known;
use super::state::Published;
use super::view::Identity;

/// Every known identity except that of the node itself.
#[derive(Default)]
pub(super) struct Observations {
    by_id: BTreeMap<ChitchatId, Observation>,
}

struct Observation {
    heartbeat: u64,
    version: u64,
    live: bool,
    ever_live: bool,
    first_seen: Instant,
    last_heartbeat: Instant,
    published: Option<Published>,
}

impl Observation {
    fn new(state: &NodeState, live: bool, now: Instant) -> Self {
        Self {
            heartbeat: state.heartbeat().into(),
            version: state.max_version(),
            live,
            ever_live: live,
            first_seen: now,
            last_heartbeat: now,
            published: Published::read(|key| state.get(key)),
        }
    }

    fn update(&mut self, state: &NodeState, live: bool, now: Instant) {
        let heartbeat = state.heartbeat().into();
        if heartbeat > self.heartbeat {
            self.heartbeat = heartbeat;
            self.last_heartbeat = now;
        }
        if state.max_version() != self.version {
            self.version = state.max_version();
            self.published = Published::read(|key| state.get(key));
        }
        self.live = live;
        self.ever_live |= live;
    }
}

impl Observations {
    /// Updates the observations with what chitchat knows at `now`.
    pub(super) fn update(&mut self, chitchat: &Chitchat, now: Instant) {
        let own = chitchat.self_chitchat_id();
        let states = chitchat.node_states();
        let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
        self.by_id.retain(|id, _| states.contains_key(id));
        for (id, state) in states.iter().filter(|(id, _)| *id != own) {
            let is_live = live.contains(id);
            match self.by_id.get_mut(id) {
                Some(observation) => observation.update(state, is_live, now),
                None => {
                    let observation = Observation::new(state, is_live, now);
                    self.by_id.insert(id.clone(), observation);
                }
            }
        }
    }

    /// Returns the identities with a complete and valid state.
    pub(super) fn identities(&self) -> Vec<Identity> {
        self.by_id
            .iter()
            .filter_map(|(id, observation)| {
                Some(Identity {
                    published: observation.published.clone()?,
                    generation: id.generation_id,
                    address: id.gossip_advertise_addr,
                    live: observation.live,
                    ever_live: observation.ever_live,
                    first_seen: observation.first_seen,
                    last_heartbeat: observation.last_heartbeat,
                })
            })
            .collect()
    }

    /// Returns the number of known identities.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the identities for the roster.
    pub(super) fn known(&self) -> BTreeMap<Id, Known> {
        self.by_id
            .iter()
            .filter_map(|(id, observation)| {
                let ever_live = observation.ever_live;
                Some((Id::of(id)?, Known { ever_live }))
            })
            .collect()
    }

    /// Returns the gossip addresses of all known identities.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.by_id
            .keys()
            .map(|id| id.gossip_advertise_addr)
            .collect()
    }

    /// Returns the gossip addresses of all live identities.
    pub(super) fn live_addresses(&self) -> BTreeSet<SocketAddr> {
        self.by_id
            .iter()
            .filter(|(_, observation)| observation.live)
            .map(|(id, _)| id.gossip_advertise_addr)
            .collect()
    }
}
