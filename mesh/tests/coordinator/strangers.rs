//! Foreign versions, taken names, and peers that do not answer.

use super::*;

#[test]
fn a_foreign_wire_version_is_incompatible_at_both_ends() {
    let mut stage = Stage::new(2);
    stage.post = Box::new(|_| Post::Lost { told: true });
    let [one, two] = [0, 1].map(|number| stage.member(number));
    stage.show(0, vec![Member { wire: 3, ..two }]);
    stage.show(1, vec![Member { wire: 3, ..one }]);
    let third = Member {
        name: name(2),
        ..stage.member(1)
    };
    let peers = |stage: &Stage, node: usize| stage.node(node).peers().cloned().collect::<Vec<_>>();
    for node in [0, 1] {
        let foreign = peers(&stage, node)[0].clone();
        assert!(!foreign.is_meetable());
        // A sweep takes company.
        stage.show(node, vec![foreign.member, third.clone()]);
    }
    stage.pass(60 * SECOND);
    for node in [0, 1] {
        let foreign: Vec<_> = stage
            .cells(node)
            .into_iter()
            .filter(|(to, ..)| *to == 1 - node)
            .collect();
        assert_eq!(
            foreign,
            [(1 - node, Protocol::Tcp, Err(Reason::Incompatible))],
            "{stage}"
        );
    }
}

#[test]
fn a_neighbouring_wire_version_is_met() {
    let mut stage = Stage::new(2);
    gossip(&mut stage, 2, |_, member| {
        member.wire = iperf3_mesh_core::WIRE_VERSION + 1;
    });
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    assert_eq!((successes(&stage, 0), successes(&stage, 1)), (1, 1));
}

#[test]
fn whose_name_is_taken_meets_nobody_and_says_why() {
    let mut stage = Stage::with(3, |_, settings| settings.interval = SECOND);
    let members: Vec<_> = (0..3).map(|number| stage.member(number)).collect();
    stage.input(0, Input::View(View::new(members.clone(), true)));
    let conflict = Member {
        state: PeerState::Conflict,
        ..members[0].clone()
    };
    (1..3).for_each(|to| {
        stage.show(
            to,
            vec![conflict.clone(), members[1].clone(), members[2].clone()],
        );
    });
    stage.pass(100 * SECOND);
    assert!(stage.node(0).is_name_taken());
    assert!(stage.clients(0).is_empty() && stage.servers(0).is_empty());
    for node in [1, 2] {
        assert!(
            failures(&stage, node)
                .iter()
                .all(|&reason| reason == Reason::NameConflict)
        );
        assert!(
            !failures(&stage, node).is_empty() && successes(&stage, node) > 3,
            "{stage}"
        );
    }
    assert!(stage.sent(0, "refuse").iter().all(|(_, message)| matches!(
        message.body,
        Body::Refuse {
            refusal: iperf3_mesh_core::wire::Refusal::NameConflict,
            ..
        }
    )));
    // When the other one is gone, all is as before.
    gossip(&mut stage, 3, |_, _| {});
    stage.pass(100 * SECOND);
    assert!(successes(&stage, 0) > 3, "{stage}");
}

#[test]
fn a_node_that_does_not_answer_is_asked_three_times_in_a_sweep() {
    let mut stage = Stage::new(2);
    stage.post = Box::new(|_| Post::Lost { told: true });
    stage.pass(100 * SECOND);
    for node in [0, 1] {
        assert_eq!(stage.sent(node, "request").len(), 3);
        assert_eq!(failures(&stage, node), [Reason::Unreachable]);
        let asked: Vec<_> = stage
            .sent(node, "request")
            .iter()
            .map(|(entry, _)| entry.at)
            .collect();
        assert!(
            asked
                .windows(2)
                .all(|two| two[1].since(two[0]) > DELIVERY_TIMEOUT + MILLI)
        );
    }
}

#[test]
fn who_answers_now_and_then_is_not_given_up() {
    // Every other request is lost; the others are refused, since the peer is still quiet.
    let mut stage = Stage::with(2, |number, settings| settings.skip_quiet_time = number == 0);
    let mut requests = 0;
    stage.post = Box::new(move |message| {
        requests += u32::from(matches!(message.body, Body::Request { .. }));
        let is_lost = matches!(message.body, Body::Request { .. }) && requests % 2 == 1;
        if is_lost {
            Post::Lost { told: false }
        } else {
            Post::prompt()
        }
    });
    stage.pass(150 * SECOND);
    assert!(
        stage
            .endings(0)
            .iter()
            .filter(|ending| ending.1 == "no_answer")
            .count()
            >= 3,
        "{stage}"
    );
    for node in [0, 1] {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (1, vec![]),
            "{stage}"
        );
    }
}
