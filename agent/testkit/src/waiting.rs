//! Waiting for what others do: never for longer than needed, and never for ever.

use std::thread;
use std::time::{Duration, Instant};

/// Asks until `condition` holds, at most for `limit`; whether it held.
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
