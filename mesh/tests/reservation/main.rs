//! Scripted tests of the reservation: two or three real coordinators, whose messages are delayed,
//! lost, duplicated and reordered, and whose iperf3 processes do as the script says. After every
//! input, the harness itself checks that no node is in two meetings at once, and that nothing of a
//! meeting touches a node that considers itself free.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod delays;
mod duplicates;
mod forgeries;
mod freezes;
mod instants;
mod losses;
mod moves;
mod order;
mod refusals;
mod servers;
mod stopping;
mod two_askers;
mod two_way_results;
mod verdicts;

use iperf3_mesh_core::wire::{Body, Handover};
use iperf3_mesh_core::{Input, Protocol, TestSpec};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, test_spec};

/// In the first sweep of two nodes, the second one asks.
const GRANTER: usize = 0;
const ASKER: usize = 1;

/// Two nodes that test these protocols.
fn pair(protocols: &[Protocol]) -> Harness {
    Harness::with(2, |_, settings| {
        settings.tests = protocols.iter().map(|&it| test_spec(it)).collect();
    })
}

fn both_protocols() -> Harness {
    pair(&[Protocol::Tcp, Protocol::Udp])
}

/// Two nodes that test both directions at the same time.
fn two_way() -> Harness {
    Harness::with(2, |_, settings| {
        settings.tests = vec![TestSpec {
            bidir: true,
            ..test_spec(Protocol::Tcp)
        }];
    })
}

/// Messages of this kind have this fate, all others arrive promptly.
fn script(harness: &mut Harness, kind: &'static str, fate: Delivery) {
    harness.on_message(move |message| {
        if message.body.kind() == kind {
            fate.clone()
        } else {
            Delivery::after(MILLI)
        }
    });
}

/// Lets the asker end its meeting with the granter, with these results.
fn hand_over(harness: &mut Harness, handover: Vec<Handover>) {
    let number = harness.servers(GRANTER)[0].meeting.number;
    let end = Body::End {
        handover,
        confirm: false,
    };
    let end = harness.message(ASKER, GRANTER, number, end);
    harness.input(GRANTER, Input::Message(end));
}

/// Both nodes have so many successful cells, and no failed ones.
fn assert_successes(harness: &Harness, successes: usize, case: &str) {
    for node in [ASKER, GRANTER] {
        assert_eq!(
            (harness.successes(node), harness.failures(node)),
            (successes, vec![]),
            "{case}: n{node}:\n{harness}"
        );
    }
}
