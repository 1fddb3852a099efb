//! Peers that have never answered: they may be invented, and cost next to nothing; or they are real
//! and cannot be reached, and are met as soon as they can.

use std::net::SocketAddr;

use iperf3_mesh_core::sim::defaults;
use iperf3_mesh_core::{Epoch, Member, Output, PeerState, Time};
use iperf3_mesh_core_testkit::{Delivery, Harness, Logged, MILLI, SECOND, name_of};

use super::end_of_sweep;

/// The number of the first invented node.
const INVENTED: usize = 100;

#[test]
fn peer_that_never_answers_fails_more_and_more_rarely() {
    let mut harness = mesh();
    show_with(&mut harness, &[invented(INVENTED)]);
    harness.wait_for_sweep(3000 * SECOND, 35);
    for node in 0..3 {
        let sweeps = failed_in(&harness, node, INVENTED);
        assert_eq!(sweeps, [1, 2, 4, 8, 16, 32], "n{node}: {harness}");
        let pings = pings_of(&harness, node, INVENTED);
        // Three in the first sweep, and then one in each.
        assert!((34..=39).contains(&pings), "{pings}");
    }
}

#[test]
fn new_epochs_and_states_do_not_make_failures_more_frequent() {
    let mut harness = mesh();
    let states = [
        (PeerState::Live, 0),
        (PeerState::Silent, 0),
        (PeerState::Live, 7),
        (PeerState::Conflict, 0),
    ];
    for second in 0..600 {
        let (state, newer) = states[second / 4 % states.len()];
        let mut member = invented(INVENTED);
        member.epoch = Epoch(second as u64 / 8);
        member.state = state;
        member.wire += newer;
        show_with(&mut harness, &[member]);
        harness.pass(SECOND);
    }
    for node in 0..3 {
        assert!(harness.sweeps_begun(node).len() > 10, "{harness}");
        let failures = failed_in(&harness, node, INVENTED);
        assert!((1..=5).contains(&failures.len()), "{failures:?}");
    }
}

#[test]
fn peers_that_never_answer_are_pinged_one_a_second() {
    let mut harness = mesh();
    let all: Vec<Member> = (INVENTED..INVENTED + 200).map(invented).collect();
    show_with(&mut harness, &all);
    harness.pass(100 * SECOND);
    let before = harness.pings(0).len();
    harness.pass(400 * SECOND);
    let pings = harness.pings(0).len() - before;
    assert!((200..=401).contains(&pings), "{pings}");
    // All have their turn.
    for number in INVENTED..INVENTED + 200 {
        assert!(pings_of(&harness, 0, number) > 3, "n{number}");
    }
}

#[test]
fn unreachable_peer_is_met_within_a_sweep_once_it_answers() {
    let mut harness = mesh();
    // Gossip hears the peer by way of others.
    cut_off(&mut harness, true);
    harness.wait(1000 * SECOND, |harness| {
        end_of_sweep(harness, 0, 10).is_some()
    });
    assert_eq!(harness.successes(2), 0, "{harness}");
    cut_off(&mut harness, false);
    let healed = harness.now();
    // A sweep has three meetings of 10 s and the pause.
    harness.wait(60 * SECOND, |harness| {
        (0..2).all(|node| has_met(harness, node, 2, healed))
    });
}

#[test]
fn unreachable_peer_among_invented_ones_is_met_when_it_speaks() {
    let mut harness = mesh();
    let all: Vec<Member> = (INVENTED..INVENTED + 300).map(invented).collect();
    show_with(&mut harness, &all);
    cut_off(&mut harness, true);
    harness.wait(1000 * SECOND, |harness| {
        end_of_sweep(harness, 0, 10).is_some()
    });
    cut_off(&mut harness, false);
    let healed = harness.now();
    // The nodes ping each other in turn, and the first ping that arrives is enough for both.
    harness.wait(400 * SECOND, |harness| has_met(harness, 0, 2, healed));
    harness.wait(60 * SECOND, |harness| has_met(harness, 2, 0, healed));
}

