//! Tests of the coordinator: when sweeps begin and end, and which peers are met, asked, given up
//! and forgotten.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conflicts;
mod invented;
mod missing;
mod numbers;
mod pings;
mod quotas;
mod restarts;
mod silence;
mod sweeps;

use std::time::Duration;

use iperf3_mesh_core::{Reason, Time};
use iperf3_mesh_core_testkit::{Harness, Logged};

/// The node has so many successful cells, and cells that failed for these reasons.
fn assert_cells(harness: &Harness, node: usize, successes: usize, failures: &[Reason]) {
    assert_eq!(
        (harness.successes(node), harness.failures(node)),
        (successes, failures.to_vec()),
        "n{node}:\n{harness}"
    );
}

/// When the node ended this sweep.
fn end_of_sweep(harness: &Harness, node: usize, sweep: u64) -> Option<Time> {
    harness
        .sweeps_ended(node)
        .iter()
        .find(|summary| summary.number == sweep)
        .map(|summary| summary.at)
}

/// The sweep that the node began last.
fn last_sweep(harness: &Harness, node: usize) -> Option<u64> {
    harness.sweeps_begun(node).last().map(|sweep| sweep.value)
}

/// How long after the start it happened.
fn since_start<T>(logged: &Logged<T>) -> Duration {
    logged.at.since(Time::default())
}
