//! Reaps the orphans that a container's first process inherits: what `kubectl exec` leaves behind,
//! or the child of a wrapper around iperf3. Nothing else would, and each zombie takes one of the
//! container's process ids for good.
//!
//! An iperf3 of this agent is left to its own task, which needs the exit status.

#![expect(
    unsafe_code,
    reason = "the function of nix fails for some children: see `ended_child`"
)]

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// The children that this agent started and has not reaped yet.
static STARTED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// How long an ended iperf3 may hide an ended orphan from [`reap_ended`].
const HIDDEN: Duration = Duration::from_millis(100);

/// A child that this agent started. The guard lasts until the child has been reaped.
#[derive(Debug)]
pub(super) struct Started(i32);

impl Started {
    /// Call this function on the thread that runs [`reap_orphans`], before it yields.
    pub(super) fn new(pid: Pid) -> Self {
        started(|pids| pids.insert(pid.as_raw()));
        Self(pid.as_raw())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        started(|pids| pids.remove(&self.0));
    }
}

/// Reaps orphans from now on, if this process inherits any: if it is process 1, or a subreaper
/// (`PR_SET_CHILD_SUBREAPER` in prctl(2)).
///
/// # Errors
/// Returns an error if the signal handler cannot be installed.
pub fn reap_orphans() -> io::Result<()> {
    if std::process::id() != 1 && !prctl::get_child_subreaper().unwrap_or(false) {
        return Ok(());
    }
    let mut ends = signal(SignalKind::child())?;
    tokio::spawn(async move {
        loop {
            if reap_ended() {
                ends.recv().await;
            } else {
                sleep(HIDDEN).await;
            }
        }
    });
    Ok(())
}

/// Reaps the ended orphans. Returns false if an ended iperf3 is first in the kernel's list, which
/// hides the orphans behind it.
fn reap_ended() -> bool {
    while let Some(pid) = ended_child() {
        if started(|pids| pids.contains(&pid.as_raw())) {
            return false;
        }
        // This fails only if the orphan is gone already, which is the goal.
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
    true
}

/// Returns a child that has ended, without reaping it. (The function of nix fails for a child that
/// a real-time signal has ended.)
fn ended_child() -> Option<Pid> {
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all-zero bytes are a valid `siginfo_t`, and the kernel fills it in for a child.
    let pid = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let result = libc::waitid(libc::P_ALL, 0, &raw mut info, look);
        (result == 0).then(|| info.si_pid())?
    };
    (pid != 0).then(|| Pid::from_raw(pid))
}

fn started<T>(look: impl FnOnce(&mut BTreeSet<i32>) -> T) -> T {
    look(&mut STARTED.lock().unwrap_or_else(PoisonError::into_inner))
}
