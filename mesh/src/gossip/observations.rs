//! The identities that chitchat knows, tracked from one poll to the next: when each one was first
//! seen, whether its heartbeat still rises, and the state that it publishes (parsed again only
//! after a change).
//!
//! This module draws no conclusions; `view` does that. The size of this module's data is that of
//! chitchat's own state, which the roster bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use chitchat::{Chitchat, ChitchatId, NodeState};
use tokio::time::Instant;

use super::frame::Id;
use super::instance::DEAD_KEPT_FOR;
use super::roster::{Known, Roster};
use super::state::Published;
use super::view::{Identity, Standing};
use super::voices::Voice;

/// Every known identity except that of the node itself.
#[derive(Default)]
pub(super) struct Observations {
    by_id: BTreeMap<ChitchatId, Observation>,
    /// The observations of chitchat instances before, each with the time of its end.
    former: BTreeMap<ChitchatId, (Observation, Instant)>,
}

struct Observation {
    heartbeat: u64,
    version: u64,
    live: bool,
    ever_live: bool,
    first_seen: Instant,
    last_heartbeat: Instant,
    published: Option<Published>,
    /// Since when the published state says that the node leaves.
    leaving_since: Option<Instant>,
}

impl Observation {
    fn new(state: &NodeState, live: bool, now: Instant) -> Self {
        let mut new = Self {
            heartbeat: state.heartbeat().into(),
            version: state.max_version(),
            live,
            ever_live: live,
            first_seen: now,
            last_heartbeat: now,
            published: None,
            leaving_since: None,
        };
        new.read(state, now);
        new
    }

    /// Reads the published state. Nothing but the protection, the sweep and
    /// the goodbye changes within an identity.
    fn read(&mut self, state: &NodeState, now: Instant) {
        let next = Published::read(|key| state.get(key));
        self.published = match (self.published.take(), next) {
            (Some(first), Some(next)) => Some(Published {
                auth: next.auth,
                sweep: next.sweep,
                leaving: next.leaving,
                ..first
            }),
            (first, next) => first.or(next),
        };
        let is_leaving = self.published.as_ref().is_some_and(|it| it.leaving);
        self.leaving_since = is_leaving.then(|| self.leaving_since.unwrap_or(now));
    }

    fn update(&mut self, state: &NodeState, live: bool, now: Instant) {
        let heartbeat = state.heartbeat().into();
        if heartbeat > self.heartbeat {
            self.heartbeat = heartbeat;
            self.last_heartbeat = now;
        }
        if state.max_version() != self.version {
            self.version = state.max_version();
            self.read(state, now);
        }
        self.live = live;
        self.ever_live |= live;
    }
}

impl Observations {
    /// Begins anew with a chitchat that knows nobody yet. An identity that comes back has been seen
    /// before.
    pub(super) fn restart(&mut self, now: Instant) {
        let ended = std::mem::take(&mut self.by_id);
        let ended = ended.into_iter().map(|(id, one)| (id, (one, now)));
        self.former.extend(ended);
    }

    /// Forgets an identity.
    pub(super) fn forget(&mut self, id: &ChitchatId) {
        self.by_id.remove(id);
        self.former.remove(id);
    }

    /// Updates the observations with what chitchat knows at `now`.
    pub(super) fn update(&mut self, chitchat: &Chitchat, now: Instant) {
        let own = chitchat.self_chitchat_id();
        let states = chitchat.node_states();
        let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
        self.by_id.retain(|id, _| states.contains_key(id));
        self.former
            .retain(|_, (_, ended)| now - *ended < DEAD_KEPT_FOR);
        for (id, state) in states.iter().filter(|(id, _)| *id != own) {
            let is_live = live.contains(id);
            match self.by_id.get_mut(id) {
                Some(observation) => observation.update(state, is_live, now),
                None => {
                    let mut observation = match self.former.remove(id) {
                        Some((former, _)) => former,
                        None => Observation::new(state, is_live, now),
                    };
                    observation.update(state, is_live, now);
                    self.by_id.insert(id.clone(), observation);
                }
            }
        }
    }

    /// Returns the identities with a complete and valid state, each with its [`Standing`]. Within
    /// `patience`, an address that is asked answers.
    pub(super) fn identities(
        &self,
        roster: &Roster,
        patience: Duration,
        now: Instant,
    ) -> Vec<Identity> {
        let has_voices = roster.has_voices();
        let own = roster.own().map(|own| own.id.address);
        let is_recent = |at: Instant| now.saturating_duration_since(at) < patience;
        self.by_id
            .iter()
            .filter_map(|(id, observation)| {
                let mut published = observation.published.clone()?;
                let address = id.gossip_advertise_addr;
                let voice = roster.voice(address);
                let spoken = voice.filter(|voice| voice.id == Id::of(id));
                let is_other = |voice: Voice| {
                    voice.id.is_some() && spoken.is_none() && voice.heard >= observation.first_seen
                };
                let speaks = spoken.is_some_and(|voice| is_recent(voice.heard) && !voice.has_left);
                let is_new = spoken.is_none() && is_recent(observation.first_seen);
                let is_undecided = has_voices
                    && spoken.is_none_or(|voice| !voice.has_left)
                    && observation.leaving_since.is_some_and(is_recent);
                published.leaving &= !speaks && !is_undecided;
                let standing = if own == Some(address) || voice.is_some_and(is_other) {
                    Standing::False
                } else if speaks {
                    Standing::Speaks
                } else if has_voices && is_new {
                    Standing::New
                } else {
                    Standing::Heard
                };
                Some(Identity {
                    published,
                    generation: id.generation_id,
                    address,
                    live: observation.live || (observation.ever_live && speaks),
                    ever_live: observation.ever_live,
                    first_seen: observation.first_seen,
                    last_heartbeat: observation.last_heartbeat,
                    standing,
                    is_doubtful: is_undecided || (observation.leaving_since.is_some() && speaks),
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
