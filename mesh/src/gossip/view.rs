//! From the identities that gossip knows to the view: which life of a name counts, and what to
//! believe of it.
//!
//! A pure function over plain values. An *identity* is one life of one node as gossip sees it; a
//! restart makes a new one, and the old one stays beside it for minutes. Nothing supersedes it but
//! what is decided here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::state::Published;
use crate::{Epoch, Member, NodeName, PeerState, View};

/// How many epochs of one name are compared with each other. More than two is an attack or a crash
/// loop.
const EPOCHS_MAX: usize = 8;

/// One life of a node, as gossip sees it now.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) published: Published,
    /// Rises from life to life of a node (unix seconds).
    pub(super) generation: u64,
    /// Its gossip address.
    pub(super) address: SocketAddr,
    /// Chitchat's failure detector thinks that it lives.
    pub(super) live: bool,
    /// It was thought live at some time.
    pub(super) ever_live: bool,
    pub(super) first_seen: Instant,
    /// When its heartbeat was last seen to rise.
    pub(super) last_rise: Instant,
}

impl Identity {
    fn is_up(&self) -> bool {
        self.live && !self.published.leaving
    }

    /// The newest life has the greatest of these. Epoch and address only break ties, alike on all
    /// nodes.
    fn seniority(&self) -> (u64, Epoch, SocketAddr) {
        (self.generation, self.published.epoch, self.address)
    }
}

/// The node that looks.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) name: NodeName,
    pub(super) epoch: Epoch,
    pub(super) since: Instant,
}

/// What `observer` is to believe of `identities` (of everybody but its own present life).
///
/// Two lives of one name are a conflict when both hearts still beat for `patience` after the second
/// appeared. The old life of a restarted node stops beating, and news of its last beats travels for
/// some rounds.
pub(super) fn view(observer: &Observer, identities: &[Identity], patience: Duration) -> View {
    let mut names: BTreeMap<&NodeName, Vec<&Identity>> = BTreeMap::new();
    for identity in identities {
        names
            .entry(&identity.published.name)
            .or_default()
            .push(identity);
    }
    let namesakes = names.remove(&observer.name).unwrap_or_default();
    let members = names
        .into_values()
        .filter_map(|lives| member(lives, patience))
        .collect();
    View::new(members, is_taken(observer, &namesakes, patience))
}

/// Whether somebody else lives under the observer's name.
fn is_taken(observer: &Observer, namesakes: &[&Identity], patience: Duration) -> bool {
    let mut spans = spans(namesakes);
    spans.remove(&observer.epoch);
    spans.values().any(|other| {
        let second_seen = other.first_seen.max(observer.since);
        other.is_up && other.last_rise >= second_seen + patience
    })
}

/// The one life of a name that counts, if any does yet.
fn member(mut lives: Vec<&Identity>, patience: Duration) -> Option<Member> {
    lives.sort_by_key(|life| std::cmp::Reverse(life.seniority()));
    if let Some(newest) = lives.iter().find(|life| life.is_up()) {
        let state = if in_conflict(&lives, patience) {
            PeerState::Conflict
        } else {
            PeerState::Live
        };
        return Some(describe(newest, state));
    }
    // Of a life that was never seen to live nobody knows whether it is about to or has departed
    // long ago, while gossip still speaks of it. That it is silent is for those to say who knew
    // it before.
    let is_known = |life: &&Identity| life.ever_live || life.published.leaving;
    let newest = lives.into_iter().find(is_known)?;
    let state = if newest.published.leaving {
        PeerState::Left
    } else {
        PeerState::Silent
    };
    Some(describe(newest, state))
}

/// Whether two epochs of these lives, all of one name, have been up side by side for too long to be
/// a restart.
fn in_conflict(lives: &[&Identity], patience: Duration) -> bool {
    let spans = spans(lives);
    let up: Vec<&Span> = spans
        .values()
        .filter(|span| span.is_up)
        .take(EPOCHS_MAX)
        .collect();
    up.iter().enumerate().any(|(at, one)| {
        up[at + 1..].iter().any(|other| {
            let second_seen = one.first_seen.max(other.first_seen);
            one.last_rise.min(other.last_rise) >= second_seen + patience
        })
    })
}

/// When an epoch was seen, whatever identities it had: chitchat may have been started again under
/// it.
struct Span {
    first_seen: Instant,
    last_rise: Instant,
    is_up: bool,
}

fn spans(lives: &[&Identity]) -> BTreeMap<Epoch, Span> {
    let mut spans: BTreeMap<Epoch, Span> = BTreeMap::new();
    for life in lives {
        let span = spans.entry(life.published.epoch).or_insert(Span {
            first_seen: life.first_seen,
            last_rise: life.last_rise,
            is_up: false,
        });
        span.first_seen = span.first_seen.min(life.first_seen);
        span.last_rise = span.last_rise.max(life.last_rise);
        span.is_up |= life.is_up();
    }
    spans
}

fn describe(life: &Identity, state: PeerState) -> Member {
    let published = &life.published;
    Member {
        name: published.name.clone(),
        epoch: published.epoch,
        wire: published.wire,
        zone: published.zone.clone(),
        control: published.control,
        http_port: published.http_port,
        sweep: published.sweep,
        state,
    }
}
