//! The tests that the two ends of a meeting agree on: the lesser of their settings, in every role.

use iperf3_mesh_core::sim::ids::address_of;
use iperf3_mesh_core::wire::{Body, MeetingKind, Message, PlannedTest, Refusal, Role};
use iperf3_mesh_core::{Input, MARGIN, Output, Protocol, TIMEOUT_MAX, TestSpec};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, refusal, test_spec};

use super::{ASKER, GRANTER, assert_successes};

#[test]
fn both_ends_run_the_lesser_of_their_settings() {
    let asker = TestSpec {
        duration: 9 * SECOND,
        omit: SECOND,
        timeout: 13 * SECOND,
        bitrate: None,
        streams: 2,
        ..test_spec(Protocol::Tcp)
    };
    let granter = TestSpec {
        duration: 4 * SECOND,
        omit: 3 * SECOND,
        timeout: 20 * SECOND,
        bitrate: Some(1_000_000),
        streams: 16,
        ..test_spec(Protocol::Tcp)
    };
    let agreed = TestSpec {
        duration: 4 * SECOND,
        omit: SECOND,
        // 3 s beyond its length, as the asker wants it.
        timeout: 8 * SECOND,
        bitrate: Some(1_000_000),
        streams: 2,
        ..test_spec(Protocol::Tcp)
    };
    for swapped in [false, true] {
        let mut harness = Harness::with(2, |node, settings| {
            let is_first = (node == ASKER) != swapped;
            settings.tests = vec![if is_first { &asker } else { &granter }.clone()];
        });
        harness.wait_for_sweep(60 * SECOND, 1);
        assert_successes(&harness, 1, "mixed settings");
        for node in [ASKER, GRANTER] {
            assert_eq!(harness.clients(node)[0].spec, agreed, "{harness}");
            let server = &harness.servers(node)[0];
            assert_eq!(server.spec, agreed, "{harness}");
            assert_eq!(server.deadline.since(server.local), agreed.timeout);
        }
    }
}

#[test]
fn cell_tells_that_the_settings_of_the_destination_ruled() {
    let mut harness = Harness::with(2, |node, settings| {
        settings.tests[0].bitrate = (node == GRANTER).then_some(1_000_000);
    });
    harness.wait_for_sweep(60 * SECOND, 1);
    for (node, expected) in [(ASKER, true), (GRANTER, false)] {
        let is_limited = harness.logged(node, |output| match output {
            Output::Cell { is_limited, .. } => Some(*is_limited),
            _ => None,
        });
        assert_eq!(is_limited[0].value, expected, "n{node}");
    }
}

#[test]
fn greedy_asker_gets_no_more_than_the_granter_allows() {
    let mut harness = Harness::new(2);
    harness.pass(SECOND);
    let greedy = TestSpec {
        duration: 50 * SECOND,
        timeout: TIMEOUT_MAX,
        streams: 128,
        ..test_spec(Protocol::Tcp)
    };
    let request = request(&harness, &greedy);
    harness.input(GRANTER, Input::Message(request));
    let server = harness.servers(GRANTER)[0].value.clone();
    assert_eq!(server.spec, test_spec(Protocol::Tcp));
    let asked = harness.now();
    harness.wait(60 * SECOND, |harness| harness.is_free(GRANTER));
    let held = harness.now().since(asked);
    let most = test_spec(Protocol::Tcp).timeout + MARGIN + 20 * MILLI;
    assert!(held <= most, "{held:?}");
}

#[test]
fn lying_granter_makes_no_test_larger_than_asked() {
    let mut harness = asked();
    let greedy = TestSpec {
        duration: 50 * SECOND,
        timeout: TIMEOUT_MAX,
        streams: 128,
        ..test_spec(Protocol::Tcp)
    };
    grant(&mut harness, vec![greedy; 2]);
    assert_eq!(harness.clients(ASKER)[0].spec, test_spec(Protocol::Tcp));
}

#[test]
fn grant_without_the_agreed_tests_starts_no_client() {
    let udp = vec![test_spec(Protocol::Udp); 2];
    let two_way = TestSpec {
        bidir: true,
        ..test_spec(Protocol::Tcp)
    };
    let too_few = vec![test_spec(Protocol::Tcp)];
    for agreed in [Vec::new(), too_few, udp, vec![two_way; 2]] {
        let mut harness = asked();
        grant(&mut harness, agreed.clone());
        assert!(harness.clients(ASKER).is_empty(), "{agreed:?}");
        assert!(harness.is_free(ASKER), "{agreed:?}");
    }
}

#[test]
fn protocol_of_the_asker_alone_is_bounded_by_the_granter() {
    let mut harness = Harness::with(2, |node, settings| {
        let rate = |rate| TestSpec {
            bitrate: Some(rate),
            ..test_spec(Protocol::Udp)
        };
        if node == ASKER {
            settings.tests = vec![rate(100_000_000)];
        } else {
            settings.guest_tests = vec![rate(2_000_000)];
        }
    });
    harness.wait(60 * SECOND, |harness| !harness.clients(ASKER).is_empty());
    assert_eq!(harness.clients(ASKER)[0].spec.bitrate, Some(2_000_000));
}

#[test]
fn protocol_without_a_limit_is_refused() {
    let mut harness = Harness::with(2, |_, settings| settings.guest_tests.clear());
    harness.pass(SECOND);
    let request = request(&harness, &test_spec(Protocol::Udp));
    assert_eq!(
        refusal(harness.answer(GRANTER, request)),
        Some(Refusal::Limits)
    );
}

/// A request for this test in both directions.
fn request(harness: &Harness, spec: &TestSpec) -> Message {
    let plan = [Role::Asker, Role::Granter].map(|client| PlannedTest {
        client,
        spec: spec.clone(),
    });
    Message {
        body: Body::Request {
            plan: plan.into(),
            kind: MeetingKind::Scheduled,
        },
        ..harness.new_request(ASKER, GRANTER)
    }
}

/// Two nodes whose asker has asked, and whose granter is never reached.
fn asked() -> Harness {
    let mut harness = Harness::new(2);
    harness.on_message(|_| Delivery::lost(false));
    harness.wait(60 * SECOND, |harness| {
        !harness.sent(ASKER, "request").is_empty()
    });
    harness.stop(GRANTER);
    harness
}

/// Lets the granter grant the last request with these tests.
fn grant(harness: &mut Harness, agreed: Vec<TestSpec>) {
    let asked = (*harness.sent(ASKER, "request").pop().unwrap()).clone();
    let grant = Message {
        from: asked.to,
        from_epoch: asked.to_epoch,
        to: asked.from,
        to_epoch: asked.from_epoch,
        body: Body::Grant {
            test: 0,
            address: address_of(GRANTER),
            port: 5201,
            buffer: None,
            agreed,
        },
        ..asked
    };
    harness.input(ASKER, Input::Message(grant));
}
