//! Peers that fall silent, say goodbye, and come back.

use std::collections::BTreeMap;

use iperf3_mesh_core::ClusterNode;

use super::*;

#[test]
fn a_silent_peer_costs_one_short_probe_a_sweep_and_fails_as_unreachable() {
    let mut stage = Stage::with(3, |_, settings| settings.interval = 20 * SECOND);
    stage.pass(SECOND);
    stage.vanish(2);
    gossip(&mut stage, 3, |number, member| {
        member.state = if number == 2 {
            PeerState::Silent
        } else {
            PeerState::Live
        };
    });
    assert!(
        stage.until(300 * SECOND, |stage| ended(stage, 0, 4).is_some()),
        "{stage}"
    );
    for node in [0, 1] {
        let sweeps = began(&stage, node).len();
        let probes = stage.sent(node, "request");
        let probes = probes
            .iter()
            .filter(|(_, message)| message.to == name(2))
            .count();
        assert_eq!(
            failures(&stage, node).len(),
            ended_sweeps(&stage, node),
            "{stage}"
        );
        assert!(
            failures(&stage, node)
                .iter()
                .all(|&reason| reason == Reason::Unreachable)
        );
        assert!(probes <= sweeps, "{probes} probes in {sweeps} sweeps");
        let asked = stage
            .endings(node)
            .iter()
            .filter(|ending| ending.1 == "no_answer")
            .count();
        assert_eq!(asked, ended_sweeps(&stage, node));
    }
}

fn ended_sweeps(stage: &Stage, node: usize) -> usize {
    stage
        .outputs(node)
        .filter(|(_, output)| matches!(output, Output::SweepEnded(_)))
        .count()
}

#[test]
fn who_was_silent_and_speaks_again_is_met_in_the_same_sweep() {
    let mut stage = Stage::with(3, |_, settings| settings.interval = 1000 * SECOND);
    stage.post = Box::new(|message| {
        if [&message.from, &message.to].contains(&&name(2)) {
            Post::Lost { told: true }
        } else {
            Post::prompt()
        }
    });
    gossip(&mut stage, 3, |number, member| {
        member.state = if number == 2 {
            PeerState::Silent
        } else {
            PeerState::Live
        };
    });
    let is_over = |stage: &Stage| [0, 1].iter().all(|&node| ended(stage, node, 1).is_some());
    assert!(stage.until(100 * SECOND, is_over), "{stage}");
    stage.post = Box::new(|_| Post::prompt());
    gossip(&mut stage, 3, |_, _| {});
    stage.pass(200 * SECOND);
    for node in [0, 1] {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (2, vec![Reason::Unreachable])
        );
        assert_eq!(began(&stage, node).len(), 1);
    }
}

/// How many departures node 0 has told of.
fn departures(stage: &Stage) -> usize {
    stage
        .outputs(0)
        .filter(|(_, output)| matches!(output, Output::Departed(_)))
        .count()
}

/// When the other one has departed after it fell silent at 10 s; what it was `shown` again
/// afterwards.
fn forgotten(change: impl Fn(&mut iperf3_mesh_core::Settings), again: bool) -> Stage {
    let mut stage = Stage::with(2, |_, settings| change(settings));
    stage.pass(10 * SECOND);
    stage.vanish(1);
    let silent = Member {
        state: PeerState::Silent,
        ..stage.member(1)
    };
    stage.show(0, vec![silent.clone()]);
    for minute in 0..60 {
        stage.pass(60 * SECOND);
        if again {
            // Gossip does not forget as soon, and what it tells of others changes.
            stage.show(
                0,
                vec![Member {
                    sweep: minute,
                    ..silent.clone()
                }],
            );
        }
    }
    stage
}

#[test]
fn a_silent_peer_is_forgotten_after_a_quarter_of_an_hour() {
    let stage = forgotten(|_| {}, false);
    let silent_for = departed(&stage, 0).unwrap().since(Time::default()) - 10 * SECOND;
    assert!(silent_for >= 15 * 60 * SECOND && silent_for <= 15 * 60 * SECOND + SECOND);
    assert_eq!(stage.node(0).peers().count(), 0);
}

#[test]
fn or_after_two_periods_if_these_are_longer() {
    let stage = forgotten(|settings| settings.interval = 600 * SECOND, false);
    let silent_for = departed(&stage, 0).unwrap().since(Time::default()) - 10 * SECOND;
    // Two sweeps of one meeting of 10 s, or of a node alone, and two pauses.
    let periods = 1200 * SECOND..=1221 * SECOND;
    assert!(periods.contains(&silent_for), "{silent_for:?}");
}

