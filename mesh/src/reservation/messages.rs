//! How the slot reacts to the messages of its present meeting.

use std::net::SocketAddr;
use std::time::Duration;

use super::Slot;
use super::action::{Action, EndReason};
use super::lease::{ClientLease, ServerLease};
use super::meeting::{Pending, Step};
use crate::io::{ClientStart, Output};
use crate::wire::{Body, Complaints, Handover, MeetingId, Refusal, Role};
use crate::{TestSpec, Time, rules};

/// The least socket buffer that is believed of a server, in bytes. A smaller one would lose
/// datagrams at the server itself.
const BUFFER_MIN: u64 = 16 << 10;

impl Slot {
    /// Handles a message of the present meeting. The caller has checked [`Self::is_in`].
    pub(crate) fn on_message(&mut self, now: Time, body: Body, complaints: &Complaints) {
        self.hear_complaints(complaints);
        let is_parting = self
            .meeting
            .as_ref()
            .filter(|m| matches!(m.step, Step::Draining));
        if let (Some(meeting), Body::Next { .. } | Body::Grant { .. } | Body::Go { .. }) =
            (is_parting, &body)
        {
            // The peer does not know yet that this node has left.
            self.actions.push_back(meeting.send(Body::bare_end()));
            return;
        }
        match body {
            Body::Sweep | Body::Request { .. } => {}
            Body::Next { test } => self.on_next(now, test),
            Body::Grant {
                test,
                address,
                port,
                buffer,
                agreed,
            } => {
                let remote = SocketAddr::new(address.to_canonical(), port);
                if self.on_agreement(now, test, &agreed) {
                    self.on_grant(now, test, remote, buffer);
                }
            }
            Body::Refuse {
                refusal,
                free_in_ms,
            } => self.on_refuse(now, refusal, free_in_ms),
            Body::Go { handover } => self.on_go(now, handover),
            Body::End { handover, confirm } => self.on_end(now, handover, confirm),
        }
    }

    fn on_end(&mut self, now: Time, handover: Vec<Handover>, confirm: bool) {
        self.close_cells();
        self.take_results(handover);
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        // All iperf3 processes of the peer are dead.
        meeting.peer_server_until = now;
        meeting.confirmed_by = now;
        if matches!(meeting.step, Step::Draining) {
            self.finish(now);
        } else {
            // The peer waits for confirmation that this node sends nothing to it any more, or for
            // the reason of a failure.
            let tell = meeting.is_two_way() || confirm;
            self.leave(now, EndReason::Done, tell);
        }
    }

