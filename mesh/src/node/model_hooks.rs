//! What the model check needs of a node: that it asks whom it is told to, whenever it is told to,
//! so that every schedule is covered at once; that its instants can be moved into the past; and one
//! hash for all nodes that will behave alike. It is in no shipped program: everything else about
//! the node is the shipped code.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::{Input, Node, Settings};
use crate::node::sweep_plan::SweepPlan;
use crate::wire::MeetingId;
use crate::{Epoch, NodeName, Reason, TestSpec, Time};

/// Later than anything that happens.
const NEVER: Duration = Duration::from_secs(1 << 30);

impl SweepPlan {
    /// The sweep plan of a node that has given up everybody, and whose pause never ends.
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
                // A view that brings it back gives it another chance, which is not to be taken at
                // once.
                pair.busy_until = now + NEVER;
            }
        }
        sweep_plan.pause_began = Some(now);
        sweep_plan
    }
}

impl Node {
    /// A node that asks nobody by itself, and welcomes everybody: it is in the pause after a sweep
    /// in which it has given up all the others, and that pause never ends.
    pub(crate) fn model_hooks(settings: Settings, now: Time, at_rest: SweepPlan) -> Self {
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

    /// Forgets what the schedule has learnt.
    pub(crate) fn rest(&mut self, now: Time, at_rest: SweepPlan) {
        self.sweep_plan = at_rest;
        self.highest_sweep = self.sweep_plan.number;
        (self.idle_since, self.patient_until, self.ask_at) = (now, now, None);
    }

    /// Lets the schedule choose that peer now.
    pub(crate) fn ask_at_will(&mut self, now: Time, peer: &NodeName) {
        self.sweep_plan.welcome(peer);
        if let Some(pair) = self.sweep_plan.progress_mut(peer) {
            pair.busy_until = now;
            pair.peer_wants_us = true;
        }
        self.handle(now, Input::Tick);
    }

    /// Lets time pass while the clock stands at `now`: everything that was to come comes nearer.
    pub(crate) fn age(&mut self, now: Time, by: Duration) {
        self.slot.age(now, by);
        self.quiet_until = (self.quiet_until - by).max(now);
    }

    /// The present meeting.
    pub(crate) fn meeting_id(&self) -> Option<&MeetingId> {
        self.slot.meeting_id()
    }

    /// When the slot is to be told that time has passed.
    pub(crate) fn slot_deadline(&self) -> Option<Time> {
        self.slot.deadline()
    }

    /// For how long the node still stays out of all meetings after its start.
    pub(crate) fn quiet_for(&self, now: Time) -> Duration {
        self.quiet_until.since(now)
    }

    /// The last meeting that the peer is known to have asked for, and in which life.
    pub(crate) fn last_request(&self, peer: &NodeName) -> Option<(Epoch, u64)> {
        self.peers.get(peer)?.last_request
    }
}

/// What the node will do depends on this alone, and on its quiet time, as long as it rests after
/// every input.
impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        debug_assert!(self.outputs.is_empty());
        (self.settings.epoch, &self.slot, self.stopping).hash(state);
        for peer in self.peers.iter() {
            (&peer.member.name, peer.member.epoch, peer.last_request).hash(state);
        }
    }
}
