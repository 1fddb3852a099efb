//! Restarts, quiet times and late arrivals.

use std::time::Duration;

use iperf3_mesh_core::wire::{Body, Refusal};
use iperf3_mesh_core::{Epoch, PeerState, QUIET_TIME, Time};
use iperf3_mesh_core_testkit::{Harness, SECOND, name_of};

use super::{assert_cells, last_sweep};

#[test]
fn restarted_peer_is_met_again_after_its_quiet_time() {
    let mut harness = Harness::with(3, |_, settings| settings.interval = 30 * SECOND);
    harness.wait_for_sweep(100 * SECOND, 1);
    harness.restart(2, Epoch(77), false);
    let restarted = harness.now();
    harness.pass(SECOND);
    harness.introduce_all();
    harness.pass(200 * SECOND);
    let mut starts: Vec<Time> = (0..3)
        .flat_map(|node| harness.clients(node).into_iter().map(move |it| (node, it)))
        .filter(|(node, start)| *node == 2 || start.peer == name_of(2))
        .map(|(_, start)| start.at)
        .filter(|&at| at > restarted)
        .collect();
    starts.sort_unstable();
    assert!(starts.len() >= 4, "{harness}");
    // Its clock may be 500 ppm fast.
    let quiet_for = starts[0].since(restarted);
    assert!(quiet_for >= QUIET_TIME.mul_f64(0.999), "{harness}");
    assert_eq!(harness.failures(0), [], "{harness}");
}

#[test]
fn quiet_node_refuses_and_says_for_how_long() {
    let mut harness = Harness::with(2, |number, settings| settings.skip_quiet_time = number == 1);
    harness.pass(20 * SECOND);
    let refusals = harness.sent(0, "refuse");
    assert!(!refusals.is_empty(), "{harness}");
    for message in &refusals {
        let Body::Refuse {
            refusal,
            free_in_ms,
        } = message.body
        else {
            panic!("{message:?}")
        };
        assert_eq!(refusal, Refusal::Quiet);
        let left = QUIET_TIME.saturating_sub(message.at.since(Time::default()));
        let free_in = Duration::from_millis(free_in_ms.unwrap());
        assert!(left.abs_diff(free_in) < SECOND, "{free_in:?}");
    }
    // It is asked every ten seconds at most.
    assert!(refusals.len() <= 3, "{harness}");
    harness.pass(100 * SECOND);
    assert_eq!(harness.successes(0), 1, "{harness}");
    assert_eq!(harness.failures(1), [], "{harness}");
}

#[test]
fn node_that_joins_during_a_sweep_is_met_in_it() {
    let mut harness = Harness::with(5, |_, settings| settings.interval = 1000 * SECOND);
    harness.gossip(|number, member| {
        if number == 4 {
            member.state = PeerState::Left;
        }
    });
    harness.show(4, Vec::new());
    harness.cut_power(4);
    harness.pass(15 * SECOND);
    harness.restart(4, Epoch(9), true);
    harness.introduce_all();
    harness.pass(200 * SECOND);
    for node in 0..5 {
        assert_eq!(last_sweep(&harness, node), Some(1), "{harness}");
        assert_cells(&harness, node, 4, &[]);
    }
}

#[test]
fn quiet_node_delays_no_other_pair() {
    let mut harness = Harness::with(4, |number, settings| settings.skip_quiet_time = number != 3);
    // The three others need as many rounds as without the quiet node.
    harness.pass(4 * SECOND + 3 * 11 * SECOND);
    (0..3).for_each(|node| assert_cells(&harness, node, 2, &[]));
    harness.pass(QUIET_TIME);
    (0..4).for_each(|node| assert_cells(&harness, node, 3, &[]));
}

#[test]
fn first_sweep_of_quiet_nodes_ends_when_all_have_met() {
    let mut harness = Harness::with(3, |_, settings| settings.skip_quiet_time = false);
    harness.pass(3 * SECOND);
    harness.restart(1, Epoch(1000), false);
    harness.restart(2, Epoch(1000), false);
    harness.introduce_all();
    harness.pass(QUIET_TIME + 4 * 11 * SECOND);
    for node in 0..3 {
        let ended = harness.sweeps_ended(node);
        assert_eq!(ended.len(), 1, "{harness}");
        assert!(ended[0].duration > 10 * SECOND, "{harness}");
        assert_cells(&harness, node, 2, &[]);
    }
}

#[test]
fn node_that_keeps_restarting_costs_only_its_own_cells() {
    let mut harness = Harness::with(4, |_, settings| settings.interval = 100 * SECOND);
    // It always restarts before its quiet time is over.
    for restart in 0..40 {
        harness.restart(3, Epoch(1000 + restart), false);
        harness.pass(SECOND);
        harness.introduce_all();
        harness.pass(49 * SECOND);
    }
    // In 2000 s: a sweep takes 30 s, the wait for the quiet node two minutes, the pause 100 s.
    for node in 0..3 {
        let sweeps = harness.sweeps_begun(node).len();
        assert!(sweeps >= 7, "n{node} began {sweeps}");
        for cell in harness.cells(node) {
            assert_eq!(cell.outcome.is_err(), cell.destination == 3, "{cell:?}");
        }
    }
}
