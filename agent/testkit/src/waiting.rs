//! Waits for conditions, no longer than needed and never forever.

use std::thread;
use std::time::{Duration, Instant};

/// Polls until `condition` holds, for at most `limit`; returns whether it held.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    const PAUSE: Duration = Duration::from_millis(50);
    let give_up = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= give_up {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// If the condition does not hold within `limit`; the message has `what` was expected and the value
/// that `seen` returns.
#[track_caller]
pub fn await_that(
    what: &str,
    limit: Duration,
    condition: impl FnMut() -> bool,
    seen: impl FnOnce() -> String,
) {
    assert!(
        wait_until(limit, condition),
        "not within {limit:?}: {what}\n{}",
        seen()
    );
}
