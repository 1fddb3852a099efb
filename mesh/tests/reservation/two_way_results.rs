//! Results that are handed over.

use super::*;

#[test]
fn a_result_that_does_not_come_back_is_lost() {
    let mut stage = losing("end", false, two_way());
    assert!(
        stage.until(60 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    assert_eq!(successes(&stage, ASKER), 1);
    assert_eq!(failures(&stage, GRANTER), [Reason::ResultLost]);
}

#[test]
fn what_failed_at_the_client_failed_for_both() {
    let mut stage = two_way();
    stage.hangs = Box::new(|_| true);
    assert!(
        stage.until(60 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
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
    let handover = vec![iperf3_mesh_core::wire::Handover {
        protocol: Protocol::Tcp,
        outcome,
    }];
    let number = stage.servers(GRANTER)[0].1.meeting.number;
    let end = forged(&stage, ASKER, GRANTER, number, Body::End { handover });
    stage.input(GRANTER, Input::Message(end));
    stage.pass(100 * SECOND);
    assert_eq!(
        (successes(&stage, GRANTER), failures(&stage, GRANTER)),
        (1, vec![])
    );
}

/// How long the asker kept its slot after its client had hung until its deadline.
fn held_after_a_hung_client(stage: &mut Stage) -> std::time::Duration {
    stage.hangs = Box::new(|_| true);
    assert!(
        stage.until(60 * SECOND, |stage| !stage.cells(ASKER).is_empty()),
        "{stage}"
    );
    let ended = stage.now;
    // Anything may happen meanwhile.
    stage.input(ASKER, Input::Tick);
    assert!(
        stage.until(60 * SECOND, |stage| stage.is_free(ASKER)),
        "{stage}"
    );
    stage.now.since(ended)
}

#[test]
fn whose_two_way_test_failed_keeps_its_slot_until_the_far_end_says_that_it_is_dead() {
    let held = held_after_a_hung_client(&mut two_way());
    assert!(held <= 10 * MILLI, "{held:?}");
}

#[test]
fn without_that_word_it_keeps_it_for_as_long_as_the_far_end_can_live() {
    // Nothing gets through any more once the client runs.
    let mut stage = losing("end", true, two_way());
    let held = held_after_a_hung_client(&mut stage);
    assert!((MARGIN..MARGIN + 10 * MILLI).contains(&held), "{held:?}");
}

#[test]
fn a_two_way_test_that_went_well_holds_nobody() {
    let mut stage = losing("end", true, two_way());
    assert!(
        stage.until(60 * SECOND, |stage| !stage.cells(ASKER).is_empty()),
        "{stage}"
    );
    assert!(stage.is_free(ASKER));
}

#[test]
fn who_is_stopped_does_not_wait_for_the_far_end() {
    let mut stage = losing("end", false, two_way());
    stage.hangs = Box::new(|_| true);
    assert!(
        stage.until(60 * SECOND, |stage| !stage.cells(ASKER).is_empty()),
        "{stage}"
    );
    assert!(!stage.is_free(ASKER));
    stage.stop(ASKER);
    assert!(stage.is_free(ASKER));
}

#[test]
fn whose_client_never_came_is_owed_nothing() {
    // The grant is lost, so no client comes: nothing ran whose result could be lost.
    let mut stage = losing("grant", false, two_way());
    stage.pass(20 * SECOND);
    assert!(
        !failures(&stage, GRANTER).contains(&Reason::ResultLost),
        "{stage}"
    );
}

#[test]
fn a_request_of_the_far_end_does_not_stand_for_its_word() {
    let mut stage = losing("end", false, two_way());
    stage.hangs = Box::new(|_| true);
    assert!(
        stage.until(60 * SECOND, |stage| !stage.cells(ASKER).is_empty()),
        "{stage}"
    );
    // It may have been under way since before the meeting, whose server is still alive.
    let request = requested(&stage, GRANTER, ASKER);
    assert_eq!(
        refusal(answer(&mut stage, ASKER, request)),
        Some(Refusal::Busy),
        "{stage}"
    );
}