#[test]
fn or_after_the_time_that_was_set_and_then_for_good() {
    let stage = forgotten(|settings| settings.forget_after = Some(90 * SECOND), true);
    assert_eq!(departures(&stage), 1, "{stage}");
    let silent_for = departed(&stage, 0).unwrap().since(Time::default()) - 10 * SECOND;
    assert!(
        silent_for >= 90 * SECOND && silent_for <= 91 * SECOND,
        "{silent_for:?}"
    );
    assert_eq!(stage.node(0).peers().count(), 0);
}

#[test]
fn a_forgotten_peer_that_speaks_again_is_back() {
    let mut stage = forgotten(|settings| settings.forget_after = Some(90 * SECOND), true);
    let live = stage.member(1);
    stage.show(0, vec![live]);
    assert_eq!(stage.node(0).peers().count(), 1);
}

#[test]
fn a_silent_peer_that_is_gone_from_the_cluster_has_departed_once_and_for_all() {
    let mut stage = Stage::with(2, |_, _| {});
    stage.pass(10 * SECOND);
    stage.vanish(1);
    let silent = Member {
        state: PeerState::Silent,
        ..stage.member(1)
    };
    stage.show(0, vec![silent.clone()]);
    for sweep in 0..3 {
        stage.input(0, Input::Gone(name(1)));
        stage.show(
            0,
            vec![Member {
                sweep,
                ..silent.clone()
            }],
        );
    }
    assert_eq!(departures(&stage), 1, "{stage}");
    assert_eq!(stage.node(0).peers().count(), 0);
    let restarted = Member {
        epoch: iperf3_mesh_core::Epoch(7),
        ..stage.member(1)
    };
    stage.show(0, vec![restarted]);
    assert_eq!(stage.node(0).peers().count(), 1);
}

/// What the cluster says of the nodes that should have an agent, the last of which has not worked
/// for so long.
fn cluster(stage: &Stage, nodes: usize, unready_for: Duration) -> Input {
    let node = |number| {
        let unready_for = if number + 1 == nodes {
            unready_for
        } else {
            Duration::ZERO
        };
        (
            name(number),
            ClusterNode {
                address: stage.member(number).control.ip(),
                unready_for,
            },
        )
    };
    Input::Cluster((0..nodes).map(node).collect())
}

/// So many nodes that have just started and know each other, and one more that is dead and was
/// never heard of.
fn beside_a_dead_one(nodes: usize, change: impl Fn(&mut iperf3_mesh_core::Settings)) -> Stage {
    let mut stage = Stage::empty(nodes + 1, |_, settings| change(settings));
    stage.vanish(nodes);
    for to in 0..nodes {
        let live = (0..nodes).map(|number| stage.member(number)).collect();
        stage.show(to, live);
    }
    stage
}

fn knows(stage: &Stage, number: usize) -> bool {
    stage.node(0).peer(&name(number)).is_some()
}

#[test]
fn a_node_that_the_cluster_knows_and_nobody_has_heard_of_is_unreachable() {
    for nodes in [1, 2] {
        let mut stage = beside_a_dead_one(nodes, |settings| settings.interval = 20 * SECOND);
        let told = cluster(&stage, nodes + 1, Duration::ZERO);
        stage.input(0, told);
        stage.pass(29 * SECOND);
        assert!(failures(&stage, 0).is_empty(), "{stage}");
        stage.pass(100 * SECOND);
        let late = |(at, _): &&(Time, u64)| at.since(Time::default()) > 30 * SECOND;
        let sweeps = began(&stage, 0).iter().filter(late).count();
        let failures = failures(&stage, 0);
        assert_eq!(failures.len(), 1 + sweeps, "{stage}");
        assert!(failures.iter().all(|&reason| reason == Reason::Unreachable));
        assert!(
            stage
                .cells(0)
                .iter()
                .all(|(to, _, outcome)| (*to == nodes) == outcome.is_err())
        );
        // Nobody knows the epoch without which it takes no message.
        assert!(
            stage
                .sent(0, "request")
                .iter()
                .all(|(_, message)| message.to != name(nodes))
        );
    }
}

#[test]
fn a_missing_node_that_speaks_is_met_in_the_same_sweep() {
    let mut stage = Stage::empty(3, |_, settings| settings.interval = 1000 * SECOND);
    let told = cluster(&stage, 3, Duration::ZERO);
    stage.input(0, told);
    let two = vec![stage.member(0), stage.member(1)];
    (0..2).for_each(|to| stage.show(to, two.clone()));
    stage.pass(60 * SECOND);
    assert_eq!(
        (successes(&stage, 0), failures(&stage, 0)),
        (1, vec![Reason::Unreachable])
    );
    gossip(&mut stage, 3, |_, _| {});
    stage.pass(60 * SECOND);
    assert_eq!(
        (successes(&stage, 0), failures(&stage, 0).len()),
        (2, 1),
        "{stage}"
    );
    assert_eq!(began(&stage, 0).len(), 1);
}

