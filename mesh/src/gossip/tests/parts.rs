//! Published state and rejoin candidates, each on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::super::rejoin::{CONTACTS_MAX, RejoinCandidates};
use super::super::state::{Published, is_pair, short_id};
use super::{address, published, signer};
use crate::{Auth, AuthMode, Epoch};

#[test]
fn largest_state_reads_back_and_is_below_a_kilobyte() {
    let largest = Published {
        zone: "z".repeat(63),
        control: "[2001:db8:1111:2222:3333:4444:5555:6666%4294967295]:65535"
            .parse()
            .unwrap(),
        http_port: u16::MAX,
        iperf3: "3.12".to_owned(),
        wire: u16::MAX,
        sweep: 1 << 53,
        leaving: true,
        ..signed(&"n".repeat(253))
    };
    let pairs: BTreeMap<_, _> = largest.to_pairs().into_iter().collect();
    // Chitchat adds two lengths, a version and a status to each key.
    let bytes: usize = pairs
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2 + 2 + 8 + 1)
        .sum();
    assert!(bytes < 1024, "{bytes}");
    assert!(pairs.iter().all(|(key, value)| is_pair(key, value)));
    assert_eq!(
        Published::read(|key| pairs.get(key).map(String::as_str)),
        Some(largest)
    );
}

#[test]
fn state_with_a_missing_or_invalid_key_is_no_member() {
    let pairs: BTreeMap<_, _> = signed("a").to_pairs().into_iter().collect();
    let read = |pairs: &BTreeMap<String, String>| {
        Published::read(|key| pairs.get(key).map(String::as_str))
    };
    for key in pairs.keys().filter(|key| *key != "i") {
        let mut incomplete = pairs.clone();
        incomplete.remove(key);
        assert_eq!(read(&incomplete), None, "without {key}");
    }
    let long = "x".repeat(300);
    let invalid = [
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
        ("e", "0000000000000001"),
        ("g", "AAAA"),
        ("g", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ];
    for (key, value) in invalid {
        let mut changed = pairs.clone();
        changed.insert(key.to_owned(), value.to_owned());
        assert_eq!(read(&changed), None, "{key} = {value}");
    }
}

#[test]
fn odd_iperf3_version_costs_only_itself() {
    let pairs: BTreeMap<_, _> = signed("a").to_pairs().into_iter().collect();
    let unknown = Published {
        iperf3: String::new(),
        ..signed("a")
    };
    // Agents of the version before this one publish none.
    for version in [
        None,
        Some("new"),
        Some("3."),
        Some("3.1234567890123456"),
        Some("3.1\n"),
    ] {
        let get = |key: &str| match key {
            "i" => version,
            key => pairs.get(key).map(String::as_str),
        };
        assert_eq!(Published::read(get), Some(unknown.clone()), "{version:?}");
    }
}

#[test]
fn state_with_an_unknown_wire_version_is_read() {
    let unknown = Published {
        wire: 999,
        ..signed("a")
    };
    let pairs: BTreeMap<_, _> = unknown.to_pairs().into_iter().collect();
    assert_eq!(
        Published::read(|key| pairs.get(key).map(String::as_str)),
        Some(unknown)
    );
}

#[test]
fn state_of_the_version_before_has_no_life_and_no_protection() {
    let pairs: BTreeMap<_, _> = signed("a").to_pairs().into_iter().collect();
    let state = Published::read(|key| match key {
        "a" | "k" | "g" => None,
        "w" => Some("3"),
        key => pairs.get(key).map(String::as_str),
    });
    let old = Published {
        wire: 3,
        public: None,
        auth: Auth::default(),
        ..signed("a")
    };
    assert_eq!(state, Some(old));
}

#[test]
fn mode_and_keys_of_a_later_version_count_for_nothing() {
    let pairs: BTreeMap<_, _> = signed("a").to_pairs().into_iter().collect();
    let state = Published::read(|key| match key {
        "a" => Some("quantum"),
        "k" => Some("01020304,x,,05060708"),
        key => pairs.get(key).map(String::as_str),
    });
    let auth = Auth {
        mode: AuthMode::Insecure,
        accepted: vec![[1, 2, 3, 4], [5, 6, 7, 8]],
    };
    assert_eq!(state.unwrap().auth, auth);
}

#[test]
fn short_ids_have_two_characters_and_differ_by_epoch() {
    assert_eq!(short_id(Epoch(1)), short_id(Epoch(1)));
    let ids: BTreeSet<_> = (0..1024).map(|epoch| short_id(Epoch(epoch))).collect();
    assert_eq!(ids.len(), 1024);
    assert!(ids.iter().all(|id| id.len() == 2));
}

#[test]
fn found_addresses_are_all_contacted_a_few_at_a_time() {
    let mut candidates = RejoinCandidates::default();
    let found: Vec<_> = (1..=50).map(address).collect();
    let live = BTreeSet::from([address(1), address(2)]);
    let mut contacted = BTreeSet::new();
    for _ in 0..4 {
        let now = candidates.found(&found, &live);
        assert!(now.len() <= CONTACTS_MAX);
        contacted.extend(now);
    }
    assert_eq!(contacted.len(), 48);
    assert!(candidates.found(&[address(1)], &live).is_empty());
}

#[test]
fn lost_addresses_are_tried_in_turn_until_forgotten() {
    let mut candidates = RejoinCandidates::default();
    let start = Instant::now();
    candidates.remember(&BTreeSet::from([address(1), address(2), address(3)]), start);
    let known = BTreeSet::from([address(2)]);
    let tried: Vec<_> = (0..4).map(|_| candidates.lost(&known)).collect();
    let (one, three) = (Some(address(1)), Some(address(3)));
    assert_eq!(tried, [one, three, one, three]);
    candidates.remember(&BTreeSet::new(), start + Duration::from_secs(3601));
    assert_eq!(candidates.lost(&known), None);
}

/// A state that its owner has signed, without the signature.
fn signed(of: &str) -> Published {
    let public = signer(1).public();
    Published {
        epoch: public.life().epoch(),
        public: Some(public),
        ..published(of, 1)
    }
}
