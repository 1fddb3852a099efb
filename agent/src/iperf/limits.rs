//! What the kernel is told before iperf3 is started, so that it ends also when this agent cannot
//! end it: a timer that kills it at its deadline, however frozen the agent is, and its death with
//! the agent.
//!
//! The code that runs between fork and exec is here and nowhere else. It does not enforce anything
//! later: the agent's own kill at the deadline is in `process`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use iperf3_mesh_core::Time;
use nix::errno::Errno;

use crate::clock::boot_now;

/// Between two readings of the clock, one before and one after arming the timer, no more may pass.
/// More means that the process stood still in between, and that the timer is late by as much.
const FREEZE: Duration = Duration::from_millis(5);

/// How often the timer is armed anew after such a pause.
const ATTEMPTS: u32 = 8;

/// The two instants that bound a run of iperf3, on the boot clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// It is started by then or not at all. An agent that was frozen between deciding and starting
    /// would otherwise start it in somebody else's time.
    pub start_by: Time,
    /// It is dead by then.
    pub deadline: Time,
}

/// What the child says instead of starting iperf3 too late.
const TOO_LATE: Errno = Errno::ETIME;

/// Whether the failure to spawn was the child's own refusal, because of [`Limits`].
pub(super) fn is_too_late(error: &io::Error) -> bool {
    error.raw_os_error() == Some(TOO_LATE as i32)
}

/// Makes `command` apply `limits` to itself when it is spawned.
///
/// The spawning *thread* must live as long as the agent: the parent-death signal is sent when that
/// thread ends.
pub(super) fn apply(command: &mut Command, limits: Limits) {
    let parent = std::process::id();
    // SAFETY: the closure runs in the forked child before exec. It makes system calls and computes
    // with plain numbers; it allocates nothing, takes no lock and cannot unwind.
    unsafe {
        command.pre_exec(move || {
            die_with_parent(parent)?;
            arm_timer(limits)
        });
    }
}

fn die_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: plain system call on plain numbers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // A parent that died before the call sends no signal any more; the child has another parent by
    // then.
    if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
        return Err(Errno::ESRCH.into());
    }
    Ok(())
}

/// `ITIMER_REAL` survives exec, and iperf3 leaves its signal's default action, which is death, in
/// both roles.
///
/// The timer runs on the monotonic clock. It and the boot clock differ only by the time that the
/// machine is suspended, and then iperf3 is as well.
fn arm_timer(limits: Limits) -> io::Result<()> {
    // SAFETY: resets a disposition; an ignored signal would stay ignored across exec.
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
    // SAFETY: `timer` outlives the call, and the old value is not asked for.
    Errno::result(unsafe {
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut())
    })?;
    Ok(())
}
