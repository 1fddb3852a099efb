//! When a sweep begins and ends, and when a node follows the others.

use std::time::Duration;

use iperf3_mesh_core::wire::{Body, Complaints, Message};
use iperf3_mesh_core::{Input, PeerState, Protocol, Reason, TestSpec, WIRE_VERSION};
use iperf3_mesh_core_testkit::{Delivery, Harness, SECOND, name_of, test_spec};

use super::{assert_cells, last_sweep, since_start};

#[test]
fn first_sweep_begins_when_the_membership_has_settled() {
    let mut harness = Harness::strangers(4, |_, _| {});
    let members: Vec<_> = (0..4).map(|number| harness.member(number)).collect();
    // Every second, another node comes into view.
    for known in 2..=4 {
        (0..known).for_each(|to| harness.show(to, members[..known].to_vec()));
        harness.pass(SECOND);
    }
    assert!(
        (0..4).all(|node| harness.sweeps_begun(node).is_empty()),
        "{harness}"
    );
    harness.pass(60 * SECOND);
    for node in 0..4 {
        let first = harness.sweeps_begun(node)[0];
        assert_eq!(first.value, 1);
        assert!(since_start(&first) <= 6 * SECOND, "{harness}");
        assert_cells(&harness, node, 3, &[]);
    }
}

#[test]
fn lone_node_begins_no_sweep() {
    let mut harness = Harness::new(1);
    harness.pass(1000 * SECOND);
    assert_eq!(harness.events(), 0, "{harness}");
}

#[test]
fn every_sweep_gives_each_cell_one_result_and_keeps_the_pause() {
    let mut harness = Harness::with(5, |_, settings| settings.interval = 40 * SECOND);
    harness.wait_for_sweep(400 * SECOND, 3);
    for node in 0..5 {
        assert_cells(&harness, node, 12, &[]);
        let begun = harness.sweeps_begun(node);
        let numbers: Vec<_> = begun.iter().map(|sweep| sweep.value).collect();
        assert_eq!(numbers, [1, 2, 3]);
        for two in begun.windows(2) {
            // Five rounds of 10 s and the pause, up to clock drift and set-up times.
            let period = two[1].at.since(two[0].at);
            assert!(period > 89 * SECOND && period < 93 * SECOND, "{period:?}");
        }
    }
}

#[test]
fn node_follows_its_only_peer_by_one_step() {
    let mut harness = swept_pair();
    let mut member = harness.member(1);
    member.sweep = 7;
    harness.show(0, vec![member]);
    assert_both_follow(harness);
}

#[test]
fn node_follows_a_message_of_its_only_peer_by_one_step() {
    let mut harness = swept_pair();
    let message = Message {
        wire: WIRE_VERSION,
        from: name_of(1),
        from_epoch: harness.node(1).epoch(),
        to: name_of(0),
        to_epoch: harness.node(0).epoch(),
        sweep: 7,
        meeting: None,
        complaints: Complaints::new(),
        body: Body::Sweep,
    };
    harness.input(0, Input::Message(message));
    assert_both_follow(harness);
}

#[test]
fn node_left_behind_closes_its_sweep_within_a_bound() {
    // Two of four nodes are in the next sweep; the last still wants to meet all in this one.
    let left = left_behind_by(4, &[0, 1], 2);
    // 44 s for two meetings in which everything hangs, and 11 s for the meeting in progress.
    assert!(
        left.followed_after <= (44 + 11) * SECOND,
        "{}",
        left.harness
    );
    assert_eq!(left.harness.failures(3).len(), 3, "{}", left.harness);
}

#[test]
fn node_alone_in_a_sweep_closes_it_without_asking_again() {
    let left = left_behind_by(3, &[0, 1], 2);
    // The meeting that was going on; repeated requests would take twice as long.
    assert!(left.followed_after <= 13 * SECOND, "{}", left.harness);
    assert_eq!(left.harness.failures(2).len(), 2, "{}", left.harness);
}

