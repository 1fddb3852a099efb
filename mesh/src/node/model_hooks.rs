//! Hooks of the model check into a node, in test builds only; the rest of the node is the shipped
//! code. The check decides when the node asks which peer, so that it covers all schedules at once.
//! The node's instants can move into the past, and nodes that will behave alike have equal hashes.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::{Input, Node, Settings};
use crate::node::quota::Quotas;
use crate::node::sweep_plan::SweepPlan;
use crate::wire::MeetingId;
use crate::{Epoch, NodeName, Reason, TestSpec, Time};

/// A time that is longer than any exploration lasts.
const NEVER: Duration = Duration::from_secs(1 << 30);

impl SweepPlan {
    /// Creates the sweep plan of a node that has given up all peers and pauses for ever.
    pub(crate) fn at_rest(
        now: Time,
        me: &NodeName,
        tests: &[TestSpec],
        others: &[NodeName],
    ) -> Self {
        let protocols = tests.iter().map(|test| test.protocol);
        let mut sweep_plan = Self::new(now, 1, me, protocols, others.iter(), std::iter::empty());
        for other in others {
            sweep_plan.give_up(other, Reason::NotMet);
            if let Some(pair) = sweep_plan.progress_mut(other) {
                // A view in which the peer returns reopens the pair; the node must not ask at once.
                pair.busy_until = now + NEVER;
            }
        }
        sweep_plan.pause_began = Some(now);
        sweep_plan
    }
}

impl Node {
    /// Creates a node that accepts every request and makes none of its own: it is in the endless
    /// pause after a sweep in which it has given up all peers.
    pub(crate) fn resting(settings: Settings, now: Time, at_rest: SweepPlan) -> Self {
        let mut node = Self::new(
            Settings {
                interval: NEVER,
                ..settings
            },
            now,
        );
        node.rest(now, at_rest);
        node
    }

    /// Resets what the schedule has learned.
    pub(crate) fn rest(&mut self, now: Time, at_rest: SweepPlan) {
        self.sweep_plan = at_rest;
        self.quotas = Quotas::default();
        (self.idle_since, self.result_at) = (now, now);
        (self.patient_until, self.ask_at) = (now, None);
    }

    /// Makes the schedule choose this peer now.
    pub(crate) fn ask_now(&mut self, now: Time, peer: &NodeName) {
        self.sweep_plan.welcome(peer);
        self.peers.set_reached(peer, true);
        if let Some(pair) = self.sweep_plan.progress_mut(peer) {
            pair.busy_until = now;
            pair.peer_wants_us = true;
        }
        self.handle(now, Input::Tick);
    }

    /// Lets time pass although the clock always shows `now`: moves all other instants instead.
    pub(crate) fn age(&mut self, now: Time, by: Duration) {
        self.slot.age(now, by);
        self.quiet_until = (self.quiet_until - by).max(now);
    }

    /// Returns the present meeting.
    pub(crate) fn meeting_id(&self) -> Option<&MeetingId> {
        self.slot.meeting_id()
    }

    /// Returns when the slot needs its next tick.
    pub(crate) fn slot_deadline(&self) -> Option<Time> {
        self.slot.deadline()
    }

    /// Returns the rest of the quiet time.
    pub(crate) fn quiet_for(&self, now: Time) -> Duration {
        self.quiet_until.since(now)
    }

    /// Returns whether the node would take this request of the peer for a new one.
    pub(crate) fn is_new_request(&self, peer: &NodeName, epoch: Epoch, number: u64) -> bool {
        let peer = self.peers.get(peer);
        peer.is_none_or(|peer| peer.requests.is_new(epoch, number))
    }
}

/// The hash covers everything that decides the node's behaviour except its quiet time, as long as
/// [`Node::rest`] resets the node after every input.
impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        debug_assert!(self.outputs.is_empty());
        (self.settings.epoch, &self.slot, self.stopping).hash(state);
        for peer in self.peers.iter() {
            (&peer.member.name, peer.member.epoch, peer.requests).hash(state);
        }
    }
}
