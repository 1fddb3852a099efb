//! A meeting in which nothing goes wrong.

use super::*;

#[test]
fn one_protocol_both_directions() {
    let mut stage = pair(&[Protocol::Tcp]);
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    assert_eq!(kinds(&stage, GRANTER), ["request", "go", "grant"]);
    assert_eq!(kinds(&stage, ASKER), ["grant", "next", "end"]);
    for node in [ASKER, GRANTER] {
        assert_eq!(successes(&stage, node), 1);
        assert!(stage.is_free(node));
        assert_eq!(
            stage
                .endings(node)
                .iter()
                .map(|ending| ending.1)
                .collect::<Vec<_>>(),
            ["met"]
        );
    }
}

#[test]
fn both_protocols_both_directions_in_one_meeting() {
    let mut stage = both_protocols();
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    assert_eq!(
        kinds(&stage, GRANTER),
        ["request", "next", "go", "grant", "grant"]
    );
    assert_eq!(
        kinds(&stage, ASKER),
        ["grant", "grant", "next", "next", "end"]
    );
    for node in [ASKER, GRANTER] {
        let protocols: Vec<_> = stage.cells(node).iter().map(|cell| cell.1).collect();
        assert_eq!(protocols, [Protocol::Tcp, Protocol::Udp]);
        assert_eq!(successes(&stage, node), 2);
    }
}

#[test]
fn a_two_way_test_fills_both_rows() {
    let mut stage = two_way();
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    assert_eq!(stage.clients(GRANTER).len() + stage.clients(ASKER).len(), 1);
    for node in [ASKER, GRANTER] {
        assert_eq!(successes(&stage, node), 1);
    }
}

#[test]
fn a_client_starts_only_with_a_grant_and_connects_to_what_it_names() {
    let mut stage = both_protocols();
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    for (client, server) in [(ASKER, GRANTER), (GRANTER, ASKER)] {
        let grants = stage.sent(server, "grant");
        let clients = stage.clients(client);
        assert_eq!((grants.len(), clients.len()), (2, 2));
        for ((granted, grant), (started, start)) in grants.into_iter().zip(clients) {
            assert!(granted.at < started.at);
            let Body::Grant { address, port, .. } = grant.body else {
                panic!("{grant:?}")
            };
            assert_eq!(start.remote, std::net::SocketAddr::new(address, port));
        }
    }
}

#[test]
fn go_is_said_only_after_the_grant_and_the_end_of_the_askers_own_tests() {
    let mut stage = both_protocols();
    assert!(stage.until(60 * SECOND, |stage| stage.is_swept(1)));
    let go = stage.sent(ASKER, "go")[0].0.at;
    let last = stage.clients(ASKER)[1].0.at;
    assert!(go >= last + spec(Protocol::Udp).length());
    assert!(stage.clients(GRANTER)[0].0.at > go);
}
