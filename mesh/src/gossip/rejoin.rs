//! At whose door to contact: addresses that discovery found, and those of peers that were live not
//! long ago.
//!
//! The second kind is what heals a partition without any help from outside: chitchat forgets the
//! dead after minutes and would never try them again. Nothing here sends; it only picks addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// At how many rejoin_candidates to contact at once. Discovery repeats itself, and gossip spreads
/// the rest.
pub(super) const CONTACTS_MAX: usize = 16;
/// How long a peer is remembered that is no longer live. Its address may be another's by then.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// How many are remembered.
const REMEMBERED_MAX: usize = 4096;

/// Addresses worth trying, and where the last try ended.
#[derive(Default)]
pub(super) struct RejoinCandidates {
    last_live: BTreeMap<SocketAddr, Instant>,
    found_next: usize,
    tried_last: Option<SocketAddr>,
}

impl RejoinCandidates {
    /// Notes who is live `now`, and forgets whom nobody has heard of for too long.
    pub(super) fn remember(&mut self, live: &BTreeSet<SocketAddr>, now: Instant) {
        self.last_live
            .retain(|_, last| now - *last < REMEMBERED_FOR);
        for address in live {
            if self.last_live.len() < REMEMBERED_MAX || self.last_live.contains_key(address) {
                self.last_live.insert(*address, now);
            }
        }
    }

    /// One remembered address that is not `known` any more, another one each time.
    pub(super) fn lost(&mut self, known: &BTreeSet<SocketAddr>) -> Option<SocketAddr> {
        let after_last =
            |address: &&SocketAddr| self.tried_last.is_none_or(|last| **address > last);
        let mut lost = self
            .last_live
            .keys()
            .filter(|address| !known.contains(address));
        let next = lost
            .clone()
            .find(after_last)
            .or_else(|| lost.next())
            .copied();
        self.tried_last = next;
        next
    }

    /// Those of the addresses `found` by discovery that are not `live`, at most [`CONTACTS_MAX`],
    /// other ones each time.
    pub(super) fn found(
        &mut self,
        found: &[SocketAddr],
        live: &BTreeSet<SocketAddr>,
    ) -> Vec<SocketAddr> {
        let strangers: BTreeSet<SocketAddr> = found
            .iter()
            .copied()
            .filter(|address| !live.contains(address))
            .collect();
        let start = self.found_next;
        self.found_next = self.found_next.wrapping_add(CONTACTS_MAX);
        let count = strangers.len();
        strangers
            .iter()
            .cycle()
            .skip(if count == 0 { 0 } else { start % count })
            .take(count.min(CONTACTS_MAX))
            .copied()
            .collect()
    }
}
