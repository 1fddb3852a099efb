//! Servers that do not start, and the ports they listen on.

use std::time::Duration;

use iperf3_mesh_core::wire::{Refusal, Role};
use iperf3_mesh_core::{
    Input, PeerState, PortRange, Protocol, Reason, ReservationOutcome, ServerFailure,
};
use iperf3_mesh_core_testkit::{Harness, SECOND, name_of};

use super::{ASKER, GRANTER, assert_successes, hand_over, pair};

#[test]
fn taken_port_the_server_tries_the_next_one_at_once() {
    let mut harness = failing(ServerFailure::PortTaken, 3, 4);
    harness.wait_for_sweep(20 * SECOND, 1);
    assert!(harness.sent(GRANTER, "refuse").is_empty());
    let mut tried = ports(&harness, GRANTER);
    tried.sort_unstable();
    assert_eq!(tried, [7000, 7001, 7002, 7003]);
}

#[test]
fn all_ports_taken_the_request_is_refused_at_once() {
    for count in [1, 4] {
        let mut harness = failing(ServerFailure::PortTaken, count.into(), count);
        harness.pass(4 * SECOND);
        assert_eq!(ports(&harness, GRANTER).len(), usize::from(count));
        let ending = harness.endings(GRANTER)[0];
        assert_eq!(ending.value, ReservationOutcome::Refused(Refusal::Spawn));
        // Nothing was granted, so no lease has to run out.
        assert_eq!(harness.sent(GRANTER, "refuse")[0].at, ending.at);
    }
}

#[test]
fn refused_request_fails_no_cell() {
    let mut harness = failing(ServerFailure::Spawn, 2, 8);
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_eq!(harness.sent(GRANTER, "refuse").len(), 2);
    assert_successes(&harness, 1, "refused request");
}

#[test]
fn node_that_starts_no_server_fails_only_cells_towards_it() {
    let mut harness = failing(ServerFailure::Spawn, usize::MAX, 8);
    harness.wait_for_sweep(200 * SECOND, 1);
    assert_eq!(harness.failures(ASKER), [Reason::Spawn]);
    assert_eq!(harness.successes(GRANTER), 1, "{harness}");
    assert_eq!(harness.failures(GRANTER), [], "{harness}");
}

#[test]
fn starved_node_fails_cells_towards_it_as_resources() {
    let mut harness = failing(ServerFailure::Resources, usize::MAX, 8);
    harness.wait_for_sweep(200 * SECOND, 1);
    assert_eq!(harness.failures(ASKER), [Reason::Resources]);
    assert_eq!(harness.failures(GRANTER), [], "{harness}");
    let ending = &harness.endings(GRANTER)[0];
    assert_eq!(
        ending.value,
        ReservationOutcome::Refused(Refusal::Resources)
    );
}

#[test]
fn peer_that_departs_during_a_meeting_gets_no_further_server() {
    let mut harness = pair(&[Protocol::Tcp, Protocol::Udp]);
    harness.wait(20 * SECOND, |harness| !harness.clients(ASKER).is_empty());
    let departed = harness.member_in(ASKER, PeerState::Left);
    harness.show(GRANTER, vec![departed]);
    harness.wait(20 * SECOND, |harness| harness.is_free(GRANTER));
    assert_eq!(harness.servers(GRANTER).len(), 1, "{harness}");
    let ending = harness.endings(GRANTER)[0];
    assert_eq!(ending.value, ReservationOutcome::Refused(Refusal::Spawn));
}

#[test]
fn ports_rotate_so_that_a_late_client_finds_a_closed_one() {
    let mut harness = Harness::with(2, |_, settings| {
        settings.ports = PortRange {
            first: 7000,
            count: 3,
        };
        settings.interval = Duration::ZERO;
    });
    harness.wait_for_sweep(200 * SECOND, 7);
    for node in [ASKER, GRANTER] {
        let ports = ports(&harness, node);
        assert!(ports.iter().all(|port| (7000..7003).contains(port)));
        assert!(ports.windows(2).all(|two| two[0] != two[1]), "{ports:?}");
        assert!((7000..7003).all(|port| ports.contains(&port)), "{ports:?}");
    }
}

#[test]
fn one_port_is_enough_for_a_meeting() {
    let mut harness = Harness::with(2, |_, settings| {
        settings.ports = PortRange {
            first: 7000,
            count: 1,
        }
    });
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_successes(&harness, 1, "one port");
}

#[test]
fn hanging_test_fails_at_its_timeout_and_the_meeting_goes_on() {
    let mut harness = pair(&[Protocol::Tcp]);
    harness.hang_tests(|before| before == 0);
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_eq!(harness.failures(ASKER), [Reason::Timeout]);
    assert_eq!(harness.successes(GRANTER), 1);
    assert_eq!(harness.failures(GRANTER), []);
    assert_eq!(harness.sent(ASKER, "request").len(), 1);
}

#[test]
fn server_that_listens_after_its_meeting_is_not_granted() {
    let mut harness = pair(&[Protocol::Tcp]);
    harness.wait(10 * SECOND, |harness| !harness.servers(GRANTER).is_empty());
    let status = harness.node(GRANTER).status(harness.local(GRANTER));
    let meeting = status.meeting.unwrap();
    assert_eq!(
        (meeting.peer, meeting.role),
        (name_of(ASKER), Role::Granter)
    );
    let run = harness.servers(GRANTER)[0].run;
    // The server is to be killed, but comes to listen first.
    hand_over(&mut harness, vec![]);
    harness.input(GRANTER, Input::ServerReady { run, buffer: None });
    assert!(harness.sent(GRANTER, "grant").is_empty(), "{harness}");
}

#[test]
fn buffer_of_the_server_reaches_the_client_of_its_test() {
    let mut harness = pair(&[Protocol::Udp]);
    harness.wait(20 * SECOND, |harness| !harness.servers(GRANTER).is_empty());
    let run = harness.servers(GRANTER)[0].value.run;
    let buffer = Some(360_448);
    harness.input(GRANTER, Input::ServerReady { run, buffer });
    harness.wait(SECOND, |harness| !harness.clients(ASKER).is_empty());
    assert_eq!(harness.clients(ASKER)[0].value.buffer, buffer);
}

/// Two nodes with that many ports; the granter's servers fail in this way, the first `times`.
fn failing(failure: ServerFailure, times: usize, ports: u16) -> Harness {
    let mut harness = Harness::with(2, |_, settings| {
        settings.ports = PortRange {
            first: 7000,
            count: ports,
        }
    });
    let mut left = times;
    harness.on_listen(move |start| {
        if left == 0 || start.peer == name_of(GRANTER) {
            return Ok(());
        }
        left -= 1;
        Err(failure)
    });
    harness
}

fn ports(harness: &Harness, node: usize) -> Vec<u16> {
    harness
        .servers(node)
        .iter()
        .map(|start| start.port)
        .collect()
}
