//! Messages that never arrive, and nodes that lose their power.

use std::time::Duration;

use iperf3_mesh_core::ReservationOutcome::{Expired, Met, NoAnswer};
use iperf3_mesh_core::wire::Body;
use iperf3_mesh_core::{CONFIRMED_WITHIN, MARGIN, START_WINDOW};
use iperf3_mesh_core_testkit::{DELIVERY_TIMEOUT, Delivery, Harness, MILLI, SECOND};

use super::{ASKER, GRANTER, assert_successes, both_protocols, script};

#[test]
fn lost_grant_starts_no_client_and_sends_no_go() {
    for is_reported in [false, true] {
        let mut harness = losing("grant", is_reported);
        harness.pass(100 * SECOND);
        for node in [ASKER, GRANTER] {
            assert!(!harness.servers(node).is_empty());
            assert!(harness.clients(node).is_empty());
            assert!(harness.sent(node, "go").is_empty());
        }
    }
}

#[test]
fn lost_go_the_granter_starts_no_client() {
    for is_reported in [false, true] {
        let mut harness = losing("go", is_reported);
        harness.pass(20 * SECOND);
        let asker = harness.clients(ASKER);
        assert_eq!(asker.len(), 2);
        let granter = harness.clients(GRANTER);
        assert!(
            granter
                .iter()
                .all(|start| start.meeting != asker[0].meeting)
        );
    }
}

#[test]
fn unanswered_next_ends_the_meeting_for_both_nodes() {
    let mut harness = losing("next", false);
    harness.pass(12 * SECOND);
    let asked = harness.sent(ASKER, "next")[0].local;
    let asker = harness.endings(ASKER)[0];
    assert_eq!(asker.value, NoAnswer);
    // Half of the timeout that the 5 s of the test leave of 10 s: the last instant to start.
    assert_eq!(asker.local, asked + 2500 * MILLI);
    // The granter is told so, and does not wait for its lease to run out.
    assert_eq!(harness.endings(GRANTER)[0].at, asker.at + MILLI);
}

#[test]
fn unanswered_go_ends_the_meeting_after_the_start_window() {
    let mut harness = losing("go", false);
    harness.pass(20 * SECOND);
    let sent = harness.sent(ASKER, "go")[0].local;
    assert_eq!(harness.endings(ASKER)[0].local, sent + START_WINDOW);
    // The granter's own request makes up for its missing tests.
    harness.pass(60 * SECOND);
    assert_eq!(harness.successes(GRANTER), 2, "{harness}");
}

#[test]
fn delivered_message_that_is_reported_lost_changes_nothing() {
    for kind in ["request", "grant", "next", "go", "end"] {
        let mut harness = both_protocols();
        script(&mut harness, kind, Delivery::uncertain(MILLI));
        harness.wait_for_sweep(60 * SECOND, 1);
        assert_eq!(
            harness.sent(ASKER, "request").len(),
            1,
            "{kind}:\n{harness}"
        );
        assert_successes(&harness, 2, kind);
    }
}

#[test]
fn granted_request_that_is_reported_lost_goes_on() {
    let mut harness = both_protocols();
    // The asker is told when its client already runs.
    harness.on_message(|message| match message.body {
        Body::Request { .. } => Delivery::uncertain(MILLI),
        _ => Delivery::after(MILLI),
    });
    harness.wait_for_sweep(60 * SECOND, 1);
    assert_eq!(harness.endings(ASKER).len(), 1, "{harness}");
    assert_successes(&harness, 2, "one meeting");
}

#[test]
fn message_that_is_reported_lost_ends_the_wait_for_its_answer() {
    for kind in ["request", "next", "go"] {
        let mut harness = losing(kind, true);
        harness.pass(20 * SECOND);
        let sent = harness.sent(ASKER, kind)[0].local;
        let waited = harness.endings(ASKER)[0].local.since(sent);
        let difference = waited.abs_diff(DELIVERY_TIMEOUT);
        assert!(difference < 2 * MILLI, "{kind}: {waited:?}");
    }
}

#[test]
fn server_of_a_vanished_client_holds_its_slot_for_the_lease() {
    let harness = cut_off(2, false, Some(ASKER));
    let deadline = harness.servers(GRANTER)[0].deadline;
    let ending = harness.endings(GRANTER)[0];
    assert_eq!(ending.value, Expired);
    assert_eq!(ending.local, deadline + MARGIN);
}

#[test]
fn silence_after_any_message_frees_both_slots_in_time() {
    for case in cases() {
        for &is_reported in case.is_reported {
            let harness = cut_off(case.delivered, is_reported, None);
            case.silence[0].check(&harness, ASKER, &case);
            case.silence[1].check(&harness, GRANTER, &case);
        }
    }
}

#[test]
fn power_cut_after_any_message_frees_the_other_slot_in_time() {
    for case in cases() {
        for &is_reported in case.is_reported {
            let harness = cut_off(case.delivered, is_reported, Some(GRANTER));
            case.power_cut[0].check(&harness, ASKER, &case);
            let harness = cut_off(case.delivered, is_reported, Some(ASKER));
            case.power_cut[1].check(&harness, GRANTER, &case);
        }
    }
}

