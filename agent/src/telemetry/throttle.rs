//! At most one log line in a while about events of one kind, with their number since the last line.

use std::time::{Duration, Instant};

/// The shortest time between two lines about the same thing, unless it deserves less.
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
}
