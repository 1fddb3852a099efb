//! The limits on iperf3 that the kernel enforces even when this agent cannot: a timer kills iperf3
//! at its deadline even if the agent is frozen, iperf3 dies together with the agent, and it cannot
//! leave its fence.
//!
//! This module contains all code that runs between fork and exec. The agent itself also kills
//! iperf3 at the deadline: see `process`.

#![expect(unsafe_code, reason = "limits are set between fork and exec")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use iperf3_mesh_core::Time;
use nix::errno::Errno;
use nix::sys::resource::setrlimit;

use super::fence::Fence;
use crate::clock::boot_now;

/// The longest acceptable time between reading the clock before arming the timer and reading it
/// again afterwards. A longer time means that the process was frozen in between, and that the timer
/// is late by that time.
const FREEZE: Duration = Duration::from_millis(5);

/// The maximum number of times that the timer is armed again after such a freeze.
const ATTEMPTS: u32 = 8;

/// The two instants that bound an iperf3 process, on the boot clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The latest time at which the process may start. Otherwise, an agent that was frozen between
    /// the decision and the start would start the process during another meeting.
    pub start_by: Time,
    /// The time by which the process must be dead.
    pub deadline: Time,
}

/// The error of a child process that would start iperf3 too late.
const TOO_LATE: Errno = Errno::ETIME;

/// Returns whether the child process itself refused to start iperf3, because of [`Limits`].
pub(super) fn is_too_late(error: &io::Error) -> bool {
    error.raw_os_error() == Some(TOO_LATE as i32)
}

/// Makes `command` apply `limits` and `fence` to its own process when it is spawned.
///
/// The spawning *thread* must live as long as the agent: the parent-death signal is sent when that
/// thread ends.
pub(super) fn apply(command: &mut Command, limits: Limits, fence: Fence) {
    let parent = std::process::id();
    // SAFETY: the closure runs in the forked child before exec. It makes system calls and computes
    // with plain numbers; it allocates nothing, takes no lock and cannot unwind.
    unsafe {
        command.pre_exec(move || {
            die_with_parent(parent)?;
            enclose(&fence)?;
            arm_timer(limits)
        });
    }
}

/// Puts the fence around this process, for good: it survives exec.
fn enclose(fence: &Fence) -> io::Result<()> {
    for &(resource, limit) in &fence.resources {
        setrlimit(resource, limit, limit)?;
    }
    nix::sys::prctl::set_no_new_privs()?;
    fence.rules.as_ref().map_or(Ok(()), restrict_self)
}

fn restrict_self(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: this is a plain system call with plain numbers.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0)
    })?;
    Ok(())
}

/// Returns the version of the kernel's interface to Landlock.
///
/// # Errors
/// Returns `ENOSYS` if the kernel was built without Landlock, `EOPNOTSUPP` if it was started
/// without it, and any other error if the system denies it.
pub(super) fn landlock_version() -> Result<u32, Errno> {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag, the kernel reads no memory of this process.
    let version = Errno::result(unsafe {
        let no_rules = std::ptr::null::<libc::c_void>();
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            no_rules,
            0_usize,
            VERSION,
        )
    })?;
    Ok(u32::try_from(version).unwrap_or(0))
}

fn die_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: this is a plain system call with plain numbers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // If the parent died before this call, no signal will come any more, and the child already has
    // another parent.
    if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
        return Err(Errno::ESRCH.into());
    }
    Ok(())
}

/// Arms the timer that kills iperf3 at its deadline. `ITIMER_REAL` survives exec, and iperf3 keeps
/// the default action of the timer's signal in both roles: the process is terminated.
///
/// The timer runs on the monotonic clock. This clock and the boot clock differ only by the time
/// during which the machine is suspended, and iperf3 is suspended as well during that time.
fn arm_timer(limits: Limits) -> io::Result<()> {
    // SAFETY: the call resets a signal disposition; an ignored signal would stay ignored across
    // exec.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_DFL) };
    for _ in 0..ATTEMPTS {
        let before = boot_now();
        let left = limits.deadline.since(before);
        if before > limits.start_by || left.as_micros() == 0 {
            break;
        }
        set_timer(left)?;
        let after = boot_now();
        if after <= limits.start_by && after.since(before) <= FREEZE {
            return Ok(());
        }
    }
    Err(TOO_LATE.into())
}

fn set_timer(left: Duration) -> io::Result<()> {
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_usec: left.subsec_micros().into(),
        },
    };
    // SAFETY: `timer` outlives the call, and the old value is not requested.
    Errno::result(unsafe {
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut())
    })?;
    Ok(())
}
