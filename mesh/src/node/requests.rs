//! How a node answers the messages of other nodes.

use std::net::IpAddr;
use std::time::Duration;

use super::{Node, reason_of_state};
use crate::io::{Ignored, Output, ReservationOutcome};
use crate::reservation::{EndReason, Granted};
use crate::wire::{Body, Complaints, MeetingId, MeetingKind, Message, PlannedTest, Refusal, Role};
use crate::{NodeName, Protocol, Reason, TestSpec, Time, rules};

/// The reason why a request cannot be granted now, and the time after which it perhaps can.
struct Denial {
    refusal: Refusal,
    free_in: Option<Duration>,
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            free_in: None,
        }
    }
}

impl Node {
    pub(super) fn on_message(&mut self, now: Time, message: Message) {
        if message.to != self.settings.name {
            // Another node had this address before. The sender would not accept an answer from this
            // node in place of that one.
            return self.ignore(&message, Ignored::OtherNode);
        }
        if message.to_epoch != self.settings.epoch && rules::epochs_are_compared() {
            if matches!(message.body, Body::Request { .. }) {
                self.refuse(message, Refusal::StaleEpoch.into());
            } else {
                self.ignore(&message, Ignored::StaleEpoch);
            }
            return;
        }
        self.ping_speaker(now, &message.from, message.from_epoch);
        let is_known = self
            .peers
            .get(&message.from)
            .is_some_and(|peer| peer.is_meetable() && peer.member.epoch == message.from_epoch);
        if is_known {
            self.peers.hear_of_sweep(&message.from, message.sweep);
            self.sweep_plan.hear(&message.from, message.sweep);
        }
        let Some(meeting) = &message.meeting else {
            return;
        };
        if let Body::Grant { address, .. } = &message.body
            && !self.is_address_of(&message.from, *address)
        {
            // A peer must not be able to aim this node's client at a third node.
            return self.ignore(&message, Ignored::OtherAddress);
        }
        match message.body {
            Body::Request { .. } => self.on_request(now, message),
            body if self.slot.is_in(meeting, &message.from, message.from_epoch) => {
                self.slot.on_message(now, body, &message.complaints);
            }
            _ => self.on_foreign(message),
        }
    }

    /// Handles a message about a meeting that is over here, or never was.
    fn on_foreign(&mut self, message: Message) {
        self.ignore(&message, Ignored::OtherMeeting);
        match message.body {
            // The peer waits for something in that meeting, so this node tells it that it is over.
            Body::Next { .. }
            | Body::Grant { .. }
            | Body::Go { .. }
            | Body::End { confirm: true, .. } => self.reply(message, Body::bare_end()),
            Body::Sweep | Body::Request { .. } | Body::Refuse { .. } | Body::End { .. } => {}
        }
    }

    fn ignore(&mut self, message: &Message, reason: Ignored) {
        self.outputs.push_back(Output::Ignored {
            from: message.from.clone(),
            kind: message.body.kind(),
            reason,
        });
    }

