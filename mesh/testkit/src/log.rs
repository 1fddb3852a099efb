//! The log of a [`Harness`], and the questions that tests ask about it.

use std::ops::Deref;

use iperf3_mesh_core::sim::ids::number_of;
use iperf3_mesh_core::wire::Message;
use iperf3_mesh_core::{
    ClientStart, Outcome, Output, Protocol, Reason, ReservationOutcome, ServerStart, SweepSummary,
    Time,
};

use crate::Harness;

/// One event at one node.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The true time of the event.
    pub at: Time,
    /// The time of the event on the clock of the node.
    pub local: Time,
    /// The number of the node.
    pub node: usize,
    /// The event.
    pub event: Event,
}

/// An event at a node.
#[derive(Clone, Debug)]
pub enum Event {
    /// The node handled a message.
    Received(Message),
    /// The node put something out.
    Output(Output),
}

/// A value that a node put out, and the time. It dereferences to the value.
#[derive(Clone, Copy, Debug)]
pub struct Logged<T> {
    /// The true time of the output.
    pub at: Time,
    /// The time of the output on the clock of the node.
    pub local: Time,
    /// The output.
    pub value: T,
}

impl<T> Deref for Logged<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A result of a node's own row.
#[derive(Clone, Debug, PartialEq)]
pub struct CellResult {
    /// The number of the destination.
    pub destination: usize,
    /// The protocol.
    pub protocol: Protocol,
    /// The result.
    pub outcome: Outcome,
}

impl Harness {
    /// Returns the number of events so far.
    pub fn events(&self) -> usize {
        self.log().len()
    }

    /// Returns the number of events at a node so far.
    pub fn events_at(&self, node: usize) -> usize {
        self.log().iter().filter(|entry| entry.node == node).count()
    }

    /// Returns the events after the first `count`.
    pub fn events_after(&self, count: usize) -> &[Entry] {
        &self.log()[count..]
    }

    /// Returns all outputs of a node for which `pick` returns something.
    pub fn logged<'a, T>(
        &'a self,
        node: usize,
        pick: impl Fn(&'a Output) -> Option<T>,
    ) -> Vec<Logged<T>> {
        self.log()
            .iter()
            .filter(|entry| entry.node == node)
            .filter_map(|entry| match &entry.event {
                Event::Output(output) => Some(Logged {
                    at: entry.at,
                    local: entry.local,
                    value: pick(output)?,
                }),
                Event::Received(_) => None,
            })
            .collect()
    }

    /// Returns the messages of this kind that a node sent.
    pub fn sent(&self, node: usize, kind: &str) -> Vec<Logged<&Message>> {
        self.logged(node, |output| match output {
            Output::Send(_, message) if message.body.kind() == kind => Some(message),
            _ => None,
        })
    }

    /// Returns the pings that a node sent.
    pub fn pings(&self, node: usize) -> Vec<Logged<&Message>> {
        self.logged(node, |output| match output {
            Output::Ping { message, .. } => Some(message),
            _ => None,
        })
    }

    /// Returns the last message about a meeting that any node handled, and that node.
    pub fn last_received(&self) -> Option<(usize, &Message)> {
        self.log()
            .iter()
            .rev()
            .find_map(|entry| match &entry.event {
                Event::Received(message) => Some((entry.node, message)),
                Event::Output(_) => None,
            })
    }

    /// Returns the kinds of the messages about meetings that a node handled.
    pub fn received_kinds(&self, node: usize) -> Vec<&'static str> {
        self.log()
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::Received(message) if entry.node == node => Some(message),
                _ => None,
            })
            .filter(|message| message.meeting.is_some())
            .map(|message| message.body.kind())
            .collect()
    }

    /// Returns the words of the complaints that a node was told about its own failed cells.
    pub fn told(&self, node: usize) -> Vec<&str> {
        let complaints = self.logged(node, |output| match output {
            Output::Complaint { complaint, .. } => Some(complaint.words()),
            _ => None,
        });
        complaints.into_iter().map(|told| told.value).collect()
    }

    /// Returns the servers that a node decided to start.
    pub fn servers(&self, node: usize) -> Vec<Logged<&ServerStart>> {
        self.logged(node, |output| match output {
            Output::StartServer(start) => Some(start),
            _ => None,
        })
    }

    /// Returns the clients that a node decided to start.
    pub fn clients(&self, node: usize) -> Vec<Logged<&ClientStart>> {
        self.logged(node, |output| match output {
            Output::StartClient(start) => Some(start),
            _ => None,
        })
    }

    /// Returns how a node's reservations ended.
    pub fn endings(&self, node: usize) -> Vec<Logged<ReservationOutcome>> {
        self.logged(node, |output| match output {
            Output::ReservationEnded { outcome, .. } => Some(*outcome),
            _ => None,
        })
    }

    /// Returns the results of a node's own row.
    pub fn cells(&self, node: usize) -> Vec<CellResult> {
        let cells = self.logged(node, |output| match output {
            Output::Cell {
                destination,
                protocol,
                outcome,
                ..
            } => Some(CellResult {
                destination: number_of(destination),
                protocol: *protocol,
                outcome: outcome.clone(),
            }),
            _ => None,
        });
        cells.into_iter().map(|cell| cell.value).collect()
    }

    /// Returns the number of cells of a node's own row that succeeded.
    pub fn successes(&self, node: usize) -> usize {
        let cells = self.cells(node);
        cells.iter().filter(|cell| cell.outcome.is_ok()).count()
    }

    /// Returns the reasons why cells of a node's own row failed.
    pub fn failures(&self, node: usize) -> Vec<Reason> {
        self.cells(node)
            .into_iter()
            .filter_map(|cell| cell.outcome.err())
            .collect()
    }

    /// Returns the sweeps that a node began.
    pub fn sweeps_begun(&self, node: usize) -> Vec<Logged<u64>> {
        self.logged(node, |output| match output {
            Output::SweepBegan(number) => Some(*number),
            _ => None,
        })
    }

    /// Returns the sweeps that a node completed.
    pub fn sweeps_ended(&self, node: usize) -> Vec<Logged<SweepSummary>> {
        self.logged(node, |output| match output {
            Output::SweepEnded(summary) => Some(*summary),
            _ => None,
        })
    }

    /// Returns the departures that a node reported.
    pub fn departures(&self, node: usize) -> Vec<Logged<()>> {
        self.logged(node, |output| match output {
            Output::Departed(_) => Some(()),
            _ => None,
        })
    }

    /// Returns whether all nodes have completed this sweep or a later one.
    pub fn is_swept(&self, sweep: u64) -> bool {
        (0..self.nodes()).all(|node| {
            let ended = self.sweeps_ended(node);
            ended.iter().any(|summary| summary.number >= sweep)
        })
    }
}
