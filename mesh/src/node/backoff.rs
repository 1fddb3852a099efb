//! The back-off of the failures of a peer that has never answered.
//!
//! A stranger at the gossip port can invent members. Their cells fail, because they could be real
//! nodes behind a closed port; but not in every sweep.

use std::time::Duration;

use crate::Time;

/// The longest distance between two failures: so many sweeps, or so long, whatever is shorter.
const SWEEPS_MAX: u8 = 64;
const TIME_MAX: Duration = Duration::from_secs(3600);

/// The failures in a row: the distance between two of them doubles, in sweeps of this node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u8,
    sweeps_since: u8,
    last: Time,
}

impl Backoff {
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns whether the next failure is due in a sweep that began at `now`.
    pub(super) fn is_due(&self, now: Time) -> bool {
        let Some(before) = self.failures.checked_sub(1) else {
            return true;
        };
        let distance = 1u8.checked_shl(before.into()).unwrap_or(SWEEPS_MAX);
        self.sweeps_since >= distance.min(SWEEPS_MAX) || now >= self.last + TIME_MAX
    }

    pub(super) fn record(&mut self, now: Time) {
        *self = Self {
            failures: self.failures.saturating_add(1),
            sweeps_since: 0,
            last: now,
        };
    }

    /// Counts a sweep that begins.
    pub(super) fn count_sweep(&mut self) {
        self.sweeps_since = self.sweeps_since.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_doubles_up_to_64_sweeps_or_an_hour() {
        assert_eq!(
            failures(300, Duration::from_secs(1)),
            [0, 1, 3, 7, 15, 31, 63, 127, 191, 255]
        );
        assert_eq!(
            failures(40, Duration::from_secs(720)),
            [0, 1, 3, 7, 12, 17, 22, 27, 32, 37]
        );
    }

    /// Returns the sweeps with a failure, of so many sweeps of this length.
    fn failures(sweeps: u32, length: Duration) -> Vec<u32> {
        let mut backoff = Backoff::default();
        let fails = |&sweep: &u32| {
            let now = Time::default() + length * sweep;
            backoff.count_sweep();
            let is_due = backoff.is_due(now);
            if is_due {
                backoff.record(now);
            }
            is_due
        };
        (0..sweeps).filter(fails).collect()
    }
}
