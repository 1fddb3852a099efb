//! Datagrams between two channels.

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{Channel, DATAGRAM_MAX, MESSAGE_MAX, Received, Refusal};

use crate::{address, channel, life, seconds};

#[test]
fn a_message_arrives_with_the_life_of_its_sender() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    for length in [0, 1, 1160, 1161, 1162, 1197, 1198, 20_000, MESSAGE_MAX] {
        let message: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let arrived = converse(&mut a, &mut b, &message, seconds(100));
        assert_eq!(arrived, [(message, life(1))], "{length}");
    }
    assert!(
        a.send(address(2), &vec![0; MESSAGE_MAX + 1], seconds(100))
            .is_empty()
    );
}

#[test]
fn a_second_copy_of_a_datagram_is_refused() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[7]));
    converse(&mut a, &mut b, b"first", seconds(100));
    for datagram in a.send(address(2), b"second", seconds(101)) {
        let first = b.receive(&datagram, address(1), true, seconds(101));
        assert_eq!(first, Ok(Received::Message(b"second".to_vec(), life(1))));
        let copy = b.receive(&datagram, address(1), true, seconds(101));
        assert_eq!(copy, Err(Refusal::Replayed));
    }
}

#[test]
fn a_channel_with_another_key_gets_no_answer() {
    let (mut a, mut b) = (channel(1, &[7]), channel(2, &[8]));
    let datagrams = a.send(address(2), b"hello", seconds(100));
    assert_eq!(datagrams.len(), 1);
    let refused = b.receive(&datagrams[0], address(1), true, seconds(100));
    assert_eq!(refused, Err(Refusal::UnknownKey));
}

/// Sends a message from `a` at address 1 to `b` at address 2, and carries all datagrams that follow
/// from it. Returns the messages that arrive at `b`.
fn converse(
    a: &mut Channel,
    b: &mut Channel,
    message: &[u8],
    now: Time,
) -> Vec<(Vec<u8>, iperf3_mesh_core::seal::Life)> {
    let mut arrived = Vec::new();
    let mut to_b = a.send(address(2), message, now);
    while let Some(datagram) = (!to_b.is_empty()).then(|| to_b.remove(0)) {
        assert!(datagram.len() <= DATAGRAM_MAX);
        match b.receive(&datagram, address(1), true, now).unwrap() {
            Received::Message(message, life) => arrived.push((message, life)),
            Received::Answer(answers) => {
                for answer in answers {
                    match a.receive(&answer, address(2), true, now).unwrap() {
                        Received::Answer(more) => to_b.extend(more),
                        other => panic!("{other:?}"),
                    }
                }
            }
            Received::Part => {}
        }
    }
    arrived
}
