//! Whom a node refuses, and why.

use super::*;

#[test]
fn a_busy_node_refuses_at_once_and_says_when_it_will_be_free() {
    let mut stage = Stage::new(3);
    let is_serving = |stage: &Stage, node: usize| !stage.servers(node).is_empty();
    assert!(stage.until(10 * SECOND, |stage| {
        (0..3).any(|node| is_serving(stage, node))
    }));
    let busy = (0..3).find(|&node| is_serving(&stage, node)).unwrap();
    let with = stage.servers(busy)[0].1.peer.clone();
    let other = (0..3)
        .find(|&node| node != busy && name(node) != with)
        .unwrap();
    let message = requested(&stage, other, busy);
    let Some(Message {
        body: Body::Refuse {
            refusal,
            free_in_ms,
        },
        ..
    }) = answer(&mut stage, busy, message)
    else {
        panic!("no refusal: {stage}");
    };
    assert_eq!(refusal, Refusal::Busy);
    // Both tests are still to come.
    assert!(
        (10_000..12_000).contains(&free_in_ms.unwrap()),
        "{free_in_ms:?}"
    );
}

#[test]
fn a_request_for_an_earlier_life_is_refused() {
    let mut stage = pair(&[Protocol::Tcp]);
    stage.pass(SECOND);
    let message = Message {
        to_epoch: Epoch(1),
        ..requested(&stage, ASKER, GRANTER)
    };
    assert_eq!(
        refusal(answer(&mut stage, GRANTER, message)),
        Some(Refusal::StaleEpoch)
    );
    assert!(stage.is_free(GRANTER));
}

#[test]
fn a_request_of_an_earlier_life_is_refused() {
    let mut stage = pair(&[Protocol::Tcp]);
    stage.pass(SECOND);
    let mut message = requested(&stage, ASKER, GRANTER);
    message.from_epoch = Epoch(1);
    message.meeting.as_mut().unwrap().epoch = Epoch(1);
    assert_eq!(
        refusal(answer(&mut stage, GRANTER, message)),
        Some(Refusal::Unknown)
    );
}

#[test]
fn a_request_for_another_sweep_is_refused() {
    let mut stage = pair(&[Protocol::Tcp]);
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    let message = Message {
        sweep: 0,
        ..requested(&stage, ASKER, GRANTER)
    };
    assert_eq!(
        refusal(answer(&mut stage, GRANTER, message)),
        Some(Refusal::Sweep)
    );
}

#[test]
fn nothing_is_heard_of_who_is_not_in_the_view() {
    let mut stage = Stage::empty(2, |_, _| {});
    stage.pass(SECOND);
    let message = requested(&stage, ASKER, GRANTER);
    stage.input(GRANTER, Input::Message(message));
    assert_eq!(stage.endings(GRANTER)[0].2, "unknown");
    assert!(stage.is_free(GRANTER) && stage.servers(GRANTER).is_empty());
}

#[test]
fn a_busy_asker_is_not_harmed_by_the_same_request_twice() {
    let mut stage = pair(&[Protocol::Tcp]);
    stage.post = Box::new(|message| match message.body {
        Body::Request { .. } => Post::Arrives(vec![MILLI, 2 * MILLI, SECOND, 30 * SECOND]),
        _ => Post::prompt(),
    });
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    stage.pass(60 * SECOND);
    assert!(stage.sent(GRANTER, "refuse").is_empty(), "{stage}");
    assert_eq!(
        (successes(&stage, ASKER), successes(&stage, GRANTER)),
        (1, 1)
    );
}

#[test]
fn a_refusal_that_comes_late_does_not_end_a_meeting_that_is_under_way() {
    for (refusal, ends) in [(Refusal::Unknown, false), (Refusal::Spawn, true)] {
        let mut stage = both_protocols();
        stage.post = Box::new(|message| match message.body {
            Body::Grant { test: 1, .. } => Post::Arrives(vec![SECOND]),
            _ => Post::prompt(),
        });
        assert!(stage.until(20 * SECOND, |stage| !stage.sent(ASKER, "next").is_empty()));
        let id = stage.sent(ASKER, "next")[0].1.meeting.clone();
        let body = Body::Refuse {
            refusal,
            free_in_ms: None,
        };
        let late = Message {
            meeting: id,
            ..forged(&stage, GRANTER, ASKER, 1, body)
        };
        stage.input(ASKER, Input::Message(late));
        assert_eq!(
            !stage.endings(ASKER).is_empty(),
            ends,
            "{refusal:?} {stage}"
        );
    }
}
