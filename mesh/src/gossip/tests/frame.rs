//! The form of messages: limits, and the same reading as chitchat's.

use std::net::SocketAddr;

use chitchat::ChitchatEnvelope;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::frame::{COUNTER_MAX, Entry, Frame, Id};
use super::super::packed::{Packed, Unpacked, Unpacker};
use super::super::rejections::Rejection;
use super::address;
use super::forged::{Forged, block, message, stream};
use crate::MeshName;

const IDS_MAX: usize = 100;

proptest! {
    #[test]
    fn message_reads_back_as_written(digest in vec(any_entry(), 0..IDS_MAX), is_syn: bool) {
        let frame = match is_syn {
            true => Frame::Syn(digest),
            false => Frame::SynAck(digest, Vec::new()),
        };
        let written = frame.write(&MeshName::default());
        let read = unpack(&written).unwrap();
        prop_assert_eq!(read.read(IDS_MAX).unwrap(), (frame.clone(), false));
        // Chitchat reads the same, and compresses it when it writes it.
        let envelope = ChitchatEnvelope::deserialize(&mut &written[..]).unwrap();
        let mut compressed = Vec::new();
        envelope.serialize(&mut compressed);
        let read = unpack(&compressed).unwrap();
        let (Frame::Syn(mut again) | Frame::SynAck(mut again, _)) = read.read(IDS_MAX).unwrap().0
        else {
            panic!("an ACK")
        };
        again.sort_by_key(|entry| entry.id);
        let mut digest = frame.digest().to_vec();
        digest.sort_by_key(|entry| entry.id);
        prop_assert_eq!(again, digest);
    }

    #[test]
    fn no_datagram_makes_the_reader_panic(mut bytes in vec(any::<u8>(), 0..2000), kind in 0..3u8) {
        let header = [0x53, 0xb0, 1, kind];
        bytes.splice(0..0, header);
        let _ = unpack(&bytes).map(|unpacked| unpacked.read(IDS_MAX).is_ok());
    }
}

#[test]
fn foreign_and_cut_messages_are_rejected() {
    let foreign = [
        Vec::new(),
        b"GET / HTTP/1.1".to_vec(),
        vec![0x53, 0xb0, 1],
        vec![0x53, 0xb0, 0, 2, 0],
        message(0, &[&stream(b"")], b"\x05\0other"),
        message(0, &[&stream(b"")], b"\x0c\0iperf3-mesh"),
        message(2, &[&stream(b"")], b"trailing"),
        message(3, &[], b""),
        message(9, &[&stream(b"")], b""),
    ];
    for datagram in foreign {
        let rejection = unpack(&datagram).unwrap_err();
        assert_eq!(rejection, Rejection::Foreign, "{datagram:?}");
    }
    let complete = Frame::SynAck(vec![entry(1)], Vec::new()).write(&MeshName::default());
    for length in 0..complete.len() {
        let rejection = unpack(&complete[..length]).unwrap_err();
        assert_eq!(rejection, Rejection::Foreign, "cut at {length}");
    }
}

#[test]
fn bomb_is_rejected_before_it_expands() {
    // These eleven bytes decompress to 64 KiB: a frame with one run of zeros.
    let zeros = [
        0x28, 0xb5, 0x2f, 0xfd, 0x60, 0xff, 0xfe, 0xfb, 0xff, 0x07, 0,
    ];
    let bomb = message(2, &[&[block(1, &zeros), vec![0]].concat()], b"");
    assert_eq!(
        unpack(&bomb).unwrap_err(),
        Rejection::Malformed,
        "one block"
    );
    let plain = vec![0; 16_384];
    let packed = zstd::bulk::compress(&plain, 0).unwrap();
    let blocks = [block(1, &packed).repeat(1000), vec![0]].concat();
    let bomb = message(2, &[&blocks], b"");
    assert_eq!(unpack(&bomb).unwrap_err(), Rejection::Oversize);
}

#[test]
fn block_that_is_larger_than_it_tells_is_rejected() {
    let small = zstd::bulk::compress(&[0; 16], 0).unwrap();
    let large = zstd::bulk::compress(&[0; 16_384], 0).unwrap();
    let mut liar = large.clone();
    // The size, less 256, follows the magic number and one byte of flags.
    liar[5..7].copy_from_slice(&1u16.to_le_bytes());
    for block_bytes in [[small, large].concat(), liar] {
        let blocks = [block(1, &block_bytes), vec![0]].concat();
        let datagram = message(2, &[&blocks], b"");
        assert!(
            Packed::read(&datagram, &MeshName::default())
                .unwrap()
                .unpacked_bytes
                < 300
        );
        assert_eq!(unpack(&datagram).unwrap_err(), Rejection::Malformed);
    }
}

