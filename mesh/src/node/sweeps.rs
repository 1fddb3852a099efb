//! The beginning and the end of a sweep.
//!
//! A node that has met or given up every peer pauses and raises its sweep number. When two nodes
//! have done so, the others finish, or close their open pairs within [`Node::close_after`], and
//! follow. A node whose number is far from those of most others takes theirs.

use std::time::Duration;

use super::numbers::{self, OUT_OF_STEP, TAKEN_MAX};
use super::{Node, reason_of_state};
use crate::io::Output;
use crate::node::peers::Peer;
use crate::node::sweep_plan::{PeerProgress, SweepPlan};
use crate::protocol::{MARGIN, QUIET_TIME};
use crate::status::SweepSummary;
use crate::wire::{Body, SWEEP_MAX};
use crate::{NodeName, PeerState, Reason, Time, schedule};

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

/// How long before the end of its own pause a node takes one peer's word that the pause is over, at
/// most. Clocks and the ends of the last meetings differ by less in a healthy mesh.
const EARLY_MAX: Duration = Duration::from_secs(1);

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
        self.keep_quotas_up(now);
        let known = self.peers.get(peer);
        let (is_reached, never_answers) =
            known.map_or((true, false), |peer| (peer.reached, peer.never_answers()));
        if never_answers {
            return self.pings.hasten(now, peer);
        }
        self.reopen(peer);
        if !is_reached {
            self.ping_first(now, peer);
        }
    }

    /// Lets this node meet the peer in this sweep, unless it has asked in vain too often.
    pub(super) fn reopen(&mut self, peer: &NodeName) {
        if self.sweep_plan.number > 0 && self.quotas.may_reopen(peer) {
            self.sweep_plan.welcome(peer);
        }
    }

    /// Returns the sweep that this node should be in, according to the others: the median if this
    /// node is out of step; otherwise the next sweep if enough of them have begun it, or if one has
    /// and this node is about to begin it.
    fn word_of_others(&self, now: Time) -> Option<u64> {
        let (own, numbers) = (self.sweep_plan.number, &self.peers.numbers);
        let median = numbers.median_with(own);
        let taken = numbers::taken(median).max(own.min(median));
        if taken.abs_diff(own) >= OUT_OF_STEP {
            return Some(taken);
        }
        let words = numbers.above(own);
        let is_about_to_begin = || self.early_raise_at().is_some_and(|at| now >= at);
        let is_enough = numbers.is_enough(words) || (words > 0 && is_about_to_begin());
        is_enough.then(|| next_number(own))
    }

    /// Returns the shortest time in which the peers that count can be met. The sweep itself may
    /// have begun with fewer.
    fn shortest_sweep(&self) -> Duration {
        let players = self.sweep_plan.players.max(self.peers.numbers.total() + 1);
        schedule::sweep_bound(players, &self.settings.tests).max(self.meeting_length())
    }

    /// Returns the sweep to follow the others into now, and records when their word counts if it
    /// does not yet.
    fn called_to(&mut self, now: Time) -> Option<u64> {
        let shortest = self.shortest_sweep();
        let paced = self.pace.next_step(now, shortest);
        let word = self.word_of_others(now);
        let at = match word {
            Some(_) => Some(paced),
            None if self.peers.numbers.above(self.sweep_plan.number) > 0 => self.early_raise_at(),
            None => None,
        };
        self.follow_at = at.filter(|at| *at > now);
        word.filter(|_| paced <= now)
    }

    /// Follows the other nodes into their sweep if nothing is left to do in this one, or if they
    /// are in an earlier one.
    pub(super) fn follow_if_done(&mut self, now: Time) {
        if self.slot.peer().is_some() {
            return;
        }
        if self.sweep_plan.number == 0 {
            return self.join_if_settled(now);
        }
        let Some(number) = self.called_to(now) else {
            return;
        };
        if number > self.sweep_plan.number
            && self.sweep_plan.open_pairs().any(|pair| pair.in_later_sweep)
        {
            self.close_pairs(|pair| pair.in_later_sweep);
            self.finish_sweep(now);
        }
        if self.sweep_plan.is_over() || number < self.sweep_plan.number {
            self.begin_sweep(now, number);
        }
    }

    /// Begins the first sweep of this epoch when the membership is stable, or when the others begin
    /// the first of all.
    fn join_if_settled(&mut self, now: Time) {
        let is_time = now >= self.settle.at || self.peers.numbers.is_first_begun();
        if is_time && self.peers.meetable().next().is_some() {
            self.begin_sweep(now, self.peers.numbers.to_join());
        }
    }

    pub(super) fn advance_sweep(&mut self, now: Time) {
        if now < self.quiet_until || self.slot.peer().is_some() {
            return;
        }
        if self.sweep_plan.number == 0 {
            return self.join_if_settled(now);
        }
        match self.called_to(now) {
            Some(_) if !self.sweep_plan.is_over() => {
                let closing = self
                    .sweep_plan
                    .closing
                    .unwrap_or_else(|| now + self.close_after() + self.time_for_open_pairs());
                self.sweep_plan.closing = Some(closing);
                if now >= closing {
                    self.end_last_wait(now);
                    self.close_pairs(|_| true);
                }
            }
            _ => self.sweep_plan.closing = None,
        }
        self.note_if_ahead(now);
        if self.stalls_at().is_some_and(|at| now >= at) {
            self.end_last_wait(now);
            self.close_pairs(|_| true);
        }
        self.finish_sweep(now);
        self.follow_if_done(now);
        if self.raise_at().is_some_and(|at| now >= at) {
            self.begin_sweep(now, next_number(self.sweep_plan.number));
        }
    }

    /// Returns when the passage of time alone changes the sweep.
    pub(super) fn sweep_deadline(&self) -> Option<Time> {
        if !self.takes_part() || self.slot.peer().is_some() {
            return None;
        }
        if self.sweep_plan.number == 0 {
            let has_peers = self.peers.meetable().next().is_some();
            return has_peers.then_some(self.settle.at.max(self.quiet_until));
        }
        [
            self.sweep_plan.closing,
            self.follow_at,
            self.stalls_at(),
            self.raise_at(),
            self.last_wait_ends_at(),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at| at.max(self.quiet_until))
    }

    /// Returns when this node has waited too long for the pairs that are still open. A bye is a
    /// wait as well, and the partner after it may be late, so longer meetings need a longer wait.
    fn stalls_at(&self) -> Option<Time> {
        let since = self.could_meet_since();
        (self.sweep_plan.open() > 0).then(|| since + self.stall_after())
    }

    pub(super) fn stall_after(&self) -> Duration {
        STALL_MIN.max(self.close_after())
    }

    /// Returns whether no pair has met in this sweep, as when a whole mesh starts.
    pub(super) fn has_met_none(&self) -> bool {
        self.sweep_plan.open() > 0 && self.sweep_plan.open() == self.sweep_plan.total()
    }

    /// Returns the time in which this node can meet the peers that it waits for.
    fn time_for_open_pairs(&self) -> Duration {
        let pairs = u32::try_from(self.awaited_pairs().count()).unwrap_or(u32::MAX);
        self.meeting_length().saturating_mul(pairs)
    }

    /// Records whether most others are in an earlier sweep. They may have a longer pause, so this
    /// node waits for them until it would forget them if they were silent.
    fn note_if_ahead(&mut self, now: Time) {
        let own = self.sweep_plan.number;
        let is_ahead = self.peers.numbers.median_with(own) < own;
        if is_ahead && now < self.sweep_plan.began + self.forget_after() {
            self.sweep_plan.ahead_until = now;
        }
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
        let earliest = self.sweep_plan.began + self.least_sweep();
        Some(pause_began.max(earliest) + self.settings.interval)
    }

    /// Returns the time that the sweep takes at least.
    pub(super) fn least_sweep(&self) -> Duration {
        self.bound().max(self.meeting_length())
    }

    /// Returns when this node is about to raise the sweep number. From then on it takes a single
    /// peer's word that the next sweep has begun: a false word shortens the pause only this much.
    fn early_raise_at(&self) -> Option<Time> {
        let early = EARLY_MAX.min(self.settings.interval / 10);
        self.raise_at().map(|at| at - early)
    }

    /// Returns how long a node goes on with its open pairs once other nodes are in the next sweep:
    /// the time for two meetings in which every test hangs.
    pub(super) fn close_after(&self) -> Duration {
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

    /// Records that no peer is left to meet now. A sweep in which no pair has met goes on.
    fn finish_sweep(&mut self, now: Time) {
        if self.sweep_plan.pause_began.is_some() || self.has_met_none() {
            return;
        }
        let is_waiting = self.awaited_pairs().next().is_some();
        if is_waiting && self.last_wait_ends_at().is_none_or(|at| now < at) {
            return;
        }
        self.end_last_wait(now);
        self.sweep_plan.pause_began = Some(now);
        self.outputs.push_back(Output::SweepEnded(SweepSummary {
            number: self.sweep_plan.number,
            duration: now.since(self.sweep_plan.began),
            bound: self.bound(),
            failed: self.sweep_plan.failed_cells,
        }));
    }

    fn begin_sweep(&mut self, now: Time, number: u64) {
        self.close_pairs(|pair| {
            let is_silent = pair.awaits_ping && pair.last_reason.is_some();
            pair.in_later_sweep || is_silent || pair.in_vain
        });
        let protocols = self.settings.tests.iter().map(|test| test.protocol);
        let is_expected = |peer: &&Peer| peer.is_meetable() && peer.reached;
        let is_doubtful = |peer: &&Peer| peer.is_doubtful() && !peer.never_answers();
        let expected = self.peers.iter().filter(is_expected);
        let doubtful = self.peers.iter().filter(is_doubtful);
        let before = self.sweep_plan.number;
        let is_joined = before == 0 || number != next_number(before);
        self.sweep_plan = SweepPlan::new(
            now,
            number,
            &self.settings.name,
            protocols,
            expected.map(|peer| &peer.member.name),
            doubtful.map(|peer| &peer.member.name),
        );
        self.sweep_plan.is_joined = is_joined;
        self.pace.step(now, self.shortest_sweep());
        self.follow_at = None;
        self.peers.count_sweep();
        self.ping_unreached(now);
        self.result_at = now;
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
            self.fail_absent(&peer, reason);
        }
    }

    /// Tells the partners of rounds 0, 1, 3, 7, … that the sweep has begun. Those nodes in turn
    /// tell their own partners. Every node knows after a few messages, while gossip would take
    /// seconds. (Two rounds r and s make a rotation by 2(s − r).)
    fn announce(&mut self) {
        let rounds = std::iter::successors(Some(0), |round| Some(2 * round + 1));
        let recipients: Vec<_> = rounds
            .take_while(|round| round + 1 < self.sweep_plan.players)
            .map_while(|round| self.sweep_plan.partner_of_round(round).cloned())
            .collect();
        for peer in recipients {
            let Some(epoch) = self.peers.get(&peer).map(|peer| peer.member.epoch) else {
                continue;
            };
            self.send(&peer, epoch, self.sweep_plan.number, None, Body::Sweep);
        }
    }
}

/// Returns the number after this one. No mesh ever reaches the highest number unless a defect sets
/// it.
fn next_number(number: u64) -> u64 {
    if number >= SWEEP_MAX {
        TAKEN_MAX
    } else {
        number + 1
    }
}
