//! At most one warning a minute about each kind of problem.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two warnings about one kind.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The time of the last warning about each of `N` kinds.
#[derive(Debug)]
pub(super) struct Warned<const N: usize>([Option<Instant>; N]);

impl<const N: usize> Default for Warned<N> {
    fn default() -> Self {
        Self([None; N])
    }
}

impl<const N: usize> Warned<N> {
    /// Returns whether to warn about this kind now, and records that.
    pub(super) fn is_due(&mut self, kind: usize, now: Instant) -> bool {
        let last = &mut self.0[kind];
        let is_due = last.is_none_or(|last| now - last >= WARN_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_warned_of_once_a_minute() {
        let mut warned = Warned::<2>::default();
        let start = Instant::now();
        let mut is_due = |kind, after| warned.is_due(kind, start + Duration::from_secs(after));
        assert!(is_due(0, 0));
        assert!(!is_due(0, 59));
        assert!(is_due(1, 59), "another kind");
        assert!(is_due(0, 60));
    }
}
