//! Sessions between two channels: how they begin, and what ends them.

use std::time::Duration;

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{Channel, HELLO_LEN, Received, Refusal, WELCOME_LEN};

use crate::net::{Net, met_pair};
use crate::{address, channel, keyring, life, run, seconds};

const NOW: Time = Time::from_nanos(1_000_000_000_000);

#[test]
fn welcome_is_shorter_than_its_hello() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    let hello = a.send(address(2), b"message", NOW);
    assert_eq!(hello.len(), 1, "the message waits");
    let welcome = answer(b.receive(&hello[0], address(1), false, NOW));
    assert_eq!([hello[0].len(), welcome[0].len()], [HELLO_LEN, WELCOME_LEN]);
    assert!(welcome[0].len() < hello[0].len());
}

#[test]
fn answering_a_hello_keeps_nothing() {
    let mut b = channel(2, &[7]);
    let empty = format!("{b:?}");
    let hello = channel(1, &[7]).send(address(2), b"message", NOW);
    answer(b.receive(&hello[0], address(1), true, NOW));
    let trials = |text: &str| text.split("trials").next().unwrap().to_owned();
    assert_eq!(trials(&format!("{b:?}")), trials(&empty));
}

#[test]
fn welcome_that_comes_late_begins_nothing() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    let hello = a.send(address(2), b"message", NOW);
    let welcome = answer(b.receive(&hello[0], address(1), true, NOW));
    let late = NOW + Duration::from_secs(11);
    let refused = a.receive(&welcome[0], address(2), true, late);
    assert_eq!(refused, Err(Refusal::Unsolicited));
}

#[test]
fn slow_answer_to_the_first_of_many_hellos_counts() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    let hello = a.send(address(2), b"old", NOW);
    let welcome = answer(b.receive(&hello[0], address(1), true, NOW));
    for step in 1..6 {
        let later = NOW + Duration::from_millis(600) * step;
        assert_eq!(a.send(address(2), b"new", later).len(), 1);
    }
    let now = NOW + Duration::from_secs(4);
    let datagrams = answer(a.receive(&welcome[0], address(2), true, now));
    let opened = b.receive(&datagrams[1], address(1), true, now);
    assert_eq!(opened, Ok(Received::Message(b"new".to_vec(), life(1))));
}

#[test]
fn session_is_not_begun_after_its_token_has_run_out() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    let datagrams = offered(&mut a, &mut b, NOW);
    let late = NOW + Duration::from_secs(20);
    let refused = b.receive(&datagrams[0], address(1), true, late);
    assert_eq!(refused, Err(Refusal::UnknownSession));
}

#[test]
fn session_that_is_over_does_not_begin_again() {
    for after in 0..25 {
        let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
        let datagrams = offered(&mut a, &mut b, NOW);
        answer(b.receive(&datagrams[0], address(1), true, NOW));
        b.moved();
        let again = NOW + Duration::from_secs(after);
        for datagram in &datagrams {
            let refused = b.receive(datagram, address(1), true, again);
            let expected = [Refusal::Replayed, Refusal::UnknownSession][usize::from(after >= 20)];
            assert_eq!(refused, Err(expected), "after {after} s");
        }
    }
}

#[test]
fn session_serves_only_the_address_it_was_made_with() {
    let (mut a, mut b, now) = met_pair();
    for datagram in a.send(address(2), b"message", now) {
        let refused = b.receive(&datagram, address(3), true, now);
        assert_eq!(refused, Err(Refusal::UnknownSession));
    }
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    for datagram in offered(&mut a, &mut b, now) {
        let refused = b.receive(&datagram, address(3), true, now);
        assert_eq!(refused, Err(Refusal::UnknownSession));
    }
}

#[test]
fn mapped_address_is_the_address_itself() {
    let (mut a, mut b, now) = met_pair();
    let datagrams = a.send("[::ffff:198.18.0.2]:9877".parse().unwrap(), b"message", now);
    let from = "[::ffff:198.18.0.1]:9877".parse().unwrap();
    let opened = b.receive(&datagrams[0], from, true, now);
    assert_eq!(opened, Ok(Received::Message(b"message".to_vec(), life(1))));
}

