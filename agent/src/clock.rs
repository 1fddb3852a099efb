//! The two clocks: boot time, on which every instant and deadline of this node lies, and Unix time,
//! which only stamps events for people.
//!
//! It decides nothing, and nothing may rest on Unix time: it steps, and the nodes' readings differ.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iperf3_mesh_core::Time;
use nix::time::{ClockId, clock_gettime};

/// The longest sleep without a look at the boot clock. Timers of the runtime stand still while the
/// machine is suspended, the boot clock does not: after a resume a sleeper is late by this at most.
const LOOK: Duration = Duration::from_millis(250);

/// The present instant on the boot clock (`CLOCK_BOOTTIME`), which goes on while the machine is
/// suspended and is never set. Async-signal-safe: a forked child may ask before its exec.
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
pub fn unix_now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns once the boot clock has reached `instant`, never before.
pub async fn sleep_until(instant: Time) {
    loop {
        let left = instant.since(boot_now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_on_the_boot_clock_and_never_early() {
        let instant = boot_now() + Duration::from_millis(20);
        sleep_until(instant).await;
        assert!(boot_now() >= instant);
    }

    #[tokio::test]
    async fn an_instant_of_the_past_is_not_waited_for() {
        assert!(
            ready_at_once(sleep_until(Time::default())).await,
            "the first look must already be enough"
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
