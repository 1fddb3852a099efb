//! The beginning and the end of a sweep.
//!
//! The sweep number is a gossiped maximum. A node that has met or given up every peer pauses and
//! raises the number. The other nodes finish, or close their open pairs within
//! [`Node::close_after`], and follow.

use std::time::Duration;

use super::{Node, reason_of_state};
use crate::io::Output;
use crate::node::sweep_plan::{PeerProgress, SweepPlan};
use crate::protocol::{MARGIN, QUIET_TIME};
use crate::status::SweepSummary;
use crate::wire::{Body, SWEEP_MAX};
use crate::{NodeName, PeerState, Reason, Time};

/// How long the membership must be stable before the first sweep of an epoch begins.
const SETTLE: Duration = Duration::from_secs(3);

/// How long to wait for a stable membership at most, counted from the first peer.
const SETTLE_MAX: Duration = Duration::from_secs(15);

/// How long a node keeps to the order at least during the first round, in which some nodes begin
/// later than others.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// How long a node without any meeting waits for its open pairs at least, before it closes the
/// sweep. The time is longer than the quiet time of a peer that has just started.
const STALL_MIN: Duration = Duration::from_secs(2 * QUIET_TIME.as_secs());

/// The detector of a stable membership after a start.
#[derive(Clone, Debug)]
pub(super) struct Settle {
    at: Time,
    first_peer: Option<Time>,
}

impl Settle {
    pub(super) fn new(now: Time) -> Self {
        Self {
            at: now + SETTLE,
            first_peer: None,
        }
    }

    fn on_arrival(&mut self, now: Time) {
        let first = *self.first_peer.get_or_insert(now);
        self.at = (now + SETTLE).min(first + SETTLE_MAX);
    }
}

impl Node {
    pub(super) fn welcome(&mut self, now: Time, peer: &NodeName) {
        self.settle.on_arrival(now);
        if self.sweep_plan.number > 0 {
            self.sweep_plan.welcome(peer);
        }
    }

    /// Records that a peer has begun this sweep.
    pub(super) fn hear_of_sweep(&mut self, peer: &NodeName, number: u64) {
        self.highest_sweep = self.highest_sweep.max(number.min(SWEEP_MAX));
        if number > self.sweep_plan.number
            && let Some(pair) = self.sweep_plan.progress_mut(peer)
        {
            pair.in_later_sweep = true;
        }
    }

    /// Follows the other nodes into the next sweep if nothing is left to do in this one.
    pub(super) fn follow_if_done(&mut self, now: Time) {
        if self.highest_sweep <= self.sweep_plan.number || self.slot.peer().is_some() {
            return;
        }
        if self.sweep_plan.open_pairs().any(|pair| pair.in_later_sweep) {
            self.close_pairs(|pair| pair.in_later_sweep);
            self.finish_sweep(now);
        }
        if self.sweep_plan.is_over() {
            self.begin_sweep(now, self.highest_sweep);
        }
    }

    pub(super) fn advance_sweep(&mut self, now: Time) {
        if now < self.quiet_until || self.slot.peer().is_some() {
            return;
        }
        if self.sweep_plan.number == 0 {
            // A node that hears of a sweep joins a mesh that is already stable.
            let is_time = now >= self.settle.at || self.highest_sweep > 0;
            if is_time && self.peers.meetable().next().is_some() {
                self.begin_sweep(now, self.highest_sweep.max(1));
            }
            return;
        }
        if self.highest_sweep > self.sweep_plan.number && !self.sweep_plan.is_over() {
            let closing = now + self.close_after();
            let closing = *self.sweep_plan.closing.get_or_insert(closing);
            if now >= closing {
                self.close_pairs(|_| true);
            }
        }
        if self.stalls_at().is_some_and(|at| now >= at) {
            self.close_pairs(|_| true);
        }
        self.finish_sweep(now);
        self.follow_if_done(now);
        if self.raise_at().is_some_and(|at| now >= at) {
            self.begin_sweep(now, (self.sweep_plan.number + 1).min(SWEEP_MAX));
        }
    }

