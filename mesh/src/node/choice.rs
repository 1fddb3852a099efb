//! Whom to ask, and when; whom to let in.
//!
//! The order of the tournament comes first: in a healthy mesh everybody then finds its partner
//! free, and nobody loses any time. A partner that is late, ill or refusing must not cost more than
//! its own meetings, so a node that has waited long enough takes whom it can get.
//! `docs/schedule.md` has the measurements.

use std::time::Duration;

use super::{Node, reason_of_state};
use crate::reservation::EndReason;
use crate::wire::Refusal;
use crate::{NodeName, Reason, Time};

/// How long to leave a peer alone after a meeting with it broke off.
pub(super) const PAUSE_AFTER_BREAK: Duration = Duration::from_secs(1);

/// How many asks may come to nothing through the peer's fault before the pair is given up in this
/// sweep.
const STRIKES_MAX: u8 = 3;

/// How long to leave a peer alone after such an ask: this, times the number of strikes, but no
/// longer than the other.
const PAUSE_AFTER_STRIKE: Duration = Duration::from_secs(2);
const PAUSE_AFTER_STRIKE_MAX: Duration = Duration::from_secs(6);

/// The least and the longest wait after a refusal, whatever the peer says of its future.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How long the one who is not to ask waits for the other until it asks all the same.
const FALLBACK_ASK_DELAY: Duration = Duration::from_millis(100);

/// How long a busy partner is worth waiting for, in lengths of a meeting. Measured
/// (`docs/schedule.md`): a small mesh that breaks the order at a late partner loses more by
/// disorder than by waiting; in a large one somebody else is free at any moment.
const WORTH_WAITING: f64 = 1.1;
const WORTH_WAITING_LARGE: f64 = 0.1;

/// From so many nodes on, a mesh is large.
const LARGE: usize = 64;

/// The pause between two asks out of order, most of which are refused: a bound to the messages of a
/// large mesh.
const OUT_OF_ORDER_INTERVAL: Duration = Duration::from_millis(5);

/// How long after the end that a busy peer has named it may still be busy.
const SLACK: Duration = Duration::from_millis(100);

impl Node {
    /// Whether this node is the one of the two that asks in this sweep. The other one asks only if
    /// it must.
    pub(super) fn is_rightful(&self, peer: &NodeName) -> bool {
        (self.settings.name < *peer) == self.sweep_plan.number.is_multiple_of(2)
    }

    /// Notes that the node has nothing to do from now on, and keeps to the order for `patience` at
    /// least.
    pub(super) fn mark_idle(&mut self, now: Time, patience: Duration) {
        let bye = if self.sweep_plan.is_at_bye() {
            self.meeting_length()
        } else {
            Duration::ZERO
        };
        self.idle_since = now;
        self.patient_until = now
            + bye
            + patience
                .max(self.meeting_length() / 20)
                .max(3 * FALLBACK_ASK_DELAY);
    }

    /// Whether that peer may have this free node now; else how long it had better wait.
    pub(super) fn check_turn(&self, now: Time, peer: &NodeName) -> Result<(), Duration> {
        let expected = self
            .sweep_plan
            .open_pairs()
            .find(|pair| pair.not_before <= now);
        let wait = self.patient_until.since(now);
        if wait.is_zero() || expected.is_none_or(|expected| expected.peer == *peer) {
            Ok(())
        } else {
            Err(wait)
        }
    }

    /// Asks the next peer, if there is one to be asked now; else notes when there may be.
    pub(super) fn ask_somebody(&mut self, now: Time) -> bool {
        self.ask_at = None;
        if now < self.quiet_until || self.stopping || self.name_taken {
            return false;
        }
        let Some(peer) = self.choose(now) else {
            return false;
        };
        let Some(known) = self.peers.get(&peer) else {
            return false;
        };
        let (epoch, sweep) = (known.member.epoch, self.sweep_plan.number);
        let pair = self.sweep_plan.pair(&peer);
        let plan = self.planned_tests(|protocol| pair.is_some_and(|pair| pair.wants(protocol)));
        self.slot.ask(now, peer, epoch, sweep, plan);
        true
    }

