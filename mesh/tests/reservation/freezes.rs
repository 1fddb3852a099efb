//! Agents that stand still for a while, as after SIGSTOP or on a starved machine.

use super::*;

#[test]
fn a_grant_that_waited_for_a_frozen_asker_is_not_used() {
    let mut stage = pair(&[Protocol::Tcp]);
    assert!(stage.until(10 * SECOND, |stage| {
        !stage.sent(ASKER, "request").is_empty()
    }));
    stage.freeze(ASKER);
    stage.pass(3 * SECOND);
    let granted = stage.sent(GRANTER, "grant")[0].1.meeting.clone();
    stage.thaw(ASKER);
    stage.pass(60 * SECOND);
    assert!(
        stage
            .clients(ASKER)
            .iter()
            .all(|(_, start)| Some(&start.meeting) != granted.as_ref())
    );
    // The pair is met all the same.
    assert_eq!(
        (successes(&stage, ASKER), successes(&stage, GRANTER)),
        (1, 1),
        "{stage}"
    );
}

#[test]
fn whoever_stands_still_whenever_and_however_long_nothing_overlaps_and_all_goes_on() {
    for node in [ASKER, GRANTER] {
        for entries in 3..12 {
            for time in [1, 3, 6, 11, 40].map(|seconds| seconds * SECOND) {
                let mut stage = pair(&[Protocol::Tcp]);
                let count =
                    |stage: &Stage| stage.log.iter().filter(|entry| entry.node == node).count();
                assert!(
                    stage.until(60 * SECOND, |stage| count(stage) >= entries),
                    "{stage}"
                );
                stage.freeze(node);
                stage.pass(time);
                stage.thaw(node);
                stage.pass(100 * SECOND);
                let case = format!("n{node} after {entries} for {time:?}");
                assert!(stage.is_swept(1), "{case}: {stage}");
                assert!(
                    stage.is_free(ASKER) && stage.is_free(GRANTER),
                    "{case}: {stage}"
                );
            }
        }
    }
}
