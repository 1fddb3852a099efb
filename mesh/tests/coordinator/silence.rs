//! Peers that fall silent, say goodbye, and return.

use std::ops::RangeInclusive;
use std::time::Duration;

use iperf3_mesh_core::{Epoch, Input, Member, PeerState, Reason, Settings};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, name_of};

use super::{assert_cells, end_of_sweep, since_start};

#[test]
fn silent_peer_costs_one_ping_per_sweep_and_no_request() {
    let mut harness = Harness::with(3, |_, settings| settings.interval = 20 * SECOND);
    harness.pass(SECOND);
    harness.cut_power(2);
    show_silent(&mut harness, 2);
    harness.wait(300 * SECOND, |harness| {
        end_of_sweep(harness, 0, 4).is_some()
    });
    for node in [0, 1] {
        let (begun, ended) = (harness.sweeps_begun(node), harness.sweeps_ended(node));
        let failures = harness.failures(node);
        assert_eq!(
            failures,
            vec![Reason::Unreachable; ended.len()],
            "{harness}"
        );
        let requests = harness.sent(node, "request");
        assert!(
            requests.iter().all(|it| it.value.to != name_of(2)),
            "{harness}"
        );
        let pings = harness.pings(node);
        // One came when the peer was still live, and one when it fell silent.
        let pings = pings.iter().filter(|it| it.value.to == name_of(2)).count();
        assert!(
            pings <= begun.len() + 2,
            "{pings} in {} sweeps",
            begun.len()
        );
    }
}

#[test]
fn silent_peer_that_returns_is_met_in_the_same_sweep() {
    let mut harness = Harness::with(3, |_, settings| settings.interval = 1000 * SECOND);
    harness.on_message(|message| {
        if [&message.from, &message.to].contains(&&name_of(2)) {
            Delivery::lost(true)
        } else {
            Delivery::after(MILLI)
        }
    });
    show_silent(&mut harness, 2);
    harness.wait(100 * SECOND, |harness| {
        (0..2).all(|node| end_of_sweep(harness, node, 1).is_some())
    });
    harness.on_message(|_| Delivery::after(MILLI));
    harness.introduce_all();
    harness.pass(200 * SECOND);
    for node in [0, 1] {
        assert_cells(&harness, node, 2, &[Reason::Unreachable]);
        assert_eq!(harness.sweeps_begun(node).len(), 1);
    }
}

#[test]
fn silent_peer_is_forgotten_after_15_minutes_by_default() {
    let harness = silent_for_an_hour(|_| {}, false);
    assert_forgotten(&harness, 900 * SECOND..=901 * SECOND);
}

#[test]
fn silent_peer_is_forgotten_after_two_periods_if_longer() {
    let harness = silent_for_an_hour(|settings| settings.interval = 600 * SECOND, false);
    // Two pauses, and two sweeps of one meeting of 10 s or of none.
    assert_forgotten(&harness, 1200 * SECOND..=1221 * SECOND);
}

#[test]
fn silent_peer_is_forgotten_after_the_configured_time_for_good() {
    let harness = silent_for_an_hour(forget_after_90s, true);
    assert_forgotten(&harness, 90 * SECOND..=91 * SECOND);
}

#[test]
fn forgotten_peer_that_returns_is_known_again() {
    let mut harness = silent_for_an_hour(forget_after_90s, true);
    let live = harness.member(1);
    harness.show(0, vec![live]);
    assert_eq!(harness.node(0).peers().count(), 1);
}

#[test]
fn silent_peer_that_left_the_cluster_departs_exactly_once() {
    let mut harness = Harness::new(2);
    harness.pass(10 * SECOND);
    harness.cut_power(1);
    let silent = harness.member_in(1, PeerState::Silent);
    harness.show(0, vec![silent.clone()]);
    for sweep in 0..3 {
        harness.input(0, Input::Gone(name_of(1)));
        harness.show(
            0,
            vec![Member {
                sweep,
                ..silent.clone()
            }],
        );
    }
    assert_eq!(harness.departures(0).len(), 1, "{harness}");
    assert_eq!(harness.node(0).peers().count(), 0);
    let restarted = Member {
        epoch: Epoch(7),
        ..harness.member(1)
    };
    harness.show(0, vec![restarted]);
    assert_eq!(harness.node(0).peers().count(), 1);
}

#[test]
fn live_peer_does_not_depart_when_the_cluster_drops_it() {
    let mut harness = Harness::with(2, |_, settings| settings.interval = SECOND);
    for _ in 0..30 {
        harness.pass(SECOND);
        harness.input(0, Input::Gone(name_of(1)));
        harness.input(0, Input::Gone(name_of(0)));
    }
    assert!(harness.departures(0).is_empty(), "{harness}");
    assert!(harness.successes(0) > 0, "{harness}");
    assert_eq!(harness.failures(0), [], "{harness}");
}

#[test]
fn peer_that_says_goodbye_departs_at_once() {
    let mut harness = Harness::new(3);
    harness.pass(5 * SECOND);
    harness.gossip(|number, member| {
        if number == 2 {
            member.state = PeerState::Left;
        }
    });
    assert_eq!(harness.departures(0)[0].at, harness.now());
    harness.cut_power(2);
    harness.pass(60 * SECOND);
    assert!(harness.node(0).peer(&name_of(2)).is_none());
    for cell in harness.cells(0) {
        assert!(cell.destination != 2 || cell.outcome.is_ok(), "{harness}");
    }
}

/// Shows to all nodes that this one is silent.
fn show_silent(harness: &mut Harness, node: usize) {
    harness.gossip(|number, member| {
        if number == node {
            member.state = PeerState::Silent;
        }
    });
}

fn forget_after_90s(settings: &mut Settings) {
    settings.forget_after = Some(90 * SECOND);
}

/// Two nodes, of which the second one falls silent at 10 s. If `is_gossiped`, gossip still mentions
/// it every minute, with changes.
fn silent_for_an_hour(change: impl Fn(&mut Settings), is_gossiped: bool) -> Harness {
    let mut harness = Harness::with(2, |_, settings| change(settings));
    harness.pass(10 * SECOND);
    harness.cut_power(1);
    let silent = harness.member_in(1, PeerState::Silent);
    harness.show(0, vec![silent.clone()]);
    for sweep in 0..60 {
        harness.pass(60 * SECOND);
        if is_gossiped {
            harness.show(
                0,
                vec![Member {
                    sweep,
                    ..silent.clone()
                }],
            );
        }
    }
    harness
}

/// The silent node has departed once, after a silence within these bounds.
fn assert_forgotten(harness: &Harness, after: RangeInclusive<Duration>) {
    let departures = harness.departures(0);
    assert_eq!(departures.len(), 1, "{harness}");
    let silence = since_start(&departures[0]) - 10 * SECOND;
    assert!(after.contains(&silence), "{silence:?}");
    assert_eq!(harness.node(0).peers().count(), 0);
}
