//! A node that is stopped, at every moment of a meeting.

use super::*;

/// A meeting in which `node` is stopped after that many of its entries in the log.
fn stopped(node: usize, entries: usize, bidir: bool) -> Option<(Stage, usize)> {
    let mut stage = if bidir { two_way() } else { both_protocols() };
    stage.pass(2 * SECOND);
    let count = |stage: &Stage| stage.log.iter().filter(|entry| entry.node == node).count();
    if !stage.until(40 * SECOND, |stage| count(stage) >= entries) {
        return None;
    }
    let stopped_at = stage.log.len();
    stage.stop(node);
    Some((stage, stopped_at))
}

#[test]
fn whenever_it_comes_it_leaves_no_slot_says_so_and_records_nothing() {
    for bidir in [false, true] {
        for node in [ASKER, GRANTER] {
            let mut entries = 0;
            while let Some((stage, stopped_at)) = stopped(node, entries, bidir) {
                check(stage, stopped_at, node);
                entries += 1;
            }
            assert!(entries > 6, "{entries}");
        }
    }
}

fn check(mut stage: Stage, stopped_at: usize, node: usize) {
    let was_in_a_meeting = !stage.is_free(node)
        || stage.log[stopped_at..]
            .iter()
            .any(|entry| matches!(&entry.what, What::Did(Output::ReservationEnded { .. })));
    stage.pass(10 * MILLI);
    assert!(stage.is_free(node), "{stage}");
    let after = stage.log.split_off(stopped_at);
    let did = |wanted: fn(&iperf3_mesh_core::Output) -> bool| {
        after.iter().any(|entry| {
            entry.node == node && matches!(&entry.what, What::Did(output) if wanted(output))
        })
    };
    let says_end = did(|output| {
        matches!(
            output,
            Output::Send(
                _,
                Message {
                    body: Body::End { .. },
                    ..
                }
            )
        )
    });
    assert!(says_end || !was_in_a_meeting, "{after:?}");
    assert!(
        !did(|output| matches!(output, Output::Cell { .. })),
        "{after:?}"
    );
    assert!(
        !did(|output| matches!(output, Output::SweepEnded(_))),
        "{after:?}"
    );
    // The other one is free as soon as it knows.
    stage.until(SECOND, |stage| stage.is_free(1 - node));
    assert!(stage.is_free(1 - node), "{after:?}");
    let message = requested(&stage, 1 - node, node);
    assert_eq!(
        refusal(answer(&mut stage, node, message)),
        Some(Refusal::Stopping)
    );
}
