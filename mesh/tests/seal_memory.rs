//! The memory of the sealed side, while other holders of the key flood it.
//!
//! A file of its own, because its allocator counts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{
    Channel, Envelopes, Life, Purpose, Received, Secret, Standing, Target,
};
use iperf3_mesh_core_testkit::{CountingAllocator, keyring};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const MIB: usize = 1 << 20;
const OWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9877);

// One test, because the count is that of the whole process.
#[test]
fn memory_of_the_seal_is_bounded_under_a_flood() {
    let (mut channel, mut now) = (channel(0), Time::default() + Duration::from_secs(100));
    let before = ALLOCATOR.allocated();
    for number in 1..6000 {
        now = now + Duration::from_millis(8);
        flood_with_sessions(&mut channel, number, now);
    }
    let of_channel = ALLOCATOR.allocated() - before;
    // 4,096 addresses with a session, and 1 MiB of parts of messages.
    assert!((MIB..4 * MIB).contains(&of_channel), "{of_channel} B");

    let mut envelopes = Envelopes::new(life(0), "test".to_owned(), keyring(&[7]));
    let before = ALLOCATOR.allocated();
    for number in 1..12_000 {
        flood_with_requests(&mut envelopes, number);
    }
    let of_envelopes = ALLOCATOR.allocated() - before;
    assert!((MIB..4 * MIB).contains(&of_envelopes), "{of_envelopes} B");
}

/// Opens a session from an address of its own, and sends parts of large messages in it.
fn flood_with_sessions(channel_: &mut Channel, number: u32, now: Time) {
    let from = (Ipv4Addr::from(0x0a00_0000 + number), 9877).into();
    let mut insider = channel(number);
    let hello = insider.send(OWN, b"message", now);
    let welcome = answer(channel_, &hello[0], from, now);
    for datagram in answer(&mut insider, &welcome[0], OWN, now) {
        channel_.receive(&datagram, from, true, now).unwrap();
    }
    for _ in 0..8 {
        let datagrams = insider.send(OWN, &[0; 4000], now);
        channel_.receive(&datagrams[0], from, true, now).unwrap();
    }
    // Messages to it wait, or are sealed; addresses that never answer are remembered as well.
    channel_.send(from, &[0; 10_000], now);
    channel_.send(([10, 255, 0, 0], number as u16).into(), &[0; 10_000], now);
}

fn flood_with_requests(envelopes: &mut Envelopes, number: u32) {
    let target = Target {
        purpose: Purpose::Rows,
        method: "GET",
        path: "/api/v1/row",
    };
    let accepted: Vec<_> = keyring(&[7]).wire_ids().collect();
    let mut insider = Envelopes::new(life(number), "test".to_owned(), keyring(&[7]));
    let host = Ipv4Addr::from(0x0a00_0000 + number).into();
    let (request, _) = insider.seal(life(0), &accepted, target, b"").unwrap();
    envelopes
        .open(&request, target, host, |_| Standing::Stranger)
        .unwrap();
    envelopes
        .seal(life(number), &accepted, target, b"")
        .unwrap();
}

fn answer(channel: &mut Channel, datagram: &[u8], from: SocketAddr, now: Time) -> Vec<Vec<u8>> {
    match channel.receive(datagram, from, true, now) {
        Ok(Received::Answer(datagrams)) => datagrams,
        other => panic!("{other:?}"),
    }
}

fn channel(number: u32) -> Channel {
    Channel::new(
        life(number),
        Secret::new([3; 32]),
        "test".to_owned(),
        keyring(&[7]),
    )
}

fn life(number: u32) -> Life {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Life::new(bytes)
}