/// A meeting has ten messages and four tests of 5 s, with a timeout of 10 s: the asker's first.
fn cases() -> [Case; 16] {
    let [unreported, reported, either] = [&[false][..], &[true], &[false, true]];
    [
        // delivered, loss reported, asker and granter: tests that ran before the wait
        case(0, unreported, [(0, Wait::Start), (0, Wait::Start)]),
        case(0, reported, [(0, Wait::Report), (0, Wait::Report)]),
        // request
        case(1, either, [(0, Wait::Start), (0, Wait::Lease)]),
        // grant
        case(2, unreported, [(1, Wait::Start), (0, Wait::Lease)])
            .power_cut([(0, Wait::Start), (0, Wait::Lease)]),
        case(2, reported, [(1, Wait::Report), (0, Wait::Lease)])
            .power_cut([(0, Wait::Report), (0, Wait::Lease)]),
        // next
        case(3, either, [(1, Wait::Start), (1, Wait::Lease)]),
        // grant
        case(4, unreported, [(2, Wait::Go), (1, Wait::Lease)])
            .power_cut([(1, Wait::Go), (1, Wait::Lease)]),
        case(4, reported, [(2, Wait::Report), (1, Wait::Lease)])
            .power_cut([(1, Wait::Report), (1, Wait::Lease)]),
        // go
        case(5, unreported, [(2, Wait::Go), (2, Wait::Start)]),
        case(5, reported, [(2, Wait::Go), (2, Wait::Report)]),
        // next
        case(6, either, [(2, Wait::Lease), (2, Wait::Start)]),
        // grant
        case(7, unreported, [(2, Wait::Lease), (3, Wait::Start)])
            .power_cut([(2, Wait::Lease), (2, Wait::Start)]),
        case(7, reported, [(2, Wait::Lease), (3, Wait::Report)])
            .power_cut([(2, Wait::Lease), (2, Wait::Report)]),
        // next
        case(8, either, [(3, Wait::Lease), (3, Wait::Start)]),
        // grant
        case(9, either, [(3, Wait::Lease), (4, Wait::Nothing)])
            .power_cut([(3, Wait::Lease), (3, Wait::Confirmation)]),
        // end
        case(10, either, [(4, Wait::Nothing), (4, Wait::Nothing)]),
    ]
}

/// Only the first messages of a meeting are delivered.
#[derive(Debug)]
struct Case {
    delivered: usize,
    /// Whether the senders of the lost messages are told.
    is_reported: &'static [bool],
    /// How the meeting ends for asker and granter if both live on.
    silence: [Ending; 2],
    /// How it ends for each if the other one loses its power then.
    power_cut: [Ending; 2],
}

/// How a meeting ends for one node: after so many tests, it still waits.
#[derive(Clone, Copy, Debug)]
struct Ending {
    tests: u32,
    wait: Wait,
}

/// The event that ends a meeting.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// The last instant to start the client that it asked for: half of what the timeout leaves.
    Start,
    /// The report that its message is lost.
    Report,
    /// The start window after its `go`.
    Go,
    /// The end of its lease as a server.
    Lease,
    /// The confirmation of its `end`, because its last test failed.
    Confirmation,
    /// It has nothing to wait for.
    Nothing,
}

fn case(delivered: usize, is_reported: &'static [bool], silence: [(u32, Wait); 2]) -> Case {
    let silence = silence.map(|(tests, wait)| Ending { tests, wait });
    Case {
        delivered,
        is_reported,
        silence,
        power_cut: silence,
    }
}

impl Case {
    /// A test whose other end loses its power never completes.
    fn power_cut(mut self, endings: [(u32, Wait); 2]) -> Self {
        self.power_cut = endings.map(|(tests, wait)| Ending { tests, wait });
        self
    }
}

impl Ending {
    fn check(self, harness: &Harness, node: usize, case: &Case) {
        let (wait, outcome) = match self.wait {
            Wait::Start => (2500 * MILLI, NoAnswer),
            Wait::Report => (DELIVERY_TIMEOUT, NoAnswer),
            Wait::Go => (START_WINDOW, Expired),
            Wait::Lease => (10 * SECOND + MARGIN, Expired),
            Wait::Confirmation => (CONFIRMED_WITHIN, Met),
            Wait::Nothing => (Duration::ZERO, Met),
        };
        let expected = self.tests * 5 * SECOND + wait;
        let request = harness.sent(ASKER, "request")[0];
        let ending = harness.endings(node)[0];
        let case = format!("{case:?}: n{node}:\n{harness}");
        assert_eq!(ending.value, outcome, "{case}");
        // Each test needs some milliseconds more, and the granter's own request comes a bit later.
        let difference = ending.at.since(request.at).abs_diff(expected);
        assert!(difference < 110 * MILLI, "{difference:?}: {case}");
    }
}

/// Messages of this kind are lost.
fn losing(kind: &'static str, is_reported: bool) -> Harness {
    let mut harness = both_protocols();
    script(&mut harness, kind, Delivery::lost(is_reported));
    harness
}

/// A meeting of which only the first messages are delivered, simulated for a minute after that.
/// If a node loses its power, it does so at that moment.
fn cut_off(delivered: usize, is_reported: bool, power_cut: Option<usize>) -> Harness {
    let mut harness = both_protocols();
    let mut left = delivered;
    harness.on_message(move |message| {
        let counts = message.meeting.is_some();
        if !counts || left > 0 {
            left -= usize::from(counts);
            return Delivery::after(MILLI);
        }
        Delivery::lost(is_reported)
    });
    harness.wait(100 * SECOND, |harness| {
        let received = [ASKER, GRANTER].map(|node| harness.received_kinds(node).len());
        let has_asked = !harness.sent(ASKER, "request").is_empty();
        has_asked && received[0] + received[1] == delivered
    });
    if let Some(node) = power_cut {
        harness.cut_power(node);
    }
    harness.pass(60 * SECOND);
    harness
}
