//! The share of this node's time that other nodes may take by asking for meetings.
//!
//! Nothing here counts by what an asker says of itself: neither its epoch nor its sweep, only its
//! name, this node's own sweep and this node's own clock. A pair that is refused still meets if it
//! has to, because this node asks in its turn.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::{MeetingKind, Refusal};
use crate::{NodeName, Time};

/// The number of meetings in one sweep that are granted to an asker after the scheduled one. An
/// asker tries three times in a row at most.
const MAKE_UPS_MAX: u8 = 2;

/// How long a node rests from a peer that has held the slot without a test, as a multiple of the
/// time for which it has held the slot: the peer gets a tenth of this node's time at most.
pub(super) const REST: u32 = 9;

/// The number of requests in one sweep that a peer may leave unanswered. After that, its return
/// does not reopen the pair: a peer that comes and goes costs time with every request.
const IN_VAIN_MAX: u8 = 6;

/// The meetings of this node with one other node.
#[derive(Clone, Debug, Default)]
struct Account {
    /// Whether the two nodes have run a test in this sweep, whoever asked.
    has_met: bool,
    /// The number of meetings with a test in this sweep that were granted after the first.
    make_ups: u8,
    /// Whether this node has been in a meeting with the peer in this sweep, or perhaps has: the
    /// peer may have run a test of which this node knows nothing.
    perhaps_met: bool,
    /// The number of requests of this node in this sweep that the peer has left unanswered.
    in_vain: u8,
    /// Whether the two nodes have ever run a test.
    is_proven: bool,
    /// The instant until which requests are refused.
    rests_until: Time,
    /// The instant before which this node does not ask the peer.
    asked_from: Time,
    losses: Losses,
}

/// The time that this node has lost to a peer: a tenth of all, and some time in hand. (The generic
/// cell rate algorithm, ITU-T I.371.)
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    /// The instant at which the losses so far are a tenth of the time again.
    repaid_at: Time,
}

impl Losses {
    fn may_lose(self, now: Time, in_hand: Duration) -> Duration {
        in_hand.saturating_sub(self.repaid_at.since(now) / (REST + 1))
    }

    fn record(&mut self, now: Time, lost: Duration, in_hand: Duration) {
        let repaid_at = self.repaid_at.max(now) + lost * (REST + 1);
        self.repaid_at = repaid_at.min(now + in_hand * (REST + 1));
    }
}

/// The meetings of this node with all other nodes, in its present sweep.
#[derive(Clone, Debug, Default)]
pub(super) struct Quotas {
    sweep: u64,
    accounts: BTreeMap<NodeName, Account>,
    /// The instant until which the requests of nodes that have never run a test with this one are
    /// refused. They share it, because new names cost nothing.
    newcomers_rest_until: Time,
    /// The time lost to such nodes, which they share for the same reason.
    newcomer_losses: Losses,
}

impl Quotas {
    /// Begins to count anew if this is another sweep. Forgets all nodes but those that `is_peer`
    /// names or that are still refused.
    pub(super) fn keep_up(&mut self, now: Time, sweep: u64, is_peer: impl Fn(&NodeName) -> bool) {
        if self.sweep == sweep {
            return;
        }
        self.sweep = sweep;
        self.accounts.retain(|name, account| {
            *account = Account {
                is_proven: account.is_proven,
                rests_until: account.rests_until,
                asked_from: account.asked_from,
                losses: account.losses,
                ..Account::default()
            };
            let is_in_debt = account.rests_until.max(account.losses.repaid_at) > now;
            is_in_debt || (account.is_proven && is_peer(name))
        });
    }

    /// Checks whether a meeting of this kind may be granted to the asker now.
    ///
    /// # Errors
    /// Returns the refusal, and the time after which the asker may try again in this sweep.
    pub(super) fn check(
        &self,
        now: Time,
        asker: &NodeName,
        kind: MeetingKind,
    ) -> Result<(), (Refusal, Option<Duration>)> {
        let account = self.accounts.get(asker);
        let proven = self.proven(asker);
        let rests_until = proven.map_or(self.newcomers_rest_until, |it| it.rests_until);
        if now < rests_until {
            return Err((Refusal::Quota, Some(rests_until.since(now))));
        }
        let is_over = account.is_some_and(|account| match kind {
            MeetingKind::Scheduled => account.has_met,
            MeetingKind::MakeUp => account.make_ups >= MAKE_UPS_MAX,
        });
        if is_over {
            return Err((Refusal::Met, None));
        }
        Ok(())
    }

