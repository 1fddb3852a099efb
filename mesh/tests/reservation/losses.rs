//! Messages that never come, and nodes that are gone.

use super::*;

fn without(kind: &'static str, told: bool) -> Stage {
    losing(kind, told, both_protocols())
}

#[test]
fn without_a_grant_there_is_no_client_and_no_go() {
    for told in [false, true] {
        let mut stage = without("grant", told);
        stage.pass(100 * SECOND);
        for node in [ASKER, GRANTER] {
            assert!(!stage.servers(node).is_empty());
            assert!(stage.clients(node).is_empty());
            assert!(stage.sent(node, "go").is_empty());
        }
    }
}

#[test]
fn without_go_the_granter_is_never_a_client() {
    for told in [false, true] {
        let mut stage = without("go", told);
        stage.pass(20 * SECOND);
        assert_eq!(stage.clients(ASKER).len(), 2);
        let meeting = &stage.clients(ASKER)[0].1.meeting;
        assert!(
            stage
                .clients(GRANTER)
                .iter()
                .all(|(_, start)| start.meeting != *meeting)
        );
    }
}

#[test]
fn an_unanswered_next_ends_the_meeting_at_the_last_moment_to_start() {
    let mut stage = without("next", false);
    stage.pass(12 * SECOND);
    let asked = stage.sent(ASKER, "next")[0].0.local;
    let ending = stage.endings(ASKER)[0];
    assert_eq!(
        (ending.0.local, ending.1),
        (asked + 2500 * MILLI, "no_answer")
    );
    // The granter is told so, and does not wait for its lease.
    assert_eq!(stage.endings(GRANTER)[0].0.at, ending.0.at + MILLI);
}

#[test]
fn an_unanswered_go_ends_the_meeting_soon() {
    let mut stage = without("go", false);
    stage.pass(20 * SECOND);
    let said = stage.sent(ASKER, "go")[0].0.local;
    assert_eq!(stage.endings(ASKER)[0].0.local, said + START_WINDOW);
    // What is missing is made up by the granter's own request.
    stage.pass(60 * SECOND);
    assert_eq!(successes(&stage, GRANTER), 2, "{stage}");
}

#[test]
fn a_message_that_arrived_though_its_sender_doubts_it_changes_nothing() {
    for kind in ["request", "grant", "next", "go", "end"] {
        let mut stage = both_protocols();
        stage.post = Box::new(move |message| {
            if message.body.kind() == kind {
                Post::Doubted
            } else {
                Post::prompt()
            }
        });
        assert!(
            stage.until(60 * SECOND, |stage| stage.is_swept(1)),
            "{kind}: {stage}"
        );
        assert_eq!(stage.sent(ASKER, "request").len(), 1, "{kind}: {stage}");
        assert_eq!(
            (successes(&stage, ASKER), successes(&stage, GRANTER)),
            (2, 2),
            "{kind}: {stage}"
        );
    }
}

/// After that many messages of the first meeting nothing arrives any more, or one of the two is
/// gone.
fn broken_off(delivered: usize, told: bool, gone: Option<usize>) -> Stage {
    let mut stage = both_protocols();
    let mut left = delivered;
    stage.post = Box::new(move |message| {
        let counts = message.meeting.is_some();
        if !counts || left > 0 {
            left -= usize::from(counts);
            return Post::prompt();
        }
        Post::Lost { told }
    });
    let mut received = 0;
    if delivered > 0 || gone.is_none() {
        stage.until(100 * SECOND, |stage| {
            received = kinds(stage, ASKER).len() + kinds(stage, GRANTER).len();
            received == delivered
        });
        assert_eq!(received, delivered, "{stage}");
    }
    if let Some(gone) = gone {
        stage.vanish(gone);
    }
    stage.pass(60 * SECOND);
    stage
}

#[test]
fn whoever_falls_silent_and_when_the_survivor_is_free_when_the_lease_says_so() {
    let whole = {
        let mut stage = both_protocols();
        stage.pass(60 * SECOND);
        kinds(&stage, ASKER).len() + kinds(&stage, GRANTER).len()
    };
    assert_eq!(whole, 10);
    for delivered in 0..=whole {
        for told in [false, true] {
            for gone in [None, Some(ASKER), Some(GRANTER)] {
                let stage = broken_off(delivered, told, gone);
                for node in [ASKER, GRANTER]
                    .into_iter()
                    .filter(|&node| Some(node) != gone)
                {
                    check_survivor(&stage, node, &format!("{delivered} {told} {gone:?}"));
                }
            }
        }
    }
}

fn check_survivor(stage: &Stage, node: usize, case: &str) {
    let Some(&(freed, outcome, _)) = stage.endings(node).first() else {
        // It never was in a meeting, or the meeting never began.
        assert!(stage.is_free(node), "{case}: n{node} is stuck: {stage}");
        return;
    };
    // The end of what it does last: it serves, is a client, or has asked to be one.
    let holds = stage
        .outputs(node)
        .take_while(|(entry, _)| entry.at < freed.at)
        .filter_map(|(entry, output)| match output {
            Output::StartServer(start) => Some(start.deadline + MARGIN),
            Output::StartClient(start) => Some(start.deadline),
            Output::Send(_, message) if message.body.kind() != "grant" => {
                Some(entry.local + START_WINDOW)
            }
            _ => None,
        });
    let hold_until = holds.last().unwrap();
    match outcome {
        "expired" => assert_eq!(freed.local, hold_until, "{case}: n{node}: {stage}"),
        // Earlier only if it was told, or knows that nothing was granted.
        "met" | "no_answer" => assert!(freed.local <= hold_until, "{case}: n{node}: {stage}"),
        _ => panic!("{case}: n{node} {outcome}: {stage}"),
    }
}

#[test]
fn who_serves_a_client_that_has_vanished_is_free_at_the_end_of_the_lease_and_not_before() {
    let stage = broken_off(2, false, Some(ASKER));
    let (_, start) = stage.servers(GRANTER)[0];
    let (freed, outcome, _) = stage.endings(GRANTER)[0];
    assert_eq!((freed.local, outcome), (start.deadline + MARGIN, "expired"));
}

/// When the asker's first meeting was over, counted from when it sent its first message of that
/// kind.
fn left_after(kind: &'static str) -> std::time::Duration {
    let mut stage = without(kind, true);
    stage.pass(20 * SECOND);
    let said = stage.sent(ASKER, kind)[0].0.local;
    stage.endings(ASKER)[0].0.local.since(said)
}

#[test]
fn who_is_told_that_nobody_can_have_heard_it_does_not_wait_for_an_answer() {
    for kind in ["request", "next", "go"] {
        let after = left_after(kind);
        assert!(
            after.abs_diff(stage::DELIVERY_TIMEOUT) < 2 * MILLI,
            "{kind}: {after:?}"
        );
    }
}

#[test]
fn once_something_is_granted_a_lost_message_ends_nothing() {
    let mut stage = both_protocols();
    // The sender of each request is told that it may be lost, when its client already runs.
    stage.post = Box::new(|message| match message.body {
        Body::Request { .. } => Post::Doubted,
        _ => Post::prompt(),
    });
    assert!(
        stage.until(60 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    assert_eq!(stage.endings(ASKER).len(), 1, "{stage}");
    assert_eq!(
        (successes(&stage, ASKER), successes(&stage, GRANTER)),
        (2, 2)
    );
}
