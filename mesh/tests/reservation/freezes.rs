//! Agents that stand still for a while, as after SIGSTOP or on an overloaded machine.

use iperf3_mesh_core::Protocol;
use iperf3_mesh_core_testkit::SECOND;

use super::{ASKER, GRANTER, assert_successes, pair};

#[test]
fn grant_that_waited_for_a_frozen_asker_is_not_used() {
    let mut harness = pair(&[Protocol::Tcp]);
    harness.wait(10 * SECOND, |harness| {
        !harness.sent(ASKER, "request").is_empty()
    });
    harness.freeze(ASKER);
    harness.pass(3 * SECOND);
    let granted = harness.sent(GRANTER, "grant")[0].meeting.clone();
    harness.thaw(ASKER);
    harness.pass(60 * SECOND);
    let clients = harness.clients(ASKER);
    assert!(
        clients
            .iter()
            .all(|start| Some(&start.meeting) != granted.as_ref())
    );
    assert_successes(&harness, 1, "the pair meets later");
}

#[test]
fn freeze_at_any_moment_causes_no_overlap_and_no_stuck_slot() {
    for node in [ASKER, GRANTER] {
        for events in 3..12 {
            for time in [1, 3, 6, 11, 40].map(|seconds| seconds * SECOND) {
                let mut harness = pair(&[Protocol::Tcp]);
                harness.wait(60 * SECOND, |harness| harness.events_at(node) >= events);
                harness.freeze(node);
                harness.pass(time);
                harness.thaw(node);
                harness.pass(100 * SECOND);
                let case = format!("n{node} after {events} events for {time:?}");
                assert!(harness.is_swept(1), "{case}:\n{harness}");
                assert!(
                    harness.is_free(ASKER) && harness.is_free(GRANTER),
                    "{case}:\n{harness}"
                );
            }
        }
    }
}
