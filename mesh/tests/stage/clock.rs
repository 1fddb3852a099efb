//! The boot clock of one node: it started at another time than the others', and it drifts.

use iperf3_mesh_core::{DRIFT_PPM_MAX, Time};

const MILLION: i128 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    offset: i128,
    drift_ppm: i128,
}

impl Clock {
    /// Odd numbers are fast, even ones slow.
    pub(super) fn of(number: usize) -> Self {
        let hours = 1 + number as i128 * 7 % 5;
        let drift = i128::from(DRIFT_PPM_MAX);
        Self {
            offset: hours * 3_600_000_000_000,
            drift_ppm: if number.is_multiple_of(2) {
                -drift
            } else {
                drift
            },
        }
    }

    /// What the clock shows at that instant.
    pub(super) fn local(self, now: Time) -> Time {
        let now = i128::from(now.as_nanos());
        time(self.offset + now + now * self.drift_ppm / MILLION)
    }

    /// The first instant at which the clock shows that, or the beginning if it has shown more from
    /// then on.
    pub(super) fn true_time(self, local: Time) -> Time {
        let passed = (i128::from(local.as_nanos()) - self.offset).max(0);
        let mut at = time(passed * MILLION / (MILLION + self.drift_ppm));
        while self.local(at) < local {
            at = Time::from_nanos(at.as_nanos() + 1);
        }
        at
    }
}

fn time(nanos: i128) -> Time {
    Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
