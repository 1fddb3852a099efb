//! The one slot of a node: both sides of a reservation, from the request to the end of the meeting.
//!
//! Asking takes the slot first, and a node without a free slot refuses at once, so no node waits
//! for another one's slot while it holds its own. The slot is free again when this node's own
//! iperf3 is dead *and* the peer's iperf3 can send nothing more, because the peer said so or
//! because its lease is over. `docs/protocol.md` has the reasons, [`crate::reservation::lease`] the
//! instants.
//!
//! The slot does not decide which peer to meet, nor whether a request may be granted: the node
//! decides both.

mod action;
pub(crate) mod lease;
mod meeting;
mod meeting_numbers;
mod messages;
#[cfg(all(test, feature = "flaws"))]
mod model_hooks;
mod ports;
mod processes;
mod verdicts;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) use action::{Action, EndReason};
pub(crate) use meeting::Partner;
use meeting::{Meeting, Step};
use meeting_numbers::MeetingNumbers;
pub use ports::PortRange;
use ports::PortRotation;

use crate::io::{Output, RunId};
use crate::protocol::CONFIRMED_WITHIN;
use crate::rules;
use crate::status::MeetingStatus;
use crate::wire::{Body, MeetingId, MeetingKind, PlannedTest, Role};
use crate::{Epoch, NodeName, Protocol, TestSpec, Time};

/// How long a test may last beyond its length before it counts as overdue.
const OVERDUE: Duration = Duration::from_millis(500);

/// A request that the node grants.
pub(crate) struct Granted {
    /// The sweep of the meeting.
    pub(crate) sweep: u64,
    /// The tests that the peer asks for.
    pub(crate) plan: Vec<PlannedTest>,
    /// This node's own limits for each test of the plan.
    pub(crate) own: Vec<TestSpec>,
    /// The protocols that this node wants to run as a client.
    pub(crate) wanted: Vec<Protocol>,
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    me: NodeName,
    epoch: Epoch,
    address: IpAddr,
    ports: PortRotation,
    numbers: MeetingNumbers,
    runs: RunId,
    meeting: Option<Meeting>,
    actions: VecDeque<Action>,
}

