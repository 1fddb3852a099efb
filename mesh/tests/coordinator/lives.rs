//! Restarts, quiet times and late arrivals.

use super::*;

#[test]
fn a_restarted_peer_is_met_again_after_its_quiet_time_and_not_before() {
    let mut stage = Stage::with(3, |_, settings| settings.interval = 30 * SECOND);
    assert!(stage.until(100 * SECOND, |stage| stage.is_swept(1)));
    stage.restart(2, Epoch(77), false);
    let at = stage.now;
    stage.pass(SECOND);
    gossip(&mut stage, 3, |_, _| {});
    stage.pass(200 * SECOND);
    let met: Vec<_> = stage
        .log
        .iter()
        .filter(|entry| entry.at > at)
        .filter_map(|entry| match &entry.what {
            stage::What::Did(Output::StartClient(start)) => Some((entry.at, entry.node, start)),
            _ => None,
        })
        .filter(|(_, node, start)| *node == 2 || start.peer == name(2))
        .collect();
    assert!(met.len() >= 4, "{stage}");
    assert!(met[0].0.since(at) >= QUIET_TIME.mul_f64(0.999), "{stage}");
    assert_eq!(failures(&stage, 0), [], "{stage}");
}

#[test]
fn in_its_quiet_time_a_node_refuses_and_says_how_long() {
    let mut stage = Stage::with(2, |number, settings| settings.skip_quiet_time = number == 1);
    stage.pass(20 * SECOND);
    let refused = stage.sent(0, "refuse");
    assert!(!refused.is_empty(), "{stage}");
    for (entry, message) in &refused {
        let Body::Refuse {
            refusal,
            free_in_ms,
        } = message.body
        else {
            panic!()
        };
        assert_eq!(refusal, iperf3_mesh_core::wire::Refusal::Quiet);
        let left = QUIET_TIME.saturating_sub(entry.at.since(Time::default()));
        assert!(left.abs_diff(Duration::from_millis(free_in_ms.unwrap())) < SECOND);
    }
    // One that comes late is asked for at most every ten seconds.
    assert!(refused.len() <= 3, "{stage}");
    stage.pass(100 * SECOND);
    assert_eq!(
        (successes(&stage, 0), failures(&stage, 1)),
        (1, vec![]),
        "{stage}"
    );
}

#[test]
fn who_joins_in_the_middle_of_a_sweep_is_met_in_it() {
    let mut stage = Stage::with(5, |_, settings| settings.interval = 1000 * SECOND);
    let members: Vec<_> = (0..4).map(|number| stage.member(number)).collect();
    let left = Member {
        state: PeerState::Left,
        ..stage.member(4)
    };
    let others = [members, vec![left]].concat();
    (0..4).for_each(|to| stage.show(to, others.clone()));
    stage.show(4, Vec::new());
    stage.vanish(4);
    stage.pass(15 * SECOND);
    stage.restart(4, Epoch(9), true);
    gossip(&mut stage, 5, |_, _| {});
    stage.pass(200 * SECOND);
    for node in 0..5 {
        assert_eq!(began(&stage, node).last().unwrap().1, 1, "{stage}");
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (4, vec![]),
            "n{node} {stage}"
        );
    }
}

#[test]
fn who_is_quiet_holds_up_nobody_else() {
    let mut stage = Stage::with(4, |number, settings| settings.skip_quiet_time = number != 3);
    // The three others meet each other in as many rounds as they would without it.
    stage.pass(4 * SECOND + 3 * 11 * SECOND);
    for node in 0..3 {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (2, vec![]),
            "n{node} {stage}"
        );
    }
    stage.pass(QUIET_TIME);
    for node in 0..4 {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (3, vec![]),
            "n{node} {stage}"
        );
    }
}

#[test]
fn when_all_start_about_the_same_time_the_first_sweep_ends_when_they_have_met() {
    let mut stage = Stage::with(3, |_, settings| settings.skip_quiet_time = false);
    stage.pass(3 * SECOND);
    [1, 2]
        .into_iter()
        .for_each(|number| stage.restart(number, Epoch(1000), false));
    gossip(&mut stage, 3, |_, _| {});
    stage.pass(QUIET_TIME + 4 * 11 * SECOND);
    for node in 0..3 {
        let ended = stage.outputs(node).filter_map(|(_, output)| match output {
            Output::SweepEnded(report) => Some(report.duration),
            _ => None,
        });
        let ended: Vec<_> = ended.collect();
        assert!(
            matches!(ended[..], [duration] if duration > 10 * SECOND),
            "{ended:?} {stage}"
        );
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (2, vec![]),
            "{stage}"
        );
    }
}

#[test]
fn who_restarts_again_and_again_costs_its_own_cells_and_holds_up_no_sweep() {
    let mut stage = Stage::with(4, |_, settings| settings.interval = 100 * SECOND);
    // Always once more before its quiet time is over.
    for life in 0..40 {
        stage.restart(3, Epoch(1000 + life), false);
        stage.pass(SECOND);
        gossip(&mut stage, 4, |_, _| {});
        stage.pass(49 * SECOND);
    }
    // In 2000 s; a sweep has 30 s, the wait for who is quiet two minutes, the pause 100 s.
    for node in 0..3 {
        let sweeps = began(&stage, node).len();
        assert!(sweeps >= 7, "n{node} began {sweeps}");
        for (to, _, outcome) in stage.cells(node) {
            assert_eq!(outcome.is_err(), to == 3, "n{node} to n{to}: {outcome:?}");
        }
    }
}
