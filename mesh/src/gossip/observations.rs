//! Everybody that chitchat knows, followed from look to look: when each life was first seen,
//! whether its heart still beats, and what it publishes, read anew only when it changed.
//!
//! It believes nothing; that is `view`'s. Its size is that of chitchat's own state, which the
//! admission bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use chitchat::{Chitchat, ChitchatId, NodeState};
use tokio::time::Instant;

use super::state::Published;
use super::view::Identity;

/// Every known life but the node's own.
#[derive(Default)]
pub(super) struct Observations {
    lives: BTreeMap<ChitchatId, Instance>,
}

struct Instance {
    heartbeat: u64,
    version: u64,
    live: bool,
    ever_live: bool,
    first_seen: Instant,
    last_rise: Instant,
    published: Option<Published>,
}

impl Instance {
    fn new(state: &NodeState, now: Instant) -> Self {
        Self {
            heartbeat: state.heartbeat().into(),
            version: state.max_version(),
            live: false,
            ever_live: false,
            first_seen: now,
            last_rise: now,
            published: Published::read(|key| state.get(key)),
        }
    }

    fn update(&mut self, state: &NodeState, live: bool, now: Instant) {
        let heartbeat = state.heartbeat().into();
        if heartbeat > self.heartbeat {
            self.heartbeat = heartbeat;
            self.last_rise = now;
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
    /// Takes over what chitchat knows `now`.
    pub(super) fn observe(&mut self, chitchat: &Chitchat, now: Instant) {
        let own = chitchat.self_chitchat_id();
        let states = chitchat.node_states();
        let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
        self.lives.retain(|id, _| states.contains_key(id));
        for (id, state) in states.iter().filter(|(id, _)| *id != own) {
            match self.lives.get_mut(id) {
                Some(life) => life.update(state, live.contains(id), now),
                None => {
                    let mut life = Instance::new(state, now);
                    life.update(state, live.contains(id), now);
                    self.lives.insert(id.clone(), life);
                }
            }
        }
    }

    /// The lives whose state has arrived and makes sense.
    pub(super) fn identities(&self) -> Vec<Identity> {
        let identity = |(id, life): (&ChitchatId, &Instance)| {
            Some(Identity {
                published: life.published.clone()?,
                generation: id.generation_id,
                address: id.gossip_advertise_addr,
                live: life.live,
                ever_live: life.ever_live,
                first_seen: life.first_seen,
                last_rise: life.last_rise,
            })
        };
        self.lives.iter().filter_map(identity).collect()
    }

    /// How many lives are known.
    pub(super) fn len(&self) -> usize {
        self.lives.len()
    }

    /// The gossip addresses of all known lives.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.lives
            .keys()
            .map(|id| id.gossip_advertise_addr)
            .collect()
    }

    /// The gossip addresses of those that live.
    pub(super) fn live_addresses(&self) -> BTreeSet<SocketAddr> {
        let live = self.lives.iter().filter(|(_, life)| life.live);
        live.map(|(id, _)| id.gossip_advertise_addr).collect()
    }
}