#[test]
fn node_that_began_mid_sweep_fails_no_cell_of_unmet_peers() {
    let left = left_behind_by(3, &[0, 1], 1);
    // The test that was going on when its peer lost power.
    let failures = left.harness.failures(2);
    assert_eq!(failures, [Reason::Timeout], "{}", left.harness);
}

#[test]
fn pair_that_cannot_meet_costs_only_its_own_cells() {
    let mut harness = Harness::new(4);
    // Node 0 does not know node 3, and so cannot even answer it.
    let members = vec![
        harness.member(1),
        harness.member(2),
        harness.member_in(3, PeerState::Left),
    ];
    harness.show(0, members);
    harness.wait_for_sweep(400 * SECOND, 1);
    assert_cells(&harness, 0, 2, &[]);
    assert_cells(&harness, 3, 2, &[Reason::Unreachable]);
    assert_cells(&harness, 1, 3, &[]);
    assert_cells(&harness, 2, 3, &[]);
}

#[test]
fn bye_longer_than_a_minute_gives_up_no_pair() {
    let long = |protocol| TestSpec {
        duration: 55 * SECOND,
        timeout: 60 * SECOND,
        ..test_spec(protocol)
    };
    for nodes in [3, 5] {
        let mut harness = Harness::with(nodes, |_, settings| {
            settings.tests = [Protocol::Tcp, Protocol::Udp].map(long).into();
        });
        harness.wait_for_sweep(2000 * SECOND, 1);
        (0..nodes).for_each(|node| assert_cells(&harness, node, 2 * (nodes - 1), &[]));
    }
}

#[test]
fn mesh_in_which_everything_fails_at_once_sweeps_slowly() {
    let mut harness = Harness::with(2, |_, settings| settings.interval = Duration::ZERO);
    harness.gossip(|_, member| member.state = PeerState::Silent);
    harness.on_message(|_| Delivery::lost(false));
    harness.pass(5 * SECOND);
    harness.introduce_all();
    harness.pass(5 * SECOND);
    harness.gossip(|_, member| member.state = PeerState::Silent);
    harness.pass(200 * SECOND);
    let sweeps = harness.sweeps_begun(0).len();
    assert!((2..=25).contains(&sweeps), "{sweeps}");
}

/// Two nodes in the pause after their first sweep.
fn swept_pair() -> Harness {
    let mut harness = Harness::with(2, |_, settings| settings.interval = 1000 * SECOND);
    harness.wait_for_sweep(60 * SECOND, 1);
    harness
}

/// Node 0 has begun the next sweep; node 1 follows, and they meet.
fn assert_both_follow(mut harness: Harness) {
    assert_eq!(last_sweep(&harness, 0), Some(2));
    harness.pass(60 * SECOND);
    assert_eq!(last_sweep(&harness, 1), Some(2));
    (0..2).for_each(|node| assert_cells(&harness, node, 2, &[]));
}

struct LeftBehind {
    harness: Harness,
    /// How long the last node took to follow.
    followed_after: Duration,
}

/// Nodes of which all but the last one lose their power, while that one still wants to meet them in
/// this sweep. It believes that the nodes `ahead` are in the next one.
fn left_behind_by(nodes: usize, ahead: &[usize], sweep: u64) -> LeftBehind {
    let last = nodes - 1;
    let mut harness = Harness::with(nodes, |_, settings| settings.interval = 30 * SECOND);
    harness.wait(200 * SECOND, |harness| {
        last_sweep(harness, last) == Some(sweep)
    });
    harness.pass(SECOND);
    let mut members: Vec<_> = (0..nodes).map(|number| harness.member(number)).collect();
    ahead
        .iter()
        .for_each(|&number| members[number].sweep = sweep + 1);
    let from = harness.now();
    (0..last).for_each(|node| harness.cut_power(node));
    harness.show(last, members);
    harness.on_message(|_| Delivery::lost(false));
    harness.wait(200 * SECOND, |harness| {
        last_sweep(harness, last) == Some(sweep + 1)
    });
    LeftBehind {
        followed_after: harness.now().since(from),
        harness,
    }
}