#[test]
fn own_messages_that_come_back_are_refused() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    let hello = a.send(address(2), b"message", NOW);
    let refused = |a: &mut Channel, datagram: &[u8], from| {
        a.receive(datagram, address(from), true, NOW).unwrap_err()
    };
    assert_eq!(refused(&mut a, &hello[0], 2), Refusal::Reflected);
    let welcome = answer(b.receive(&hello[0], address(1), true, NOW));
    assert_eq!(refused(&mut b, &welcome[0], 1), Refusal::Unsolicited);
    let opens = answer(a.receive(&welcome[0], address(2), true, NOW));
    assert_eq!(refused(&mut a, &opens[0], 2), Refusal::Forged);
    assert_eq!(refused(&mut a, &opens[0], 3), Refusal::Reflected);
    let proof = answer(b.receive(&opens[0], address(1), true, NOW));
    assert_eq!(refused(&mut b, &proof[0], 1), Refusal::Replayed);
}

#[test]
fn relayed_welcome_does_not_end_a_session() {
    // Node 3 answers a HELLO that was meant for node 2, and a host between them forges the source.
    let (mut a, mut b, now) = met_pair();
    let mut c = channel(3, &[7]);
    a.replace_keys(keyring(&[8, 7]));
    let hello = a.send(address(2), b"message", now).remove(0);
    let welcome = answer(c.receive(&hello, address(1), true, now));
    answer(a.receive(&welcome[0], address(2), true, now));
    let datagrams = a.send(address(2), b"next", now);
    let opened = b.receive(datagrams.last().unwrap(), address(1), true, now);
    assert_eq!(opened, Ok(Received::Message(b"next".to_vec(), life(1))));
}

#[test]
fn removed_key_ends_its_sessions_at_once() {
    let (mut a, mut b, now) = met_pair();
    b.replace_keys(keyring(&[8]));
    assert!(!b.is_met(address(1), now));
    let datagrams = a.send(address(2), b"message", now);
    let refused = b.receive(&datagrams[0], address(1), true, now);
    assert_eq!(refused, Err(Refusal::UnknownSession));
    let hello = channel(1, &[7]).send(address(2), b"message", now);
    let refused = b.receive(&hello[0], address(1), true, now);
    assert_eq!(refused, Err(Refusal::RemovedKey));
}

#[test]
fn added_key_costs_no_message() {
    let (mut a, mut b, mut now) = met_pair();
    for side in [&mut a, &mut b] {
        side.replace_keys(keyring(&[8, 7]));
    }
    for _ in 0..5 {
        now = now + Duration::from_secs(1);
        let mut datagrams = a.send(address(2), b"message", now);
        let message = datagrams.pop().unwrap();
        let opened = b.receive(&message, address(1), true, now);
        assert_eq!(opened, Ok(Received::Message(b"message".to_vec(), life(1))));
        carry(&mut a, &mut b, datagrams, now);
    }
    let in_use = a.keys_in_use(&[address(2)], now);
    let counts: Vec<_> = in_use
        .iter()
        .map(|(id, count)| (id.as_str(), *count))
        .collect();
    assert_eq!(counts, [("key-7", 0), ("key-8", 1)]);
}

#[test]
fn key_file_that_is_read_again_unchanged_changes_nothing() {
    let (mut a, _, now) = met_pair();
    a.replace_keys(keyring(&[7]));
    assert_eq!(a.send(address(2), b"message", now).len(), 1, "no HELLO");
}

#[test]
fn silent_peer_is_sent_a_hello_after_five_seconds() {
    let (mut a, _, now) = met_pair();
    let counts = (0..12).map(|second| {
        let now = now + Duration::from_secs(second);
        a.send(address(2), b"message", now).len()
    });
    // Each message, and from the fifth second on a HELLO every 5 s.
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 2, 1]
    );
}

#[test]
fn peer_is_not_doubted_for_two_messages_without_an_echo() {
    let (mut a, _, now) = met_pair();
    let counts = (0..4).map(|minute| {
        let now = now + Duration::from_secs(60) * minute;
        a.send(address(2), b"message", now).len()
    });
    assert_eq!(counts.collect::<Vec<_>>(), [1, 1, 1, 2]);
}

#[test]
fn session_of_an_earlier_run_serves_no_more() {
    let (mut a, _, now) = met_pair();
    let mut b = run(2, 1, &[8, 7]);
    a.replace_keys(keyring(&[8, 7]));
    let hello = a.send(address(2), b"message", now).remove(0);
    let welcome = answer(b.receive(&hello, address(1), true, now));
    let proof = answer(a.receive(&welcome[0], address(2), true, now));
    for datagram in answer(b.receive(&proof[0], address(1), true, now)) {
        a.receive(&datagram, address(2), true, now).unwrap();
    }
    // The second run falls silent. No session of the first one puts off the HELLO.
    let counts = (0..6).map(|second| {
        let now = now + Duration::from_secs(second);
        a.send(address(2), b"message", now).len()
    });
    assert_eq!(counts.collect::<Vec<_>>(), [1, 1, 1, 1, 1, 2]);
}

