//! One meeting as one of its two nodes sees it. This file only records; the rules are in `mod.rs`.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::action::{Action, EndReason};
use crate::io::RunId;
use crate::reservation::lease::{ClientLease, ServerLease};
use crate::wire::{Body, Complaints, Handover, MeetingId, PlannedTest, Role};
use crate::{Epoch, NodeName, Reason, TestSpec, Time};

/// The other node of a meeting, as this node knew it when the meeting began.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Partner {
    pub(crate) name: NodeName,
    pub(crate) epoch: Epoch,
    pub(crate) address: IpAddr,
}

#[derive(Clone, Debug)]
pub(super) struct Meeting {
    pub(super) id: MeetingId,
    pub(super) peer: Partner,
    pub(super) role: Role,
    pub(super) sweep: u64,
    pub(super) began: Time,
    /// The tests of the meeting: those that are asked for, and once the granter has granted, those
    /// that both ends allow.
    pub(super) plan: Vec<PlannedTest>,
    /// The tests that this node's own settings allow, in the order of the plan.
    pub(super) own: Vec<TestSpec>,
    /// Whether a client has connected to this node's server, or this node's client has succeeded.
    pub(super) has_tested: bool,
    /// The tests that this node still has to run as the client.
    pub(super) todo: VecDeque<u8>,
    pub(super) step: Step,
    pub(super) step_began: Time,
    /// This node's iperf3 process, until it is known to be dead.
    pub(super) run: Option<RunId>,
    /// The instant by which all clients of the peer are dead.
    pub(super) hold_until: Time,
    /// The instant after which the peer's server, the far end of a two-way test, sends nothing to
    /// this node; after a change of this node's address, its client neither.
    pub(super) peer_server_until: Time,
    /// The first test that the peer may still ask to run as the client.
    pub(super) next_served: u8,
    /// A message that arrived before this node's server was reaped.
    pub(super) pending: Option<Pending>,
    /// The results that this node has for the peer.
    pub(super) handover: Vec<Handover>,
    /// The two-way tests that this node served and whose result has not come back yet.
    pub(super) awaiting_results: Vec<AwaitedResult>,
    /// The cells of this node that have failed, but whose reason the test's server may know better.
    pub(super) open_cells: Vec<OpenCell>,
    /// The complaints of this node's servers. Every message contains all of them, so that a lost
    /// message loses nothing.
    pub(super) complaints: Complaints,
    /// The instant until which this node, having left, waits for the peer's complaints.
    pub(super) confirmed_by: Time,
    /// The reason to end the meeting once `run` is dead, and whether to tell the peer.
    pub(super) leaving: Option<(EndReason, bool)>,
}

/// A two-way test whose result the peer is to hand over.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct AwaitedResult {
    /// The test.
    pub(super) test: u8,
    /// Whether the server, now dead, had the peer's client.
    pub(super) accepted: bool,
}

/// A failed cell without a final reason.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct OpenCell {
    /// The test.
    pub(super) test: u8,
    /// The reason that stands if the server's node tells none.
    pub(super) guess: Reason,
}

#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Step {
    /// This node has asked to run the client of a test.
    Asked { test: u8, lease: ClientLease },
    /// This node's client runs.
    RunningClient { test: u8, lease: ClientLease },
    /// This node's server starts.
    StartingServer {
        test: u8,
        port: u16,
        tries: u16,
        lease: ServerLease,
    },
    /// This node's server listens for the peer's client, or serves it.
    Serving { test: u8, lease: ServerLease },
    /// The peer is to send the next message.
    Listening,
    /// This node has left, but the peer may still be sending: its server in a two-way test, or its
    /// client to the former address of this node. Or the peer is to tell why a test failed.
    Draining,
}

#[derive(Clone, Debug, Hash)]
pub(super) enum Pending {
    Next { test: u8, received: Time },
    Go,
}

