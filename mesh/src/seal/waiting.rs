//! The messages that wait for a session: one for each address, and few in all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Time;

/// The maximum number of messages that wait.
const WAITING_MAX: usize = 16;
/// How long a message is worth sending.
const WAITS_FOR: Duration = Duration::from_secs(5);

/// The last message to each of some addresses, and when it came.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<SocketAddr, (Time, Vec<u8>)>);

impl Waiting {
    /// Keeps a message in place of an earlier one. That which has waited longest makes room.
    pub(super) fn put(&mut self, to: SocketAddr, message: &[u8], now: Time) {
        if self.0.len() >= WAITING_MAX && !self.0.contains_key(&to) {
            let longest = self.0.iter().min_by_key(|(_, (since, _))| *since);
            let longest = longest.map(|(address, _)| *address);
            longest.and_then(|address| self.0.remove(&address));
        }
        self.0.insert(to, (now, message.to_vec()));
    }

    /// Returns the message for an address, unless it is too old.
    pub(super) fn take(&mut self, to: SocketAddr, now: Time) -> Option<Vec<u8>> {
        let (since, message) = self.0.remove(&to)?;
        (now.since(since) < WAITS_FOR).then_some(message)
    }
}
