//! Hooks of the model check into a slot, in test builds only: its instants can move into the past,
//! and slots that will behave alike have equal hashes.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::meeting::{Meeting, Pending, Step};
use super::{MeetingId, Slot};
use crate::Time;

impl Slot {
    /// Returns the present meeting.
    pub(crate) fn meeting_id(&self) -> Option<&MeetingId> {
        self.meeting.as_ref().map(|meeting| &meeting.id)
    }

    /// Lets time pass although the clock always shows `now`: moves all other instants instead.
    pub(crate) fn age(&mut self, now: Time, by: Duration) {
        if let Some(meeting) = &mut self.meeting {
            meeting.age(now, by);
        }
    }
}

impl Meeting {
    fn age(&mut self, now: Time, by: Duration) {
        // For these instants, past and present are equivalent.
        let aged = |at: Time| (at - by).max(now);
        self.hold_until = aged(self.hold_until);
        self.peer_server_until = aged(self.peer_server_until);
        self.confirmed_by = aged(self.confirmed_by);
        match &mut self.step {
            Step::Asked { lease, .. } | Step::RunningClient { lease, .. } => {
                lease.start_by = not_after(lease.start_by, now, by);
                lease.use_until = aged(lease.use_until);
            }
            Step::StartingServer { lease, .. } | Step::Serving { lease, .. } => {
                lease.use_until = aged(lease.use_until);
                lease.hold_until = aged(lease.hold_until);
            }
            Step::Listening | Step::Draining => {}
        }
        if let Some(Pending::Next { test, received }) = &mut self.pending {
            // A lease counts from this instant; once the lease is over, the time since then makes
            // no difference.
            let timeout = self.plan[usize::from(*test)].spec.timeout;
            *received = (*received - by).max(now - timeout);
        }
    }
}

/// Ages the last instant at which a grant still counts. After that instant, the time since then
/// makes no difference.
fn not_after(start_by: Time, now: Time, by: Duration) -> Time {
    let start_by = start_by - by;
    if start_by < now {
        Time::default()
    } else {
        start_by
    }
}

/// Names every field, so that a new one cannot be forgotten.
impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            me: _,
            epoch: _,
            address: _,
            ports,
            numbers,
            runs,
            meeting,
            actions,
        } = self;
        debug_assert!(actions.is_empty());
        (ports, numbers, runs, meeting).hash(state);
    }
}

impl Hash for Meeting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            id,
            peer,
            role,
            sweep,
            plan,
            own: _,
            has_tested,
            todo,
            step,
            run,
            hold_until,
            peer_server_until,
            next_served,
            pending,
            handover,
            awaiting_results,
            open_cells,
            complaints,
            confirmed_by,
            leaving,
            // Only estimates for the schedule use these.
            began: _,
            step_began: _,
        } = self;
        (id, peer, role, sweep, plan.len(), todo).hash(state);
        (
            step,
            run,
            hold_until,
            peer_server_until,
            confirmed_by,
            next_served,
            pending,
        )
            .hash(state);
        // The figures affect no decision.
        (handover.len(), awaiting_results, leaving, has_tested).hash(state);
        (open_cells, complaints).hash(state);
    }
}