#[test]
fn restarted_peer_is_sent_nothing_for_its_earlier_run() {
    let (mut a, _, now) = met_pair();
    let mut b = run(2, 1, &[7]);
    let hello = b.send(address(1), b"back", now);
    let welcome = answer(a.receive(&hello[0], address(2), true, now));
    let proof = answer(b.receive(&welcome[0], address(1), true, now)).remove(0);
    answer(a.receive(&proof, address(2), true, now));
    // The answer is lost, and nothing else comes of the second run.
    let datagrams = a.send(address(2), b"message", now + Duration::from_secs(6));
    assert_eq!(datagrams.concat().len(), HELLO_LEN);
}

#[test]
fn restarted_peer_is_met_again_by_its_first_message() {
    let (mut a, _, now) = met_pair();
    let mut b = run(2, 1, &[7]);
    let hello = b.send(address(1), b"back", now);
    let welcome = answer(a.receive(&hello[0], address(2), true, now));
    let datagrams = answer(b.receive(&welcome[0], address(1), true, now));
    for datagram in &datagrams {
        a.receive(datagram, address(2), true, now).unwrap();
    }
    let datagrams = a.send(address(2), b"welcome", now);
    let opened = b.receive(&datagrams[0], address(1), true, now);
    assert_eq!(opened, Ok(Received::Message(b"welcome".to_vec(), life(1))));
}

#[test]
fn message_that_waits_too_long_is_not_sent() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    let hello = a.send(address(2), b"old", NOW);
    let now = NOW + Duration::from_secs(6);
    let welcome = answer(b.receive(&hello[0], address(1), true, now));
    let datagrams = answer(a.receive(&welcome[0], address(2), true, now));
    assert_eq!(datagrams.len(), 1, "the proof of the session only");
}

#[test]
fn few_messages_wait_and_the_newest_are_sent() {
    let mut net = Net::of(40);
    for to in 2..=40 {
        net.send(1, to, &[to]);
        net.run_until(net.now + Duration::from_nanos(1));
    }
    net.settle();
    let arrived = (2..=40).filter(|to| !net.take(*to).is_empty());
    assert_eq!(arrived.collect::<Vec<_>>(), (25..=40).collect::<Vec<_>>());
    // The others have a session nevertheless.
    net.send(1, 2, b"next");
    net.settle();
    assert_eq!(net.take(2).len(), 1);
}

#[test]
fn hellos_to_a_silent_address_are_half_a_second_apart() {
    let mut a = channel(1, &[7]);
    let sent = (0..100).map(|step| {
        let now = seconds(100) + Duration::from_millis(100) * step;
        a.send(address(2), b"message", now).len()
    });
    assert_eq!(sent.sum::<usize>(), 20);
    let greeted = (0..30).filter(|second| a.greet(address(3), seconds(200 + second)).is_some());
    assert_eq!(greeted.count(), 3);
}

/// Returns the datagrams with which `a` opens the session that `b` has offered it.
fn offered(a: &mut Channel, b: &mut Channel, now: Time) -> Vec<Vec<u8>> {
    let hello = a.send(address(2), b"message", now);
    let welcome = answer(b.receive(&hello[0], address(1), true, now));
    answer(a.receive(&welcome[0], address(2), true, now))
}

/// Carries datagrams of `a` to `b`, and what follows from them.
fn carry(a: &mut Channel, b: &mut Channel, mut to_b: Vec<Vec<u8>>, now: Time) {
    while !to_b.is_empty() {
        let mut to_a = Vec::new();
        for datagram in to_b.drain(..) {
            if let Received::Answer(more) = b.receive(&datagram, address(1), true, now).unwrap() {
                to_a.extend(more);
            }
        }
        for datagram in to_a {
            if let Received::Answer(more) = a.receive(&datagram, address(2), true, now).unwrap() {
                to_b.extend(more);
            }
        }
    }
}

pub(crate) fn answer(received: Result<Received, Refusal>) -> Vec<Vec<u8>> {
    match received {
        Ok(Received::Answer(datagrams)) => datagrams,
        other => panic!("{other:?}"),
    }
}
