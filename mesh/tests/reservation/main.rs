//! Scripted tests of the reservation: two or three real coordinators, whose messages are delayed,
//! lost, doubled and reordered, and whose iperf3 do as the script says. The stage itself looks
//! after every event whether a node is in two meetings at once, or calls itself free while
//! something of a meeting still touches it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod delays;
mod doubles;
mod freezes;
mod instants;
mod losses;
mod refusals;
mod servers;
#[path = "../stage/mod.rs"]
mod stage;
mod stopping;
mod the_order_of_a_meeting;
mod two_askers;
mod two_way_results;

use std::time::Duration;

use iperf3_mesh_core::wire::{Body, MeetingId, Message, PlannedTest, Refusal, Role};
use iperf3_mesh_core::{
    Epoch, Input, MARGIN, Outcome, Output, PortRange, Protocol, Reason, START_WINDOW,
    ServerFailure, TestSpec, WIRE_VERSION,
};
use proptest::prelude::*;
use stage::{MILLI, Post, SECOND, Stage, What, cases, name, spec};

/// In the first sweep of two nodes the second one asks.
const GRANTER: usize = 0;
const ASKER: usize = 1;

/// Two nodes with that protocol or both.
fn pair(protocols: &[Protocol]) -> Stage {
    Stage::with(2, |_, settings| {
        settings.tests = protocols.iter().map(|&protocol| spec(protocol)).collect();
    })
}

fn both_protocols() -> Stage {
    pair(&[Protocol::Tcp, Protocol::Udp])
}

fn two_way() -> Stage {
    Stage::with(2, |_, settings| {
        settings.tests = vec![TestSpec {
            bidir: true,
            ..spec(Protocol::Tcp)
        }];
    })
}

/// The same stage, on which all messages of that kind are lost; whether their senders come to know
/// it.
fn losing(kind: &'static str, told: bool, mut stage: Stage) -> Stage {
    stage.post = Box::new(move |message| {
        if message.body.kind() == kind {
            Post::Lost { told }
        } else {
            Post::prompt()
        }
    });
    stage
}

fn kinds(stage: &Stage, node: usize) -> Vec<&'static str> {
    let messages = stage.log.iter().filter_map(|entry| match &entry.what {
        What::Got(message) if entry.node == node => Some(message.body.kind()),
        _ => None,
    });
    messages.filter(|kind| *kind != "sweep").collect()
}

fn successes(stage: &Stage, node: usize) -> usize {
    stage
        .cells(node)
        .iter()
        .filter(|(_, _, outcome)| outcome.is_ok())
        .count()
}

fn failures(stage: &Stage, node: usize) -> Vec<Reason> {
    stage
        .cells(node)
        .into_iter()
        .filter_map(|(_, _, outcome)| outcome.err())
        .collect()
}

/// A message about a meeting that `from` has asked for.
fn forged(stage: &Stage, from: usize, to: usize, number: u64, body: Body) -> Message {
    let from_epoch = stage.node(from).epoch();
    Message {
        wire: WIRE_VERSION,
        from: name(from),
        from_epoch,
        to: name(to),
        to_epoch: stage.node(to).epoch(),
        sweep: stage.node(to).status(stage.local(to)).sweep.number,
        meeting: Some(MeetingId {
            asker: name(from),
            epoch: from_epoch,
            number,
        }),
        body,
    }
}

/// A request that was never seen before.
fn requested(stage: &Stage, from: usize, to: usize) -> Message {
    let plan = [Role::Asker, Role::Granter];
    let plan = plan.map(|client| PlannedTest {
        client,
        spec: spec(Protocol::Tcp),
    });
    forged(
        stage,
        from,
        to,
        1 << 32,
        Body::Request { plan: plan.into() },
    )
}

/// What the node answers to that message, at once.
fn answer(stage: &mut Stage, node: usize, message: Message) -> Option<Message> {
    let before = stage.log.len();
    stage.input(node, Input::Message(message));
    stage.log[before..]
        .iter()
        .find_map(|entry| match &entry.what {
            What::Did(Output::Send(_, answer)) => Some(answer.clone()),
            _ => None,
        })
}

fn refusal(answer: Option<Message>) -> Option<Refusal> {
    match answer?.body {
        Body::Refuse { refusal, .. } => Some(refusal),
        _ => None,
    }
}
