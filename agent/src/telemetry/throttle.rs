//! At most one log line in a while about events of one kind, with their number since the last line.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The usual shortest time between two lines about the same thing.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The events of one kind, and when a line about them is due.
#[derive(Clone, Debug)]
pub(crate) struct Throttle {
    pause: Duration,
    last: Option<Instant>,
    unlogged: u64,
}

impl Throttle {
    /// Creates a throttle with at least this time between two lines.
    pub(crate) const fn new(pause: Duration) -> Self {
        Self {
            pause,
            last: None,
            unlogged: 0,
        }
    }

    /// Counts events, and returns the number for a line that is due now. The first one is due at
    /// once.
    pub(crate) fn count(&mut self, events: u64, now: Instant) -> Option<u64> {
        self.unlogged = self.unlogged.saturating_add(events);
        let is_early = |last| now.saturating_duration_since(last) < self.pause;
        if self.last.is_some_and(is_early) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

/// A [`Throttle`] for each kind of event, for several threads.
#[derive(Debug)]
pub(crate) struct Throttles<K> {
    pause: Duration,
    kinds: Mutex<BTreeMap<K, Throttle>>,
}

impl<K: Ord> Throttles<K> {
    /// Creates throttles with at least this time between two lines of one kind.
    pub(crate) const fn new(pause: Duration) -> Self {
        Self {
            pause,
            kinds: Mutex::new(BTreeMap::new()),
        }
    }

    /// Counts events of one kind; see [`Throttle::count`].
    pub(crate) fn count(&self, kind: K, events: u64, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let throttle = kinds.entry(kind).or_insert(Throttle::new(self.pause));
        throttle.count(events, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_due_once_in_a_while_with_all_events_since() {
        let mut throttle = Throttle::new(MINUTE);
        let start = Instant::now();
        assert_eq!(throttle.count(3, start), Some(3));
        assert_eq!(throttle.count(4, start + MINUTE / 2), None);
        assert_eq!(throttle.count(5, start + MINUTE), Some(9));
    }

    #[test]
    fn each_kind_has_its_own_lines() {
        let throttles = Throttles::new(MINUTE);
        let start = Instant::now();
        assert_eq!(throttles.count("a", 1, start), Some(1));
        assert_eq!(throttles.count("b", 1, start), Some(1));
        assert_eq!(throttles.count("a", 1, start + MINUTE / 2), None);
        assert_eq!(throttles.count("a", 1, start + MINUTE), Some(2));
    }
}
