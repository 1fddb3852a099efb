//! Messages that come late.

use super::*;

fn delayed(kind: &'static str, delay: Duration) -> Stage {
    let mut stage = both_protocols();
    let mut is_first = true;
    stage.post = Box::new(move |message| {
        if message.body.kind() == kind && std::mem::take(&mut is_first) {
            Post::Arrives(vec![delay])
        } else {
            Post::prompt()
        }
    });
    stage
}

#[test]
fn a_message_that_comes_late_harms_nobody() {
    for kind in ["request", "grant", "next", "go", "end"] {
        for delay in [1, 2, 3, 4, 8, 12, 20, 40].map(|seconds| seconds * SECOND) {
            let mut stage = delayed(kind, delay);
            assert!(
                stage.until(120 * SECOND, |stage| stage.is_swept(1)),
                "{kind} {delay:?}: {stage}"
            );
            stage.pass(100 * SECOND);
            for node in [ASKER, GRANTER] {
                assert_eq!(successes(&stage, node), 2, "{kind} {delay:?}: {stage}");
                assert_eq!(failures(&stage, node), [], "{kind} {delay:?}: {stage}");
                assert!(stage.is_free(node));
            }
        }
    }
}

#[test]
fn a_grant_after_the_last_moment_to_start_is_not_used() {
    let mut stage = delayed("grant", 2600 * MILLI);
    stage.pass(8 * SECOND);
    let granted = stage.sent(GRANTER, "grant")[0].1.meeting.clone();
    assert!(
        stage
            .clients(ASKER)
            .iter()
            .all(|(_, start)| Some(&start.meeting) != granted.as_ref())
    );
    // One that comes just before it is.
    let mut stage = delayed("grant", 2400 * MILLI);
    stage.pass(8 * SECOND);
    let granted = stage.sent(GRANTER, "grant")[0].1.meeting.clone();
    assert_eq!(Some(stage.clients(ASKER)[0].1.meeting.clone()), granted);
}
