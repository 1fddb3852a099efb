//! Pings: a peer that may be dead is asked for a sign of life first, outside the slot.
//!
//! A request costs the slot for seconds if nobody answers it. So a node asks only peers that are
//! known to answer. All others are pinged in parallel: those that gossip does not hear, once a
//! sweep, and those that have never answered, or have left a request unanswered. A ping is a
//! `sweep` message. Every version answers it, and it tells the peer nothing but the truth.
//!
//! A peer that has never answered, although it had the time to, may be invented. It has no place in
//! a sweep until it answers. Such peers are pinged once a sweep, too, but take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Node;
use crate::io::Output;
use crate::node::peers::Peer;
use crate::wire::Body;
use crate::{Epoch, NodeName, PeerState, Reason, Time};

/// The maximum number of pings that are not answered yet.
const PINGS_MAX: usize = 32;

/// How long to wait for the answer to the first ping, and to repeated ones: a link may be slow.
const ANSWERED_WITHIN: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1500),
    Duration::from_secs(3),
];

/// The pause before a live peer is pinged again.
const PING_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The time between the pings of two peers that have never answered.
const TURN: Duration = Duration::from_secs(1);

/// The pings that are due, and those that are sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Pings {
    /// The next instant at which a peer that has never answered may be pinged.
    next_turn: Time,
    peers: BTreeMap<NodeName, Stage>,
    due: BTreeSet<(Time, NodeName)>,
    sent: BTreeSet<(Time, NodeName)>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The ping is to be sent at this instant.
    Due(Time),
    /// The ping counts as unanswered from this instant on.
    Sent(Time),
}

impl Pings {
    /// Plans a ping, unless one is planned or sent already.
    pub(super) fn plan(&mut self, at: Time, peer: &NodeName) {
        if !self.peers.contains_key(peer) {
            self.peers.insert(peer.clone(), Stage::Due(at));
            self.due.insert((at, peer.clone()));
        }
    }

    /// Plans a ping of a peer that has never answered, after those of all others like it.
    fn plan_in_turn(&mut self, from: Time, peer: &NodeName) {
        if !self.peers.contains_key(peer) {
            let at = from.max(self.next_turn);
            self.next_turn = at + TURN;
            self.plan(at, peer);
        }
    }

    /// Plans a ping for now, even if one is planned for later.
    pub(super) fn hasten(&mut self, now: Time, peer: &NodeName) {
        if let Some(Stage::Due(_)) = self.peers.get(peer) {
            self.cancel(peer);
        }
        self.plan(now, peer);
    }

    pub(super) fn cancel(&mut self, peer: &NodeName) {
        match self.peers.remove(peer) {
            Some(Stage::Due(at)) => drop(self.due.remove(&(at, peer.clone()))),
            Some(Stage::Sent(at)) => drop(self.sent.remove(&(at, peer.clone()))),
            None => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let due = self.due.first().filter(|_| self.sent.len() < PINGS_MAX);
        let first = |entry: Option<&(Time, NodeName)>| entry.map(|&(at, _)| at);
        [first(due), first(self.sent.first())]
            .into_iter()
            .flatten()
            .min()
    }

    fn pop_due(&mut self, now: Time) -> Option<NodeName> {
        let (at, _) = self.due.first()?;
        if *at > now || self.sent.len() >= PINGS_MAX {
            return None;
        }
        let (_, peer) = self.due.pop_first()?;
        self.peers.remove(&peer);
        Some(peer)
    }

    fn on_sent(&mut self, until: Time, peer: NodeName) {
        self.sent.insert((until, peer.clone()));
        self.peers.insert(peer, Stage::Sent(until));
    }

    fn pop_unanswered(&mut self, now: Time) -> Option<NodeName> {
        let (until, _) = self.sent.first()?;
        if *until > now {
            return None;
        }
        let (_, peer) = self.sent.pop_first()?;
        self.peers.remove(&peer);
        Some(peer)
    }
}

impl Node {
    /// Lets a peer be asked only after it has answered a ping, which is sent at `at`.
    pub(super) fn ping_first(&mut self, at: Time, peer: &NodeName) {
        if self.peers.get(peer).is_some_and(Peer::never_answers) {
            return self.pings.plan_in_turn(at, peer);
        }
        self.peers.set_reached(peer, false);
        match self.sweep_plan.progress_mut(peer) {
            Some(pair) => {
                pair.awaits_ping = true;
                if pair.is_open() {
                    self.pings.plan(at, peer);
                }
            }
            None => self.pings.plan(at, peer),
        }
    }