    /// Returns the kind of this node's next meeting with the peer if this node asks for it.
    pub(super) fn kind_of_next(&self, peer: &NodeName) -> MeetingKind {
        match self.accounts.get(peer) {
            Some(account) if account.has_met || account.perhaps_met => MeetingKind::MakeUp,
            _ => MeetingKind::Scheduled,
        }
    }

    /// Returns the instant before which this node does not ask the peer.
    pub(super) fn asked_from(&self, peer: &NodeName) -> Time {
        let proven = self.proven(peer);
        proven.map_or(Time::default(), |account| account.asked_from)
    }

    /// Leaves a peer alone with which this node has run a test before.
    pub(super) fn leave_alone(&mut self, peer: &NodeName, until: Time) {
        if let Some(account) = self.accounts.get_mut(peer) {
            account.asked_from = until;
        }
    }

    /// Returns whether this node has ever run a test with the peer.
    pub(super) fn is_proven(&self, peer: &NodeName) -> bool {
        self.proven(peer).is_some()
    }

    /// Returns how much time this node may lose to the peer from now on; `in_hand` if it has lost
    /// none so far.
    pub(super) fn may_lose(&self, now: Time, peer: &NodeName, in_hand: Duration) -> Duration {
        let proven = self.proven(peer);
        let losses = proven.map_or(self.newcomer_losses, |account| account.losses);
        losses.may_lose(now, in_hand)
    }

    /// Records time that this node has lost to the peer.
    pub(super) fn record_lost(
        &mut self,
        now: Time,
        peer: &NodeName,
        lost: Duration,
        in_hand: Duration,
    ) {
        let losses = match self.accounts.get_mut(peer) {
            Some(account) if account.is_proven => &mut account.losses,
            _ => &mut self.newcomer_losses,
        };
        losses.record(now, lost, in_hand);
    }

    /// Returns whether the peer is worth another request in this sweep if it has returned.
    pub(super) fn may_reopen(&self, peer: &NodeName) -> bool {
        let account = self.accounts.get(peer);
        account.is_none_or(|account| account.in_vain < IN_VAIN_MAX)
    }

    /// Records that the peer has left a request unanswered. It has perhaps granted it.
    pub(super) fn record_in_vain(&mut self, peer: &NodeName) {
        let account = self.account(peer);
        account.in_vain = account.in_vain.saturating_add(1);
        account.perhaps_met = true;
    }

    /// Records that the peer says that the two nodes have met in this sweep.
    pub(super) fn record_said_to_have_met(&mut self, peer: &NodeName) {
        self.account(peer).perhaps_met = true;
    }

    /// Records a meeting that this node asked for.
    pub(super) fn record_met(&mut self, peer: &NodeName, has_tested: bool) {
        let account = self.account(peer);
        account.perhaps_met = true;
        if has_tested {
            self.record_test(peer);
        }
    }

    /// Records a meeting that this node granted, and that has held its slot for so long.
    pub(super) fn record_granted(
        &mut self,
        now: Time,
        asker: &NodeName,
        held: Duration,
        has_tested: bool,
    ) {
        let account = self.account(asker);
        account.make_ups += u8::from(has_tested && account.has_met);
        account.perhaps_met = true;
        if has_tested {
            return self.record_test(asker);
        }
        let rests_until = if account.is_proven {
            &mut account.rests_until
        } else {
            &mut self.newcomers_rest_until
        };
        *rests_until = now + held * REST;
    }

    fn record_test(&mut self, peer: &NodeName) {
        let newcomer_losses = self.newcomer_losses;
        let account = self.account(peer);
        account.has_met = true;
        if !account.is_proven {
            account.is_proven = true;
            account.losses = newcomer_losses;
        }
    }

    /// Returns the account of a node with which this one has ever run a test.
    fn proven(&self, peer: &NodeName) -> Option<&Account> {
        let account = self.accounts.get(peer);
        account.filter(|account| account.is_proven)
    }

