//! The times at which a node takes a new identity, because peers have heard of a state of it that
//! it has not published.
//!
//! One live peer can cause it, and each former identity stays in all rosters for minutes. So a node
//! takes a few new identities quickly, and then one in the time that a former one is kept.

use std::time::Duration;

use tokio::time::Instant;

use super::instance::DEAD_KEPT_FOR;
use super::supervisor::HEALTHY_AFTER;

/// The shortest time between two new identities. It doubles with each one in a row.
const RENEWAL_MIN: Duration = Duration::from_secs(2);
/// The longest such time.
const RENEWAL_MAX: Duration = DEAD_KEPT_FOR;

/// The new identities in a row.
#[derive(Default)]
pub(super) struct Renewals {
    last: Option<Instant>,
    count: u32,
}

impl Renewals {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let pause = RENEWAL_MIN * 2u32.pow(self.count.min(8));
        self.last
            .is_none_or(|last| now - last >= pause.min(RENEWAL_MAX))
    }

    pub(super) fn record(&mut self, now: Instant) {
        let is_in_a_row = self.last.is_some_and(|last| now - last < HEALTHY_AFTER);
        self.count = if is_in_a_row { self.count + 1 } else { 0 };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_that_is_forced_all_the_time_has_few_former_identities() {
        let mut renewals = Renewals::default();
        let start = Instant::now();
        let mut times = Vec::new();
        for second in 0..7200 {
            let now = start + Duration::from_secs(second);
            if renewals.is_due(now) {
                renewals.record(now);
                times.push(now);
            }
        }
        let within = |from: Instant| {
            let kept = |at: &&Instant| **at >= from && **at < from + DEAD_KEPT_FOR;
            times.iter().filter(kept).count()
        };
        assert!(within(start) <= 9, "{}", within(start));
        let later = start + Duration::from_secs(1200);
        assert!(
            times
                .iter()
                .filter(|at| **at > later)
                .all(|at| within(*at) == 1)
        );
    }
}
