//! The share of a node's time that others may take by asking for meetings.

use std::time::Duration;

use iperf3_mesh_core::sim::defaults;
use iperf3_mesh_core::wire::{
    Body, Complaints, MeetingId, MeetingKind, Message, PlannedTest, Refusal, Role,
};
use iperf3_mesh_core::{
    Epoch, Input, MARGIN, Member, Protocol, TIMEOUT_MAX, TestSpec, WIRE_VERSION,
};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, name_of, refusal, test_spec};

/// The node under test.
const NODE: usize = 0;
/// Its only honest peer.
const PEER: usize = 1;

/// How long an attack lasts.
const ATTACK: Duration = Duration::from_secs(600);

#[test]
fn second_scheduled_meeting_of_a_pair_in_a_sweep_is_refused() {
    let mut harness = Harness::new(2);
    harness.wait_for_sweep(60 * SECOND, 1);
    for (asker, granter) in [(NODE, PEER), (PEER, NODE)] {
        let request = harness.new_request(asker, granter);
        let refused = refusal(harness.answer(granter, request));
        assert_eq!(refused, Some(Refusal::Met), "n{asker} asks n{granter}");
    }
}

#[test]
fn cut_off_meeting_is_made_up_in_the_same_sweep() {
    let mut harness = Harness::new(2);
    // The roles never swap, so the granter has no result of the first meeting.
    let mut lost = false;
    harness.on_message(move |message| {
        let is_lost = !lost && message.body.kind() == "go";
        lost |= is_lost;
        if is_lost {
            Delivery::lost(true)
        } else {
            Delivery::after(MILLI)
        }
    });
    harness.wait_for_sweep(100 * SECOND, 1);
    let asked = harness.sent(NODE, "request");
    assert!(
        matches!(&asked[0].body, Body::Request { kind, .. } if *kind == MeetingKind::MakeUp),
        "{harness}"
    );
    assert_eq!(harness.successes(NODE) + harness.successes(PEER), 2);
    assert_eq!(
        harness.failures(NODE).len() + harness.failures(PEER).len(),
        0
    );
}

#[test]
fn restarted_peer_makes_its_tests_up_in_the_same_sweep() {
    let mut harness = Harness::new(3);
    harness.wait_for_sweep(100 * SECOND, 1);
    harness.restart(PEER, Epoch(7), true);
    harness.introduce_all();
    let before = harness.successes(PEER);
    harness.wait(100 * SECOND, |harness| {
        harness.successes(PEER) == before + 2
    });
    assert_eq!(super::last_sweep(&harness, NODE), Some(1));
}

#[test]
fn insider_that_runs_no_test_gets_a_tenth_of_the_time() {
    for (names, new_epochs, new_sweeps) in [
        (1, false, false),
        (1, true, false),
        (1, true, true),
        (8, false, false),
        (8, true, false),
        (8, true, true),
    ] {
        let held = held_by_insiders(names, new_epochs, new_sweeps);
        let most = ATTACK / 10 + test_spec(Protocol::Tcp).timeout + MARGIN;
        assert!(
            held <= most,
            "{names} names, new epochs {new_epochs}, new sweeps {new_sweeps}: {held:?}"
        );
    }
}

#[test]
fn peer_that_comes_and_goes_is_asked_a_few_times_a_sweep() {
    let mut harness = Harness::strangers(2, |_, _| {});
    harness.on_message(|_| Delivery::lost(true));
    harness.cut_power(PEER);
    for round in 0..300 {
        let epoch = Epoch(1000 + round);
        harness.show(NODE, vec![defaults::member(PEER, epoch)]);
        harness.pass(SECOND);
    }
    let sweeps = harness.sweeps_begun(NODE).len();
    let asked = harness.sent(NODE, "request").len();
    assert!(asked <= 8 * sweeps, "{asked} requests in {sweeps} sweeps");
}

/// For how long members that ask again and again for the longest lease, and never run a test, hold
/// the node's slot during the attack.
fn held_by_insiders(names: usize, new_epochs: bool, new_sweeps: bool) -> Duration {
    let mut harness = Harness::strangers(1 + names, |_, _| {});
    harness.on_message(|_| Delivery::lost(true));
    (1..=names).for_each(|insider| harness.cut_power(insider));
    let (mut held, step) = (Duration::ZERO, 500 * MILLI);
    let mut round = 0u64;
    while harness.now().since(iperf3_mesh_core::Time::default()) < ATTACK {
        round += 1;
        let epoch = Epoch(if new_epochs { 1000 + round / 4 } else { 1000 });
        let own_sweep = harness.node(NODE).status(harness.local(NODE)).sweep.number;
        let sweep = own_sweep.max(1) + u64::from(new_sweeps);
        let members = (1..=names).map(|insider| Member {
            sweep,
            ..defaults::member(insider, epoch)
        });
        let members: Vec<_> = members.collect();
        harness.show(NODE, members);
        for insider in 1..=names {
            for sweep in [own_sweep, sweep] {
                let number = 2 * round + sweep - own_sweep;
                let request = longest_request(insider, epoch, sweep, number);
                harness.input(NODE, Input::Message(request));
            }
        }
        let meeting = harness.node(NODE).status(harness.local(NODE)).meeting;
        if meeting.is_some_and(|meeting| meeting.role == Role::Granter) {
            held += step;
        }
        harness.pass(step);
    }
    held
}

fn longest_request(insider: usize, epoch: Epoch, sweep: u64, number: u64) -> Message {
    let plan = [Role::Asker, Role::Granter].map(|client| PlannedTest {
        client,
        spec: TestSpec {
            timeout: TIMEOUT_MAX,
            ..test_spec(Protocol::Tcp)
        },
    });
    Message {
        wire: WIRE_VERSION,
        from: name_of(insider),
        from_epoch: epoch,
        to: name_of(NODE),
        to_epoch: Epoch(100),
        sweep,
        meeting: Some(MeetingId {
            asker: name_of(insider),
            epoch,
            number,
        }),
        complaints: Complaints::new(),
        body: Body::Request {
            plan: plan.into(),
            kind: MeetingKind::MakeUp,
        },
    }
}