    fn account(&mut self, peer: &NodeName) -> &mut Account {
        self.accounts.entry(peer.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MET: Result<(), (Refusal, Option<Duration>)> = Err((Refusal::Met, None));

    #[test]
    fn make_ups_with_a_test_are_granted_up_to_their_quota() {
        let (now, asker) = (Time::default(), name("a"));
        let mut quotas = Quotas::default();
        quotas.keep_up(now, 1, |_| true);
        for granted in 0..=MAKE_UPS_MAX {
            assert_eq!(
                quotas.check(now, &asker, MeetingKind::MakeUp),
                Ok(()),
                "{granted}"
            );
            quotas.record_granted(now, &asker, Duration::from_secs(1), true);
            assert_eq!(quotas.check(now, &asker, MeetingKind::Scheduled), MET);
        }
        assert_eq!(quotas.check(now, &asker, MeetingKind::MakeUp), MET);
        quotas.keep_up(now, 2, |_| true);
        assert_eq!(quotas.check(now, &asker, MeetingKind::Scheduled), Ok(()));
    }

    #[test]
    fn asker_without_a_test_rests_for_nine_times_its_hold() {
        let (now, asker) = (Time::default(), name("a"));
        let held = Duration::from_secs(1);
        let mut quotas = Quotas::default();
        quotas.keep_up(now, 1, |_| true);
        quotas.record_granted(now, &asker, held, false);
        let rest = Err((Refusal::Quota, Some(9 * held)));
        assert_eq!(quotas.check(now, &asker, MeetingKind::MakeUp), rest);
        assert_eq!(
            quotas.check(now + 9 * held, &asker, MeetingKind::MakeUp),
            Ok(())
        );
    }

    #[test]
    fn peer_costs_a_tenth_of_the_time_and_the_time_in_hand() {
        let (start, peer) = (Time::from_nanos(1 << 50), name("a"));
        let mut quotas = Quotas::default();
        quotas.record_met(&peer, true);
        let (mut now, mut lost) = (start, Duration::ZERO);
        while now < start + Duration::from_secs(1000) {
            let wait = quotas.may_lose(now, &peer, IN_HAND);
            now = now + wait;
            quotas.record_lost(now, &peer, wait, IN_HAND);
            lost += wait;
            now = now + Duration::from_secs(7);
        }
        let tenth = Duration::from_secs(100);
        assert!(lost <= IN_HAND + tenth && lost >= tenth, "{lost:?}");
    }

    #[test]
    fn one_long_loss_is_repaid_in_ten_times_the_time_in_hand() {
        let (now, peer) = (Time::from_nanos(1 << 50), name("a"));
        let mut quotas = Quotas::default();
        quotas.record_met(&peer, true);
        quotas.record_lost(now, &peer, 100 * IN_HAND, IN_HAND);
        assert_eq!(quotas.may_lose(now, &peer, IN_HAND), Duration::ZERO);
        assert_eq!(quotas.may_lose(now + 10 * IN_HAND, &peer, IN_HAND), IN_HAND);
    }

    #[test]
    fn nodes_without_a_test_share_their_losses_and_take_them_along() {
        let now = Time::from_nanos(1 << 50);
        let (met, new, newer) = (name("a"), name("b"), name("c"));
        let mut quotas = Quotas::default();
        quotas.record_met(&met, true);
        quotas.record_lost(now, &new, IN_HAND, IN_HAND);
        quotas.record_met(&newer, true);
        let may_lose = [&met, &new, &newer].map(|peer| quotas.may_lose(now, peer, IN_HAND));
        assert_eq!(may_lose, [IN_HAND, Duration::ZERO, Duration::ZERO]);
    }

    #[test]
    fn peer_that_leaves_and_returns_has_its_losses() {
        let (now, peer) = (Time::from_nanos(1 << 50), name("a"));
        let mut quotas = Quotas::default();
        quotas.record_met(&peer, true);
        quotas.record_lost(now, &peer, IN_HAND, IN_HAND);
        quotas.keep_up(now, 1, |_| false);
        quotas.record_met(&peer, true);
        assert_eq!(quotas.may_lose(now, &peer, IN_HAND), Duration::ZERO);
    }

    const IN_HAND: Duration = Duration::from_secs(40);

    fn name(text: &str) -> NodeName {
        NodeName::new(text).expect("a name")
    }
}
