//! The addresses to contact: those that discovery found, and those of peers that were live
//! recently.
//!
//! The addresses of recent peers heal a partition without any help from outside: chitchat forgets
//! dead peers after minutes and would never contact them again. This module sends nothing; it only
//! selects addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// The maximum number of addresses to contact at once. Discovery repeats itself, and gossip spreads
/// the rest.
pub(super) const CONTACTS_MAX: usize = 16;
/// How long the address of a peer is remembered after the peer was last live. By the end of that
/// time, another host may have the address.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// The maximum number of addresses that are remembered.
const REMEMBERED_MAX: usize = 4096;

/// Addresses worth contacting, and the positions at which the next selection starts.
#[derive(Default)]
pub(super) struct RejoinCandidates {
    last_live: BTreeMap<SocketAddr, Instant>,
    found_next: usize,
    tried_last: Option<SocketAddr>,
}

impl RejoinCandidates {
    /// Remembers the addresses that are `live` at `now`, and forgets those that have not been live
    /// for too long.
    pub(super) fn remember(&mut self, live: &BTreeSet<SocketAddr>, now: Instant) {
        self.last_live
            .retain(|_, last| now - *last < REMEMBERED_FOR);
        for address in live {
            if self.last_live.len() < REMEMBERED_MAX || self.last_live.contains_key(address) {
                self.last_live.insert(*address, now);
            }
        }
    }

    /// Returns one remembered address that is no longer among the `known` ones; a different one
    /// each time.
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

    /// Returns the addresses `found` by discovery that are not `live`: at most [`CONTACTS_MAX`],
    /// and different ones each time.
    pub(super) fn found(
        &mut self,
        found: &[SocketAddr],
        live: &BTreeSet<SocketAddr>,
    ) -> Vec<SocketAddr> {
        let not_live: BTreeSet<SocketAddr> = found
            .iter()
            .copied()
            .filter(|address| !live.contains(address))
            .collect();
        let start = self.found_next;
        self.found_next = self.found_next.wrapping_add(CONTACTS_MAX);
        let count = not_live.len();
        not_live
            .iter()
            .cycle()
            .skip(if count == 0 { 0 } else { start % count })
            .take(count.min(CONTACTS_MAX))
            .copied()
            .collect()
    }
}
