//! Messages that a node outside the meeting sends in the name of one inside. It knows the names,
//! the epochs, the sweep and who is meeting whom, but not the number of the meeting.

use iperf3_mesh_core::wire::{Body, MeetingId, Message};
use iperf3_mesh_core::{Ignored, Input, Output, Protocol};
use iperf3_mesh_core_testkit::{Harness, MILLI, SECOND, name_of};

use super::{ASKER, GRANTER, assert_successes, pair};

/// The number of guesses.
const GUESSES: u64 = 200;

#[test]
fn forged_end_with_a_guessed_number_ends_no_meeting() {
    for (victim, forger) in [(ASKER, GRANTER), (GRANTER, ASKER)] {
        let mut harness = pair(&[Protocol::Tcp]);
        harness.wait(60 * SECOND, |harness| !harness.clients(ASKER).is_empty());
        for number in 1..=GUESSES {
            let forged = forged(&harness, forger, victim, number, Body::bare_end());
            harness.input(victim, Input::Message(forged));
            harness.pass(MILLI);
        }
        harness.wait_for_sweep(60 * SECOND, 1);
        assert_successes(&harness, 1, "forged ends");
        let ignored = harness.logged(victim, |output| match output {
            Output::Ignored { kind, reason, .. } => Some((*kind, *reason)),
            _ => None,
        });
        let foreign = ignored
            .iter()
            .filter(|ignored| ignored.value == ("end", Ignored::OtherMeeting));
        assert_eq!(foreign.count() as u64, GUESSES);
    }
}

#[test]
fn forged_request_with_the_highest_number_silences_nobody() {
    let mut harness = pair(&[Protocol::Tcp]);
    let request = harness.new_request(ASKER, GRANTER);
    let number = u64::MAX;
    let forged = Message {
        meeting: request.meeting.clone().map(|id| MeetingId { number, ..id }),
        ..request
    };
    harness.input(GRANTER, Input::Message(forged));
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_successes(&harness, 1, "a forged request");
    assert_eq!(harness.clients(ASKER)[0].meeting.asker, name_of(ASKER));
}

/// The message about a meeting of this number that the asker has asked for.
fn forged(harness: &Harness, from: usize, to: usize, number: u64, body: Body) -> Message {
    let of_asker = harness.message(ASKER, GRANTER, number, body.clone());
    Message {
        meeting: of_asker.meeting,
        ..harness.message(from, to, number, body)
    }
}