#[test]
fn unreachable_peer_that_restarts_is_met_at_once() {
    let mut harness = mesh();
    cut_off(&mut harness, true);
    let all: Vec<Member> = (INVENTED..INVENTED + 300).map(invented).collect();
    show_with(&mut harness, &all);
    harness.wait(1000 * SECOND, |harness| {
        end_of_sweep(harness, 0, 10).is_some()
    });
    cut_off(&mut harness, false);
    harness.restart(2, Epoch(777), true);
    let restarted = harness.now();
    show_with(&mut harness, &all);
    harness.wait(60 * SECOND, |harness| {
        (0..2).all(|node| has_met(harness, node, 2, restarted))
    });
}

#[test]
fn silent_peers_are_bounded_and_those_that_answered_stay() {
    let mut harness = Harness::with(3, |_, settings| {
        settings.interval = 20 * SECOND;
        settings.members_max = 50;
    });
    harness.pass(5 * SECOND);
    harness.cut_power(2);
    for wave in 0..20 {
        let first = INVENTED + wave * 40;
        let mut members: Vec<Member> = (first..first + 40).map(invented).collect();
        members.push(harness.member(1));
        harness.show(0, members);
        harness.pass(SECOND);
    }
    let peers = harness.node(0).peers().count();
    assert!(peers <= 50 + 41, "{peers}");
    assert!(harness.node(0).peer(&name_of(2)).is_some());
    assert!(harness.departures(0).len() >= 19 * 40 - 50, "{harness}");
}

fn mesh() -> Harness {
    Harness::with(3, |_, settings| settings.interval = 20 * SECOND)
}

/// A node that does not exist, as gossip shows it.
fn invented(number: usize) -> Member {
    let member = defaults::member(number, Epoch(9));
    let control = SocketAddr::new(member.control.ip(), 9878);
    Member { control, ..member }
}

/// Shows all nodes to each other, and these members to all.
fn show_with(harness: &mut Harness, others: &[Member]) {
    let real: Vec<Member> = (0..3).map(|number| harness.member(number)).collect();
    let all: Vec<Member> = real.iter().chain(others).cloned().collect();
    (0..3).for_each(|to| harness.show(to, all.clone()));
}

/// Cuts node 2 off from the messages of all others, or connects it again.
fn cut_off(harness: &mut Harness, is_cut: bool) {
    harness.on_message(move |message| {
        if is_cut && [&message.from, &message.to].contains(&&name_of(2)) {
            Delivery::lost(true)
        } else {
            Delivery::after(MILLI)
        }
    });
}

/// The sweeps of the node in which the cell failed.
fn failed_in(harness: &Harness, node: usize, destination: usize) -> Vec<u64> {
    let begun = harness.sweeps_begun(node);
    let failed = results(harness, node, destination);
    failed
        .iter()
        .map(|cell| {
            assert!(!cell.value, "{harness}");
            let before = begun.iter().rev().find(|sweep| sweep.at <= cell.at);
            before.map_or(0, |sweep| sweep.value)
        })
        .collect()
}

/// The results of a cell: whether each is a success.
fn results(harness: &Harness, node: usize, to: usize) -> Vec<Logged<bool>> {
    harness.logged(node, |output| match output {
        Output::Cell {
            destination,
            outcome,
            ..
        } if *destination == name_of(to) => Some(outcome.is_ok()),
        _ => None,
    })
}

fn pings_of(harness: &Harness, node: usize, to: usize) -> usize {
    let pings = harness.pings(node);
    pings.iter().filter(|it| it.value.to == name_of(to)).count()
}

fn has_met(harness: &Harness, node: usize, peer: usize, since: Time) -> bool {
    let results = results(harness, node, peer);
    results.iter().any(|cell| cell.at >= since && cell.value)
}
