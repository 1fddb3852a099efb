//! How the slot starts this node's iperf3 processes and reacts when they end.

use super::Slot;
use super::action::{Action, EndReason};
use super::lease::ServerLease;
use super::meeting::{AwaitedResult, Step};
use crate::io::{Output, RunId, ServerFailure, ServerStart};
use crate::protocol::START_WINDOW;
use crate::wire::{Body, Complaint, Handover, Refusal, Role};
use crate::{Outcome, Time, rules};

impl Slot {
    /// Handles the death of this node's client. `forward` is the result for this node's cell,
    /// `reverse` the result for the peer's cell in a two-way test. `None` means that the client was
    /// killed before its deadline, which is no result.
    pub(crate) fn on_client_ended(
        &mut self,
        now: Time,
        run: RunId,
        forward: Option<Outcome>,
        reverse: Option<Outcome>,
    ) {
        let Some(meeting) = self
            .meeting
            .as_mut()
            .filter(|meeting| meeting.run == Some(run))
        else {
            return;
        };
        meeting.run = None;
        let Step::RunningClient { test, .. } = meeting.step else {
            return;
        };
        if let (Some(Ok(_)), Some(Ok(_))) = (&forward, &reverse) {
            // Both ends have agreed that the test is over: the server has stopped sending.
            meeting.peer_server_until = now;
        }
        if let Some(outcome) = reverse {
            let protocol = meeting.plan[usize::from(test)].spec.protocol;
            meeting.handover.push(Handover { protocol, outcome });
        }
        meeting.has_tested |= matches!(forward, Some(Ok(_)));
        let is_leaving = meeting.leaving.is_some();
        if let Some(outcome) = forward {
            self.take_own_result(test, outcome);
        }
        if is_leaving {
            self.finish(now);
        } else {
            self.take_turn(now);
        }
    }

    /// Handles the report that this node's server is listening.
    pub(crate) fn on_server_ready(&mut self, now: Time, run: RunId, buffer: Option<u64>) {
        let Some(meeting) = self
            .meeting
            .as_mut()
            .filter(|meeting| meeting.run == Some(run))
        else {
            return;
        };
        let Step::StartingServer {
            test, port, lease, ..
        } = meeting.step
        else {
            return;
        };
        if meeting.leaving.is_none() && meeting.pending.is_none() {
            if meeting.plan[usize::from(test)].spec.bidir {
                meeting.awaiting_results.push(AwaitedResult {
                    test,
                    accepted: false,
                });
            }
            meeting.turn_to(Step::Serving { test, lease }, now);
            let agreed = if test == 0 {
                let tests = meeting.plan.iter();
                tests.map(|test| test.spec.clone()).collect()
            } else {
                Vec::new()
            };
            self.actions.push_back(meeting.send(Body::Grant {
                test,
                address: self.address,
                port,
                buffer,
                agreed,
            }));
        }
    }

    /// Handles the death of this node's server before it came to listen.
    pub(crate) fn on_server_failed(&mut self, now: Time, run: RunId, failure: ServerFailure) {
        let Some(meeting) = self
            .meeting
            .as_mut()
            .filter(|meeting| meeting.run == Some(run))
        else {
            return;
        };
        meeting.run = None;
        let Step::StartingServer {
            test, tries, lease, ..
        } = meeting.step
        else {
            return;
        };
        if meeting.leaving.is_some() {
            self.finish(now);
        } else if meeting.pending.is_some() {
            self.on_pending(now);
        } else if failure == ServerFailure::PortTaken && tries < self.ports.count() {
            self.start_server(now, test, tries + 1, lease);
        } else {
            let refusal = match failure {
                ServerFailure::Resources => Refusal::Resources,
                ServerFailure::PortTaken | ServerFailure::Spawn => Refusal::Spawn,
            };
            let refuse = Body::Refuse {
                refusal,
                free_in_ms: None,
            };
            self.actions.push_back(meeting.send(refuse));
            self.leave(now, EndReason::ServerFailed(refusal), false);
        }
    }

    /// Handles the death of this node's server; `accepted` tells whether the peer's client
    /// connected, `complaint` what went wrong at the server.
    pub(crate) fn on_server_ended(
        &mut self,
        now: Time,
        run: RunId,
        accepted: bool,
        complaint: Option<Complaint>,
    ) {
        let Some(meeting) = self
            .meeting
            .as_mut()
            .filter(|meeting| meeting.run == Some(run))
        else {
            return;
        };
        meeting.run = None;
        let (is_leaving, role) = (meeting.leaving.is_some(), meeting.role);
        if let Step::Serving { test, .. } = meeting.step {
            meeting.has_tested |= accepted;
            if let Some(complaint) = complaint {
                meeting.complaints.insert(test, complaint);
            }
            let mut awaiting = meeting.awaiting_results.iter_mut();
            if let Some(awaited) = awaiting.find(|awaited| awaited.test == test) {
                awaited.accepted = accepted;
            }
            self.close_served(test);
        }
        if is_leaving {
            self.finish(now);
        } else if !rules::granter_waits_for_go() && role == Role::Granter {
            self.take_turn(now);
        } else {
            self.on_pending(now);
        }
    }

    /// Continues with this node's own part, now that all its iperf3 processes are dead.
    pub(super) fn take_turn(&mut self, now: Time) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        if let Some(test) = meeting.todo.pop_front() {
            meeting.ask_for(test, now);
            self.actions.push_back(meeting.send(Body::Next { test }));
        } else if meeting.role == Role::Asker
            && usize::from(meeting.first_of_granter()) < meeting.plan.len()
        {
            meeting.next_served = meeting.first_of_granter();
            // Nothing is granted yet: the granter must request each of its tests.
            meeting.hold_until = now + START_WINDOW;
            meeting.turn_to(Step::Listening, now);
            let handover = std::mem::take(&mut meeting.handover);
            self.actions.push_back(meeting.send(Body::Go { handover }));
        } else {
            self.leave(now, EndReason::Done, true);
        }
    }

    /// Starts the server of a test that the peer requested at `received`.
    pub(super) fn open(&mut self, now: Time, received: Time, test: u8) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let spec = &meeting.plan[usize::from(test)].spec;
        let lease = ServerLease::from_request(received, spec);
        meeting.next_served = test + 1;
        meeting.hold_until = lease.hold_until;
        self.start_server(now, test, 1, lease);
    }

    pub(super) fn start_server(&mut self, now: Time, test: u8, tries: u16, lease: ServerLease) {
        if now >= lease.use_until {
            // The agent was frozen. No request was granted under this lease, so no process depends
            // on it.
            self.leave(now, EndReason::Expired, true);
            return;
        }
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        self.runs += 1;
        let port = self.ports.next();
        meeting.run = Some(self.runs);
        meeting.turn_to(
            Step::StartingServer {
                test,
                port,
                tries,
                lease,
            },
            now,
        );
        let start = ServerStart {
            run: self.runs,
            meeting: meeting.id.clone(),
            sweep: meeting.sweep,
            peer: meeting.peer.name.clone(),
            peer_address: meeting.peer.address,
            spec: meeting.plan[usize::from(test)].spec.clone(),
            port,
            start_by: lease.use_until.min(now + START_WINDOW),
            deadline: lease.use_until,
        };
        self.actions
            .push_back(Action::Do(Output::StartServer(start)));
    }
}
