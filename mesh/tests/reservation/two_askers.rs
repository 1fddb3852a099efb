//! Both ask at once, or only one can.

use super::*;

/// Both ask: the one who is not to ask gets impatient while the request is still under way.
fn crossing() -> Stage {
    let mut stage = pair(&[Protocol::Tcp]);
    stage.post = Box::new(|_| Post::Arrives(vec![300 * MILLI]));
    stage
}

#[test]
fn the_rightful_one_wins_and_the_other_withdraws() {
    let mut stage = crossing();
    assert!(
        stage.until(60 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    assert_eq!(stage.sent(ASKER, "request").len(), 1);
    assert_eq!(stage.sent(GRANTER, "request").len(), 1);
    let refused = stage.sent(ASKER, "refuse");
    assert!(
        matches!(
            refused[0].1.body,
            Body::Refuse {
                refusal: Refusal::Crossed,
                ..
            }
        ),
        "{stage}"
    );
    assert_eq!(stage.endings(GRANTER)[0].1, "withdrawn");
    for node in [ASKER, GRANTER] {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (1, vec![])
        );
    }
}

#[test]
fn a_link_that_works_one_way_only_is_used_that_way() {
    // Requests of the rightful asker never arrive, nor do they fail at once.
    let mut stage = pair(&[Protocol::Tcp]);
    stage.post = Box::new(|message| match message.body {
        Body::Request { .. } if message.from == name(ASKER) => Post::Lost { told: false },
        _ => Post::prompt(),
    });
    assert!(
        stage.until(60 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    for node in [ASKER, GRANTER] {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (1, vec![]),
            "{stage}"
        );
    }
}
