//! Simulated gossip, which spreads members, their incarnations and their sweeps.
//!
//! [`Epidemic`] does what the gossip library does. From time to time every node tells a few others
//! what it knows. Views therefore lag and disagree, and a node that is cut off from another one
//! hears of it through third parties. [`Epidemic`] is for small meshes with many faults. In a large
//! and stable mesh, the environment gives every node every change at once.

use std::time::Duration;

use crate::sim::ids::Incarnation;
use crate::{Member, PeerState, Time, View};

/// How often a node gossips, and to how many other nodes.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
pub(super) const FANOUT: usize = 3;

/// The silence after which gossip forgets a node.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// The knowledge that one node has about another.
#[derive(Clone, Debug)]
struct Entry {
    /// A later incarnation replaces an earlier one.
    incarnation: Incarnation,
    /// Within one incarnation, a higher heartbeat replaces a lower one.
    heartbeat: u64,
    member: Member,
    left: bool,
    /// When the observer last heard of the node.
    heard: Time,
}

#[derive(Debug)]
pub(super) struct Epidemic {
    /// The entries, by observer and subject.
    known: Vec<Vec<Option<Entry>>>,
    /// The silence after which each observer considers a node silent.
    silent_after: Vec<Duration>,
}

impl Epidemic {
    pub(super) fn new(silent_after: Vec<Duration>) -> Self {
        let nodes = silent_after.len();
        Self {
            known: vec![vec![None; nodes]; nodes],
            silent_after,
        }
    }

    /// Clears what a restarted node knows of the others.
    pub(super) fn forget(&mut self, node: usize) {
        self.known[node].fill(None);
    }

    /// Publishes the present state of a node.
    pub(super) fn describe(
        &mut self,
        now: Time,
        node: usize,
        incarnation: Incarnation,
        member: Member,
    ) {
        let before = self.known[node][node]
            .as_ref()
            .filter(|entry| entry.incarnation == incarnation);
        let heartbeat = before.map_or(0, |entry| entry.heartbeat) + 1;
        self.known[node][node] = Some(Entry {
            incarnation,
            heartbeat,
            member,
            left: false,
            heard: now,
        });
    }

    /// Publishes the goodbye of a node.
    pub(super) fn leave(&mut self, node: usize) {
        if let Some(entry) = &mut self.known[node][node] {
            entry.left = true;
            entry.heartbeat += 1;
        }
    }

    /// Tells a node everything that another one knows.
    pub(super) fn tell(&mut self, now: Time, from: usize, to: usize) {
        for subject in (0..self.known.len()).filter(|&subject| subject != to) {
            let Some(news) = &self.known[from][subject] else {
                continue;
            };
            let version = |entry: &Entry| (entry.incarnation, entry.heartbeat);
            let is_new = self.known[to][subject]
                .as_ref()
                .is_none_or(|old| version(old) < version(news));
            if is_new {
                self.known[to][subject] = Some(Entry {
                    heard: now,
                    ..news.clone()
                });
            }
        }
    }

    /// Returns the members as a node sees them.
    pub(super) fn view(&self, now: Time, observer: usize) -> View {
        let entries = self.known[observer].iter().enumerate();
        let members = entries
            .filter(|(subject, _)| *subject != observer)
            .filter_map(|(_, entry)| {
                let entry = entry.as_ref()?;
                let silence = now.since(entry.heard);
                let state = match entry.left {
                    true => PeerState::Left,
                    false if silence <= self.silent_after[observer] => PeerState::Live,
                    false => PeerState::Silent,
                };
                let member = Member {
                    state,
                    ..entry.member.clone()
                };
                (silence < FORGOTTEN_AFTER).then_some(member)
            });
        View::new(members.collect(), None)
    }
}