#[test]
fn a_node_that_appears_in_time_is_not_missed() {
    let mut stage = Stage::empty(2, |_, settings| settings.interval = 1000 * SECOND);
    let told = cluster(&stage, 2, Duration::ZERO);
    stage.input(0, told);
    stage.pass(29 * SECOND);
    stage.introduce_all();
    stage.pass(60 * SECOND);
    assert!(
        successes(&stage, 0) > 0 && failures(&stage, 0).is_empty(),
        "{stage}"
    );
}

#[test]
fn a_missing_node_is_forgotten_as_long_after_it_stopped_to_work_as_any_other() {
    // It was seen not to work at 100 s, or that long before.
    for (before, forgotten_at) in [(0, Some(190)), (50, Some(140)), (70, None)] {
        let mut stage = beside_a_dead_one(1, |settings| settings.forget_after = Some(90 * SECOND));
        stage.pass(100 * SECOND);
        for time in (0..600).step_by(10) {
            // What is said again does not bring it back.
            let told = cluster(&stage, 2, (before + time) * SECOND);
            stage.input(0, told);
            stage.show(0, vec![]);
            stage.pass(10 * SECOND);
        }
        let at = departed(&stage, 0).map(|at| at.since(Time::default()).as_secs());
        assert_eq!(at, forgotten_at, "{stage}");
        assert_eq!(departures(&stage), usize::from(forgotten_at.is_some()));
        stage.introduce_all();
        assert!(knows(&stage, 1), "{stage}");
    }
}

#[test]
fn a_missing_node_has_departed_when_the_cluster_knows_it_no_longer() {
    for by in [Input::Cluster(BTreeMap::new()), Input::Gone(name(1))] {
        let mut stage = beside_a_dead_one(1, |_| {});
        let told = cluster(&stage, 2, Duration::ZERO);
        stage.input(0, told);
        stage.pass(60 * SECOND);
        assert!(knows(&stage, 1), "{stage}");
        stage.input(0, by);
        stage.pass(60 * SECOND);
        assert_eq!(
            (knows(&stage, 1), departures(&stage)),
            (false, 1),
            "{stage}"
        );
    }
}

#[test]
fn who_said_goodbye_is_not_missed_by_who_heard_it_nor_by_who_is_told_of_it() {
    for has_met in [true, false] {
        let mut stage = Stage::empty(2, |_, _| {});
        let goodbye = Member {
            state: PeerState::Left,
            ..stage.member(1)
        };
        if has_met {
            stage.introduce_all();
        }
        let told = cluster(&stage, 2, Duration::ZERO);
        stage.input(0, told);
        stage.pass(20 * SECOND);
        stage.vanish(1);
        // Gossip speaks of it for minutes.
        for sweep in 0..6 {
            stage.show(
                0,
                vec![Member {
                    sweep,
                    ..goodbye.clone()
                }],
            );
            stage.pass(30 * SECOND);
        }
        stage.show(0, vec![]);
        stage.pass(60 * SECOND);
        assert_eq!(
            (knows(&stage, 1), departures(&stage)),
            (false, usize::from(has_met))
        );
        assert!(failures(&stage, 0).is_empty(), "{stage}");
    }
}

#[test]
fn a_node_is_not_missed_whose_agent_goes_by_another_name() {
    let mut stage = Stage::new(2);
    let address = stage.member(1).control.ip();
    let node = ClusterNode {
        address,
        unready_for: Duration::ZERO,
    };
    stage.input(0, Input::Cluster(BTreeMap::from([(name(7), node)])));
    stage.pass(100 * SECOND);
    assert!(
        !knows(&stage, 7) && failures(&stage, 0).is_empty(),
        "{stage}"
    );
}

#[test]
fn a_peer_that_speaks_is_there_whatever_the_cluster_says() {
    let mut stage = Stage::with(2, |_, settings| settings.interval = SECOND);
    for _ in 0..30 {
        stage.pass(SECOND);
        stage.input(0, Input::Gone(name(1)));
        stage.input(0, Input::Gone(name(0)));
    }
    assert!(departed(&stage, 0).is_none(), "{stage}");
    assert!(
        successes(&stage, 0) > 0 && failures(&stage, 0).is_empty(),
        "{stage}"
    );
}

#[test]
fn who_says_goodbye_has_departed_at_once() {
    let mut stage = Stage::new(3);
    stage.pass(5 * SECOND);
    gossip(&mut stage, 3, |number, member| {
        member.state = if number == 2 {
            PeerState::Left
        } else {
            PeerState::Live
        };
    });
    assert_eq!(departed(&stage, 0), Some(stage.now));
    stage.vanish(2);
    stage.pass(60 * SECOND);
    assert!(
        stage
            .node(0)
            .peers()
            .all(|peer| peer.member.name != name(2))
    );
    assert!(
        stage
            .cells(0)
            .iter()
            .all(|(to, _, outcome)| *to != 2 || outcome.is_ok()),
        "{stage}"
    );
}
