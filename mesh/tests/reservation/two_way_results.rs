//! Results that are handed over.

use super::*;

#[test]
fn a_result_that_does_not_come_back_is_lost() {
    let mut stage = two_way();
    stage.post = Box::new(|message| match message.body {
        Body::End { .. } => Post::Lost { told: false },
        _ => Post::prompt(),
    });
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)), "{stage}");
    assert_eq!(successes(&stage, ASKER), 1);
    assert_eq!(failures(&stage, GRANTER), [Reason::ResultLost]);
}

#[test]
fn what_failed_at_the_client_failed_for_both() {
    let mut stage = two_way();
    stage.hangs = Box::new(|_| true);
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)), "{stage}");
    for node in [ASKER, GRANTER] {
        assert_eq!(failures(&stage, node), [Reason::Timeout]);
    }
}

#[test]
fn a_result_that_nobody_owes_is_not_taken() {
    let mut stage = pair(&[Protocol::Tcp]);
    stage.post = Box::new(|message| match message.body {
        Body::Go { .. } => Post::Arrives(vec![SECOND]),
        _ => Post::prompt(),
    });
    assert!(stage.until(20 * SECOND, |stage| !stage.sent(ASKER, "go").is_empty()));
    let outcome: Outcome = Err(Reason::Connect);
    let handover = vec![mesh::wire::Handover { protocol: Protocol::Tcp, outcome }];
    let number = stage.servers(GRANTER)[0].1.meeting.number;
    let end = forged(&stage, ASKER, GRANTER, number, Body::End { handover });
    stage.input(GRANTER, Input::Message(end));
    stage.pass(100 * SECOND);
    assert_eq!((successes(&stage, GRANTER), failures(&stage, GRANTER)), (1, vec![]));
}
