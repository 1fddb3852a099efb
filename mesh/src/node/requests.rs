//! How a node answers the messages of other nodes.

use std::net::IpAddr;
use std::time::Duration;

use super::{Node, reason_of_state};
use crate::io::{Output, ReservationOutcome};
use crate::wire::{Body, Complaints, Message, Refusal, Role};
use crate::{NodeName, Protocol, Reason, Time, rules};

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
            return;
        }
        if message.to_epoch != self.settings.epoch && rules::epochs_are_compared() {
            if matches!(message.body, Body::Request { .. }) {
                self.refuse(message, Refusal::StaleEpoch.into());
            }
            return;
        }
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
            return;
        }
        match message.body {
            Body::Request { .. } => self.on_request(now, message),
            body if self.slot.is_in(meeting, &message.from, message.from_epoch) => {
                self.slot.on_message(now, body, &message.complaints);
            }
            // The peer waits for something in a meeting that is over here, so this node tells it
            // that.
            Body::Next { .. }
            | Body::Grant { .. }
            | Body::Go { .. }
            | Body::End { confirm: true, .. } => self.reply(message, Body::bare_end()),
            Body::Sweep | Body::Refuse { .. } | Body::End { .. } => {}
        }
    }

    fn is_address_of(&self, peer: &NodeName, address: IpAddr) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|peer| peer.member.control.ip() == address.to_canonical())
    }

    fn on_request(&mut self, now: Time, message: Message) {
        let (Body::Request { plan }, Some(id)) = (&message.body, &message.meeting) else {
            return;
        };
        let is_own = id.asker == message.from && id.epoch == message.from_epoch;
        let Some(peer) = self.peers.get_mut(&message.from) else {
            return self.refuse(message, Refusal::Unknown.into());
        };
        if !is_own || !peer.is_new_request(message.from_epoch, id.number) {
            return;
        }
        let partner = peer.as_partner();
        if let Err(denial) = self.check_request(now, &message) {
            return self.deny(message, denial);
        }
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
        let (plan, sweep) = (plan.clone(), message.sweep);
        self.slot
            .grant(now, id.clone(), partner, sweep, plan, &wanted);
    }

    /// Checks everything that a grant depends on. Between the two checks the node may follow its
    /// peers into their sweep.
    fn check_request(&mut self, now: Time, message: &Message) -> Result<(), Denial> {
        self.check_availability(now, message)?;
        self.follow_if_done(now);
        self.check_schedule(now, message)
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

    /// Checks whether the schedule allows the sender to take this node's free slot now.
    fn check_schedule(&self, now: Time, message: &Message) -> Result<(), Denial> {
        if message.sweep != self.sweep_plan.number {
            return Err(Refusal::Sweep.into());
        }
        self.check_turn(now, &message.from).map_err(|wait| Denial {
            refusal: Refusal::Expecting,
            free_in: Some(wait),
        })
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
            progress.peer_wants_us |= matches!(denial.refusal, Refusal::Busy | Refusal::Expecting);
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
