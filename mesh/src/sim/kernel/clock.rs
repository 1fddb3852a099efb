//! The boot-time clock of one node. Each clock starts at another value and drifts.
//!
//! There is no wall clock: the coordinator never reads one, so wall-clock steps have no effect.

use crate::Time;

const MILLION: i128 = 1_000_000;

/// A boot-time clock, described relative to true time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The time that the clock shows when the simulation begins, in nanoseconds.
    pub offset: u64,
    /// How much faster than true time the clock runs, in parts per million.
    pub drift_ppm: i32,
}

impl Clock {
    /// Returns the time that the clock shows at true time `at`.
    pub fn local(self, at: Time) -> Time {
        let at = i128::from(at.as_nanos());
        time(i128::from(self.offset) + at + at * i128::from(self.drift_ppm) / MILLION)
    }

    /// Returns the first true time at which the clock shows `local` or more.
    pub fn instant(self, local: Time) -> Time {
        let passed = (i128::from(local.as_nanos()) - i128::from(self.offset)).max(0);
        // Start two nanoseconds early: each of the two divisions rounds by up to one.
        let mut at = time(passed * MILLION / (MILLION + i128::from(self.drift_ppm)) - 2);
        while self.local(at) < local && at < Time::from_nanos(u64::MAX) {
            at = Time::from_nanos(at.as_nanos() + 1);
        }
        at
    }
}

fn time(nanos: i128) -> Time {
    Time::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn clock_instant_is_the_first_that_shows_the_time(
            offset in 0..1u64 << 50, drift_ppm in -500..=500i32, passed in 0..1u64 << 50,
        ) {
            let clock = Clock { offset, drift_ppm };
            let local = Time::from_nanos(offset + passed);
            let at = clock.instant(local);
            prop_assert!(clock.local(at) >= local);
            if let Some(before) = at.as_nanos().checked_sub(1) {
                prop_assert!(clock.local(Time::from_nanos(before)) < local);
            }
        }
    }
}
