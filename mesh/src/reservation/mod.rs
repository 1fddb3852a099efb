//! The one slot of a node: both sides of a reservation, from the request to the end of the meeting.
//!
//! Asking takes the slot first, and who has no free slot refuses at once: nobody waits while
//! holding. The slot is free again when this node's own iperf3 is dead *and* the peer's is known to
//! send nothing more, because the peer said so or because its lease is over. `docs/protocol.md` has
//! the reasons, [`crate::reservation::lease`] the instants.
//!
//! The slot does not know whom to meet, nor whether a request is welcome: that is the coordinator's
//! part.

mod action;
pub(crate) mod lease;
mod meeting;
#[cfg(all(test, feature = "flaws"))]
mod model_hooks;
mod ports;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(crate) use action::{Action, EndReason};
pub(crate) use meeting::Partner;
use meeting::{Meeting, Pending, Step};
pub use ports::PortRange;
use ports::PortRotation;

use crate::io::{ClientStart, Output, RunId, ServerFailure, ServerStart};
use crate::node::status::MeetingStatus;
use crate::protocol::START_WINDOW;
use crate::rules;
use crate::wire::{Body, Handover, MeetingId, PlannedTest, Refusal, Role};
use crate::{Epoch, NodeName, Outcome, Protocol, Reason, Time};
use lease::{ClientLease, ServerLease};

/// How much later than its length a test is before it counts as overdue.
const OVERDUE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    me: NodeName,
    epoch: Epoch,
    address: IpAddr,
    ports: PortRotation,
    meetings: u64,
    runs: RunId,
    meeting: Option<Meeting>,
    actions: VecDeque<Action>,
}