    fn is_address_of(&self, peer: &NodeName, address: IpAddr) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|peer| peer.member.control.ip() == address.to_canonical())
    }

    fn on_request(&mut self, now: Time, message: Message) {
        let (Body::Request { plan, kind }, Some(id)) = (&message.body, &message.meeting) else {
            return;
        };
        let is_own = id.asker == message.from && id.epoch == message.from_epoch;
        let Some(peer) = self.peers.get_mut(&message.from) else {
            return self.refuse(message, Refusal::Unknown.into());
        };
        if !is_own || !peer.requests.is_new(id.epoch, id.number) {
            return self.ignore(&message, Ignored::OldRequest);
        }
        peer.requests.record(id.epoch, id.number);
        let partner = peer.as_partner();
        let own = match self.check_request(now, &message, plan, *kind) {
            Ok(own) => own,
            Err(denial) => return self.deny(message, denial),
        };
        if self.slot.is_asking(&message.from) {
            self.slot.withdraw(now);
            self.take_actions(now);
        }
        let progress = self.sweep_plan.progress(&message.from);
        let wanted: Vec<Protocol> = plan
            .iter()
            .map(|test| test.spec.protocol)
            .filter(|&protocol| progress.is_some_and(|progress| progress.wants(protocol)))
            .collect();
        let granted = Granted {
            sweep: message.sweep,
            plan: plan.clone(),
            own,
            wanted,
        };
        self.slot.grant(now, id.clone(), partner, granted);
    }

    /// Checks everything that a grant depends on, and returns this node's own limits for each test
    /// of the plan. Between the checks the node may follow its peers into their sweep.
    fn check_request(
        &mut self,
        now: Time,
        message: &Message,
        plan: &[PlannedTest],
        kind: MeetingKind,
    ) -> Result<Vec<TestSpec>, Denial> {
        self.check_availability(now, message)?;
        self.follow_if_done(now);
        if message.sweep != self.sweep_plan.number {
            return Err(Refusal::Sweep.into());
        }
        self.check_quota(now, message, kind)?;
        let own = self.check_limits(plan)?;
        self.check_turn(now, &message.from).map_err(|wait| Denial {
            refusal: Refusal::Expecting,
            free_in: Some(wait),
        })?;
        Ok(own)
    }

    /// Checks whether the sender has not yet had its share of this node's time.
    fn check_quota(
        &mut self,
        now: Time,
        message: &Message,
        kind: MeetingKind,
    ) -> Result<(), Denial> {
        self.keep_quotas_up(now);
        match self.quotas.check(now, &message.from, kind) {
            Ok(()) => Ok(()),
            Err((Refusal::Quota, _)) if self.may_end_mutual_rest(now, &message.from) => Ok(()),
            Err((refusal, free_in)) => Err(Denial { refusal, free_in }),
        }
    }

    /// Returns this node's own limits for each test of the plan.
    fn check_limits(&self, plan: &[PlannedTest]) -> Result<Vec<TestSpec>, Denial> {
        let limit = |PlannedTest { spec, .. }: &PlannedTest| {
            let limit = self.settings.limit(spec.protocol)?;
            Some(TestSpec {
                // Whether a test is two-way does not change what either direction costs.
                bidir: spec.bidir,
                ..limit.clone()
            })
        };
        let own: Option<Vec<TestSpec>> = plan.iter().map(limit).collect();
        Ok(own.ok_or(Refusal::Limits)?)
    }

    /// Lets the quotas count the present sweep.
    pub(super) fn keep_quotas_up(&mut self, now: Time) {
        let peers = &self.peers;
        self.quotas.keep_up(now, self.sweep_plan.number, |name| {
            peers.get(name).is_some()
        });
    }

    /// Charges a reservation that is over to the quotas.
    pub(super) fn charge(
        &mut self,
        now: Time,
        peer: &NodeName,
        role: Role,
        reason: EndReason,
        held: Duration,
        tested: Option<MeetingId>,
    ) {
        self.keep_quotas_up(now);
        let has_tested = tested.is_some();
        let is_own = matches!(
            reason,
            EndReason::ServerFailed(_) | EndReason::Moved | EndReason::Cancelled
        );
        if !has_tested && !is_own {
            // A suspend of this machine is not the peer's fault.
            self.record_lost(now, peer, held.min(self.close_after() / 2));
        }
        if let (Role::Granter, Some(id), Some(known)) = (role, tested, self.peers.get_mut(peer)) {
            known.requests.record_test(id.epoch, id.number);
        }
        match role {
            Role::Granter if reason.took_place() => {
                self.quotas.record_granted(now, peer, held, has_tested);
            }
            Role::Asker if reason.took_place() => self.quotas.record_met(peer, has_tested),
            _ => {}
        }
    }

    /// Checks whether this node can meet the sender at all, and has a free slot.
    fn check_availability(&self, now: Time, message: &Message) -> Result<(), Denial> {
        let peer = self.peers.get(&message.from);
        if self.stopping {
            return Err(Refusal::Stopping.into());
        }
        if self.name_taken {
            return Err(Refusal::NameConflict.into());
        }
        match reason_of_state(peer) {
            Some(Reason::NameConflict) => return Err(Refusal::NameConflict.into()),
            Some(Reason::Incompatible) => return Err(Refusal::Incompatible.into()),
            // The peer has just sent a message, so it is not silent, whatever gossip believes.
            _ => {}
        }
        if peer.is_some_and(|peer| peer.member.epoch != message.from_epoch) {
            return Err(Refusal::Unknown.into());
        }
        if now < self.quiet_until {
            let free_in = Some(self.quiet_until.since(now));
            return Err(Denial {
                refusal: Refusal::Quiet,
                free_in,
            });
        }
        if self.slot.is_asking(&message.from) {
            if self.is_rightful(&message.from) || !rules::one_asker_withdraws() {
                return Err(Refusal::Crossed.into());
            }
        } else if let Some(other) = self.slot.peer()
            && rules::busy_node_refuses()
        {
            // A node that is only asking may be free again at once.
            let free_in = (!self.slot.is_asking(other)).then(|| self.slot.free_in(now));
            return Err(Denial {
                refusal: Refusal::Busy,
                free_in,
            });
        }
        Ok(())
    }

    fn deny(&mut self, message: Message, denial: Denial) {
        let is_left_unanswered = match denial.refusal {
            Refusal::Busy => !rules::refusal_is_immediate(),
            Refusal::Crossed => !rules::one_asker_withdraws(),
            _ => false,
        };
        if is_left_unanswered {
            return;
        }
        if let Some(progress) = self.sweep_plan.progress_mut(&message.from) {
            progress.peer_wants_us |= matches!(
                denial.refusal,
                Refusal::Busy | Refusal::Expecting | Refusal::Quota
            );
        }
        self.refuse(message, denial);
    }

    fn refuse(&mut self, message: Message, Denial { refusal, free_in }: Denial) {
        let free_in_ms = free_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.outputs.push_back(Output::ReservationEnded {
            peer: message.from.clone(),
            role: Role::Granter,
            outcome: ReservationOutcome::Refused(refusal),
            lasted: Duration::ZERO,
        });
        let body = Body::Refuse {
            refusal,
            free_in_ms,
        };
        self.reply(message, body);
    }

    fn reply(&mut self, message: Message, body: Body) {
        let sweep = self.sweep_plan.number;
        let about = message.meeting.map(|meeting| (meeting, Complaints::new()));
        self.send(&message.from, message.from_epoch, sweep, about, body);
    }
}
