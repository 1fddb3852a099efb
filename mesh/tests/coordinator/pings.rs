//! Peers that may be dead answer a ping before they cost the slot.

use iperf3_mesh_core::sim::defaults;
use iperf3_mesh_core::{Epoch, Member, Reason, ReservationOutcome};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, name_of};

use super::{assert_cells, end_of_sweep, last_sweep};

/// The maximum number of pings that are not answered yet.
const PINGS_MAX: usize = 32;

#[test]
fn invented_members_cost_no_slot_time() {
    let mut harness = Harness::with(4, |_, settings| settings.interval = 20 * SECOND);
    let real: Vec<Member> = (0..4).map(|number| harness.member(number)).collect();
    let invented = (100..200).map(|number| defaults::member(number, Epoch(9)));
    let members: Vec<Member> = real.into_iter().chain(invented).collect();
    (0..4).for_each(|to| harness.show(to, members.clone()));
    harness.wait_for_sweep(400 * SECOND, 3);
    for node in 0..4 {
        let requests = harness.sent(node, "request");
        assert!(
            requests.iter().all(|it| it.value.to < name_of(4)),
            "{harness}"
        );
        let cells = harness.cells(node);
        let real = cells.iter().filter(|cell| cell.destination < 4);
        assert!(real.clone().all(|cell| cell.outcome.is_ok()), "{harness}");
        for two in harness.sweeps_begun(node).windows(2) {
            // Three meetings of 10 s and the pause: as without the invented members.
            let period = two[1].at.since(two[0].at);
            assert!(period < 51 * SECOND, "{period:?}\n{harness}");
        }
        let cells = cells.iter().filter(|cell| cell.destination == 100);
        let failures: Vec<_> = cells.map(|cell| cell.outcome.clone()).collect();
        assert!((2..=3).contains(&failures.len()), "{failures:?}");
        assert!(failures.iter().all(|it| *it == Err(Reason::Unreachable)));
    }
}

#[test]
fn pings_are_sent_in_parallel_and_bounded() {
    let mut harness = Harness::strangers(1, |_, _| {});
    let members = (100..200).map(|number| defaults::member(number, Epoch(9)));
    harness.show(0, members.collect());
    assert_eq!(harness.pings(0).len(), PINGS_MAX);
    harness.pass(2 * SECOND);
    assert_eq!(harness.pings(0).len(), 100);
}

#[test]
fn peer_that_leaves_a_request_unanswered_is_pinged_first() {
    let mut harness = Harness::with(3, |_, settings| settings.interval = 30 * SECOND);
    harness.wait_for_sweep(100 * SECOND, 1);
    // Gossip still calls the peer live.
    harness.cut_power(2);
    harness.wait(400 * SECOND, |harness| {
        end_of_sweep(harness, 0, 4).is_some()
    });
    for node in [0, 1] {
        let unanswered = harness
            .endings(node)
            .iter()
            .filter(|it| it.value == ReservationOutcome::NoAnswer)
            .count();
        assert!(unanswered <= 1, "{unanswered}: {harness}");
        assert_cells(&harness, node, 5, &[Reason::Unreachable; 3]);
    }
}

#[test]
fn peer_that_answers_pings_only_costs_one_request_a_sweep() {
    let mut harness = Harness::with(3, |_, settings| settings.interval = 30 * SECOND);
    harness.wait_for_sweep(100 * SECOND, 1);
    harness.on_message(|message| {
        let is_lost =
            message.meeting.is_some() && [&message.from, &message.to].contains(&&name_of(2));
        if is_lost {
            Delivery::lost(true)
        } else {
            Delivery::after(MILLI)
        }
    });
    harness.wait(100 * SECOND, |harness| last_sweep(harness, 0) == Some(2));
    let mut asked = Vec::new();
    for sweep in 3..=6 {
        let requests = |harness: &Harness| {
            let requests = harness.sent(0, "request");
            requests
                .iter()
                .filter(|it| it.value.to == name_of(2))
                .count()
        };
        harness.wait(200 * SECOND, |harness| {
            last_sweep(harness, 0) == Some(sweep)
        });
        let before = requests(&harness);
        harness.wait(200 * SECOND, |harness| {
            end_of_sweep(harness, 0, sweep).is_some()
        });
        asked.push(requests(&harness) - before);
    }
    assert_eq!(asked, [1, 1, 1, 1], "{harness}");
}

#[test]
fn slow_link_delays_the_first_meeting_only() {
    let mut harness = Harness::strangers(2, |_, _| {});
    harness.on_message(|_| Delivery::after(700 * MILLI));
    harness.introduce_all();
    harness.wait_for_sweep(100 * SECOND, 1);
    (0..2).for_each(|node| assert_cells(&harness, node, 1, &[]));
}
