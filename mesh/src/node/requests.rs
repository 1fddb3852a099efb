//! What a node answers to the messages of others.

use std::net::IpAddr;
use std::time::Duration;

use super::{Node, Output};
use crate::flaw::{self, Flaw};
use crate::wire::{Body, Message, PlannedTest, Refusal, Role};
use crate::{NodeName, Protocol, Time, schedule};

impl Node {
    pub(super) fn on_message(&mut self, now: Time, message: Message) {
        if message.to != self.settings.name {
            // An address has changed hands. The sender would not take this node's word for the
            // other's.
            return;
        }
        if message.to_epoch != self.settings.epoch && !flaw::is(Flaw::StaleEpoch) {
            self.refuse_if_request(message, Refusal::StaleEpoch, None);
            return;
        }
        let is_known = self
            .peers
            .get(&message.from)
            .is_some_and(|peer| peer.is_meetable() && peer.member.epoch == message.from_epoch);
        if is_known {
            self.hear_of_sweep(&message.from, message.sweep);
        }
        let Some(meeting) = &message.meeting else {
            return;
        };
        if let Body::Grant { address, .. } = &message.body
            && !self.is_address_of(&message.from, *address)
        {
            // Nobody is to aim this node's client at a third one.
            return;
        }
        match message.body {
            Body::Request { .. } => self.on_request(now, message),
            body if self.slot.is_in(meeting, &message.from, message.from_epoch) => {
                self.slot.on_message(now, body);
            }
            // Who waits for something in a meeting that is over is to know it.
            Body::Next { .. } | Body::Grant { .. } | Body::Go { .. } => {
                let end = Body::End {
                    handover: Vec::new(),
                };
                self.send(
                    message.from,
                    message.from_epoch,
                    self.sweep_plan.number,
                    message.meeting,
                    end,
                );
            }
            Body::Sweep | Body::Refuse { .. } | Body::End { .. } => {}
        }
    }

    fn is_address_of(&self, peer: &NodeName, address: IpAddr) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|peer| peer.member.control.ip() == address)
    }

    fn on_request(&mut self, now: Time, message: Message) {
        let (Body::Request { plan }, Some(id)) = (&message.body, &message.meeting) else {
            return;
        };
        let is_own = id.asker == message.from && id.epoch == message.from_epoch;
        let Some(peer) = self.peers.get_mut(&message.from) else {
            return self.refuse(message, Refusal::Unknown, None);
        };
        if !is_own || !peer.is_new_request(message.from_epoch, id.number) {
            return;
        }
        if let Err((refusal, free_in)) = self.judge(now, &message) {
            if is_left_unanswered(refusal) {
                return;
            }
            if let Some(pair) = self.sweep_plan.pair_mut(&message.from) {
                pair.peer_wants_us |= matches!(refusal, Refusal::Busy | Refusal::Expecting);
            }
            return self.refuse(message, refusal, free_in);
        }
        if self.slot.is_asking(&message.from) {
            self.slot.withdraw(now);
            self.take_actions(now);
        }
        let pair = self.sweep_plan.pair(&message.from);
        let wanted: Vec<Protocol> = plan
            .iter()
            .map(|test| test.spec.protocol)
            .filter(|&protocol| pair.is_some_and(|pair| pair.wants(protocol)))
            .collect();
        let (plan, sweep) = (plan.clone(), message.sweep);
        self.slot.grant(now, id.clone(), sweep, plan, &wanted);
    }

    /// Whether the request can be granted now; else why not, and when perhaps.
    fn judge(&mut self, now: Time, message: &Message) -> Result<(), (Refusal, Option<Duration>)> {
        let peer = self.peers.get(&message.from);
        if self.stopping {
            return Err((Refusal::Stopping, None));
        }
        if self.name_taken {
            return Err((Refusal::NameConflict, None));
        }
        match super::reason_of_state(peer) {
            Some(crate::Reason::NameConflict) => return Err((Refusal::NameConflict, None)),
            Some(crate::Reason::Incompatible) => return Err((Refusal::Incompatible, None)),
            // It speaks, so it is not silent, whatever gossip believes.
            _ => {}
        }
        if peer.is_some_and(|peer| peer.member.epoch != message.from_epoch) {
            return Err((Refusal::Unknown, None));
        }
        if now < self.quiet_until {
            return Err((Refusal::Quiet, Some(self.quiet_until.since(now))));
        }
        if self.slot.is_asking(&message.from) {
            if self.is_rightful(&message.from) || flaw::is(Flaw::NeitherWithdraws) {
                return Err((Refusal::Crossed, None));
            }
        } else if let Some(other) = self
            .slot
            .peer()
            .filter(|_| !flaw::is(Flaw::GrantsWhileBusy))
        {
            // Who only asks may be free again at once.
            let free_in = (!self.slot.is_asking(other)).then(|| self.slot.free_in(now));
            return Err((Refusal::Busy, free_in));
        }
        self.follow_if_done(now);
        if message.sweep != self.sweep_plan.number {
            return Err((Refusal::Sweep, None));
        }
        self.check_turn(now, &message.from)
            .map_err(|wait| (Refusal::Expecting, Some(wait)))
    }

    fn refuse_if_request(&mut self, message: Message, refusal: Refusal, free_in: Option<Duration>) {
        if matches!(message.body, Body::Request { .. }) {
            self.refuse(message, refusal, free_in);
        }
    }

    fn refuse(&mut self, message: Message, refusal: Refusal, free_in: Option<Duration>) {
        let free_in_ms = free_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let body = Body::Refuse {
            refusal,
            free_in_ms,
        };
        self.outputs.push_back(Output::Reservation {
            peer: message.from.clone(),
            role: Role::Granter,
            outcome: "refused",
            reason: refusal.as_str(),
            lasted: Duration::ZERO,
        });
        self.send(
            message.from,
            message.from_epoch,
            self.sweep_plan.number,
            message.meeting,
            body,
        );
    }

    /// The tests of a meeting that this node asks for: its own first, then the peer's.
    pub(super) fn planned_tests(&self, wanted: impl Fn(Protocol) -> bool) -> Vec<PlannedTest> {
        let specs = self
            .settings
            .tests
            .iter()
            .filter(|spec| wanted(spec.protocol));
        let own = specs.clone().map(|spec| PlannedTest {
            client: Role::Asker,
            spec: spec.clone(),
        });
        let peers = specs.filter(|spec| !spec.bidir).map(|spec| PlannedTest {
            client: Role::Granter,
            spec: spec.clone(),
        });
        own.chain(peers).collect()
    }

    /// How long one meeting of this node's own settings lasts.
    pub(super) fn meeting_length(&self) -> Duration {
        schedule::meeting_length(&self.settings.tests)
    }
}

fn is_left_unanswered(refusal: Refusal) -> bool {
    match refusal {
        Refusal::Busy => flaw::is(Flaw::WaitsWhileHolding),
        Refusal::Crossed => flaw::is(Flaw::NeitherWithdraws),
        _ => false,
    }
}
