//! The time that this node loses to peers that are there and do not meet it.
//!
//! A refusal costs its sender one message, and a node whose slot is stuck refuses as well. So each
//! peer may cost this node a tenth of its time, and some time in hand, whatever it says. When that
//! is used up, this node asks other peers before it, and ends its sweep without it.

use std::time::Duration;

use super::Node;
use crate::node::sweep_plan::PeerProgress;
use crate::{NodeName, Time};

impl Node {
    /// Returns how much time this node may lose to the peer from now on.
    fn may_lose(&self, now: Time, peer: &NodeName) -> Duration {
        self.quotas.may_lose(now, peer, self.time_in_hand(peer))
    }

    /// Returns whether this node keeps to the order while the peer is busy. A wait in the middle of
    /// a sweep costs other nodes time as well, so only a peer that has cost little is worth it. In
    /// its first sweep, the node does not know its peers yet.
    pub(super) fn is_worth_waiting(&self, now: Time, peer: &NodeName) -> bool {
        let in_hand = self.time_in_hand(peer);
        let little = (in_hand / 10).max(2 * self.meeting_length());
        let has_cost_little = self.may_lose(now, peer) + little >= in_hand;
        self.sweep_plan.is_joined || (self.quotas.is_proven(peer) && has_cost_little)
    }

    /// Records the time that this node has lost to the peer, or is about to lose.
    pub(super) fn record_lost(&mut self, now: Time, peer: &NodeName, lost: Duration) {
        if !self.sweep_plan.is_joined {
            let in_hand = self.time_in_hand(peer);
            self.quotas.record_lost(now, peer, lost, in_hand);
        }
    }

    /// Returns how long this node waits for a peer to which it has lost no time so far. Honest
    /// peers have begun the sweep later, or have lost time in it.
    fn time_in_hand(&self, peer: &NodeName) -> Duration {
        if self.quotas.is_proven(peer) {
            self.stall_after()
        } else {
            self.close_after().max(self.bound()).min(self.stall_after())
        }
    }

    /// Returns whether both nodes rest from each other, and this one may grant nevertheless: it
    /// would lose the same time by asking if the peer did not rest.
    pub(super) fn may_end_mutual_rest(&self, now: Time, peer: &NodeName) -> bool {
        let pair = self.sweep_plan.progress(peer);
        let is_mutual = pair.is_some_and(|pair| pair.is_open() && pair.rests);
        is_mutual && !self.sweep_plan.is_joined && !self.may_lose(now, peer).is_zero()
    }

    /// Returns the open pairs that the end of the sweep waits for.
    ///
    /// A peer that comes later, has not answered a ping yet, is in its quiet time, or is ahead, is
    /// met in the pause if that is possible, and otherwise in the next sweep.
    pub(super) fn awaited_pairs(&self) -> impl Iterator<Item = &PeerProgress> {
        let pairs = self.sweep_plan.open_pairs();
        pairs.filter(|pair| !pair.quiet && !pair.awaits_ping && !pair.in_later_sweep)
    }

    /// Returns when this node ends its wait for the last pairs of the sweep, because all of their
    /// peers refuse to meet it; `None` if it waits for none, or for others as well.
    pub(super) fn last_wait_ends_at(&self) -> Option<Time> {
        let is_over = self.sweep_plan.pause_began.is_some() || self.has_met_none();
        if is_over || self.sweep_plan.is_joined || !self.is_last_wait() {
            return None;
        }
        let since = self.waits_since();
        let may_lose = self
            .awaited_pairs()
            .map(|pair| self.may_lose(since, &pair.peer));
        let longest = may_lose.max()?;
        Some(since + longest.max(self.meeting_length()))
    }

    /// Returns whether all peers that are left refuse to meet this node.
    pub(super) fn is_last_wait(&self) -> bool {
        self.awaited_pairs().all(|pair| pair.refused)
    }

    /// Ends the wait for the last pairs of the sweep.
    pub(super) fn end_last_wait(&mut self, now: Time) {
        if self.sweep_plan.pause_began.is_some() {
            return;
        }
        let is_last_wait = self.is_last_wait();
        let waited = now.since(self.waits_since());
        let refusing = self.sweep_plan.open_pairs().filter(|pair| pair.refused);
        let refusing: Vec<_> = refusing.map(|pair| pair.peer.clone()).collect();
        for peer in refusing {
            if is_last_wait {
                self.record_lost(now, &peer, waited);
            }
            if let Some(pair) = self.sweep_plan.progress_mut(&peer) {
                pair.in_vain = true;
            }
        }
    }

    /// Returns the instant since which this node could have met the peers that are left.
    pub(super) fn could_meet_since(&self) -> Time {
        self.result_at.max(self.sweep_plan.ahead_until)
    }

    /// Returns the instant since which this node loses time by waiting: not before the others can
    /// have met all their peers.
    pub(super) fn waits_since(&self) -> Time {
        let others_done = self.sweep_plan.ahead_until + self.least_sweep();
        self.could_meet_since().max(others_done)
    }
}
