//! Messages of any length through any order, loss and repetition of their datagrams.

use std::collections::BTreeMap;

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{Channel, DATAGRAM_MAX, MESSAGE_MAX, Received};
use proptest::prelude::*;

use crate::net::met_pair;
use crate::{Dice, address, seconds};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn message_arrives_once_in_any_order(length in 0..=MESSAGE_MAX, seed: u64) {
        let (mut a, mut b, now) = met_pair();
        let message = bytes(length, seed);
        let mut datagrams = a.send(address(2), &message, now);
        datagrams.extend(datagrams.clone());
        shuffle(&mut datagrams, seed);
        let arrived = deliver(&mut b, &datagrams, now);
        prop_assert_eq!(arrived, BTreeMap::from([(message, 1)]));
    }

    #[test]
    fn of_many_messages_each_arrives_once_at_most(
        lengths in prop::collection::vec(0..12_000_usize, 1..12), seed: u64, lost in 0..50_u64,
    ) {
        let (mut a, mut b, now) = met_pair();
        let mut dice = Dice(seed);
        let sent = (0..).zip(&lengths).map(|(number, length)| bytes(*length + 1, number));
        let sent: Vec<Vec<u8>> = sent.collect();
        let mut datagrams: Vec<_> =
            sent.iter().flat_map(|message| a.send(address(2), message, now)).collect();
        prop_assert!(datagrams.iter().all(|datagram| datagram.len() <= DATAGRAM_MAX));
        datagrams.extend(datagrams.clone());
        shuffle(&mut datagrams, seed);
        datagrams.retain(|_| dice.below(100) >= lost);
        for (message, count) in deliver(&mut b, &datagrams, now) {
            prop_assert!(count <= sent.iter().filter(|sent| **sent == message).count());
        }
    }

    #[test]
    fn overtaken_message_opens_within_the_window(seed: u64, back in 1..2000_usize) {
        let (mut a, mut b, now) = met_pair();
        let mut datagrams: Vec<_> =
            (0..3000).map(|_| a.send(address(2), b"message", now).remove(0)).collect();
        let at = Dice(seed).below(900) as usize;
        let late = datagrams.remove(at);
        for datagram in &datagrams[..at + back] {
            b.receive(datagram, address(1), true, now).unwrap();
        }
        // So many counters are above it.
        prop_assert_eq!(b.receive(&late, address(1), true, now).is_ok(), back < 1024);
        prop_assert!(b.receive(&late, address(1), true, now).is_err());
    }
}

#[test]
fn fragments_of_a_message_are_kept_for_5_seconds() {
    for (after, arrives) in [(4, true), (5, false)] {
        let (mut a, mut b, now) = met_pair();
        let message = bytes(3000, 1);
        let datagrams = a.send(address(2), &message, now);
        let (last, first) = datagrams.split_last().unwrap();
        assert!(deliver(&mut b, first, now).is_empty());
        let later = now + (seconds(after).since(Time::default()));
        let arrived = deliver(&mut b, std::slice::from_ref(last), later);
        assert_eq!(arrived.contains_key(&message), arrives, "after {after} s");
    }
}

#[test]
fn incomplete_messages_of_a_session_are_four_at_most() {
    let (mut a, mut b, now) = met_pair();
    let sent: Vec<_> = (0..5)
        .map(|number| a.send(address(2), &bytes(3000, number), now))
        .collect();
    for datagrams in &sent {
        deliver(&mut b, &datagrams[1..], now);
    }
    let firsts: Vec<_> = sent.iter().map(|datagrams| datagrams[0].clone()).collect();
    let arrived = deliver(&mut b, &firsts, now);
    // The first datagram of the lost one begins it anew, in place of the next.
    let lost: Vec<_> = (0..5)
        .filter(|number| !arrived.contains_key(&bytes(3000, *number)))
        .collect();
    assert!(
        !lost.is_empty() && arrived.len() + lost.len() == 5,
        "{lost:?}"
    );
}

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..length).map(|_| dice.next() as u8).collect()
}

fn shuffle(datagrams: &mut [Vec<u8>], seed: u64) {
    let mut dice = Dice(seed);
    for at in (1..datagrams.len()).rev() {
        datagrams.swap(at, dice.below(at as u64 + 1) as usize);
    }
}

/// Returns the messages that arrive, and how often each does.
fn deliver(b: &mut Channel, datagrams: &[Vec<u8>], now: Time) -> BTreeMap<Vec<u8>, usize> {
    let mut arrived = BTreeMap::new();
    for datagram in datagrams {
        if let Ok(Received::Message(message, _)) = b.receive(datagram, address(1), true, now) {
            *arrived.entry(message).or_default() += 1;
        }
    }
    arrived
}
