//! The bounds of a channel: what strangers and other holders of the key can take.

use std::net::SocketAddr;
use std::time::Duration;

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{Channel, Life, Refusal, Secret};

use crate::handshake::answer;
use crate::net::met_pair;
use crate::{MESH, address, channel, keyring, seconds};

#[test]
fn strangers_leave_half_of_the_budget_to_members() {
    let (mut b, now) = (channel(2, &[7]), seconds(100));
    let mut hello = channel(1, &[7]).send(address(2), b"message", now).remove(0);
    hello[60] ^= 1;
    let mut tried = 0;
    for host in 0..1000_u32 {
        match b.receive(&hello, host_at(host), false, now) {
            Err(Refusal::Forged) => tried += 1,
            other => assert_eq!(other, Err(Refusal::Budget)),
        }
    }
    assert_eq!(tried, 250);
    let hello = channel(1, &[7]).send(address(2), b"message", now);
    answer(b.receive(&hello[0], address(1), true, now));
}

#[test]
fn one_source_tries_50_times_a_second() {
    let network = |at: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, at, at, at, at], at));
    let one = |at: u16| SocketAddr::from(([198, 18, 0, 1], at));
    for source in [&network as &dyn Fn(u16) -> SocketAddr, &one] {
        let (mut b, now) = (channel(2, &[7]), seconds(100));
        let mut tries = |now: Time| {
            let hello = channel(1, &[7]).send(address(2), b"message", now);
            (0..200)
                .filter(|at| b.receive(&hello[0], source(*at), false, now).is_ok())
                .count()
        };
        assert_eq!(tries(now), 50);
        assert_eq!(tries(now + Duration::from_secs(1)), 50);
    }
}

#[test]
fn what_takes_no_cryptography_takes_no_budget() {
    let (mut b, now) = (channel(2, &[7]), seconds(100));
    let other_key = channel(1, &[8]).send(address(2), b"message", now).remove(0);
    for _ in 0..1000 {
        let refused = b.receive(&other_key, address(1), true, now);
        assert_eq!(refused, Err(Refusal::UnknownKey));
    }
    let hello = channel(1, &[7]).send(address(2), b"message", now);
    answer(b.receive(&hello[0], address(1), true, now));
}

#[test]
fn forged_welcomes_have_a_budget_of_their_own() {
    let (mut a, mut b, now) = (channel(1, &[7]), channel(2, &[7]), seconds(100));
    let hello = a.send(address(2), b"message", now);
    let welcome = answer(b.receive(&hello[0], address(1), true, now)).remove(0);
    let mut forged = welcome.clone();
    forged[84] ^= 1;
    let refusals = (0..1000).map(|_| a.receive(&forged, address(2), true, now).unwrap_err());
    let tried = refusals
        .filter(|refusal| *refusal == Refusal::Forged)
        .count();
    assert_eq!(tried, 50);
    let hello = channel(3, &[7]).send(address(1), b"message", now);
    answer(a.receive(&hello[0], address(3), true, now));
    let later = now + Duration::from_secs(1);
    answer(a.receive(&welcome, address(2), true, later));
}

#[test]
fn plain_messages_from_everywhere_cause_few_hellos() {
    let (mut a, now) = (channel(1, &[7]), seconds(100));
    let greeted = (0..10_000).filter(|host| a.greet(host_at(*host), now).is_some());
    assert_eq!(greeted.count(), 250);
    // Neither do they cause many to one of them, although it is forgotten among so many.
    let later = now + Duration::from_secs(1);
    let greeted = (0..10_000).filter(|at| {
        let port = (host_at(1).ip(), *at).into();
        a.greet(port, later).is_some()
    });
    assert_eq!(greeted.count(), 50);
}

#[test]
fn sessions_of_strangers_displace_none_of_a_member() {
    let (mut a, mut b, mut now) = met_pair();
    for number in 0..6000_u32 {
        now = now + Duration::from_millis(10);
        let mut bytes = [9; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let secret = Secret::new([9; 32]);
        let mut insider = Channel::new(Life::new(bytes), secret, MESH.to_owned(), keyring(&[7]));
        let from = host_at(number);
        let hello = insider.send(address(2), b"message", now);
        let welcome = answer(b.receive(&hello[0], from, false, now));
        for datagram in answer(insider.receive(&welcome[0], address(2), true, now)) {
            b.receive(&datagram, from, false, now).unwrap();
        }
        assert!(b.is_met(from, now), "stranger {number}");
    }
    let datagrams = a.send(address(2), b"message", now);
    b.receive(&datagrams[0], address(1), true, now).unwrap();
}

/// A host with this number, which is no node.
fn host_at(number: u32) -> SocketAddr {
    (std::net::Ipv4Addr::from(0x0a00_0000 + number), 9877).into()
}
