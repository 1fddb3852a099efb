//! The choice of the peer to ask, and of the time to ask it; the choice of the peers to grant.
//!
//! The order of the tournament comes first. In a healthy mesh, it lets every node find its partner
//! free, so no time is lost. A partner that is late, failing or refusing must cost no more than its
//! own meetings, so a node that has waited long enough asks out of order. `docs/schedule.md` has
//! the measurements.

use std::time::Duration;

use super::quota::REST;
use super::sweep_plan::PeerProgress;
use super::{Node, reason_of_state};
use crate::reservation::EndReason;
use crate::wire::{MeetingKind, PlannedTest, Refusal, Role};
use crate::{NodeName, Protocol, Reason, Time, schedule};

/// How long to leave a peer alone after a meeting with it broke off.
pub(super) const PAUSE_AFTER_BREAK: Duration = Duration::from_secs(1);

/// The number of requests in a row that fail through the peer's fault before the pair is given up
/// in this sweep.
const STRIKES_MAX: u8 = 3;

/// How long to leave a peer alone after a request that failed through its fault: the first figure
/// times the number of strikes, but no longer than the second figure.
const PAUSE_AFTER_STRIKE: Duration = Duration::from_secs(2);
const PAUSE_AFTER_STRIKE_MAX: Duration = Duration::from_secs(6);

/// The shortest and the longest wait after a refusal, whatever the peer predicts.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How long the node of a pair that is not the rightful asker waits before it asks nevertheless.
const FALLBACK_ASK_DELAY: Duration = Duration::from_millis(100);

/// How long a busy partner is worth waiting for, as a multiple of the length of a meeting. The
/// factor is measured (`docs/schedule.md`). A small mesh that leaves the order because of a late
/// partner loses more by the disorder than it would lose by waiting. In a large mesh, some other
/// peer is free at any moment.
const WORTH_WAITING: f64 = 1.1;
const WORTH_WAITING_LARGE: f64 = 0.1;

/// The number of nodes from which a mesh counts as large.
const LARGE: usize = 64;

/// The pause between two requests out of order. Most such requests are refused, so the pause bounds
/// the messages of a large mesh.
const OUT_OF_ORDER_INTERVAL: Duration = Duration::from_millis(5);

/// How much longer than it predicted a busy peer may stay busy.
const SLACK: Duration = Duration::from_millis(100);

/// The conclusions to draw from a request that has ended.
#[derive(Default)]
struct Lesson {
    /// The peer is in its quiet time.
    quiet: bool,
    /// The peer expects to be busy for this long.
    busy_for: Option<Duration>,
    /// The peer is itself waiting for another node, or asking one.
    waiting: bool,
    /// The reason that stands for the pair if the two nodes never meet; set if the request failed
    /// through the peer's fault.
    strike: Option<Reason>,
}

impl Lesson {
    fn of(reason: EndReason, absent: Option<Reason>) -> Self {
        match reason {
            EndReason::NoAnswer => Self {
                strike: Some(absent.unwrap_or(Reason::Unreachable)),
                ..Self::default()
            },
            EndReason::Refused(refusal, free_in) => Self {
                quiet: refusal == Refusal::Quiet,
                busy_for: Some(free_in.unwrap_or(RETRY_MIN).clamp(RETRY_MIN, RETRY_MAX)),
                waiting: refusal == Refusal::Expecting || free_in.is_none(),
                strike: reason_of_refusal(refusal),
            },
            _ => Self::default(),
        }
    }
}

impl Node {
    /// Returns whether this node is the rightful asker of the pair in this sweep. The other node
    /// asks only as a fallback.
    pub(super) fn is_rightful(&self, peer: &NodeName) -> bool {
        (self.settings.name < *peer) == self.sweep_plan.number.is_multiple_of(2)
    }

    /// Records that the node has nothing to do from now on, and that it keeps to the order for at
    /// least `patience`.
    pub(super) fn mark_idle(&mut self, now: Time, patience: Duration) {
        let bye = if self.sweep_plan.is_at_bye() {
            self.meeting_length()
        } else {
            Duration::ZERO
        };
        let least = (self.meeting_length() / 20).max(3 * FALLBACK_ASK_DELAY);
        self.idle_since = now;
        self.patient_until = now + bye + patience.max(least);
    }

    /// Checks whether it is the peer's turn to have this free node now.
    ///
    /// # Errors
    /// Returns how long the peer should wait.
    pub(super) fn check_turn(&self, now: Time, peer: &NodeName) -> Result<(), Duration> {
        let wait = self.patient_until.since(now);
        let due = self.sweep_plan.due(now);
        if wait.is_zero() || due.is_none_or(|due| due.peer == *peer) {
            Ok(())
        } else {
            Err(wait)
        }
    }