#[test]
fn entry_that_no_agent_writes_is_left_out() {
    let odd = [
        Forged {
            short: "",
            ..Forged::default()
        },
        Forged {
            short: "a b",
            ..Forged::default()
        },
        Forged {
            short: "A1",
            ..Forged::default()
        },
        Forged {
            short: "123456789",
            ..Forged::default()
        },
        Forged {
            generation: COUNTER_MAX,
            ..Forged::default()
        },
        Forged {
            address: "0.0.0.0:9877".parse().unwrap(),
            ..Forged::default()
        },
        Forged {
            address: "224.0.0.1:9877".parse().unwrap(),
            ..Forged::default()
        },
        Forged {
            address: "10.0.0.1:0".parse().unwrap(),
            ..Forged::default()
        },
        Forged {
            heartbeat: u64::MAX,
            ..Forged::default()
        },
        Forged {
            deleted: 1,
            ..Forged::default()
        },
        Forged {
            version: u64::MAX,
            ..Forged::default()
        },
    ];
    for forged in odd {
        let digest = [Forged::default().entry(), forged.entry()].concat();
        let unpacked = unpack(&message(1, &[&stream(&digest), &[0]], b"")).unwrap();
        let (frame, is_cut) = unpacked.read(IDS_MAX).unwrap();
        assert_eq!((frame.digest().len(), is_cut), (1, true), "{forged:?}");
    }
}

#[test]
fn state_that_no_agent_publishes_is_left_out() {
    let key = |key: &str, value: &str, version: u64| Forged::key(key, value, version, 0);
    let long = "x".repeat(254);
    let odd = [
        vec![key("long", "1", 1)],
        vec![key("", "1", 1)],
        vec![key("N", "1", 1)],
        vec![key("n", &long, 1)],
        vec![key("z", &long[..65], 1)],
        vec![key("z", "a\nb", 1)],
        vec![key("z", "1", COUNTER_MAX)],
        vec![key("z", "1", 0)],
        vec![key("z", "1", 2), key("s", "1", 1)],
        vec![key("z", "1", 2), key("s", "1", 2)],
        vec![Forged::key("z", "", 1, 1)],
        vec![Forged::set_max_version(9)],
        vec![key("z", "1", 1000), Forged::set_max_version(500)],
    ];
    let good = [
        Forged::default().node(),
        key("n", "a", 1),
        key("y", "later", 2),
    ]
    .concat();
    for ops in odd {
        let second = Forged {
            short: "bb",
            ..Forged::default()
        };
        let delta = [&good[..], &second.node(), &ops.concat()].concat();
        let unpacked = unpack(&message(2, &[&stream(&delta)], b"")).unwrap();
        let (frame, is_cut) = unpacked.read(IDS_MAX).unwrap();
        let Frame::Ack(delta) = frame else {
            panic!("no ACK")
        };
        assert!(
            is_cut && delta.len() == 1 && delta[0].keys.len() == 2,
            "{ops:?}"
        );
    }
}

#[test]
fn message_with_too_many_identities_is_rejected() {
    let of = |count: u16| {
        let digest = (0..count).map(|last| {
            let [high, low] = last.to_be_bytes();
            let address = SocketAddr::from(([10, 0, high, low], 9877));
            Entry {
                id: Id::new("aa", 1, address).unwrap(),
                heartbeat: 1,
                version: 1,
            }
        });
        unpack(&Frame::Syn(digest.collect()).write(&MeshName::default()))
            .unwrap()
            .read(IDS_MAX)
            .map(drop)
    };
    assert_eq!(of(100), Ok(()));
    assert_eq!(of(101), Err(Rejection::TooManyIds));
}

fn entry(last: u8) -> Entry {
    Entry {
        id: Id::new("aa", 1000, address(last)).unwrap(),
        heartbeat: 1,
        version: 9,
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(std::net::IpAddr::from),
        any::<[u8; 16]>().prop_map(std::net::IpAddr::from)
    ];
    let counter = || 0..COUNTER_MAX;
    (
        "[a-z0-9]{1,8}",
        counter(),
        ip,
        1..u16::MAX,
        counter(),
        counter(),
    )
        .prop_filter_map(
            "an address of a host",
            |(short, generation, ip, port, heartbeat, version)| {
                let id = Id::new(&short, generation, SocketAddr::new(ip, port))?;
                Some(Entry {
                    id,
                    heartbeat,
                    version,
                })
            },
        )
}

fn unpack(datagram: &[u8]) -> Result<Unpacked, Rejection> {
    Packed::read(datagram, &MeshName::default())?.unpack(&mut unpacker())
}

fn unpacker() -> Unpacker {
    Unpacker::new().unwrap()
}
