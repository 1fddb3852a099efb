//! Messages that a test writes itself.

use iperf3_mesh_core::wire::{
    Body, Complaints, MeetingId, MeetingKind, Message, PlannedTest, Refusal, Role,
};
use iperf3_mesh_core::{Input, Output, Protocol, WIRE_VERSION};

use crate::{Event, Harness, name_of, test_spec};

/// The number of a meeting that no node has asked for yet.
const NEW_MEETING: u64 = 1 << 62;

impl Harness {
    /// Returns a message about the meeting of this number that `from` asked for.
    pub fn message(&self, from: usize, to: usize, number: u64, body: Body) -> Message {
        let from_epoch = self.node(from).epoch();
        Message {
            wire: WIRE_VERSION,
            from: name_of(from),
            from_epoch,
            to: name_of(to),
            to_epoch: self.node(to).epoch(),
            sweep: self.node(to).status(self.local(to)).sweep.number,
            meeting: Some(MeetingId {
                asker: name_of(from),
                epoch: from_epoch,
                number,
            }),
            complaints: Complaints::new(),
            body,
        }
    }

    /// Returns a request for a new meeting.
    pub fn new_request(&self, from: usize, to: usize) -> Message {
        let plan = [Role::Asker, Role::Granter].map(|client| PlannedTest {
            client,
            spec: test_spec(Protocol::Tcp),
        });
        let body = Body::Request {
            plan: plan.into(),
            kind: MeetingKind::Scheduled,
        };
        self.message(from, to, NEW_MEETING, body)
    }

    /// Passes a message to a node, and returns what the node sends at once.
    pub fn answer(&mut self, node: usize, message: Message) -> Option<Message> {
        let before = self.events();
        self.input(node, Input::Message(message));
        self.events_after(before)
            .iter()
            .find_map(|entry| match &entry.event {
                Event::Output(Output::Send(_, answer)) => Some(answer.clone()),
                _ => None,
            })
    }
}

/// Returns why a request was refused; `None` if the answer is no refusal.
pub fn refusal(answer: Option<Message>) -> Option<Refusal> {
    match answer?.body {
        Body::Refuse { refusal, .. } => Some(refusal),
        _ => None,
    }
}