impl Meeting {
    pub(super) fn new(
        id: MeetingId,
        peer: Partner,
        role: Role,
        sweep: u64,
        plan: Vec<PlannedTest>,
        own: Vec<TestSpec>,
        now: Time,
    ) -> Self {
        let todo = (0u8..)
            .zip(&plan)
            .filter(|(_, test)| test.client == role)
            .map(|(at, _)| at)
            .collect();
        Self {
            id,
            peer,
            role,
            sweep,
            began: now,
            plan,
            own,
            has_tested: false,
            todo,
            step: Step::Listening,
            step_began: now,
            run: None,
            hold_until: now,
            peer_server_until: now,
            next_served: 0,
            pending: None,
            handover: Vec::new(),
            awaiting_results: Vec::new(),
            open_cells: Vec::new(),
            complaints: Complaints::new(),
            confirmed_by: now,
            leaving: None,
        }
    }

    pub(super) fn turn_to(&mut self, step: Step, now: Time) {
        self.step = step;
        self.step_began = now;
    }

    pub(super) fn ask_for(&mut self, test: u8, now: Time) {
        let lease = ClientLease::from_request(now, &self.plan[usize::from(test)].spec);
        self.turn_to(Step::Asked { test, lease }, now);
    }

    /// Replaces the plan by the tests that the granter agrees to. No test becomes larger: this
    /// node's own settings hold whatever the granter tells. Returns false, and changes nothing, if
    /// the granter tells something else than one test for each of the plan.
    pub(super) fn agree(&mut self, agreed: &[TestSpec]) -> bool {
        let is_same_test = |(planned, agreed): (&PlannedTest, &TestSpec)| {
            planned.spec.protocol == agreed.protocol && planned.spec.bidir == agreed.bidir
        };
        let is_plan =
            agreed.len() == self.plan.len() && self.plan.iter().zip(agreed).all(is_same_test);
        if is_plan {
            for (planned, agreed) in self.plan.iter_mut().zip(agreed) {
                planned.spec = planned.spec.within(agreed);
            }
        }
        is_plan
    }

    /// Returns whether the peer's settings have made this test smaller than this node's own.
    pub(super) fn is_limited(&self, test: u8) -> bool {
        let test = usize::from(test);
        let planned = self.plan.get(test).map(|planned| &planned.spec);
        planned
            .zip(self.own.get(test))
            .is_some_and(|(agreed, own)| agreed.is_less_than(own))
    }

    /// Returns whether the peer sends next: this node serves, or listens.
    pub(super) fn is_peers_turn(&self) -> bool {
        self.leaving.is_none()
            && self.pending.is_none()
            && !matches!(self.step, Step::Asked { .. } | Step::RunningClient { .. })
    }

    /// Returns whether this node's server of this test is not yet known to be dead.
    pub(super) fn is_serving(&self, test: u8) -> bool {
        let served = match self.step {
            Step::StartingServer { test, .. } | Step::Serving { test, .. } => Some(test),
            Step::Asked { .. } | Step::RunningClient { .. } | Step::Listening | Step::Draining => {
                None
            }
        };
        self.run.is_some() && served == Some(test)
    }

    /// Returns whether a server of this meeting sends as well, so that its node must confirm the
    /// end.
    pub(super) fn is_two_way(&self) -> bool {
        self.plan.iter().any(|test| test.spec.bidir)
    }

    /// Returns when a node that has left frees its slot at the latest.
    pub(super) fn drained_by(&self) -> Time {
        self.peer_server_until.max(self.confirmed_by)
    }

    /// Returns the position of the granter's first test in the plan; the plan's length if there is
    /// none.
    pub(super) fn first_of_granter(&self) -> u8 {
        let first = self
            .plan
            .iter()
            .position(|test| test.client == Role::Granter);
        u8::try_from(first.unwrap_or(self.plan.len())).unwrap_or(u8::MAX)
    }

    pub(super) fn send(&self, body: Body) -> Action {
        Action::Send {
            to: self.peer.name.clone(),
            to_epoch: self.peer.epoch,
            sweep: self.sweep,
            meeting: self.id.clone(),
            complaints: self.complaints.clone(),
            body,
        }
    }
}
