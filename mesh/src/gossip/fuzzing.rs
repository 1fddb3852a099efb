//! The gossip layer's share of [`crate::fuzzing`].

use std::collections::BTreeMap;

use super::prefilter::{SENTINEL, prefilter};
use super::state::{Published, is_reachable};

/// Checks a datagram on the gossip port. The prefilter must reject everything that chitchat would
/// decode as the sentinel, because the sentinel marks the end of a decoded datagram.
///
/// # Panics
/// If that does not hold.
pub fn gossip_datagram(bytes: &[u8]) {
    if prefilter(bytes).is_ok() {
        assert_eq!(bytes[..3], SENTINEL[..3]);
        assert_ne!(bytes[3], SENTINEL[3]);
    }
}

/// Checks the state that a peer publishes, one `key=value` per line. A state that is accepted can
/// be published again, and reads the same.
///
/// # Panics
/// If that does not hold.
pub fn gossip_state(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let Some(state) = Published::read(|key| pairs.get(key).copied()) else {
        return;
    };
    assert!(is_reachable(state.control));
    let published: BTreeMap<String, String> = state.to_pairs().into_iter().collect();
    let again = Published::read(|key| published.get(key).map(String::as_str));
    assert_eq!(again, Some(state));
}