    fn choose(&mut self, now: Time) -> Option<NodeName> {
        let mut expected = true;
        let mut wake: Option<Time> = None;
        let mut chosen = None;
        for pair in self.sweep_plan.open_pairs() {
            let may_ask = if pair.not_before > now {
                pair.not_before
            } else if !expected {
                self.patient_until.max(self.out_of_order_at)
            } else if pair.peer_wants_us || self.is_rightful(&pair.peer) {
                now
            } else {
                self.idle_since + FALLBACK_ASK_DELAY
            };
            let at = may_ask.max(pair.busy_until);
            if at <= now {
                chosen = Some(pair.peer.clone());
                if !expected {
                    self.out_of_order_at = now + OUT_OF_ORDER_INTERVAL;
                }
                break;
            }
            wake = Some(wake.map_or(at, |wake| wake.min(at)));
            if pair.not_before <= now {
                expected = false;
                if now < self.patient_until {
                    wake = wake.min(Some(self.patient_until));
                    break;
                }
            }
        }
        self.ask_at = wake;
        chosen
    }

    /// Draws the conclusions from an ask that has ended.
    pub(super) fn learn_from_ask(&mut self, now: Time, peer: &NodeName, end_reason: EndReason) {
        let absent = reason_of_state(self.peers.get(peer));
        let is_expected = self
            .sweep_plan
            .open_pairs()
            .find(|pair| pair.not_before <= now);
        let is_expected = is_expected.is_some_and(|expected| expected.peer == *peer);
        let at_bye = self.sweep_plan.is_at_bye();
        let lengths = if self.sweep_plan.players < LARGE {
            WORTH_WAITING
        } else {
            WORTH_WAITING_LARGE
        };
        let worth_waiting = self.meeting_length().mul_f64(lengths);
        let Some(pair) = self.sweep_plan.pair_mut(peer) else {
            return;
        };
        pair.peer_wants_us = false;
        pair.quiet = matches!(end_reason, EndReason::Refused(Refusal::Quiet, _));
        let strike = match end_reason {
            EndReason::NoAnswer => Some(absent.unwrap_or(Reason::Unreachable)),
            EndReason::Refused(refusal, free_in) => {
                let wait = free_in.unwrap_or(RETRY_MIN).clamp(RETRY_MIN, RETRY_MAX);
                pair.busy_until = now + wait;
                if pair.quiet {
                    // It may restart again and again: nobody keeps the order for its sake.
                    pair.not_before = pair.busy_until;
                } else if refusal == Refusal::Expecting {
                    // It waits itself. Waiting for who waits closes to a ring in which nobody moves
                    // any more.
                } else if is_expected && wait <= worth_waiting {
                    self.patient_until = self.patient_until.max(now + wait + SLACK);
                } else if is_expected && !at_bye {
                    self.patient_until = now;
                }
                reason_of_refusal(refusal)
            }
            _ => None,
        };
        // Only asks in a row and in vain for the same reason count: any other answer shows that it
        // is there.
        if strike.is_none() || strike != pair.last_reason {
            pair.strikes = 0;
        }
        let Some(reason) = strike else { return };
        pair.strikes = pair.strikes.saturating_add(1);
        pair.last_reason = Some(reason);
        let pause = PAUSE_AFTER_STRIKE * u32::from(pair.strikes);
        pair.not_before = now + pause.min(PAUSE_AFTER_STRIKE_MAX);
        // Who is only behind catches up: that alone never gives it up, the end of the sweep does.
        let is_behind = reason == Reason::NotMet;
        if absent.is_some() || (pair.strikes >= STRIKES_MAX && !is_behind) {
            self.give_up(peer, reason);
        }
    }
}

/// The reason that stands for the pair if a refusal is repeated; `None` if it only means another
/// time.
fn reason_of_refusal(refusal: Refusal) -> Option<Reason> {
    match refusal {
        Refusal::Busy
        | Refusal::Expecting
        | Refusal::Crossed
        | Refusal::Quiet
        | Refusal::Stopping => None,
        Refusal::Sweep | Refusal::Unknown | Refusal::StaleEpoch => Some(Reason::NotMet),
        Refusal::NameConflict => Some(Reason::NameConflict),
        Refusal::Incompatible => Some(Reason::Incompatible),
        Refusal::Spawn => Some(Reason::Spawn),
    }
}
