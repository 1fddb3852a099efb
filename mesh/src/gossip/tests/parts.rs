//! State, prefilter, admission and rejoin_candidates, each alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatMessage;
use tokio::time::Instant;

use super::super::admission::{Admission, DATAGRAM_MAX, DIGEST_CEILING};
use super::super::prefilter::{Rejection, SENTINEL, prefilter};
use super::super::rejoin::{CONTACTS_MAX, RejoinCandidates};
use super::super::state::{Published, short_id};
use super::{address, name, published};

#[test]
fn a_state_reads_back_and_stays_under_a_kilobyte() {
    let largest = Published {
        zone: "z".repeat(63),
        control: "[2001:db8:1111:2222:3333:4444:5555:6666%4294967295]:65535"
            .parse()
            .unwrap(),
        http_port: u16::MAX,
        wire: u16::MAX,
        sweep: 1 << 53,
        leaving: true,
        ..published(&"n".repeat(253), u64::MAX)
    };
    let pairs: BTreeMap<_, _> = largest.to_pairs().into_iter().collect();
    // Chitchat adds two lengths, a version and a status to each key.
    let bytes: usize = pairs
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2 + 2 + 8 + 1)
        .sum();
    assert!(bytes < 1024, "{bytes}");
    assert_eq!(
        Published::read(|key| pairs.get(key).map(String::as_str)),
        Some(largest)
    );
}

#[test]
fn a_state_with_a_key_missing_or_absurd_is_no_member() {
    let pairs: BTreeMap<_, _> = published("a", 1).to_pairs().into_iter().collect();
    let read = |pairs: &BTreeMap<String, String>| {
        Published::read(|key| pairs.get(key).map(String::as_str))
    };
    for key in pairs.keys() {
        let mut lacking = pairs.clone();
        lacking.remove(key);
        assert_eq!(read(&lacking), None, "without {key}");
    }
    let long = "x".repeat(300);
    let absurd = [
        ("n", ""),
        ("n", "two words"),
        ("n", &long),
        ("e", "xyz"),
        ("e", "-1"),
        ("z", "a\nb"),
        ("z", &long),
        ("c", "nowhere"),
        ("c", "0.0.0.0:9878"),
        ("c", "10.0.0.1:0"),
        ("h", "65536"),
        ("w", "one"),
        ("s", "-1"),
        ("s", "18446744073709551615"),
    ];
    for (key, value) in absurd {
        let mut changed = pairs.clone();
        changed.insert(key.to_owned(), value.to_owned());
        assert_eq!(read(&changed), None, "{key} = {value}");
    }
}

#[test]
fn a_foreign_wire_version_is_passed_on() {
    let foreign = Published {
        wire: 999,
        ..published("a", 1)
    };
    let pairs: BTreeMap<_, _> = foreign.to_pairs().into_iter().collect();
    assert_eq!(
        Published::read(|key| pairs.get(key).map(String::as_str)),
        Some(foreign)
    );
}

#[test]
fn ids_are_short_stable_and_differ() {
    assert_eq!(short_id(&name("node-1")), short_id(&name("node-1")));
    let ids: BTreeSet<_> = (0..5000)
        .map(|node| short_id(&name(&format!("node-{node}"))))
        .collect();
    assert_eq!(ids.len(), 5000);
    assert!(ids.iter().all(|id| id.len() == 8));
}

/// A message of `kind`: its streams of blocks, and what follows them.
fn message(kind: u8, streams: &[usize], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x53, 0xb0, 1, kind];
    for blocks in streams {
        for _ in 0..*blocks {
            bytes.extend([1, 2, 0, 0xaa, 0xaa]);
        }
        bytes.push(0);
    }
    bytes.extend(rest);
    bytes
}

#[test]
fn the_screen_lets_whole_messages_of_this_mesh_through() {
    assert_eq!(prefilter(&message(0, &[1], b"\x0b\0iperf3-mesh")), Ok(()));
    assert_eq!(prefilter(&message(1, &[2, 3], b"")), Ok(()));
    assert_eq!(prefilter(&message(2, &[0], b"")), Ok(()));
}

