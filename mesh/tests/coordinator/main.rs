//! Tests of the coordinator: when sweeps begin and end, who is met, asked, given up and forgotten,
//! and that nothing that comes from outside makes it fall, spin, or be in two meetings.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lives;
mod silence;
#[path = "../stage/mod.rs"]
mod stage;
mod strangers;
mod sweeps;

use std::time::Duration;

use iperf3_mesh_core::wire::Body;
use iperf3_mesh_core::{
    Epoch, Input, Member, Output, PeerState, Protocol, QUIET_TIME, Reason, TestSpec, Time, View,
};
use stage::{DELIVERY_TIMEOUT, MILLI, Post, SECOND, Stage, name, spec};

fn began(stage: &Stage, node: usize) -> Vec<(Time, u64)> {
    let began = stage
        .outputs(node)
        .filter_map(|(entry, output)| match output {
            Output::SweepBegan(number) => Some((entry.at, *number)),
            _ => None,
        });
    began.collect()
}

fn ended(stage: &Stage, node: usize, number: u64) -> Option<Time> {
    stage
        .outputs(node)
        .find_map(|(entry, output)| match output {
            Output::SweepEnded(report) if report.number == number => Some(entry.at),
            _ => None,
        })
}

fn departed(stage: &Stage, node: usize) -> Option<Time> {
    let departed = |output: &Output| matches!(output, Output::Departed(_));
    stage
        .outputs(node)
        .find(|(_, output)| departed(output))
        .map(|(entry, _)| entry.at)
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

/// Shows everybody all nodes as they now describe themselves, with that change.
fn gossip(stage: &mut Stage, nodes: usize, change: impl Fn(usize, &mut Member)) {
    let members: Vec<_> = (0..nodes)
        .map(|number| {
            let mut member = stage.member(number);
            change(number, &mut member);
            member
        })
        .collect();
    (0..nodes).for_each(|to| stage.show(to, members.clone()));
}
