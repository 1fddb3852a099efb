//! How a failed cell gets its reason.
//!
//! The client's node sees that a test failed, but often only the server's node knows why. Unless
//! the client's reason is the cause itself, the cell stays open until the peer has sent its next
//! message of the meeting, which contains what its servers have complained about. A success never
//! waits.

use super::Slot;
use super::action::Action;
use super::meeting::OpenCell;
use crate::io::Output;
use crate::wire::{Complaints, Handover};
use crate::{Outcome, Protocol, Reason, plausible};

impl Slot {
    /// Takes the result of a test whose client ran on this node.
    pub(super) fn take_own_result(&mut self, test: u8, outcome: Outcome) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        match outcome {
            Err(guess) if guess.is_guess() => {
                meeting.open_cells.push(OpenCell { test, guess });
            }
            outcome => self.give_cell(test, outcome),
        }
    }

    /// Takes the results of two-way tests whose client ran on the peer.
    pub(super) fn take_results(&mut self, handover: Vec<Handover>) {
        for Handover { protocol, outcome } in handover {
            let Some(test) = self.stop_awaiting(protocol) else {
                continue;
            };
            match self.plausible(test, outcome) {
                Ok(figures) => self.give_cell(test, Ok(figures)),
                // This node's own server may know the reason, at the latest when it is dead.
                Err(guess) => self.fail_served(test, guess),
            }
        }
    }

    /// Fails the cells of two-way tests whose results have not come back. A test that the peer's
    /// client never began has no result, and the pair may still run it in this sweep.
    pub(super) fn lose_results(&mut self) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        for awaited in std::mem::take(&mut meeting.awaiting_results) {
            if awaited.accepted {
                self.fail_served(awaited.test, Reason::ResultLost);
            }
        }
    }

    /// Closes the open cells that the peer's complaints are about.
    pub(super) fn hear_complaints(&mut self, complaints: &Complaints) {
        for (&test, complaint) in complaints {
            let Some(meeting) = &mut self.meeting else {
                return;
            };
            let is_peers_server = meeting
                .plan
                .get(usize::from(test))
                .is_some_and(|planned| planned.client == meeting.role);
            let open = &mut meeting.open_cells;
            let Some(at) = open.iter().position(|cell| cell.test == test) else {
                continue;
            };
            if !is_peers_server {
                continue;
            }
            let OpenCell { guess, .. } = open.swap_remove(at);
            self.actions.push_back(Action::Do(Output::Complaint {
                peer: meeting.peer.name.clone(),
                protocol: meeting.plan[usize::from(test)].spec.protocol,
                complaint: complaint.clone(),
            }));
            self.give_cell(test, Err(guess.or_better(complaint.reason())));
        }
    }

    /// Closes the cell of a test that this node served, now that the server is dead.
    pub(super) fn close_served(&mut self, test: u8) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let open = &mut meeting.open_cells;
        if let Some(at) = open.iter().position(|cell| cell.test == test) {
            let OpenCell { guess, .. } = open.swap_remove(at);
            self.fail_served(test, guess);
        }
    }

    /// Closes all open cells: the peer has told everything that it knows, or will not tell it.
    pub(super) fn close_cells(&mut self) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        for OpenCell { test, guess } in std::mem::take(&mut meeting.open_cells) {
            self.give_cell(test, Err(guess));
        }
    }

    /// Fails the cell of a two-way test that this node served.
    fn fail_served(&mut self, test: u8, guess: Reason) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        if meeting.is_serving(test) {
            meeting.open_cells.push(OpenCell { test, guess });
            return;
        }
        let own = meeting.complaints.get(&test);
        let reason = own.map_or(guess, |own| guess.or_better(own.reason()));
        self.give_cell(test, Err(reason));
    }

    /// Removes from a result of the peer what cannot be.
    fn plausible(&mut self, test: u8, outcome: Outcome) -> Outcome {
        let Some(meeting) = &self.meeting else {
            return outcome;
        };
        let (outcome, removed) = plausible(outcome, &meeting.plan[usize::from(test)].spec);
        let peer = &meeting.peer.name;
        self.actions.extend(removed.into_iter().map(|figure| {
            Action::Do(Output::ImplausibleFigure {
                peer: peer.clone(),
                figure,
            })
        }));
        outcome
    }

    /// Returns the test whose result for this protocol was awaited; it is awaited no more.
    fn stop_awaiting(&mut self, protocol: Protocol) -> Option<u8> {
        let meeting = self.meeting.as_mut()?;
        let awaiting = &mut meeting.awaiting_results;
        let at = awaiting.iter().position(|awaited| {
            let planned = meeting.plan.get(usize::from(awaited.test));
            planned.is_some_and(|planned| planned.spec.protocol == protocol)
        })?;
        Some(awaiting.swap_remove(at).test)
    }

    fn give_cell(&mut self, test: u8, outcome: Outcome) {
        let Some(meeting) = &self.meeting else { return };
        self.actions.push_back(Action::Cell {
            peer: meeting.peer.name.clone(),
            protocol: meeting.plan[usize::from(test)].spec.protocol,
            outcome,
            is_limited: meeting.is_limited(test),
        });
    }
}
