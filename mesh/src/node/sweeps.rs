//! When a sweep begins and when it is closed.
//!
//! The sweep number is a gossiped maximum. A node that has met or given up everybody pauses and
//! raises it; the others finish, or close what is open within [`Node::close_after`], and follow.

use std::time::Duration;

use super::status::SweepSummary;
use super::{Node, reason_of_state};
use crate::io::Output;
use crate::node::sweep_plan::{PeerProgress, SweepPlan};
use crate::protocol::{MARGIN, QUIET_TIME};
use crate::wire::{Body, SWEEP_MAX};
use crate::{NodeName, PeerState, Reason, Time};

/// How long the membership must have stood still before the first sweep of a life.
const SETTLE: Duration = Duration::from_secs(3);

/// How long a node waits for that at most, from the first peer on.
const SETTLE_MAX: Duration = Duration::from_secs(15);

/// How long a node keeps to the order at least in the first round, when some begin later than
/// others.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// How long a node without any meeting waits for its open pairs, at least, until it closes the
/// sweep: longer than a peer that has just started stays quiet.
const STALL_MIN: Duration = Duration::from_secs(2 * QUIET_TIME.as_secs());

/// Whether the membership has settled after a start.
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

    /// A peer works on that sweep.
    pub(super) fn hear_of_sweep(&mut self, peer: &NodeName, number: u64) {
        self.highest_sweep = self.highest_sweep.max(number.min(SWEEP_MAX));
        if number > self.sweep_plan.number
            && let Some(pair) = self.sweep_plan.progress_mut(peer)
        {
            pair.in_later_sweep = true;
        }
    }

    /// Follows the others into the next sweep if nothing is left to do in this one.
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
            // Who hears of a sweep comes late to a mesh that has settled.
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

    /// When the passing of time alone changes the sweep.
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
    }

    /// When this node has waited too long for the pairs that are still open. A bye is a wait too,
    /// and the partner after it may be late, so that long meetings take a longer wait.
    fn stalls_at(&self) -> Option<Time> {
        let wait = STALL_MIN.max(self.close_after());
        (self.sweep_plan.open() > 0).then(|| self.idle_since.max(self.sweep_plan.began) + wait)
    }

    /// When this node raises the sweep number: once it has paused after everybody was met or given
    /// up. Who has its bye in the last round is done before the others, so that the pause
    /// begins with the bound at the earliest, and with the length of a meeting where there is
    /// nobody to be met: without a pause, probes of the silent would follow each other without
    /// end.
    pub(super) fn raise_at(&self) -> Option<Time> {
        let pause_began = self.sweep_plan.pause_began?;
        self.peers.iter().next()?;
        let least = self.bound().max(self.meeting_length());
        Some(pause_began.max(self.sweep_plan.began + least) + self.settings.interval)
    }

    /// How long a node goes on with its open pairs when others are already in the next sweep: time
    /// for two meetings in which everything hangs.
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
        let open = self.sweep_plan.open_pairs().filter(|pair| which(pair));
        let open: Vec<_> = open
            .map(|pair| (pair.peer.clone(), pair.last_reason))
            .collect();
        for (peer, last_reason) in open {
            let absent = reason_of_state(self.peers.get(&peer));
            self.give_up(&peer, absent.or(last_reason).unwrap_or(Reason::NotMet));
        }
    }

    /// Notes that nobody is left to be met now. Who comes later, or is quiet after its start, is
    /// met in the pause, if there is time, and else in the next sweep: nobody waits for it,
    /// unless there was nobody else, as when a whole mesh starts.
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

    /// Fails the cells of the peers that cannot be asked: a foreign version, a name that two have,
    /// nobody's epoch.
    fn fail_unaskable(&mut self) {
        let reasons = self
            .peers
            .iter()
            .filter(|peer| peer.member.state != PeerState::Silent);
        let reasons: Vec<_> = reasons
            .filter_map(|peer| Some((peer.member.name.clone(), reason_of_state(Some(peer))?)))
            .collect();
        for (peer, reason) in reasons {
            self.fail_cells(&peer, reason);
        }
    }

    /// Tells the partners of rounds 0, 1, 3, 7, … that the sweep has begun, as they will theirs:
    /// everybody knows after a few messages, where gossip would take seconds. (Two rounds r and
    /// s make a rotation by 2(s − r).)
    fn announce(&mut self) {
        let recipients = std::iter::successors(Some(0), |round| Some(2 * round + 1));
        let recipients: Vec<_> = recipients
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
