//! Other wire versions, duplicate names, and peers that do not answer.

use std::net::SocketAddr;

use iperf3_mesh_core::wire::{Body, Refusal};
use iperf3_mesh_core::{Input, Member, PeerState, Reason, ReservationOutcome, View, WIRE_VERSION};
use iperf3_mesh_core_testkit::{DELIVERY_TIMEOUT, Delivery, Harness, MILLI, SECOND, name_of};

use super::assert_cells;

#[test]
fn distant_wire_version_fails_as_incompatible_on_both_nodes() {
    let mut harness = Harness::new(2);
    harness.on_message(|_| Delivery::lost(true));
    for node in [0, 1] {
        let distant = Member {
            wire: WIRE_VERSION + 2,
            ..harness.member(1 - node)
        };
        harness.show(node, vec![distant.clone()]);
        let peer = harness.node(node).peer(&distant.name).cloned().unwrap();
        assert!(!peer.is_meetable());
        // Without a third node no sweep would begin.
        let third = Member {
            name: name_of(2),
            ..harness.member(1)
        };
        harness.show(node, vec![peer.member, third]);
    }
    harness.pass(60 * SECOND);
    for node in [0, 1] {
        let outcomes: Vec<_> = harness
            .cells(node)
            .into_iter()
            .filter(|cell| cell.destination == 1 - node)
            .map(|cell| cell.outcome)
            .collect();
        assert_eq!(outcomes, [Err(Reason::Incompatible)], "{harness}");
    }
}

#[test]
fn adjacent_wire_version_is_met() {
    for wire in [WIRE_VERSION - 1, WIRE_VERSION + 1] {
        let mut harness = Harness::new(2);
        harness.gossip(|_, member| member.wire = wire);
        harness.wait_for_sweep(60 * SECOND, 1);
        (0..2).for_each(|node| assert_cells(&harness, node, 1, &[]));
    }
}

#[test]
fn node_with_a_taken_name_meets_no_peer_until_it_is_unique() {
    let mut harness = Harness::with(3, |_, settings| settings.interval = SECOND);
    let members: Vec<_> = (0..3).map(|number| harness.member(number)).collect();
    harness.input(0, Input::View(View::new(members.clone(), Some(namesake()))));
    let conflict = harness.member_in(0, PeerState::Conflict);
    let others = [&[conflict], &members[1..]].concat();
    (1..3).for_each(|to| harness.show(to, others.clone()));
    harness.pass(100 * SECOND);
    assert!(harness.node(0).is_name_taken());
    assert!(harness.clients(0).is_empty() && harness.servers(0).is_empty());
    for node in [1, 2] {
        let failures = harness.failures(node);
        assert!(
            !failures.is_empty() && harness.successes(node) > 3,
            "{harness}"
        );
        assert!(
            failures
                .iter()
                .all(|&reason| reason == Reason::NameConflict)
        );
    }
    for message in harness.sent(0, "refuse") {
        let Body::Refuse { refusal, .. } = message.body else {
            panic!("{message:?}")
        };
        assert_eq!(refusal, Refusal::NameConflict);
    }
    // The other node of that name is gone.
    harness.introduce_all();
    harness.pass(100 * SECOND);
    assert!(harness.successes(0) > 3, "{harness}");
}

#[test]
fn peer_that_answers_pings_only_is_asked_three_times() {
    let mut harness = Harness::new(2);
    harness.on_message(|message| match message.meeting {
        Some(_) => Delivery::lost(true),
        None => Delivery::after(MILLI),
    });
    harness.pass(100 * SECOND);
    for node in [0, 1] {
        assert_eq!(harness.failures(node), [Reason::Unreachable]);
        let requests = harness.sent(node, "request");
        assert_eq!(requests.len(), 3);
        for two in requests.windows(2) {
            assert!(two[1].at.since(two[0].at) > DELIVERY_TIMEOUT + MILLI);
        }
    }
}

#[test]
fn peer_that_answers_sometimes_is_not_given_up() {
    // Every other request is lost. The others are refused, because the peer is still quiet.
    let mut harness = Harness::with(2, |number, settings| settings.skip_quiet_time = number == 0);
    let mut requests = 0;
    harness.on_message(move |message| {
        if matches!(message.body, Body::Request { .. }) {
            requests += 1;
            if requests % 2 == 1 {
                return Delivery::lost(false);
            }
        }
        Delivery::after(MILLI)
    });
    harness.pass(150 * SECOND);
    let endings = harness.endings(0);
    let unanswered = endings
        .iter()
        .filter(|it| it.value == ReservationOutcome::NoAnswer);
    assert!(unanswered.count() >= 3, "{harness}");
    (0..2).for_each(|node| assert_cells(&harness, node, 1, &[]));
}

/// The address of another agent with the name of node 0.
fn namesake() -> SocketAddr {
    ([198, 18, 9, 9], 9878).into()
}
