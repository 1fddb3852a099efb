//! The boot clock of one node: it began at another time than the others', and it drifts.
//!
//! The wall clock has no place here: nothing in the coordinator ever sees it, so that it may be
//! stepped at will.

use crate::Time;

const MILLION: i128 = 1_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// What it shows at the beginning of the simulation, in nanoseconds.
    pub(super) offset: u64,
    /// How fast it is, in parts per million.
    pub(super) drift_ppm: i32,
}

impl Clock {
    /// What the clock shows at that instant.
    pub(super) fn local(self, at: Time) -> Time {
        let at = i128::from(at.as_nanos());
        time(i128::from(self.offset) + at + at * i128::from(self.drift_ppm) / MILLION)
    }

    /// The first instant at which the clock shows `local`, or more.
    pub(super) fn instant(self, local: Time) -> Time {
        let passed = (i128::from(local.as_nanos()) - i128::from(self.offset)).max(0);
        // Rounding may have cost a nanosecond or two, in either direction.
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
        fn an_instant_is_the_first_at_which_the_clock_shows_that_much(
            offset in 0..1u64 << 50, drift_ppm in -500..=500i32, passed in 0..1u64 << 50,
        ) {
            let clock = Clock { offset, drift_ppm };
            let local = Time::from_nanos(offset + passed);
            let at = clock.instant(local);
            prop_assert!(clock.local(at) >= local);
            prop_assert!(at.as_nanos() == 0 || clock.local(Time::from_nanos(at.as_nanos() - 1)) < local);
        }
    }
}
