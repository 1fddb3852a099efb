//! The two clocks. Every instant and deadline of this node is on the boot clock. Unix time is used
//! only for the timestamps of events for human readers.
//!
//! No decision may depend on Unix time, because it can step, differs between nodes, and may start
//! weeks in the past on a machine without a clock chip. In gossip it only breaks ties.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iperf3_mesh_core::Time;
use nix::time::{ClockId, clock_gettime};

/// The longest sleep without reading the boot clock. The runtime's timers stop while the machine is
/// suspended, but the boot clock does not. After a resume, a sleeper is therefore late by at most
/// this interval.
const RECHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Returns the present instant on the boot clock (`CLOCK_BOOTTIME`), which continues while the
/// machine is suspended and is never set. The function is async-signal-safe: a forked child may
/// call it before its exec.
///
/// # Panics
///
/// Panics on a kernel without this clock (before Linux 2.6.39).
pub fn boot_now() -> Time {
    let now =
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39");
    Time::default() + Duration::from(now)
}

/// Returns the nanoseconds since 1970, or zero if the clock is set to an earlier time.
pub(crate) fn unix_now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns once the boot clock has reached `instant`, and never earlier.
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
