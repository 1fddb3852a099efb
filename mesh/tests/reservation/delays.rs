//! Messages that arrive late.

use std::time::Duration;

use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND};

use super::{ASKER, GRANTER, assert_successes, both_protocols};

#[test]
fn late_message_delays_the_meeting_but_fails_no_cell() {
    for kind in ["request", "grant", "next", "go", "end"] {
        for delay in [1, 2, 3, 4, 8, 12, 20, 40].map(|seconds| seconds * SECOND) {
            let mut harness = first_delayed(kind, delay);
            harness.wait_for_sweep(120 * SECOND, 1);
            harness.pass(100 * SECOND);
            assert_successes(&harness, 2, &format!("{kind} {delay:?}"));
            assert!(harness.is_free(ASKER) && harness.is_free(GRANTER));
        }
    }
}

#[test]
fn grant_after_the_start_window_is_not_used() {
    let harness = first_delayed_until_granted(2600 * MILLI);
    let granted = harness.sent(GRANTER, "grant")[0].meeting.clone();
    let clients = harness.clients(ASKER);
    assert!(
        clients
            .iter()
            .all(|start| Some(&start.meeting) != granted.as_ref())
    );
}

#[test]
fn grant_just_within_the_start_window_is_used() {
    let harness = first_delayed_until_granted(2400 * MILLI);
    let granted = harness.sent(GRANTER, "grant")[0].meeting.clone();
    assert_eq!(Some(harness.clients(ASKER)[0].meeting.clone()), granted);
}

fn first_delayed_until_granted(delay: Duration) -> Harness {
    let mut harness = first_delayed("grant", delay);
    harness.pass(8 * SECOND);
    harness
}

/// The first message of that kind is delayed.
fn first_delayed(kind: &'static str, delay: Duration) -> Harness {
    let mut harness = both_protocols();
    let mut is_first = true;
    harness.on_message(move |message| {
        if message.body.kind() == kind && std::mem::take(&mut is_first) {
            Delivery::after(delay)
        } else {
            Delivery::after(MILLI)
        }
    });
    harness
}
