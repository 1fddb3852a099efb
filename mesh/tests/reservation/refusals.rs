//! The requests that a node refuses, and the reasons.

use iperf3_mesh_core::wire::{Body, Message, Refusal};
use iperf3_mesh_core::{Epoch, Input, Protocol, ReservationOutcome};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, name_of, refusal};

use super::{ASKER, GRANTER, assert_successes, both_protocols, pair, script};

#[test]
fn busy_node_refuses_at_once_and_says_when_it_is_free() {
    let mut harness = Harness::new(3);
    let server = |harness: &Harness| (0..3).find(|&node| !harness.servers(node).is_empty());
    harness.wait(10 * SECOND, |harness| server(harness).is_some());
    let busy = server(&harness).unwrap();
    let partner = harness.servers(busy)[0].peer.clone();
    let third = (0..3)
        .find(|&node| node != busy && name_of(node) != partner)
        .unwrap();
    let request = harness.new_request(third, busy);
    let Some(Message {
        body: Body::Refuse {
            refusal,
            free_in_ms,
        },
        ..
    }) = harness.answer(busy, request)
    else {
        panic!("not refused:\n{harness}");
    };
    assert_eq!(refusal, Refusal::Busy);
    // Both tests of 5 s are still to come.
    let free_in_ms = free_in_ms.unwrap();
    assert!((10_000..12_000).contains(&free_in_ms), "{free_in_ms}");
}

#[test]
fn request_to_an_earlier_epoch_is_refused() {
    let mut harness = pair(&[Protocol::Tcp]);
    harness.pass(SECOND);
    let request = Message {
        to_epoch: Epoch(1),
        ..harness.new_request(ASKER, GRANTER)
    };
    let answer = harness.answer(GRANTER, request);
    assert_eq!(refusal(answer), Some(Refusal::StaleEpoch));
    assert!(harness.is_free(GRANTER));
}

#[test]
fn request_from_an_earlier_epoch_is_refused() {
    let mut harness = pair(&[Protocol::Tcp]);
    harness.pass(SECOND);
    let mut request = harness.new_request(ASKER, GRANTER);
    request.from_epoch = Epoch(1);
    request.meeting.as_mut().unwrap().epoch = Epoch(1);
    let answer = harness.answer(GRANTER, request);
    assert_eq!(refusal(answer), Some(Refusal::Unknown));
}

#[test]
fn request_for_another_sweep_is_refused() {
    let mut harness = pair(&[Protocol::Tcp]);
    harness.wait_for_sweep(60 * SECOND, 1);
    let request = Message {
        sweep: 0,
        ..harness.new_request(ASKER, GRANTER)
    };
    let answer = harness.answer(GRANTER, request);
    assert_eq!(refusal(answer), Some(Refusal::Sweep));
}

#[test]
fn request_of_a_node_outside_the_view_is_refused() {
    let mut harness = Harness::strangers(2, |_, _| {});
    harness.pass(SECOND);
    let request = harness.new_request(ASKER, GRANTER);
    harness.input(GRANTER, Input::Message(request));
    let outcome = harness.endings(GRANTER)[0].value;
    assert_eq!(outcome, ReservationOutcome::Refused(Refusal::Unknown));
    assert!(harness.is_free(GRANTER) && harness.servers(GRANTER).is_empty());
}

#[test]
fn duplicates_of_a_request_are_not_refused() {
    let mut harness = pair(&[Protocol::Tcp]);
    let copies = Delivery::copies([MILLI, 2 * MILLI, SECOND, 30 * SECOND]);
    script(&mut harness, "request", copies);
    harness.wait_for_sweep(60 * SECOND, 1);
    harness.pass(60 * SECOND);
    assert!(harness.sent(GRANTER, "refuse").is_empty(), "{harness}");
    assert_successes(&harness, 1, "duplicates");
}

#[test]
fn late_refusal_ends_a_meeting_only_if_no_server_started() {
    for (reason, ends) in [(Refusal::Unknown, false), (Refusal::Spawn, true)] {
        let mut harness = both_protocols();
        harness.on_message(|message| match message.body {
            Body::Grant { test: 1, .. } => Delivery::after(SECOND),
            _ => Delivery::after(MILLI),
        });
        harness.wait(20 * SECOND, |harness| {
            !harness.sent(ASKER, "next").is_empty()
        });
        let meeting = harness.sent(ASKER, "next")[0].meeting.clone();
        let body = Body::Refuse {
            refusal: reason,
            free_in_ms: None,
        };
        let late = Message {
            meeting,
            ..harness.message(GRANTER, ASKER, 1, body)
        };
        harness.input(ASKER, Input::Message(late));
        let has_ended = !harness.endings(ASKER).is_empty();
        assert_eq!(has_ended, ends, "{reason:?}\n{harness}");
    }
}
