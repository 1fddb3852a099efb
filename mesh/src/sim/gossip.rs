//! What gossip spreads: who is there, in which life, in which sweep. Two ways to do it.
//!
//! [`Epidemic`] is what the gossip library does: now and then everybody tells a few others what it
//! knows, so that views lag and disagree, and who is cut off from one is heard of through another.
//! It is for small meshes in which much goes wrong. In a large and peaceful one the world tells
//! everybody everything at once.

use std::time::Duration;

use crate::{Member, PeerState, Time, View};

/// How often a node gossips, and with how many others.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
pub(super) const FANOUT: usize = 3;

/// After how long gossip forgets whom nobody has heard of.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// What one node knows of another.
#[derive(Clone, Debug)]
struct Entry {
    /// Which life it is: a later one counts for more.
    life: u32,
    /// How far that life has come: more counts for more.
    heartbeat: u64,
    member: Member,
    left: bool,
    /// When the node has heard of it last.
    heard: Time,
}

#[derive(Debug)]
pub(super) struct Epidemic {
    /// By observer and subject.
    known: Vec<Vec<Option<Entry>>>,
    /// After how long each observer takes a node for silent.
    patience: Vec<Duration>,
}

impl Epidemic {
    pub(super) fn new(patience: Vec<Duration>) -> Self {
        let nodes = patience.len();
        Self {
            known: vec![vec![None; nodes]; nodes],
            patience,
        }
    }

    /// A node begins a life and knows nothing of the others.
    pub(super) fn forget(&mut self, node: usize) {
        self.known[node].fill(None);
    }

    /// A node describes itself anew.
    pub(super) fn describe(&mut self, now: Time, node: usize, life: u32, member: Member) {
        let before = self.known[node][node]
            .as_ref()
            .filter(|entry| entry.life == life);
        let heartbeat = before.map_or(0, |entry| entry.heartbeat) + 1;
        let entry = Entry {
            life,
            heartbeat,
            member,
            left: false,
            heard: now,
        };
        self.known[node][node] = Some(entry);
    }

    /// A node says goodbye.
    pub(super) fn leave(&mut self, node: usize) {
        if let Some(entry) = &mut self.known[node][node] {
            entry.left = true;
            entry.heartbeat += 1;
        }
    }

    /// A node tells another all that it knows.
    pub(super) fn tell(&mut self, now: Time, from: usize, to: usize) {
        for subject in (0..self.known.len()).filter(|&subject| subject != to) {
            let Some(news) = &self.known[from][subject] else {
                continue;
            };
            let age = |entry: &Entry| (entry.life, entry.heartbeat);
            let is_new = self.known[to][subject]
                .as_ref()
                .is_none_or(|old| age(old) < age(news));
            if is_new {
                self.known[to][subject] = Some(Entry {
                    heard: now,
                    ..news.clone()
                });
            }
        }
    }

    /// What a node believes.
    pub(super) fn view(&self, now: Time, observer: usize) -> View {
        let entries = self.known[observer].iter().enumerate();
        let members = entries
            .filter(|(subject, _)| *subject != observer)
            .filter_map(|(_, entry)| {
                let entry = entry.as_ref()?;
                let silence = now.since(entry.heard);
                let state = match entry.left {
                    true => PeerState::Left,
                    false if silence <= self.patience[observer] => PeerState::Live,
                    false => PeerState::Silent,
                };
                let member = Member {
                    state,
                    ..entry.member.clone()
                };
                (silence < FORGOTTEN_AFTER).then_some(member)
            });
        View::new(members.collect(), false)
    }
}
