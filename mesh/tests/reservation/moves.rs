//! A node whose address changes at any moment of a meeting.

use std::net::{IpAddr, Ipv4Addr};

use iperf3_mesh_core::wire::{Body, Refusal};
use iperf3_mesh_core::{Input, ReservationOutcome};
use iperf3_mesh_core_testkit::{Delivery, Harness, SECOND, refusal};

use super::{ASKER, GRANTER, both_protocols, script, two_way};

const NEW_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

#[test]
fn moved_node_is_not_free_while_the_peers_iperf3_lives() {
    for meeting in [both_protocols, two_way] {
        for node in [ASKER, GRANTER] {
            let mut events = 0;
            while let Some(mut harness) = moved(meeting(), node, events) {
                // The harness itself checks that nothing touches a free node.
                harness.pass(60 * SECOND);
                events += 1;
            }
            assert!(events > 6, "{events}");
        }
    }
}

#[test]
fn moved_granter_holds_its_slot_until_the_lease_is_over() {
    let mut harness = both_protocols();
    harness.wait(20 * SECOND, |harness| {
        !harness.sent(GRANTER, "grant").is_empty()
    });
    let requested = harness.now();
    move_away(&mut harness, GRANTER);
    // The asker may not hear of the end, and its client may send to the old address for so long.
    harness.wait(20 * SECOND, |harness| harness.is_free(GRANTER));
    let held = harness.now().since(requested);
    assert!(held >= 10 * SECOND, "{held:?}: {harness}");
    let ending = harness.endings(GRANTER).pop().unwrap();
    assert_eq!(ending.value, ReservationOutcome::Cancelled);
}

#[test]
fn moved_node_meets_again_at_its_new_address() {
    let mut harness = both_protocols();
    harness.wait(20 * SECOND, |harness| {
        !harness.sent(GRANTER, "grant").is_empty()
    });
    move_away(&mut harness, GRANTER);
    let request = harness.new_request(ASKER, GRANTER);
    let answer = harness.answer(GRANTER, request);
    assert_eq!(refusal(answer), Some(Refusal::Quiet));

    harness.wait_for_sweep(60 * SECOND, 1);
    let grants = harness.sent(GRANTER, "grant");
    let last = &grants.last().unwrap().body;
    assert!(
        matches!(last, Body::Grant { address, .. } if *address == NEW_ADDRESS),
        "{harness}"
    );
    for node in [ASKER, GRANTER] {
        assert_eq!(harness.successes(node), 2, "{harness}");
    }
}

/// A meeting in which `node` moves after that many of its events, and in which no node hears that
/// the other has left; `None` if there are fewer events.
fn moved(mut harness: Harness, node: usize, events: usize) -> Option<Harness> {
    script(&mut harness, "end", Delivery::lost(false));
    harness.pass(2 * SECOND);
    if !harness.until(40 * SECOND, |harness| harness.events_at(node) >= events) {
        return None;
    }
    move_away(&mut harness, node);
    Some(harness)
}

/// Gives `node` its new address, which the others hear of at once.
fn move_away(harness: &mut Harness, node: usize) {
    harness.input(node, Input::Moved(NEW_ADDRESS));
    harness.gossip(|number, member| {
        if number == node {
            member.control.set_ip(NEW_ADDRESS);
        }
    });
}
