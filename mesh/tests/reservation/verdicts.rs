//! The reason of a failed cell: the server's node may know the cause, and the client's node then
//! drops its guess.

use std::time::Duration;

use iperf3_mesh_core::wire::{Body, Complaint};
use iperf3_mesh_core::{CONFIRMED_WITHIN, Input, Protocol, Reason, ServerStart};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND};

use super::{ASKER, GRANTER, both_protocols, pair, script, two_way};

const WORDS: &str = "unable to create a new stream: No space left on device";

#[test]
fn complaint_of_the_server_is_the_reason_at_both_clients() {
    let mut harness = failing(pair(&[Protocol::Tcp]), |_| complaint(Reason::Resources));
    harness.wait_for_sweep(60 * SECOND, 1);
    for node in [ASKER, GRANTER] {
        assert_eq!(harness.failures(node), [Reason::Resources], "{harness}");
        assert_eq!(harness.told(node), [WORDS]);
    }
}

#[test]
fn complaint_of_each_server_reaches_the_cell_of_its_test() {
    // Each of the two protocols is asked for with a message of another kind.
    let mut harness = failing(both_protocols(), |start| match start.spec.protocol {
        Protocol::Tcp => complaint(Reason::Busy),
        Protocol::Udp => complaint(Reason::Resources),
    });
    harness.wait_for_sweep(120 * SECOND, 1);
    for node in [ASKER, GRANTER] {
        let reasons = harness.failures(node);
        assert_eq!(reasons, [Reason::Busy, Reason::Resources], "{harness}");
    }
}

#[test]
fn complaint_of_a_two_way_server_fails_both_cells() {
    let mut harness = failing(two_way(), |_| complaint(Reason::Resources));
    harness.wait_for_sweep(60 * SECOND, 1);
    for node in [ASKER, GRANTER] {
        assert_eq!(harness.failures(node), [Reason::Resources], "{harness}");
    }
}

#[test]
fn two_way_server_that_complains_early_fails_its_own_cell() {
    // The server ends before its peer's client, so the complaint is older than the result.
    let mut harness = failing(two_way(), |_| complaint(Reason::Resources));
    harness.wait(60 * SECOND, |harness| !harness.clients(ASKER).is_empty());
    let run = harness.servers(GRANTER)[0].value.run;
    harness.input(
        GRANTER,
        Input::ServerEnded {
            run,
            accepted: false,
            complaint: complaint(Reason::Busy),
        },
    );
    harness.wait_for_sweep(60 * SECOND, 1);
    for node in [ASKER, GRANTER] {
        assert_eq!(harness.failures(node), [Reason::Busy], "{harness}");
    }
}

#[test]
fn symptom_at_the_server_leaves_the_guess_and_is_told() {
    let mut harness = failing(pair(&[Protocol::Tcp]), |_| complaint(Reason::Interrupted));
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_eq!(harness.failures(ASKER), [Reason::Timeout]);
    assert_eq!(harness.told(ASKER), [WORDS]);
}

#[test]
fn complaint_about_a_success_changes_and_delays_nothing() {
    let mut plain = pair(&[Protocol::Tcp]);
    plain.wait_for_sweep(60 * SECOND, 1);
    let mut harness = pair(&[Protocol::Tcp]);
    harness.on_server_end(|_| complaint(Reason::Resources));
    harness.wait_for_sweep(60 * SECOND, 1);
    for node in [ASKER, GRANTER] {
        assert_eq!(harness.successes(node), 1, "{harness}");
        assert_eq!(harness.failures(node), [], "{harness}");
        assert_eq!(harness.told(node), [""; 0]);
    }
    assert_eq!(harness.now(), plain.now());
}

#[test]
fn failed_client_that_leaves_last_gets_its_confirmation_at_once() {
    let mut harness = failing(pair(&[Protocol::Tcp]), |_| None);
    let held = held_by_granter(&mut harness);
    assert!(held <= 10 * MILLI, "{held:?}:\n{harness}");
    assert_guess(&harness, GRANTER);
}

#[test]
fn lost_confirmation_leaves_the_guess_within_the_bound() {
    let mut harness = failing(pair(&[Protocol::Tcp]), |_| complaint(Reason::Resources));
    harness.on_message(|message| match message.body {
        Body::End { confirm: false, .. } => Delivery::lost(false),
        _ => Delivery::after(MILLI),
    });
    let held = held_by_granter(&mut harness);
    let bound = CONFIRMED_WITHIN..CONFIRMED_WITHIN + 10 * MILLI;
    assert!(bound.contains(&held), "{held:?}:\n{harness}");
    assert_guess(&harness, GRANTER);
}

#[test]
fn end_that_cannot_be_delivered_leaves_the_guess_at_once() {
    let mut harness = failing(pair(&[Protocol::Tcp]), |_| None);
    script(&mut harness, "end", Delivery::lost(true));
    harness.wait(60 * SECOND, |harness| !harness.failures(GRANTER).is_empty());
    assert_guess(&harness, GRANTER);
}

#[test]
fn failed_pair_gets_exactly_one_result_for_each_cell() {
    let mut harness = failing(both_protocols(), |start| {
        (start.run % 2 == 0).then(|| Complaint::new(Reason::Resources, WORDS))
    });
    // Every message arrives twice, the second time late.
    harness.on_message(|_| Delivery::copies([MILLI, 700 * MILLI]));
    harness.wait_for_sweep(120 * SECOND, 1);
    harness.pass(20 * SECOND);
    for node in [ASKER, GRANTER] {
        assert_eq!(harness.cells(node).len(), 2, "{harness}");
    }
}

fn complaint(reason: Reason) -> Option<Complaint> {
    Some(Complaint::new(reason, WORDS))
}

/// Lets all tests hang, and all servers complain as `decide` says.
fn failing(
    mut harness: Harness,
    decide: impl FnMut(&ServerStart) -> Option<Complaint> + 'static,
) -> Harness {
    harness.hang_tests(|_| true);
    harness.on_server_end(decide);
    harness
}

/// The only cell of the node has failed for a reason that its own client gave. With clocks that
/// drift, either end may be the first to reach its deadline.
fn assert_guess(harness: &Harness, node: usize) {
    let reasons = harness.failures(node);
    let guesses = [[Reason::Timeout], [Reason::Interrupted]];
    assert!(
        guesses.iter().any(|guess| reasons == guess),
        "{reasons:?}:\n{harness}"
    );
}

/// How long the granter keeps its slot after its own client, the last of the meeting, has ended.
fn held_by_granter(harness: &mut Harness) -> Duration {
    harness.wait(60 * SECOND, |harness| {
        !harness.sent(GRANTER, "end").is_empty()
    });
    let ended = harness.now();
    harness.wait(60 * SECOND, |harness| harness.is_free(GRANTER));
    harness.now().since(ended)
}