impl Slot {
    pub(crate) fn new(me: NodeName, epoch: Epoch, address: IpAddr, ports: PortRange) -> Self {
        Self {
            me,
            epoch,
            address,
            ports: PortRotation::new(ports, epoch.0),
            meetings: 0,
            runs: 0,
            meeting: None,
            actions: VecDeque::new(),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The other node of the present meeting.
    pub(crate) fn peer(&self) -> Option<&NodeName> {
        self.meeting.as_ref().map(|meeting| &meeting.peer.name)
    }

    /// The present meeting.
    pub(crate) fn meeting(&self) -> Option<MeetingStatus> {
        self.meeting.as_ref().map(|meeting| MeetingStatus {
            peer: meeting.peer.name.clone(),
            role: meeting.role,
            began: meeting.began,
        })
    }

    /// Whether this is the present meeting, and the message is from the other node's right life.
    pub(crate) fn is_in(&self, id: &MeetingId, from: &NodeName, from_epoch: Epoch) -> bool {
        self.meeting.as_ref().is_some_and(|meeting| {
            let is_this = meeting.id == *id
                || !rules::meetings_are_compared()
                || (!rules::epochs_are_compared() && meeting.id.number == id.number);
            let is_this_life = meeting.peer.epoch == from_epoch || !rules::epochs_are_compared();
            is_this && meeting.peer.name == *from && is_this_life
        })
    }

    /// Whether this node has asked that peer for a meeting and has no answer yet.
    pub(crate) fn is_asking(&self, peer: &NodeName) -> bool {
        self.meeting.as_ref().is_some_and(|meeting| {
            meeting.peer.name == *peer
                && meeting.role == Role::Asker
                && matches!(meeting.step, Step::Asked { test: 0, .. })
        })
    }

    /// When the present meeting is expected to be over, from now, if nothing more goes wrong.
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
            Step::Draining => return meeting.peer_server_until.since(now),
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

    /// When [`Self::on_timeout`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let meeting = self.meeting.as_ref()?;
        match meeting.step {
            Step::Asked { .. } if waits_for_ever() => None,
            Step::Asked { lease, .. } => Some(lease.start_by),
            Step::Listening => Some(meeting.hold_until),
            Step::Draining => Some(meeting.peer_server_until),
            // These end with the death of this node's iperf3, which has a deadline of its own.
            Step::RunningClient { .. } | Step::StartingServer { .. } | Step::Serving { .. } => None,
        }
    }

    /// Takes the slot and asks `peer` for a meeting. The slot must be free, the plan's first test
    /// the asker's.
    pub(crate) fn ask(&mut self, now: Time, peer: Partner, sweep: u64, plan: Vec<PlannedTest>) {
        debug_assert!(self.meeting.is_none());
        self.meetings += 1;
        let id = MeetingId {
            asker: self.me.clone(),
            epoch: self.epoch,
            number: self.meetings,
        };
        let mut meeting = Meeting::new(id, peer, Role::Asker, sweep, plan, now);
        let Some(test) = meeting.todo.pop_front() else {
            return;
        };
        meeting.ask_for(test, now);
        self.actions.push_back(meeting.send(Body::Request {
            plan: meeting.plan.clone(),
        }));
        self.meeting = Some(meeting);
    }

    /// Takes the slot for a meeting that the peer asked for. The slot must be free.
    /// `wanted` are the protocols that this node wants to run as a client.
    pub(crate) fn grant(
        &mut self,
        now: Time,
        id: MeetingId,
        peer: Partner,
        sweep: u64,
        plan: Vec<PlannedTest>,
        wanted: &[Protocol],
    ) {
        debug_assert!(self.meeting.is_none() || !rules::busy_node_refuses());
        let mut meeting = Meeting::new(id, peer, Role::Granter, sweep, plan, now);
        let plan = &meeting.plan;
        meeting
            .todo
            .retain(|&test| wanted.contains(&plan[usize::from(test)].spec.protocol));
        self.meeting = Some(meeting);
        self.open(now, now, 0);
    }

    /// Gives the slot back before anything was granted: the other side asked at the same time and
    /// is rightful.
    pub(crate) fn withdraw(&mut self, now: Time) {
        self.leave(now, EndReason::Withdrawn, false);
    }

    /// Leaves the present meeting since this node is stopping.
    pub(crate) fn cancel(&mut self, now: Time) {
        match &mut self.meeting {
            // What may still be sent to this node disturbs nobody: it meets nobody else.
            Some(meeting) if matches!(meeting.step, Step::Draining) => {
                meeting.peer_server_until = now;
                self.finish(now);
            }
            _ => self.leave(now, EndReason::Cancelled, true),
        }
    }

    /// Handles a message of the present meeting. The caller has checked [`Self::is_in`].
    pub(crate) fn on_message(&mut self, now: Time, body: Body) {
        let is_parting = self
            .meeting
            .as_ref()
            .filter(|m| matches!(m.step, Step::Draining));
        if let (Some(meeting), Body::Next { .. } | Body::Grant { .. } | Body::Go { .. }) =
            (is_parting, &body)
        {
            // It has not heard that this node has left.
            self.actions.push_back(meeting.send(Body::End {
                handover: Vec::new(),
            }));
            return;
        }
        match body {
            Body::Sweep | Body::Request { .. } => {}
            Body::Next { test } => self.on_next(now, test),
            Body::Grant {
                test,
                address,
                port,
            } => self.on_grant(now, test, address, port),
            Body::Refuse {
                refusal,
                free_in_ms,
            } => self.on_refuse(now, refusal, free_in_ms),
            Body::Go { handover } => self.on_go(now, handover),
            Body::End { handover } => self.on_end(now, handover),
        }
    }

    fn on_end(&mut self, now: Time, handover: Vec<Handover>) {
        self.take_results(handover);
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        // None of the peer's iperf3 lives.
        meeting.peer_server_until = now;
        if matches!(meeting.step, Step::Draining) {
            self.finish(now);
        } else {
            // The peer waits for the word that nothing is sent to it any more.
            let tell = meeting.is_two_way();
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

    /// The peer's client is dead, so this node's server has nothing left to do.
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

    fn on_pending(&mut self, now: Time) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        match meeting.pending.take() {
            Some(Pending::Next { test, received }) => self.open(now, received, test),
            Some(Pending::Go) => {
                // The word of the asker: none of its clients lives any more.
                meeting.hold_until = now;
                self.take_turn(now);
            }
            None => meeting.turn_to(Step::Listening, now),
        }
    }

    fn on_grant(&mut self, now: Time, test: u8, address: IpAddr, port: u16) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let Step::Asked { test: asked, lease } = meeting.step else {
            return;
        };
        if asked != test || now > lease.start_by {
            return;
        }
        let lease = if !rules::lease_counts_from_request() {
            ClientLease::from_request(now, &meeting.plan[usize::from(test)].spec)
        } else {
            lease
        };
        let spec = meeting.plan[usize::from(test)].spec.clone();
        // Any server before this one is dead. The request was received before it was granted.
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
            remote: SocketAddr::new(address, port),
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
        // A request alone is refused; of the later tests only the start of a server can fail.
        let is_answer = match meeting.step {
            Step::Asked { test, .. } => test == 0 || refusal == Refusal::Spawn,
            _ => false,
        };
        if is_answer {
            let free_in = free_in_ms.map(Duration::from_millis);
            // Who refuses has no server that lives.
            meeting.peer_server_until = now;
            self.leave(now, EndReason::Refused(refusal, free_in), false);
        }
    }

    /// This node's client is dead. `forward` is the cell of this node, `reverse` the peer's in a
    /// two-way test; `None` if the client was killed before its time, which is no result.
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
        let protocol = meeting.plan[usize::from(test)].spec.protocol;
        if let (Some(Ok(_)), Some(Ok(_))) = (&forward, &reverse) {
            // The ends have agreed that it is over: the server has stopped sending.
            meeting.peer_server_until = now;
        }
        if let Some(outcome) = forward {
            let peer = meeting.peer.name.clone();
            self.actions.push_back(Action::Cell {
                peer,
                protocol,
                outcome,
            });
        }
        if let Some(outcome) = reverse {
            meeting.handover.push(Handover { protocol, outcome });
        }
        if meeting.leaving.is_some() {
            self.finish(now);
        } else {
            self.take_turn(now);
        }
    }

