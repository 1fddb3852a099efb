//! Servers that do not start, and the ports they listen on.

use super::*;

/// Servers of the granter fail in that way, the first `times`.
fn failing(failure: ServerFailure, times: usize, ports: u16) -> Stage {
    let mut stage = Stage::with(2, |_, settings| {
        settings.ports = PortRange {
            first: 7000,
            count: ports,
        }
    });
    let mut left = times;
    stage.opening = Box::new(move |start| {
        if left == 0 || start.peer == name(GRANTER) {
            return Ok(());
        }
        left -= 1;
        Err(failure)
    });
    stage
}

fn ports(stage: &Stage, node: usize) -> Vec<u16> {
    stage
        .servers(node)
        .iter()
        .map(|(_, start)| start.port)
        .collect()
}

#[test]
fn a_taken_port_leads_to_the_next_one_at_once() {
    let mut stage = failing(ServerFailure::PortTaken, 3, 4);
    assert!(
        stage.until(20 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    let mut tried = ports(&stage, GRANTER);
    assert_eq!(tried.len(), 4);
    assert!(stage.sent(GRANTER, "refuse").is_empty());
    tried.sort_unstable();
    assert_eq!(tried, [7000, 7001, 7002, 7003]);
}

#[test]
fn when_all_ports_are_taken_the_meeting_is_refused() {
    for count in [1, 4] {
        let mut stage = failing(ServerFailure::PortTaken, count.into(), count);
        stage.pass(4 * SECOND);
        assert_eq!(ports(&stage, GRANTER).len(), usize::from(count));
        let (freed, outcome, reason) = stage.endings(GRANTER)[0];
        assert_eq!((outcome, reason), ("refused", "spawn"));
        // At once: nobody waits for a lease under which nothing was granted.
        assert_eq!(stage.sent(GRANTER, "refuse")[0].0.at, freed.at);
    }
}

#[test]
fn a_refusal_alone_fails_no_cell() {
    let mut stage = failing(ServerFailure::Spawn, 2, 8);
    assert!(
        stage.until(60 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    assert_eq!(stage.sent(GRANTER, "refuse").len(), 2);
    for node in [ASKER, GRANTER] {
        assert_eq!(
            (successes(&stage, node), failures(&stage, node)),
            (1, vec![]),
            "{stage}"
        );
    }
}

#[test]
fn a_node_that_can_start_no_server_fails_the_cell_of_who_wants_to_be_its_client_and_no_more() {
    let mut stage = failing(ServerFailure::Spawn, usize::MAX, 8);
    assert!(
        stage.until(200 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    assert_eq!(failures(&stage, ASKER), [Reason::Spawn]);
    assert_eq!(
        (successes(&stage, GRANTER), failures(&stage, GRANTER)),
        (1, vec![]),
        "{stage}"
    );
}

#[test]
fn ports_rotate_so_that_a_late_client_meets_a_closed_one() {
    let mut stage = Stage::with(2, |_, settings| {
        settings.ports = PortRange {
            first: 7000,
            count: 3,
        };
        settings.interval = Duration::ZERO;
    });
    assert!(
        stage.until(200 * SECOND, |stage| stage.is_swept(7)),
        "{stage}"
    );
    for node in [ASKER, GRANTER] {
        let ports = ports(&stage, node);
        assert!(ports.iter().all(|port| (7000..7003).contains(port)));
        assert!(ports.windows(2).all(|two| two[0] != two[1]), "{ports:?}");
        assert!((7000..7003).all(|port| ports.contains(&port)), "{ports:?}");
    }
}

#[test]
fn a_range_of_one_port_works() {
    let mut stage = Stage::with(2, |_, settings| {
        settings.ports = PortRange {
            first: 7000,
            count: 1,
        }
    });
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    assert_eq!(successes(&stage, ASKER) + successes(&stage, GRANTER), 2);
}

#[test]
fn a_test_that_hangs_fails_at_its_timeout_and_the_meeting_goes_on() {
    let mut stage = pair(&[Protocol::Tcp]);
    stage.hangs = Box::new(|&before| before == 0);
    assert!(
        stage.until(60 * SECOND, |stage| stage.is_swept(1)),
        "{stage}"
    );
    assert_eq!(failures(&stage, ASKER), [Reason::Timeout]);
    assert_eq!(
        (successes(&stage, GRANTER), failures(&stage, GRANTER)),
        (1, vec![])
    );
    assert_eq!(stage.sent(ASKER, "request").len(), 1);
}

#[test]
fn a_server_that_comes_up_when_its_meeting_is_over_is_granted_to_nobody() {
    let mut stage = pair(&[Protocol::Tcp]);
    assert!(
        stage.until(10 * SECOND, |stage| !stage.servers(GRANTER).is_empty()),
        "{stage}"
    );
    let status = stage.node(GRANTER).status(stage.local(GRANTER));
    assert!(
        status
            .meeting
            .is_some_and(|meeting| (meeting.peer, meeting.role) == (name(ASKER), Role::Granter))
    );
    let number = stage.servers(GRANTER)[0].1.meeting.number;
    let end = forged(
        &stage,
        ASKER,
        GRANTER,
        number,
        Body::End { handover: vec![] },
    );
    // It is told to die, and comes to listen all the same.
    stage.input(GRANTER, Input::Message(end));
    let run = stage.servers(GRANTER)[0].1.run;
    stage.input(GRANTER, Input::ServerReady(run));
    assert!(stage.sent(GRANTER, "grant").is_empty(), "{stage}");
}