    /// Plans the pings of a sweep that begins: of the silent peers, and of all others that have not
    /// answered yet.
    pub(super) fn ping_unreached(&mut self, now: Time) {
        let doubtful = self.peers.iter().filter(|peer| peer.is_doubtful());
        let doubtful: Vec<NodeName> = doubtful.map(|peer| peer.member.name.clone()).collect();
        for peer in &doubtful {
            self.ping_first(now, peer);
        }
    }

    /// Pings a peer that has never answered and now speaks.
    pub(super) fn ping_speaker(&mut self, now: Time, name: &NodeName, epoch: Epoch) {
        let is_concerned = |peer: &Peer| peer.never_answers() && peer.member.epoch == epoch;
        if self.peers.get(name).is_some_and(is_concerned) {
            self.pings.hasten(now, name);
        }
    }

    /// Sends the pings that are due, and draws the conclusions from those without an answer.
    pub(super) fn advance_pings(&mut self, now: Time) {
        while let Some(peer) = self.pings.pop_unanswered(now) {
            self.on_unanswered(now, &peer);
        }
        while let Some(peer) = self.pings.pop_due(now) {
            self.ping(now, peer);
        }
    }

    fn ping(&mut self, now: Time, name: NodeName) {
        let Some(peer) = self.peers.get(&name) else {
            return;
        };
        let state = peer.member.state;
        if peer.reached || !(peer.is_meetable() || state == PeerState::Silent) {
            return;
        }
        let attempt = usize::from(peer.unanswered_pings) % ANSWERED_WITHIN.len();
        let (to, epoch, within) = (
            peer.member.control,
            peer.member.epoch,
            ANSWERED_WITHIN[attempt],
        );
        let sweep = self.sweep_plan.number;
        if let Some(message) = self.message(&name, epoch, sweep, None, Body::Sweep) {
            self.outputs.push_back(Output::Ping {
                to,
                message,
                within,
            });
            self.pings.on_sent(now + within, name);
        }
    }

    /// Records that this epoch of the peer has answered a ping.
    pub(super) fn on_answered(&mut self, name: &NodeName, epoch: Epoch) {
        let known = self.peers.get(name);
        let Some(peer) = known.filter(|peer| peer.member.epoch == epoch) else {
            return;
        };
        let is_news = peer.never_answers();
        self.pings.cancel(name);
        self.peers.set_reached(name, true);
        if is_news {
            self.reopen(name);
        }
        if let Some(pair) = self.sweep_plan.progress_mut(name) {
            pair.awaits_ping = false;
        }
    }

    fn on_unanswered(&mut self, now: Time, name: &NodeName) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        peer.unanswered_pings = peer.unanswered_pings.saturating_add(1);
        let is_last = usize::from(peer.unanswered_pings) >= ANSWERED_WITHIN.len();
        let never_answers = peer.never_answers();
        if !is_last && peer.is_meetable() {
            self.pings.plan(now + PING_AGAIN_AFTER, name);
            if let Some(pair) = self.sweep_plan.progress_mut(name) {
                pair.last_reason = Some(Reason::Unreachable);
            }
            return;
        }
        let is_open = self
            .sweep_plan
            .progress(name)
            .is_some_and(|pair| pair.is_open());
        if is_open {
            self.give_up(name, Reason::Unreachable);
        } else if never_answers {
            self.fail_absent(name, Reason::Unreachable);
        }
    }
}
