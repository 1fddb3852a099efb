//! Nodes that the cluster knows and gossip has not heard of.

use std::collections::BTreeMap;
use std::time::Duration;

use iperf3_mesh_core::{ClusterNode, Input, Member, PeerState, Reason, Settings};
use iperf3_mesh_core_testkit::{Harness, SECOND, name_of};

use super::{assert_cells, since_start};

#[test]
fn missing_node_fails_as_unreachable_after_30_seconds() {
    for nodes in [1, 2] {
        let mut harness = beside_a_dead_node(nodes, |settings| settings.interval = 20 * SECOND);
        let cluster = cluster(&harness, nodes + 1, Duration::ZERO);
        harness.input(0, cluster);
        harness.pass(29 * SECOND);
        assert_eq!(harness.failures(0), [], "{harness}");
        harness.pass(100 * SECOND);
        let begun = harness.sweeps_begun(0);
        let later = begun
            .iter()
            .filter(|it| since_start(it) > 30 * SECOND)
            .count();
        let failures = harness.failures(0);
        assert_eq!(failures, vec![Reason::Unreachable; 1 + later], "{harness}");
        for cell in harness.cells(0) {
            assert_eq!(cell.outcome.is_err(), cell.destination == nodes, "{cell:?}");
        }
        // Without its epoch, no message to it would be accepted.
        let requests = harness.sent(0, "request");
        assert!(requests.iter().all(|message| message.to != name_of(nodes)));
    }
}

#[test]
fn missing_node_that_appears_is_met_in_the_same_sweep() {
    let mut harness = Harness::strangers(3, |_, settings| settings.interval = 1000 * SECOND);
    let cluster = cluster(&harness, 3, Duration::ZERO);
    harness.input(0, cluster);
    let two = vec![harness.member(0), harness.member(1)];
    (0..2).for_each(|to| harness.show(to, two.clone()));
    harness.pass(60 * SECOND);
    assert_cells(&harness, 0, 1, &[Reason::Unreachable]);
    harness.introduce_all();
    harness.pass(60 * SECOND);
    assert_cells(&harness, 0, 2, &[Reason::Unreachable]);
    assert_eq!(harness.sweeps_begun(0).len(), 1);
}

#[test]
fn node_that_appears_within_30_seconds_fails_no_cell() {
    let mut harness = Harness::strangers(2, |_, settings| settings.interval = 1000 * SECOND);
    let cluster = cluster(&harness, 2, Duration::ZERO);
    harness.input(0, cluster);
    harness.pass(29 * SECOND);
    harness.introduce_all();
    harness.pass(60 * SECOND);
    assert!(harness.successes(0) > 0, "{harness}");
    assert_eq!(harness.failures(0), [], "{harness}");
}

#[test]
fn missing_node_is_forgotten_counting_from_when_it_failed() {
    // The cluster says at 100 s for how long the node has failed already.
    for (failed_before, forgotten_at) in [(0, Some(190)), (50, Some(140)), (70, None)] {
        let mut harness = beside_a_dead_node(1, |settings| {
            settings.forget_after = Some(90 * SECOND);
        });
        harness.pass(100 * SECOND);
        for time in (0..600).step_by(10) {
            // Repetitions do not bring it back.
            let cluster = cluster(&harness, 2, (failed_before + time) * SECOND);
            harness.input(0, cluster);
            harness.show(0, vec![]);
            harness.pass(10 * SECOND);
        }
        let departures = harness.departures(0);
        let at: Vec<_> = departures
            .iter()
            .map(|it| since_start(it).as_secs())
            .collect();
        assert_eq!(at, Vec::from_iter(forgotten_at), "{harness}");
        harness.introduce_all();
        assert!(knows(&harness, 1), "{harness}");
    }
}

#[test]
fn missing_node_departs_when_it_leaves_the_cluster() {
    for left in [Input::Cluster(BTreeMap::new()), Input::Gone(name_of(1))] {
        let mut harness = beside_a_dead_node(1, |_| {});
        let cluster = cluster(&harness, 2, Duration::ZERO);
        harness.input(0, cluster);
        harness.pass(60 * SECOND);
        assert!(knows(&harness, 1), "{harness}");
        harness.input(0, left);
        harness.pass(60 * SECOND);
        assert!(!knows(&harness, 1), "{harness}");
        assert_eq!(harness.departures(0).len(), 1, "{harness}");
    }
}

#[test]
fn node_that_said_goodbye_is_not_missing() {
    for has_met in [true, false] {
        let mut harness = Harness::strangers(2, |_, _| {});
        let goodbye = harness.member_in(1, PeerState::Left);
        if has_met {
            harness.introduce_all();
        }
        let cluster = cluster(&harness, 2, Duration::ZERO);
        harness.input(0, cluster);
        harness.pass(20 * SECOND);
        harness.cut_power(1);
        // Gossip mentions it for minutes.
        for sweep in 0..6 {
            harness.show(
                0,
                vec![Member {
                    sweep,
                    ..goodbye.clone()
                }],
            );
            harness.pass(30 * SECOND);
        }
        harness.show(0, vec![]);
        harness.pass(60 * SECOND);
        assert!(!knows(&harness, 1), "{harness}");
        assert_eq!(harness.departures(0).len(), usize::from(has_met));
        assert_eq!(harness.failures(0), [], "{harness}");
    }
}

#[test]
fn node_whose_agent_has_another_name_is_not_missing() {
    let mut harness = Harness::new(2);
    let node = ClusterNode {
        address: harness.member(1).control.ip(),
        unready_for: Duration::ZERO,
    };
    harness.input(0, Input::Cluster(BTreeMap::from([(name_of(7), node)])));
    harness.pass(100 * SECOND);
    assert!(!knows(&harness, 7), "{harness}");
    assert_eq!(harness.failures(0), [], "{harness}");
}

/// The nodes that should have an agent, the last of which has not been ready for so long.
fn cluster(harness: &Harness, nodes: usize, unready_for: Duration) -> Input {
    let node = |number| {
        let is_last = number + 1 == nodes;
        let node = ClusterNode {
            address: harness.member(number).control.ip(),
            unready_for: if is_last { unready_for } else { Duration::ZERO },
        };
        (name_of(number), node)
    };
    Input::Cluster((0..nodes).map(node).collect())
}

/// So many nodes that have just started and know each other, and a dead one that gossip has never
/// heard of.
fn beside_a_dead_node(nodes: usize, change: impl Fn(&mut Settings)) -> Harness {
    let mut harness = Harness::strangers(nodes + 1, |_, settings| change(settings));
    harness.cut_power(nodes);
    let live: Vec<_> = (0..nodes).map(|number| harness.member(number)).collect();
    (0..nodes).for_each(|to| harness.show(to, live.clone()));
    harness
}

fn knows(harness: &Harness, number: usize) -> bool {
    harness.node(0).peer(&name_of(number)).is_some()
}