#[test]
fn the_screen_refuses_strangers_fragments_and_bombs() {
    let foreign = [
        Vec::new(),
        b"GET / HTTP/1.1".to_vec(),
        vec![0x53, 0xb0, 1],
        vec![0x53, 0xb0, 0, 2, 0],
        message(0, &[1], b"\x05\0other"),
        message(0, &[1], b"\x0c\0iperf3-mesh"),
        message(2, &[1], b"trailing"),
        message(9, &[1], b""),
        SENTINEL.to_vec(),
    ];
    for datagram in foreign {
        assert_eq!(
            prefilter(&datagram),
            Err(Rejection::Foreign),
            "{datagram:?}"
        );
    }
    let whole = message(1, &[2, 3], b"");
    for length in 0..whole.len() {
        assert_eq!(
            prefilter(&whole[..length]),
            Err(Rejection::Foreign),
            "cut at {length}"
        );
    }
    assert_eq!(prefilter(&message(2, &[41], b"")), Err(Rejection::Oversize));
    assert_eq!(
        prefilter(&message(1, &[20, 21], b"")),
        Err(Rejection::Oversize)
    );
}

/// A message of the two kinds that can be made from outside chitchat, both with an empty content.
fn syn() -> ChitchatMessage {
    ChitchatMessage::Syn {
        cluster_id: String::new(),
        digest: Default::default(),
    }
}

fn syn_ack() -> ChitchatMessage {
    ChitchatMessage::SynAck {
        digest: Default::default(),
        delta: Default::default(),
    }
}

#[test]
fn at_the_ceiling_strangers_stay_out_and_the_known_go_on() {
    let admission = Admission::new(Arc::default());
    admission.set_known(BTreeSet::from([address(1)]));
    admission.measured(DIGEST_CEILING - 1000);
    assert!(admission.is_open());
    assert!(admission.admits(address(9), &syn(), 900));
    assert!(
        !admission.admits(address(8), &syn(), 900),
        "the room is promised already"
    );
    assert!(!admission.admits(address(8), &syn_ack(), 900));
    assert!(admission.admits(address(1), &syn(), 900));
    admission.measured(DIGEST_CEILING);
    assert!(!admission.is_open());
    assert!(admission.admits(address(1), &syn(), DIGEST_CEILING));
    admission.measured(DIGEST_CEILING - 1000);
    assert!(admission.admits(address(8), &syn(), 900), "room again");
}

#[test]
fn at_the_brink_no_syn_is_answered() {
    let admission = Admission::new(Arc::default());
    admission.set_known(BTreeSet::from([address(1)]));
    admission.measured(63_000);
    assert!(!admission.admits(address(1), &syn(), 63_000));
    assert!(admission.admits(address(1), &syn_ack(), 63_000));
    assert!(admission.admits(
        address(9),
        &ChitchatMessage::Ack {
            delta: Default::default()
        },
        63_000
    ));
}

#[test]
fn a_newcomer_takes_a_full_first_answer() {
    let admission = Admission::new(Arc::default());
    admission.measured(60);
    assert!(admission.admits(address(1), &syn_ack(), DATAGRAM_MAX));
    assert!(!admission.admits(address(2), &syn_ack(), DATAGRAM_MAX));
}

#[test]
fn discovery_knocks_at_few_doors_at_a_time_and_at_all_in_the_end() {
    let mut rejoin_candidates = RejoinCandidates::default();
    let found: Vec<_> = (1..=50).map(address).collect();
    let live = BTreeSet::from([address(1), address(2)]);
    let mut knocked = BTreeSet::new();
    for _ in 0..4 {
        let now = rejoin_candidates.found(&found, &live);
        assert!(now.len() <= CONTACTS_MAX);
        knocked.extend(now);
    }
    assert_eq!(knocked.len(), 48);
    assert!(rejoin_candidates.found(&[address(1)], &live).is_empty());
}

#[test]
fn the_lost_are_tried_in_turn_until_they_are_forgotten() {
    let mut rejoin_candidates = RejoinCandidates::default();
    let start = Instant::now();
    rejoin_candidates.remember(&BTreeSet::from([address(1), address(2), address(3)]), start);
    let known = BTreeSet::from([address(2)]);
    let tried: Vec<_> = (0..4).map(|_| rejoin_candidates.lost(&known)).collect();
    let (one, three) = (Some(address(1)), Some(address(3)));
    assert_eq!(tried, [one, three, one, three]);
    rejoin_candidates.remember(&BTreeSet::new(), start + Duration::from_secs(3601));
    assert_eq!(rejoin_candidates.lost(&known), None);
}
