//! The limits that the kernel enforces on iperf3, even if this agent cannot: a timer kills it at
//! its deadline, however frozen the agent is, and it dies together with the agent.
//!
//! All code that runs between fork and exec is here. The agent's own kill at the deadline is in
//! `process`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use iperf3_mesh_core::Time;
use nix::errno::Errno;

use crate::clock::boot_now;

/// The longest time between two readings of the clock, one before and one after arming the timer. A
/// longer time means that the process was frozen in between, and the timer is late by as much.
const FREEZE: Duration = Duration::from_millis(5);

/// How often the timer is armed again after such a freeze.
const ATTEMPTS: u32 = 8;

/// The two instants that bound an iperf3 process, on the boot clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The process is started by then or not at all. An agent that was frozen between the decision
    /// and the start would otherwise start it in the time of another meeting.
    pub start_by: Time,
    /// The process is dead by then.
    pub deadline: Time,
}

/// The error of a child that would start iperf3 too late.
const TOO_LATE: Errno = Errno::ETIME;

/// Whether the child itself refused to start iperf3, because of [`Limits`].
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
    // If the parent died before the call, no signal comes any more; the child then has another
    // parent.
    if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
        return Err(Errno::ESRCH.into());
    }
    Ok(())
}

/// `ITIMER_REAL` survives exec, and iperf3 leaves the default action of its signal, which is to
/// terminate, in both roles.
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
    // SAFETY: `timer` outlives the call, and the old value is not requested.
    Errno::result(unsafe {
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut())
    })?;
    Ok(())
}