    /// This node's server listens.
    pub(crate) fn on_server_ready(&mut self, now: Time, run: RunId) {
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
            let spec = &meeting.plan[usize::from(test)].spec;
            if spec.bidir {
                meeting.awaiting_results.push(spec.protocol);
            }
            meeting.turn_to(Step::Serving { test, lease }, now);
            self.actions.push_back(meeting.send(Body::Grant {
                test,
                address: self.address,
                port,
            }));
        }
    }

    /// This node's server did not come to listen, and is dead.
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
            let refuse = Body::Refuse {
                refusal: Refusal::Spawn,
                free_in_ms: None,
            };
            self.actions.push_back(meeting.send(refuse));
            self.leave(now, EndReason::SpawnFailed, false);
        }
    }

    /// This node's server is dead; `accepted` tells whether the peer's client had come.
    pub(crate) fn on_server_ended(&mut self, now: Time, run: RunId, accepted: bool) {
        let Some(meeting) = self
            .meeting
            .as_mut()
            .filter(|meeting| meeting.run == Some(run))
        else {
            return;
        };
        meeting.run = None;
        if let (Step::Serving { test, .. }, false) = (meeting.step, accepted) {
            let protocol = meeting.plan[usize::from(test)].spec.protocol;
            meeting
                .awaiting_results
                .retain(|awaiting_results| *awaiting_results != protocol);
        }
        if meeting.leaving.is_some() {
            self.finish(now);
        } else if !rules::granter_waits_for_go() && meeting.role == Role::Granter {
            self.take_turn(now);
        } else {
            self.on_pending(now);
        }
    }

    /// A message of that meeting could not be handed over.
    pub(crate) fn on_undelivered(&mut self, now: Time, id: &MeetingId) {
        let Some(meeting) = self.meeting.as_ref().filter(|meeting| meeting.id == *id) else {
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
        if granted_nothing {
            self.leave(now, EndReason::NoAnswer, true);
        }
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

    /// The next thing of this node's own part, now that none of its iperf3 lives.
    fn take_turn(&mut self, now: Time) {
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
            // Nothing is granted yet: the granter must ask for each of its tests.
            meeting.hold_until = now + START_WINDOW;
            meeting.turn_to(Step::Listening, now);
            let handover = std::mem::take(&mut meeting.handover);
            self.actions.push_back(meeting.send(Body::Go { handover }));
        } else {
            self.leave(now, EndReason::Done, true);
        }
    }

    /// Starts the server of a test that the peer asked for at `received`.
    fn open(&mut self, now: Time, received: Time, test: u8) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let spec = &meeting.plan[usize::from(test)].spec;
        let lease = ServerLease::from_request(received, spec);
        meeting.next_served = test + 1;
        meeting.hold_until = lease.hold_until;
        self.start_server(now, test, 1, lease);
    }

    fn start_server(&mut self, now: Time, test: u8, tries: u16, lease: ServerLease) {
        if now >= lease.use_until {
            // The agent stood still. Nothing was granted under this lease, so nobody lives by it.
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

    fn take_results(&mut self, handover: Vec<Handover>) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        for Handover { protocol, outcome } in handover {
            let Some(at) = meeting
                .awaiting_results
                .iter()
                .position(|awaiting_results| *awaiting_results == protocol)
            else {
                continue;
            };
            meeting.awaiting_results.swap_remove(at);
            let peer = meeting.peer.name.clone();
            self.actions.push_back(Action::Cell {
                peer,
                protocol,
                outcome,
            });
        }
    }

    /// Ends the meeting as soon as this node's iperf3 is dead.
    fn leave(&mut self, now: Time, end_reason: EndReason, tell: bool) {
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

    /// None of this node's iperf3 lives: says so, and frees the slot unless the peer may still be
    /// sending to it.
    fn finish(&mut self, now: Time) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let Some((end_reason, tell)) = meeting.leaving else {
            return;
        };
        if tell {
            let handover = std::mem::take(&mut meeting.handover);
            self.actions.push_back(meeting.send(Body::End { handover }));
            meeting.leaving = Some((end_reason, false));
        }
        let is_exposed = now < meeting.peer_server_until && rules::far_end_is_awaited();
        if is_exposed && end_reason != EndReason::Cancelled {
            meeting.turn_to(Step::Draining, now);
            return;
        }
        let Some(meeting) = self.meeting.take() else {
            return;
        };
        if end_reason != EndReason::Cancelled {
            for protocol in meeting.awaiting_results {
                let (peer, outcome) = (meeting.peer.name.clone(), Err(Reason::ResultLost));
                self.actions.push_back(Action::Cell {
                    peer,
                    protocol,
                    outcome,
                });
            }
        }
        self.actions.push_back(Action::Freed {
            peer: meeting.peer.name,
            role: meeting.role,
            began: meeting.began,
            reason: end_reason,
        });
    }
}

fn waits_for_ever() -> bool {
    !rules::refusal_is_immediate() || !rules::one_asker_withdraws()
}
