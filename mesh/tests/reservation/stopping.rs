//! A node that is stopped at any moment of a meeting.

use iperf3_mesh_core::Output;
use iperf3_mesh_core::wire::{Body, Refusal};
use iperf3_mesh_core_testkit::{Event, Harness, MILLI, SECOND, refusal};

use super::{ASKER, GRANTER, both_protocols, two_way};

#[test]
fn stopped_node_frees_both_slots_and_records_nothing() {
    for meeting in [both_protocols, two_way] {
        for node in [ASKER, GRANTER] {
            let mut events = 0;
            while let Some(harness) = stopped(meeting(), node, events) {
                check(harness, node);
                events += 1;
            }
            assert!(events > 6, "{events}");
        }
    }
}

struct Stopped {
    harness: Harness,
    /// How many events there were before.
    stopped_at: usize,
}

/// A meeting in which `node` is stopped after that many of its events; `None` if there are fewer.
fn stopped(mut harness: Harness, node: usize, events: usize) -> Option<Stopped> {
    harness.pass(2 * SECOND);
    if !harness.until(40 * SECOND, |harness| harness.events_at(node) >= events) {
        return None;
    }
    let stopped_at = harness.events();
    harness.stop(node);
    Some(Stopped {
        harness,
        stopped_at,
    })
}

fn check(stopped: Stopped, node: usize) {
    let Stopped {
        mut harness,
        stopped_at,
    } = stopped;
    let was_in_a_meeting = did(&harness, stopped_at, node, |output| {
        matches!(output, Output::ReservationEnded { .. })
    });
    harness.pass(10 * MILLI);
    assert!(harness.is_free(node), "{harness}");
    let sends_end = did(&harness, stopped_at, node, |output| match output {
        Output::Send(_, message) => matches!(message.body, Body::End { .. }),
        _ => false,
    });
    assert!(sends_end || !was_in_a_meeting, "{harness}");
    let records = did(&harness, stopped_at, node, |output| {
        matches!(output, Output::Cell { .. } | Output::SweepEnded(_))
    });
    assert!(!records, "{harness}");
    // The other node is free as soon as it has the message.
    harness.wait(SECOND, |harness| harness.is_free(1 - node));
    let request = harness.new_request(1 - node, node);
    let answer = harness.answer(node, request);
    assert_eq!(refusal(answer), Some(Refusal::Stopping));
}

/// Whether the node has put out such a thing after the first `count` events.
fn did(harness: &Harness, count: usize, node: usize, wanted: fn(&Output) -> bool) -> bool {
    harness
        .events_after(count)
        .iter()
        .filter(|entry| entry.node == node)
        .any(|entry| matches!(&entry.event, Event::Output(output) if wanted(output)))
}
