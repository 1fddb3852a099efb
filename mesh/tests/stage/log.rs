//! What happened on the stage: the questions that the tests ask, and the account that a failed one
//! gives.

use std::fmt;

use iperf3_mesh_core::wire::Refusal;
use iperf3_mesh_core::wire::{Body, Message};
use iperf3_mesh_core::{ClientStart, Outcome, Output, Protocol, ServerStart, Time};

use super::{Stage, number_of};

/// What happened on the stage, in order.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// In true time.
    pub(crate) at: Time,
    /// On the clock of the node.
    pub(crate) local: Time,
    pub(crate) node: usize,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Got(Message),
    Did(Output),
}

impl Stage {
    /// Everything that the node did, in order.
    pub(crate) fn outputs(&self, node: usize) -> impl Iterator<Item = (&Entry, &Output)> {
        self.log.iter().filter_map(move |entry| match &entry.what {
            What::Did(output) if entry.node == node => Some((entry, output)),
            _ => None,
        })
    }

    /// The messages of that kind that the node sent, in order.
    pub(crate) fn sent(&self, node: usize, kind: &str) -> Vec<(&Entry, &Message)> {
        let messages = self
            .outputs(node)
            .filter_map(|(entry, output)| match output {
                Output::Send(_, message) if message.body.kind() == kind => Some((entry, message)),
                _ => None,
            });
        messages.collect()
    }

    /// The results of the node's own row, in order.
    pub(crate) fn cells(&self, node: usize) -> Vec<(usize, Protocol, Outcome)> {
        let cells = self.outputs(node).filter_map(|(_, output)| match output {
            Output::Cell {
                destination,
                protocol,
                outcome,
            } => Some((number_of(destination), *protocol, outcome.clone())),
            _ => None,
        });
        cells.collect()
    }

    /// The servers that the node was told to start.
    pub(crate) fn servers(&self, node: usize) -> Vec<(&Entry, &ServerStart)> {
        let starts = self
            .outputs(node)
            .filter_map(|(entry, output)| match output {
                Output::StartServer(start) => Some((entry, start)),
                _ => None,
            });
        starts.collect()
    }

    /// The clients that the node was told to start.
    pub(crate) fn clients(&self, node: usize) -> Vec<(&Entry, &ClientStart)> {
        let starts = self
            .outputs(node)
            .filter_map(|(entry, output)| match output {
                Output::StartClient(start) => Some((entry, start)),
                _ => None,
            });
        starts.collect()
    }

    /// How the node's reservations ended: outcome and reason, in order.
    pub(crate) fn endings(&self, node: usize) -> Vec<(&Entry, &'static str, &'static str)> {
        let endings = self
            .outputs(node)
            .filter_map(|(entry, output)| match output {
                Output::ReservationEnded { outcome, .. } => {
                    let reason = outcome.refusal().map_or("", Refusal::as_str);
                    Some((entry, outcome.as_str(), reason))
                }
                _ => None,
            });
        endings.collect()
    }

    /// Whether every node has met or given up everybody in that sweep.
    pub(crate) fn is_swept(&self, sweep: u64) -> bool {
        (0..self.actors.len()).all(|number| {
            self.outputs(number).any(
                |(_, output)| matches!(output, Output::SweepEnded(report) if report.number >= sweep),
            )
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "at {:?}", self.now.since(Time::default()))?;
        for Entry { at, node, what, .. } in &self.log[self.log.len().saturating_sub(60)..] {
            let at = at.since(Time::default());
            match what {
                What::Got(message) => writeln!(f, "{at:?} n{node} got {}", brief(message))?,
                What::Did(Output::Send(_, message)) => {
                    writeln!(f, "{at:?} n{node} sends {}", brief(message))?;
                }
                What::Did(output) => writeln!(f, "{at:?} n{node} {output:?}")?,
            }
        }
        Ok(())
    }
}

fn brief(message: &Message) -> String {
    let Message {
        from,
        to,
        sweep,
        meeting,
        body,
        ..
    } = message;
    let number = meeting
        .as_ref()
        .map(|meeting| format!("{}/{}", meeting.asker, meeting.number));
    match body {
        Body::Request { .. } => format!("{from}->{to} sweep {sweep} {number:?} request"),
        body => format!("{from}->{to} sweep {sweep} {number:?} {body:?}"),
    }
}