    /// Asks the next peer if there is one to ask now; otherwise records when there may be one.
    pub(super) fn ask_next(&mut self, now: Time) -> bool {
        self.ask_at = None;
        if self.stopping || self.name_taken {
            return false;
        }
        if now < self.quiet_until {
            self.ask_at = Some(self.quiet_until);
            return false;
        }
        let Some(name) = self.choose(now) else {
            return false;
        };
        let Some(peer) = self.peers.get(&name) else {
            return false;
        };
        let progress = self.sweep_plan.progress(&name);
        let plan = self
            .planned_tests(|protocol| progress.is_some_and(|progress| progress.wants(protocol)));
        let (partner, sweep) = (peer.as_partner(), self.sweep_plan.number);
        self.keep_quotas_up(now);
        let kind = self.kind_of_next(&name);
        self.slot.ask(now, partner, sweep, plan, kind);
        true
    }

    fn choose(&mut self, now: Time) -> Option<NodeName> {
        let mut in_order = true;
        let mut wake: Option<Time> = None;
        let mut chosen = None;
        let askable = self.sweep_plan.open_pairs();
        for progress in askable.filter(|progress| !progress.awaits_ping) {
            let not_before = progress
                .not_before
                .max(self.quotas.asked_from(&progress.peer));
            let at = self.may_ask_at(now, progress, not_before, in_order);
            if at <= now {
                chosen = Some(progress.peer.clone());
                break;
            }
            wake = Some(wake.map_or(at, |wake| wake.min(at)));
            if not_before <= now {
                in_order = false;
                if now < self.patient_until {
                    wake = wake.min(Some(self.patient_until));
                    break;
                }
            }
        }
        if chosen.is_some() && !in_order {
            self.out_of_order_at = now + OUT_OF_ORDER_INTERVAL;
        }
        self.ask_at = wake;
        chosen
    }

    /// Returns when this peer may be asked; `in_order` tells whether no other peer is due before
    /// it.
    fn may_ask_at(
        &self,
        now: Time,
        progress: &PeerProgress,
        not_before: Time,
        in_order: bool,
    ) -> Time {
        let at = if not_before > now {
            not_before
        } else if !in_order {
            self.patient_until.max(self.out_of_order_at)
        } else if progress.peer_wants_us || self.is_rightful(&progress.peer) {
            now
        } else {
            self.idle_since + FALLBACK_ASK_DELAY
        };
        at.max(progress.busy_until)
    }

    /// Draws the conclusions from a request that has ended.
    pub(super) fn learn_from_request(
        &mut self,
        now: Time,
        peer: &NodeName,
        lasted: Duration,
        reason: EndReason,
        has_tested: bool,
    ) {
        let absent = reason_of_state(self.peers.get(peer));
        let lesson = Lesson::of(reason, absent);
        let is_ignored = self.count_unanswered(peer, reason);
        let was_due = self
            .sweep_plan
            .due(now)
            .is_some_and(|due| due.peer == *peer);
        let is_worth_waiting = self.is_worth_waiting(now, peer);
        let Some(progress) = self.sweep_plan.progress_mut(peer) else {
            return;
        };
        if matches!(reason, EndReason::Refused(..)) {
            // A node that asks refuses all others. On a slow link, it would never be free to grant.
            self.out_of_order_at = self.out_of_order_at.max(now + lasted);
        }
        progress.peer_wants_us = false;
        progress.quiet = lesson.quiet;
        progress.refused = !has_tested && reason != EndReason::NoAnswer && !lesson.quiet;
        progress.rests = matches!(reason, EndReason::Refused(Refusal::Quota, _));
        if let Some(wait) = lesson.busy_for {
            progress.busy_until = now + wait;
        }
        let costs_much = !has_tested && !is_worth_waiting;
        let rests_until = now + lasted * REST;
        if lesson.quiet || (progress.refused && costs_much) {
            // The peer may restart or refuse again and again, so no node keeps to the order because
            // of it.
            let not_before = progress.not_before.max(progress.busy_until);
            progress.not_before = not_before.max(rests_until);
        }
        let must_give_up = lesson
            .strike
            .is_some_and(|reason| absent.is_some() | is_ignored | progress.strike(now, reason));
        if costs_much {
            self.quotas.leave_alone(peer, rests_until);
        }
        let pause_ends = progress.not_before;
        if lesson.strike.is_none() {
            progress.strikes = 0;
        }
        // A peer that is itself waiting is no reason to wait: waiting for a waiting peer can form
        // a cycle in which no node makes progress.
        if let (Some(wait), false, false, true) =
            (lesson.busy_for, lesson.quiet, lesson.waiting, was_due)
            && is_worth_waiting
        {
            self.wait_for_busy_partner(now, peer, wait);
        }
        if let (Some(reason), true) = (lesson.strike, must_give_up) {
            self.give_up(peer, reason);
        }
        if reason == EndReason::NoAnswer {
            self.ping_first(pause_ends, peer);
        }
        self.keep_quotas_up(now);
        match reason {
            EndReason::NoAnswer => self.quotas.record_in_vain(peer),
            EndReason::Refused(Refusal::Met, _) => self.learn_of_meeting(peer),
            _ => {}
        }
    }