    /// Returns when the passage of time alone changes the sweep.
    pub(super) fn sweep_deadline(&self) -> Option<Time> {
        if self.stopping || self.name_taken || self.slot.peer().is_some() {
            return None;
        }
        if self.sweep_plan.number == 0 {
            let has_peers = self.peers.meetable().next().is_some();
            return has_peers.then_some(self.settle.at.max(self.quiet_until));
        }
        [self.sweep_plan.closing, self.stalls_at(), self.raise_at()]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(self.quiet_until))
    }

    /// Returns when this node has waited too long for the pairs that are still open. A bye is a
    /// wait as well, and the partner after it may be late, so longer meetings need a longer wait.
    fn stalls_at(&self) -> Option<Time> {
        let wait = STALL_MIN.max(self.close_after());
        (self.sweep_plan.open() > 0).then(|| self.idle_since.max(self.sweep_plan.began) + wait)
    }

    /// Returns when this node raises the sweep number: after the pause that follows its last pair.
    ///
    /// A node with its bye in the last round is done before the others, so the pause begins no
    /// earlier than the lower bound of the sweep allows. If there is no peer to meet, the pause
    /// begins no earlier than after one meeting's length: without a pause, probes of silent peers
    /// would follow each other endlessly.
    pub(super) fn raise_at(&self) -> Option<Time> {
        let pause_began = self.sweep_plan.pause_began?;
        self.peers.iter().next()?;
        let least = self.bound().max(self.meeting_length());
        Some(pause_began.max(self.sweep_plan.began + least) + self.settings.interval)
    }

    /// Returns how long a node goes on with its open pairs once other nodes are in the next sweep:
    /// the time for two meetings in which every test hangs.
    fn close_after(&self) -> Duration {
        let timeouts: Duration = self
            .settings
            .tests
            .iter()
            .map(|test| test.timeout + MARGIN)
            .sum();
        4 * timeouts
    }

    fn close_pairs(&mut self, which: impl Fn(&PeerProgress) -> bool) {
        let open: Vec<_> = self
            .sweep_plan
            .open_pairs()
            .filter(|pair| which(pair))
            .map(|pair| (pair.peer.clone(), pair.last_reason))
            .collect();
        for (peer, last_reason) in open {
            let absent = reason_of_state(self.peers.get(&peer));
            self.give_up(&peer, absent.or(last_reason).unwrap_or(Reason::NotMet));
        }
    }

    /// Records that no peer is left to meet now.
    ///
    /// A peer that comes later, or is in its quiet time, is met in the pause if there is time, and
    /// otherwise in the next sweep: the sweep does not wait for it. The exception is a sweep in
    /// which there is no other peer, as when a whole mesh starts.
    fn finish_sweep(&mut self, now: Time) {
        let has_met_none =
            self.sweep_plan.open() > 0 && self.sweep_plan.open() == self.sweep_plan.total();
        let is_waiting = has_met_none || self.sweep_plan.open_pairs().any(|pair| !pair.quiet);
        if is_waiting || self.sweep_plan.pause_began.is_some() {
            return;
        }
        self.sweep_plan.pause_began = Some(now);
        self.outputs.push_back(Output::SweepEnded(SweepSummary {
            number: self.sweep_plan.number,
            duration: now.since(self.sweep_plan.began),
            bound: self.bound(),
            failed: self.sweep_plan.failed_cells,
        }));
    }

    fn begin_sweep(&mut self, now: Time, number: u64) {
        let protocols = self.settings.tests.iter().map(|test| test.protocol);
        let silent = self
            .peers
            .iter()
            .filter(|peer| peer.member.state == PeerState::Silent);
        let is_first = self.sweep_plan.number == 0;
        self.sweep_plan = SweepPlan::new(
            now,
            number,
            &self.settings.name,
            protocols,
            self.peers.meetable(),
            silent.map(|peer| &peer.member.name),
        );
        self.sweep_plan.is_first = is_first;
        self.highest_sweep = self.highest_sweep.max(number);
        self.mark_idle(now, START_PATIENCE);
        self.outputs.push_back(Output::SweepBegan(number));
        self.fail_unaskable();
        self.announce();
    }

    /// Fails the cells of the peers that cannot be asked: an incompatible version, a name in
    /// conflict, or an unknown epoch.
    fn fail_unaskable(&mut self) {
        let reasons: Vec<_> = self
            .peers
            .iter()
            .filter(|peer| peer.member.state != PeerState::Silent)
            .filter_map(|peer| Some((peer.member.name.clone(), reason_of_state(Some(peer))?)))
            .collect();
        for (peer, reason) in reasons {
            self.fail_cells(&peer, reason);
        }
    }

    /// Tells the partners of rounds 0, 1, 3, 7, … that the sweep has begun. Those nodes in turn
    /// tell their own partners. Every node knows after a few messages, while gossip would take
    /// seconds. (Two rounds r and s make a rotation by 2(s − r).)
    fn announce(&mut self) {
        let recipients: Vec<_> = std::iter::successors(Some(0), |round| Some(2 * round + 1))
            .map_while(|round| self.sweep_plan.partner_of_round(round).cloned())
            .collect();
        for peer in recipients {
            let Some(epoch) = self.peers.get(&peer).map(|peer| peer.member.epoch) else {
                continue;
            };
            self.send(peer, epoch, self.sweep_plan.number, None, Body::Sweep);
        }
    }
}