impl Slot {
    pub(crate) fn new(
        me: NodeName,
        epoch: Epoch,
        address: IpAddr,
        ports: PortRange,
        secret: u128,
    ) -> Self {
        Self {
            me,
            epoch,
            address,
            ports: PortRotation::new(ports, epoch.0),
            numbers: MeetingNumbers::new(secret),
            runs: 0,
            meeting: None,
            actions: VecDeque::new(),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the other node of the present meeting.
    pub(crate) fn peer(&self) -> Option<&NodeName> {
        self.meeting.as_ref().map(|meeting| &meeting.peer.name)
    }

    /// Returns the present meeting.
    pub(crate) fn meeting(&self) -> Option<MeetingStatus> {
        self.meeting.as_ref().map(|meeting| MeetingStatus {
            peer: meeting.peer.name.clone(),
            role: meeting.role,
            began: meeting.began,
        })
    }

    /// Returns whether `id` is the present meeting, and whether the message comes from that epoch
    /// of the other node that is in the meeting.
    pub(crate) fn is_in(&self, id: &MeetingId, from: &NodeName, from_epoch: Epoch) -> bool {
        self.meeting.as_ref().is_some_and(|meeting| {
            let is_this = meeting.id == *id
                || !rules::meetings_are_compared()
                || (!rules::epochs_are_compared() && meeting.id.number == id.number);
            let is_this_life = meeting.peer.epoch == from_epoch || !rules::epochs_are_compared();
            is_this && meeting.peer.name == *from && is_this_life
        })
    }

    /// Returns whether this node has asked this peer for a meeting and has no answer yet.
    pub(crate) fn is_asking(&self, peer: &NodeName) -> bool {
        self.meeting.as_ref().is_some_and(|meeting| {
            meeting.peer.name == *peer
                && meeting.role == Role::Asker
                && matches!(meeting.step, Step::Asked { test: 0, .. })
        })
    }

    /// Returns how long the present meeting is expected to last from now, if nothing more goes
    /// wrong.
    pub(crate) fn free_in(&self, now: Time) -> Duration {
        let Some(meeting) = &self.meeting else {
            return Duration::ZERO;
        };
        let (current, deadline) = match meeting.step {
            Step::Asked { test, lease } | Step::RunningClient { test, lease } => {
                (test, lease.use_until)
            }
            Step::StartingServer { test, lease, .. } | Step::Serving { test, lease } => {
                (test, lease.use_until)
            }
            Step::Listening => (meeting.next_served.saturating_sub(1), now),
            Step::Draining => return meeting.drained_by().since(now),
        };
        let current = usize::from(current);
        let length = meeting
            .plan
            .get(current)
            .map_or(Duration::ZERO, |test| test.spec.length());
        let due = meeting.step_began + length + OVERDUE;
        let end = if now <= due { due } else { deadline };
        let rest: Duration = meeting
            .plan
            .iter()
            .skip(current + 1)
            .map(|test| test.spec.length())
            .sum();
        end.since(now) + rest
    }

    /// Returns when to call [`Self::on_timeout`].
    pub(crate) fn deadline(&self) -> Option<Time> {
        let meeting = self.meeting.as_ref()?;
        match meeting.step {
            Step::Asked { .. } if waits_for_ever() => None,
            Step::Asked { lease, .. } => Some(lease.start_by),
            Step::Listening => Some(meeting.hold_until),
            Step::Draining => Some(meeting.drained_by()),
            // These end when this node's iperf3 dies, which has a deadline of its own.
            Step::RunningClient { .. } | Step::StartingServer { .. } | Step::Serving { .. } => None,
        }
    }

    /// Takes the slot and asks `peer` for a meeting of this kind. The slot must be free, and the
    /// first test of the plan must belong to the asker.
    pub(crate) fn ask(
        &mut self,
        now: Time,
        peer: Partner,
        sweep: u64,
        plan: Vec<PlannedTest>,
        kind: MeetingKind,
    ) {
        debug_assert!(self.meeting.is_none());
        let id = MeetingId {
            asker: self.me.clone(),
            epoch: self.epoch,
            number: self.numbers.next(),
        };
        let own = plan.iter().map(|test| test.spec.clone()).collect();
        let mut meeting = Meeting::new(id, peer, Role::Asker, sweep, plan, own, now);
        let Some(test) = meeting.todo.pop_front() else {
            return;
        };
        meeting.ask_for(test, now);
        self.actions.push_back(meeting.send(Body::Request {
            plan: meeting.plan.clone(),
            kind,
        }));
        self.meeting = Some(meeting);
    }

    /// Takes the slot for a meeting that the peer asked for. The slot must be free.
    pub(crate) fn grant(&mut self, now: Time, id: MeetingId, peer: Partner, request: Granted) {
        debug_assert!(self.meeting.is_none() || !rules::busy_node_refuses());
        let Granted {
            sweep,
            plan,
            own,
            wanted,
        } = request;
        let mut meeting = Meeting::new(id, peer, Role::Granter, sweep, plan, own.clone(), now);
        meeting.agree(&own);
        let plan = &meeting.plan;
        meeting
            .todo
            .retain(|&test| wanted.contains(&plan[usize::from(test)].spec.protocol));
        self.meeting = Some(meeting);
        self.open(now, now, 0);
    }

    /// Gives the slot back before anything was granted, because the peer asked at the same time and
    /// is the rightful asker.
    pub(crate) fn withdraw(&mut self, now: Time) {
        self.leave(now, EndReason::Withdrawn, false);
    }

    /// Leaves the present meeting because this node is stopping.
    pub(crate) fn cancel(&mut self, now: Time) {
        match &mut self.meeting {
            // This node meets no other peer, so whatever is still sent to it disturbs no test.
            Some(meeting) if matches!(meeting.step, Step::Draining) => {
                meeting.peer_server_until = now;
                meeting.confirmed_by = now;
                self.finish(now);
            }
            _ => self.leave(now, EndReason::Cancelled, true),
        }
    }

    /// Leaves the present meeting because this node has another `address` now. The peer's iperf3
    /// may still send to the old one, which may come back, and the peer may not hear that this node
    /// has left. The slot is therefore free only when the peer's leases are over.
    pub(crate) fn move_to(&mut self, now: Time, address: IpAddr) {
        self.address = address;
        if let Some(meeting) = &mut self.meeting {
            meeting.peer_server_until = meeting.peer_server_until.max(meeting.hold_until);
        }
        self.leave(now, EndReason::Moved, true);
    }

    pub(crate) fn on_timeout(&mut self, now: Time) {
        let Some(meeting) = &self.meeting else { return };
        match meeting.step {
            Step::Asked { lease, .. } if now >= lease.start_by && !waits_for_ever() => {
                self.leave(now, EndReason::NoAnswer, true);
            }
            Step::Listening if now >= meeting.hold_until => {
                self.leave(now, EndReason::Expired, true);
            }
            Step::Draining => self.finish(now),
            _ => {}
        }
    }

    /// Ends the meeting as soon as this node's iperf3 is dead. `tell` says whether to send an `end`
    /// to the peer.
    pub(super) fn leave(&mut self, now: Time, end_reason: EndReason, tell: bool) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        if meeting.leaving.is_some() {
            return;
        }
        meeting.leaving = Some((end_reason, tell));
        match meeting.run {
            Some(run) if !rules::slot_waits_for_reaping() => {
                self.actions.push_back(Action::Do(Output::Kill(run)));
                self.finish(now);
            }
            Some(run) => self.actions.push_back(Action::Do(Output::Kill(run))),
            None => self.finish(now),
        }
    }

    /// Acts on the death of all iperf3 processes of this node: tells the peer, and frees the slot
    /// unless the peer may still be sending to this node, or is to tell why a test failed.
    pub(super) fn finish(&mut self, now: Time) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let Some((end_reason, tell)) = meeting.leaving else {
            return;
        };
        if tell {
            let handover = std::mem::take(&mut meeting.handover);
            let confirm = end_reason == EndReason::Done && !meeting.open_cells.is_empty();
            if confirm {
                meeting.confirmed_by = now + CONFIRMED_WITHIN;
            }
            let end = Body::End { handover, confirm };
            self.actions.push_back(meeting.send(end));
            meeting.leaving = Some((end_reason, false));
        }
        let is_awaiting = now < meeting.drained_by() && rules::far_end_is_awaited();
        if is_awaiting && end_reason != EndReason::Cancelled {
            meeting.turn_to(Step::Draining, now);
            return;
        }
        if !matches!(end_reason, EndReason::Moved | EndReason::Cancelled) {
            self.lose_results();
        }
        self.close_cells();
        let Some(meeting) = self.meeting.take() else {
            return;
        };
        self.actions.push_back(Action::Freed {
            peer: meeting.peer.name,
            role: meeting.role,
            began: meeting.began,
            reason: end_reason,
            tested: meeting.has_tested.then_some(meeting.id),
        });
    }
}

fn waits_for_ever() -> bool {
    !rules::refusal_is_immediate() || !rules::one_asker_withdraws()
}
