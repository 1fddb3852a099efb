//! The order of messages and tests in a meeting without faults.

use std::net::SocketAddr;

use iperf3_mesh_core::wire::Body;
use iperf3_mesh_core::{Protocol, ReservationOutcome};
use iperf3_mesh_core_testkit::{SECOND, test_spec};

use super::{ASKER, GRANTER, assert_successes, both_protocols, pair, two_way};

#[test]
fn meeting_with_one_protocol_tests_both_directions() {
    let mut harness = pair(&[Protocol::Tcp]);
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_eq!(harness.received_kinds(GRANTER), ["request", "go", "grant"]);
    assert_eq!(harness.received_kinds(ASKER), ["grant", "next", "end"]);
    assert_successes(&harness, 1, "one protocol");
    for node in [ASKER, GRANTER] {
        assert!(harness.is_free(node));
        let endings = harness.endings(node);
        assert_eq!(endings.len(), 1);
        assert_eq!(endings[0].value, ReservationOutcome::Met);
    }
}

#[test]
fn meeting_with_two_protocols_tests_both_in_both_directions() {
    let mut harness = both_protocols();
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_eq!(
        harness.received_kinds(GRANTER),
        ["request", "next", "go", "grant", "grant"]
    );
    assert_eq!(
        harness.received_kinds(ASKER),
        ["grant", "grant", "next", "next", "end"]
    );
    assert_successes(&harness, 2, "two protocols");
    for node in [ASKER, GRANTER] {
        let protocols: Vec<_> = harness
            .cells(node)
            .iter()
            .map(|cell| cell.protocol)
            .collect();
        assert_eq!(protocols, [Protocol::Tcp, Protocol::Udp]);
    }
}

#[test]
fn two_way_test_fills_the_cells_of_both_nodes() {
    let mut harness = two_way();
    harness.wait_for_sweep(60 * SECOND, 1);
    let clients = harness.clients(GRANTER).len() + harness.clients(ASKER).len();
    assert_eq!(clients, 1);
    assert_successes(&harness, 1, "two-way test");
}

#[test]
fn client_starts_after_its_grant_and_connects_to_that_server() {
    let mut harness = both_protocols();
    harness.wait_for_sweep(60 * SECOND, 1);
    for (client, server) in [(ASKER, GRANTER), (GRANTER, ASKER)] {
        let grants = harness.sent(server, "grant");
        let clients = harness.clients(client);
        assert_eq!((grants.len(), clients.len()), (2, 2));
        for (grant, client) in grants.into_iter().zip(clients) {
            assert!(grant.at < client.at);
            let Body::Grant { address, port, .. } = grant.body else {
                panic!("{grant:?}")
            };
            assert_eq!(client.remote, SocketAddr::new(address, port));
        }
    }
}

#[test]
fn go_is_sent_after_the_end_of_the_askers_own_tests() {
    let mut harness = both_protocols();
    harness.wait_for_sweep(60 * SECOND, 1);
    let go = harness.sent(ASKER, "go")[0].at;
    let last_start = harness.clients(ASKER)[1].at;
    assert!(go >= last_start + test_spec(Protocol::Udp).length());
    assert!(harness.clients(GRANTER)[0].at > go);
}
