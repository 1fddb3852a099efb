//! Results of two-way tests, and the far end that may still send.

use std::time::Duration;

use iperf3_mesh_core::wire::{Complaint, Handover, Refusal};
use iperf3_mesh_core::{
    Figure, Figures, Input, MARGIN, Output, Protocol, Reason, ReservationOutcome, Time,
};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, refusal};

use super::{ASKER, GRANTER, assert_successes, hand_over, pair, script, two_way};

#[test]
fn lost_end_message_loses_the_granters_result() {
    let mut harness = losing("end", false);
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_eq!(harness.successes(ASKER), 1);
    assert_eq!(harness.failures(GRANTER), [Reason::ResultLost]);
}

#[test]
fn two_way_test_that_fails_at_the_client_fails_both_cells() {
    let mut harness = two_way();
    harness.hang_tests(|_| true);
    harness.wait_for_sweep(60 * SECOND, 1);
    for node in [ASKER, GRANTER] {
        assert_eq!(harness.failures(node), [Reason::Timeout]);
    }
}

#[test]
fn handover_of_a_result_that_is_not_due_is_ignored() {
    let mut harness = pair(&[Protocol::Tcp]);
    script(&mut harness, "go", Delivery::after(SECOND));
    harness.wait(20 * SECOND, |harness| !harness.sent(ASKER, "go").is_empty());
    let handover = vec![Handover {
        protocol: Protocol::Tcp,
        outcome: Err(Reason::Connect),
    }];
    hand_over(&mut harness, handover);
    harness.pass(100 * SECOND);
    assert_eq!(harness.successes(GRANTER), 1, "{harness}");
    assert_eq!(harness.failures(GRANTER), [], "{harness}");
}

#[test]
fn odd_figure_of_a_handover_costs_only_itself() {
    let mut harness = losing("end", false);
    harness.wait(60 * SECOND, |harness| !harness.cells(ASKER).is_empty());
    let figures = Figures {
        retransmits: Some(u64::from(u32::MAX) - 1),
        rtt_ms: Some(0.5),
        ..Figures::of_bandwidth(94.0)
    };
    let handover = vec![Handover {
        protocol: Protocol::Tcp,
        outcome: Ok(figures.clone()),
    }];
    hand_over(&mut harness, handover);
    let outcomes = harness.logged(GRANTER, |output| match output {
        Output::Cell { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    let without = Figures {
        retransmits: None,
        ..figures
    };
    assert_eq!(outcomes.len(), 1, "{harness}");
    assert_eq!(outcomes[0].value, Ok(without));
    let told = harness.logged(GRANTER, |output| match output {
        Output::ImplausibleFigure { figure, .. } => Some(*figure),
        _ => None,
    });
    assert_eq!(told.len(), 1, "{harness}");
    assert_eq!(told[0].value, Figure::Retransmits);
}

#[test]
fn failed_two_way_test_holds_the_slot_until_the_far_end_is_dead() {
    let mut harness = two_way();
    let ended = hang_the_client(&mut harness);
    let held = held_since(&mut harness, ended);
    assert!(held <= 10 * MILLI, "{held:?}");
}

#[test]
fn failed_two_way_test_without_end_holds_the_slot_for_a_margin() {
    // No `end` arrives, so the far end may live until its own deadline.
    let mut harness = losing("end", false);
    let ended = hang_the_client(&mut harness);
    // The node knows this at once, so that it does not wait for the reason of the failure as well.
    let end = harness.sent(ASKER, "end")[0].value.clone();
    harness.input(
        ASKER,
        Input::Undelivered {
            to: end.to.clone(),
            meeting: end.meeting.unwrap(),
        },
    );
    let held = held_since(&mut harness, ended);
    assert!((MARGIN..MARGIN + 10 * MILLI).contains(&held), "{held:?}");
}

#[test]
fn successful_two_way_test_frees_the_asker_without_end() {
    let mut harness = losing("end", true);
    harness.wait(60 * SECOND, |harness| !harness.cells(ASKER).is_empty());
    assert!(harness.is_free(ASKER));
}

#[test]
fn stopping_asker_does_not_wait_for_the_far_end() {
    let mut harness = losing("end", false);
    harness.hang_tests(|_| true);
    harness.wait(60 * SECOND, |harness| {
        !harness.sent(ASKER, "end").is_empty()
    });
    assert!(!harness.is_free(ASKER));
    harness.stop(ASKER);
    assert!(harness.is_free(ASKER));
}

#[test]
fn lost_grant_of_a_two_way_test_loses_no_result() {
    // No client connects: nothing runs that could have a result.
    let mut harness = losing("grant", false);
    harness.pass(20 * SECOND);
    let failures = harness.failures(GRANTER);
    assert!(!failures.contains(&Reason::ResultLost), "{harness}");
}

#[test]
fn complaint_about_a_test_that_never_ran_fails_no_cell() {
    // The server fails before the client connects, and the client never starts.
    for complaint in [Reason::Busy, Reason::Iperf] {
        let mut harness = two_way();
        let mut grants = 0;
        harness.on_message(move |message| {
            grants += u32::from(message.body.kind() == "grant");
            if message.body.kind() == "grant" && grants == 1 {
                Delivery::lost(false)
            } else {
                Delivery::after(MILLI)
            }
        });
        let mut servers = 0;
        harness.on_server_end(move |_| {
            servers += 1;
            (servers == 1).then(|| Complaint::new(complaint, ""))
        });
        harness.wait_for_sweep(60 * SECOND, 1);
        assert_eq!(
            harness.endings(ASKER)[0].value,
            ReservationOutcome::NoAnswer
        );
        assert_successes(&harness, 1, complaint.as_str());
    }
}

#[test]
fn request_of_the_far_end_does_not_replace_its_end_message() {
    let mut harness = losing("end", false);
    harness.hang_tests(|_| true);
    harness.wait(60 * SECOND, |harness| {
        !harness.sent(ASKER, "end").is_empty()
    });
    // The request may be older than the meeting, whose server is still alive.
    let request = harness.new_request(GRANTER, ASKER);
    let answer = harness.answer(ASKER, request);
    assert_eq!(refusal(answer), Some(Refusal::Busy), "{harness}");
}

/// A two-way meeting in which messages of this kind are lost.
fn losing(kind: &'static str, is_reported: bool) -> Harness {
    let mut harness = two_way();
    script(&mut harness, kind, Delivery::lost(is_reported));
    harness
}

/// When the asker's client has hung until its deadline.
fn hang_the_client(harness: &mut Harness) -> Time {
    harness.hang_tests(|_| true);
    harness.wait(60 * SECOND, |harness| {
        !harness.sent(ASKER, "end").is_empty()
    });
    harness.now()
}

/// How long the asker keeps its slot after that.
fn held_since(harness: &mut Harness, ended: Time) -> Duration {
    // An additional tick must not free it.
    harness.input(ASKER, Input::Tick);
    harness.wait(60 * SECOND, |harness| harness.is_free(ASKER));
    harness.now().since(ended)
}
