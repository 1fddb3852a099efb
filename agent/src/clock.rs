//! The two clocks. Boot time: every instant and deadline of this node lies on it. Unix time: it
//! only stamps events for people.
//!
//! Nothing may rest on Unix time: it steps, and nodes disagree about it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iperf3_mesh_core::Time;
use nix::time::{ClockId, clock_gettime};

/// The longest sleep without reading the boot clock. The runtime's timers stand still while the
/// machine is suspended, the boot clock does not: after a resume a sleeper is late by this at most.
const RECHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The present instant on the boot clock (`CLOCK_BOOTTIME`), which runs while the machine is
/// suspended and is never set. Async-signal-safe: a forked child may call it before its exec.
///
/// # Panics
///
/// On a kernel without that clock (before Linux 2.6.39).
pub fn boot_now() -> Time {
    let now =
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39");
    Time::default() + Duration::from(now)
}

/// Nanoseconds since 1970, zero if the clock is set to before that.
pub(crate) fn unix_now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns once the boot clock has reached `instant`, never before.
pub(crate) async fn sleep_until(instant: Time) {
    loop {
        let left = instant.since(boot_now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(RECHECK_INTERVAL)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_never_wakes_early_on_the_boot_clock() {
        let instant = boot_now() + Duration::from_millis(20);
        sleep_until(instant).await;
        assert!(boot_now() >= instant);
    }

    #[tokio::test]
    async fn sleeping_until_a_past_instant_returns_at_once() {
        assert!(
            ready_at_once(sleep_until(Time::default())).await,
            "the first reading of the clock must suffice"
        );
    }

    async fn ready_at_once(future: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = future => true,
            () = std::future::ready(()) => false,
        }
    }
}
