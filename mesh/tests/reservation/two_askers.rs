//! Both nodes ask at once, or only one of them can.

use iperf3_mesh_core::wire::{Body, Refusal};
use iperf3_mesh_core::{Protocol, ReservationOutcome};
use iperf3_mesh_core_testkit::{Delivery, MILLI, SECOND, name_of};

use super::{ASKER, GRANTER, assert_successes, pair};

#[test]
fn crossing_requests_the_rightful_asker_wins() {
    let mut harness = pair(&[Protocol::Tcp]);
    // The other node asks, too, while the request is still under way.
    harness.on_message(|_| Delivery::after(300 * MILLI));
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_eq!(harness.sent(ASKER, "request").len(), 1);
    assert_eq!(harness.sent(GRANTER, "request").len(), 1);
    let refusals = harness.sent(ASKER, "refuse");
    assert!(
        matches!(
            refusals[0].body,
            Body::Refuse {
                refusal: Refusal::Crossed,
                ..
            }
        ),
        "{harness}"
    );
    let outcome = harness.endings(GRANTER)[0].value;
    assert_eq!(outcome, ReservationOutcome::Withdrawn);
    assert_successes(&harness, 1, "crossing requests");
}

#[test]
fn one_way_link_the_other_node_asks_after_the_rightful_one() {
    let mut harness = pair(&[Protocol::Tcp]);
    harness.on_message(|message| match message.body {
        Body::Request { .. } if message.from == name_of(ASKER) => Delivery::lost(false),
        _ => Delivery::after(MILLI),
    });
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_successes(&harness, 1, "one-way link");
}
