//! Messages that arrive twice.

use iperf3_mesh_core::Input;
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, cases};
use proptest::prelude::*;

use super::{ASKER, GRANTER, assert_successes, both_protocols};

#[test]
fn duplicates_of_all_messages_change_nothing() {
    for delay in [MILLI, 100 * MILLI, SECOND, 6 * SECOND, 30 * SECOND] {
        let mut harness = both_protocols();
        harness.on_message(move |_| Delivery::copies([MILLI, MILLI + delay]));
        harness.wait_for_sweep(60 * SECOND, 1);
        harness.pass(60 * SECOND);
        assert_one_meeting(&harness);
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// Any message of a meeting, sent to its receiver again, at any time during the meeting or
    /// after it.
    #[test]
    fn replay_of_any_message_at_any_time_changes_nothing(
        which in 0usize..10,
        after_ms in 0u32..25_000,
    ) {
        let mut harness = both_protocols();
        harness.wait(60 * SECOND, |harness| {
            harness.received_kinds(ASKER).len() + harness.received_kinds(GRANTER).len() > which
        });
        let (node, message) = harness.last_received().unwrap();
        let message = message.clone();
        harness.pass(MILLI * after_ms);
        harness.input(node, Input::Message(message));
        harness.pass(60 * SECOND);
        assert_one_meeting(&harness);
    }
}

/// Every test has run exactly once.
fn assert_one_meeting(harness: &Harness) {
    assert_successes(harness, 2, "one meeting");
    for node in [ASKER, GRANTER] {
        assert_eq!(harness.servers(node).len(), 2, "{harness}");
    }
}