    fn on_next(&mut self, now: Time, test: u8) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let is_peers = meeting
            .plan
            .get(usize::from(test))
            .is_some_and(|t| t.client != meeting.role);
        if !rules::granter_waits_for_go() && is_peers && meeting.role == Role::Asker {
            return self.open(now, now, test);
        }
        if !is_peers || test < meeting.next_served || !meeting.is_peers_turn() {
            return;
        }
        self.close_cells();
        self.after_server(
            now,
            Pending::Next {
                test,
                received: now,
            },
        );
    }

    fn on_go(&mut self, now: Time, handover: Vec<Handover>) {
        let Some(meeting) = &self.meeting else { return };
        if meeting.role == Role::Granter && meeting.is_peers_turn() {
            self.take_results(handover);
            self.after_server(now, Pending::Go);
        }
    }

    /// Acts on a message that shows that the peer's client is dead, so this node's server has
    /// nothing left to do.
    fn after_server(&mut self, now: Time, pending: Pending) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        meeting.pending = Some(pending);
        match meeting.run {
            Some(run) => self.actions.push_back(Action::Do(Output::Kill(run))),
            None => self.on_pending(now),
        }
    }

    pub(super) fn on_pending(&mut self, now: Time) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        match meeting.pending.take() {
            Some(Pending::Next { test, received }) => self.open(now, received, test),
            Some(Pending::Go) => {
                // `go` means that all clients of the asker are dead.
                meeting.hold_until = now;
                self.take_turn(now);
            }
            None => meeting.turn_to(Step::Listening, now),
        }
    }

    /// Takes over the tests that the granter agrees to, which the grant of the first test tells.
    /// Returns whether the test may begin: no limit of the granter, no test.
    fn on_agreement(&mut self, now: Time, test: u8, agreed: &[TestSpec]) -> bool {
        let Some(meeting) = &mut self.meeting else {
            return false;
        };
        let Step::Asked { test: asked, lease } = meeting.step else {
            return false;
        };
        let is_first = meeting.role == Role::Asker && test == 0;
        if asked != test || !is_first {
            return true;
        }
        let before = meeting.plan[0].spec.clone();
        if !meeting.agree(agreed) {
            self.leave(now, EndReason::NoAnswer, true);
            return false;
        }
        let lease = lease.shortened(&before, &meeting.plan[0].spec);
        meeting.step = Step::Asked { test, lease };
        true
    }

    fn on_grant(&mut self, now: Time, test: u8, remote: SocketAddr, buffer: Option<u64>) {
        let asked = self.meeting.as_ref().map(|meeting| meeting.step);
        let Some(Step::Asked { test: asked, lease }) = asked else {
            return;
        };
        if asked != test || now > lease.start_by {
            return;
        }
        self.close_cells();
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let lease = if !rules::lease_counts_from_request() {
            ClientLease::from_request(now, &meeting.plan[usize::from(test)].spec)
        } else {
            lease
        };
        let spec = meeting.plan[usize::from(test)].spec.clone();
        // Any earlier server is dead. The request was received before it was granted.
        let far_end = ServerLease::from_request(now, &spec).hold_until;
        meeting.peer_server_until = if spec.bidir { far_end } else { now };
        self.runs += 1;
        meeting.run = Some(self.runs);
        meeting.turn_to(Step::RunningClient { test, lease }, now);
        let start = ClientStart {
            run: self.runs,
            meeting: meeting.id.clone(),
            sweep: meeting.sweep,
            peer: meeting.peer.name.clone(),
            spec,
            remote,
            buffer: buffer.filter(|bytes| *bytes >= BUFFER_MIN),
            start_by: lease.start_by,
            deadline: lease.use_until,
        };
        self.actions
            .push_back(Action::Do(Output::StartClient(start)));
    }

    fn on_refuse(&mut self, now: Time, refusal: Refusal, free_in_ms: Option<u64>) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        // Only the request as a whole can be refused. For later tests, only the start of a server
        // can fail.
        let is_answer = match meeting.step {
            Step::Asked { test, .. } => {
                test == 0 || matches!(refusal, Refusal::Spawn | Refusal::Resources)
            }
            _ => false,
        };
        if is_answer {
            let free_in = free_in_ms.map(Duration::from_millis);
            // A node that refuses has no server running.
            meeting.peer_server_until = now;
            self.close_cells();
            self.leave(now, EndReason::Refused(refusal, free_in), false);
        }
    }

    /// Handles the report that a message of this meeting could not be delivered.
    pub(crate) fn on_undelivered(&mut self, now: Time, id: &MeetingId) {
        let Some(meeting) = self.meeting.as_mut().filter(|meeting| meeting.id == *id) else {
            return;
        };
        let granted_nothing = match meeting.step {
            Step::Asked { .. } => true,
            Step::Listening => {
                meeting.role == Role::Asker && meeting.next_served == meeting.first_of_granter()
            }
            Step::RunningClient { .. }
            | Step::StartingServer { .. }
            | Step::Serving { .. }
            | Step::Draining => false,
        };
        if matches!(meeting.step, Step::Draining) {
            // Perhaps nobody is left who could confirm the end.
            meeting.confirmed_by = now;
            self.finish(now);
        } else if granted_nothing {
            self.leave(now, EndReason::NoAnswer, true);
        }
    }
}
