//! When a sweep begins, ends, and is followed.

use super::*;

#[test]
fn the_first_one_begins_when_the_membership_has_settled() {
    let mut stage = Stage::empty(4, |_, _| {});
    let members: Vec<_> = (0..4).map(|number| stage.member(number)).collect();
    // One after the other comes into view, every second.
    for known in 2..=4 {
        (0..known).for_each(|to| stage.show(to, members[..known].to_vec()));
        stage.pass(SECOND);
    }
    assert!((0..4).all(|node| began(&stage, node).is_empty()), "{stage}");
    stage.pass(60 * SECOND);
    for node in 0..4 {
        let (at, number) = began(&stage, node)[0];
        assert!(
            number == 1 && at.since(Time::default()) <= 6 * SECOND,
            "{stage}"
        );
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (3, vec![]),
            "{stage}"
        );
    }
}

#[test]
fn a_lone_node_waits_for_company() {
    let mut stage = Stage::new(1);
    stage.pass(1000 * SECOND);
    assert!(stage.log.is_empty(), "{stage}");
}

#[test]
fn every_cell_has_one_result_in_every_sweep_and_the_pause_is_kept() {
    let mut stage = Stage::with(5, |_, settings| settings.interval = 40 * SECOND);
    assert!(
        stage.until(400 * SECOND, |stage| stage.is_swept(3)),
        "{stage}"
    );
    for node in 0..5 {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (12, vec![])
        );
        let began = began(&stage, node);
        assert_eq!(
            began.iter().map(|(_, number)| *number).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        for (one, two) in [(0, 1), (1, 2)] {
            // Five rounds of 10 s, and the pause; within what drifting clocks and the set-up make
            // of it.
            let period = began[two].0.since(began[one].0);
            assert!(period > 89 * SECOND && period < 93 * SECOND, "{period:?}");
        }
    }
}

#[test]
fn a_node_follows_a_message_as_well_as_gossip() {
    for by_gossip in [false, true] {
        let mut stage = Stage::with(2, |_, settings| settings.interval = 1000 * SECOND);
        assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
        let mut member = stage.member(1);
        member.sweep = 7;
        if by_gossip {
            stage.show(0, vec![member]);
        } else {
            let message = iperf3_mesh_core::wire::Message {
                wire: iperf3_mesh_core::WIRE_VERSION,
                from: name(1),
                from_epoch: stage.node(1).epoch(),
                to: name(0),
                to_epoch: stage.node(0).epoch(),
                sweep: 7,
                meeting: None,
                body: Body::Sweep,
            };
            stage.input(0, Input::Message(message));
        }
        assert_eq!(began(&stage, 0).last().unwrap().1, 7);
        // The other one follows too.
        stage.pass(60 * SECOND);
        assert_eq!(began(&stage, 1).last().unwrap().1, 7);
        assert_eq!(
            (successes(&stage, 0), successes(&stage, 1)),
            (2, 2),
            "{stage}"
        );
    }
}

#[test]
fn who_is_left_behind_closes_what_is_open_within_a_bound_and_follows() {
    // One of three is in the next sweep; the third still wants to meet both in this one.
    let (stage, took) = left_behind_by(&[0], 2);
    // Two meetings in which everything hangs, and the one that was going on.
    assert!(took <= (44 + 11) * SECOND, "{stage}");
    assert_eq!(failures(&stage, 2).len(), 2, "{stage}");
}

#[test]
fn who_is_left_alone_in_a_sweep_waits_for_nobody() {
    let (stage, took) = left_behind_by(&[0, 1], 2);
    // What was going on; to ask again and again takes twice as long.
    assert!(took <= 13 * SECOND, "{took:?} {stage}");
    assert_eq!(failures(&stage, 2).len(), 2, "{stage}");
}

#[test]
fn who_begins_in_the_middle_of_a_sweep_fails_nobody_whom_it_does_not_meet() {
    let (stage, _) = left_behind_by(&[0, 1], 1);
    // The test that was going on when its peer vanished.
    assert_eq!(failures(&stage, 2), [Reason::Timeout], "{stage}");
}

/// Of three nodes the first two fall silent while the third still wants to meet them in that
/// `sweep`; it believes that those `ahead` are in the next one. How long it takes to follow.
fn left_behind_by(ahead: &[usize], sweep: u64) -> (Stage, Duration) {
    let mut stage = Stage::with(3, |_, settings| settings.interval = 30 * SECOND);
    let is_in = |stage: &Stage, sweep| began(stage, 2).last().is_some_and(|last| last.1 == sweep);
    assert!(
        stage.until(200 * SECOND, |stage| is_in(stage, sweep)),
        "{stage}"
    );
    stage.pass(SECOND);
    let mut members: Vec<_> = (0..3).map(|number| stage.member(number)).collect();
    ahead
        .iter()
        .for_each(|&number| members[number].sweep = sweep + 1);
    let from = stage.now;
    stage.vanish(0);
    stage.vanish(1);
    stage.show(2, members);
    stage.post = Box::new(|_| Post::Lost { told: false });
    assert!(
        stage.until(200 * SECOND, |stage| is_in(stage, sweep + 1)),
        "{stage}"
    );
    let took = stage.now.since(from);
    (stage, took)
}

#[test]
fn a_pair_that_cannot_meet_costs_its_own_cells_only() {
    let mut stage = Stage::new(4);
    // One of the two does not know the other, and so cannot even answer it.
    let [one, two, stranger] = [1, 2, 3].map(|number| stage.member(number));
    stage.show(
        0,
        vec![
            one,
            two,
            Member {
                state: PeerState::Left,
                ..stranger
            },
        ],
    );
    assert!(
        stage.until(400 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    assert_eq!(
        (successes(&stage, 0), failures(&stage, 0)),
        (2, vec![]),
        "{stage}"
    );
    assert_eq!(
        (successes(&stage, 3), failures(&stage, 3)),
        (2, vec![Reason::Unreachable])
    );
    for node in [1, 2] {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (3, vec![]),
            "{stage}"
        );
    }
}

#[test]
fn a_bye_longer_than_a_minute_is_no_reason_to_give_up() {
    let long = |protocol| TestSpec {
        duration: 55 * SECOND,
        timeout: 60 * SECOND,
        ..spec(protocol)
    };
    for nodes in [3, 5] {
        let mut stage = Stage::with(nodes, |_, settings| {
            settings.tests = [Protocol::Tcp, Protocol::Udp].map(long).into();
        });
        assert!(
            stage.until(2000 * SECOND, |stage| stage.is_swept(1)),
            "{stage}"
        );
        for node in 0..nodes {
            assert_eq!(
                (successes(&stage, node), failures(&stage, node)),
                (2 * (nodes - 1), vec![]),
                "{stage}"
            );
        }
    }
}

#[test]
fn a_mesh_in_which_everything_fails_at_once_does_not_sweep_without_end() {
    let mut stage = Stage::with(2, |_, settings| settings.interval = Duration::ZERO);
    gossip(&mut stage, 2, |_, member| member.state = PeerState::Silent);
    stage.post = Box::new(|_| Post::Lost { told: false });
    stage.pass(5 * SECOND);
    gossip(&mut stage, 2, |_, _| {});
    stage.pass(5 * SECOND);
    gossip(&mut stage, 2, |_, member| member.state = PeerState::Silent);
    stage.pass(200 * SECOND);
    let sweeps = began(&stage, 0).len();
    assert!((2..=25).contains(&sweeps), "{sweeps}");
}
