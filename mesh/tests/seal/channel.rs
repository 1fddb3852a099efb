//! Datagrams between two channels.

use iperf3_mesh_core::seal::{Channel, MESSAGE_MAX, Received, Refusal};

use crate::net::{Net, met_pair};
use crate::{address, channel, life, seconds};

#[test]
fn message_of_any_length_arrives_with_its_senders_life() {
    let mut net = Net::of(2);
    for length in [0, 1, 1160, 1161, 1162, 1197, 1198, 20_000, MESSAGE_MAX] {
        let message: Vec<u8> = (0..length).map(|at| at as u8).collect();
        net.send(1, 2, &message);
        net.settle();
        assert_eq!(net.take(2), [(1, message)], "{length}");
    }
    assert!(
        net.channel(1)
            .send(address(2), &vec![0; MESSAGE_MAX + 1], seconds(9))
            .is_empty()
    );
}

#[test]
fn second_copy_of_a_datagram_is_refused() {
    let (mut a, mut b, now) = met_pair();
    for datagram in a.send(address(2), b"second", now) {
        let first = b.receive(&datagram, address(1), true, now);
        assert_eq!(first, Ok(Received::Message(b"second".to_vec(), life(1))));
        let copy = b.receive(&datagram, address(1), true, now);
        assert_eq!(copy, Err(Refusal::Replayed));
    }
}

#[test]
fn channel_with_another_key_gets_no_answer() {
    let (mut a, mut b): (Channel, Channel) = (channel(1, &[7]), channel(2, &[8]));
    let datagrams = a.send(address(2), b"hello", seconds(100));
    assert_eq!(datagrams.len(), 1);
    let refused = b.receive(&datagrams[0], address(1), true, seconds(100));
    assert_eq!(refused, Err(Refusal::UnknownKey));
}