    /// Draws the conclusions from the peer's word that the pair has met in this sweep. If the peer
    /// grants no make-up either, the pair is given up.
    fn learn_of_meeting(&mut self, peer: &NodeName) {
        if self.kind_of_next(peer) == MeetingKind::MakeUp {
            let last = self.sweep_plan.progress(peer).and_then(|it| it.last_reason);
            self.give_up(peer, last.unwrap_or(Reason::NotMet));
        }
        self.quotas.record_said_to_have_met(peer);
    }

    /// Returns the kind of this node's next meeting with the peer. In its first sweep, a node may
    /// have met the peer before its start.
    fn kind_of_next(&self, peer: &NodeName) -> MeetingKind {
        if self.sweep_plan.is_joined {
            MeetingKind::MakeUp
        } else {
            self.quotas.kind_of_next(peer)
        }
    }

    /// Counts the requests in a row without an answer. Returns whether the peer, which answers
    /// pings, has left so many unanswered that it gets only one in each sweep.
    fn count_unanswered(&mut self, peer: &NodeName, reason: EndReason) -> bool {
        let Some(peer) = self.peers.get_mut(peer) else {
            return false;
        };
        peer.unanswered_requests = match reason {
            EndReason::NoAnswer => peer.unanswered_requests.saturating_add(1),
            _ => 0,
        };
        peer.unanswered_requests > STRIKES_MAX
    }

    /// Keeps to the order while the partner that is due is busy, if waiting for it is worthwhile.
    fn wait_for_busy_partner(&mut self, now: Time, peer: &NodeName, wait: Duration) {
        let lengths = if self.sweep_plan.players < LARGE {
            WORTH_WAITING
        } else {
            WORTH_WAITING_LARGE
        };
        if wait <= self.meeting_length().mul_f64(lengths) {
            let patient_until = self.patient_until.max(now + wait + SLACK);
            if now < self.waits_since() || !self.is_last_wait() {
                let waits = patient_until.since(self.patient_until.max(now));
                self.record_lost(now, peer, waits);
            }
            self.patient_until = patient_until;
        } else if !self.sweep_plan.is_at_bye() {
            self.patient_until = now;
        }
    }

    /// Returns the tests of a meeting that this node asks for: its own first, then the peer's.
    pub(super) fn planned_tests(&self, wanted: impl Fn(Protocol) -> bool) -> Vec<PlannedTest> {
        let specs = || {
            self.settings
                .tests
                .iter()
                .filter(|spec| wanted(spec.protocol))
        };
        let own = specs().map(|spec| (Role::Asker, spec));
        let peers = specs()
            .filter(|spec| !spec.bidir)
            .map(|spec| (Role::Granter, spec));
        own.chain(peers)
            .map(|(client, spec)| PlannedTest {
                client,
                spec: spec.clone(),
            })
            .collect()
    }

    /// Returns the length of one meeting with this node's own settings.
    pub(super) fn meeting_length(&self) -> Duration {
        schedule::meeting_length(&self.settings.tests)
    }
}

impl PeerProgress {
    /// Counts a request that failed through the peer's fault; returns whether to give up the pair.
    ///
    /// Only failures in a row and for the same reason count: any other answer shows that the peer
    /// is there.
    fn strike(&mut self, now: Time, reason: Reason) -> bool {
        if self.last_reason != Some(reason) {
            self.strikes = 0;
        }
        self.strikes = self.strikes.saturating_add(1);
        self.last_reason = Some(reason);
        let pause = PAUSE_AFTER_STRIKE * u32::from(self.strikes);
        self.not_before = now + pause.min(PAUSE_AFTER_STRIKE_MAX);
        // A peer that is merely behind catches up, so only the end of the sweep gives it up.
        self.strikes >= STRIKES_MAX && reason != Reason::NotMet
    }
}

/// Returns the reason that stands for the pair if this refusal is repeated; `None` if the peer only
/// asks for another time.
fn reason_of_refusal(refusal: Refusal) -> Option<Reason> {
    match refusal {
        Refusal::Busy
        | Refusal::Expecting
        | Refusal::Crossed
        | Refusal::Quiet
        | Refusal::Met
        | Refusal::Quota
        | Refusal::Stopping => None,
        Refusal::Sweep | Refusal::Unknown | Refusal::StaleEpoch | Refusal::Limits => {
            Some(Reason::NotMet)
        }
        Refusal::NameConflict => Some(Reason::NameConflict),
        Refusal::Incompatible => Some(Reason::Incompatible),
        Refusal::Spawn => Some(Reason::Spawn),
        Refusal::Resources => Some(Reason::Resources),
    }
}
