//! A child process in a process group of its own. It never outlives its deadline, its handle or
//! this agent, and it is always reaped.
//!
//! This module does not depend on the arguments and messages of iperf3. `limits` contains the
//! limits that the kernel itself enforces.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iperf3_mesh_core::Time;
use nix::sys::signal::killpg;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::fence::Fence;
use super::filter::Gate;
use super::limits::{self, Limits};
use super::orphans::Started;
use super::temporary::PrivateDirectory;
use crate::clock::sleep_until;

/// The maximum number of bytes of standard output that are kept. The longest report has 255 streams
/// in ten intervals and takes 1.5 MB.
const STDOUT_MAX: usize = 4 << 20;

/// The maximum number of bytes of standard error that are kept.
const STDERR_MAX: usize = 64 << 10;

/// The maximum number of bytes per read.
const PIECE: usize = 8 << 10;

/// How long to wait for the pipes of an ended process to become empty. They take longer only if
/// another process holds them open.
const PIPES_AFTER_EXIT: Duration = Duration::from_millis(500);

/// How long to wait for a killed process to be gone, in a place where no task is left that could
/// wait without blocking.
const LAST_REAP: Duration = Duration::from_millis(200);

/// A callback that gets every piece of standard output as it arrives, and that may kill the
/// process.
pub(super) type Watch = Box<dyn FnMut(&[u8], &Kill) + Send>;

/// How the standard output of a process is used.
pub(super) enum Stdout {
    /// The output is kept for the [`Ending`].
    Keep,
    /// The output is watched and then discarded.
    Watch(Watch),
}

/// The cause of a process's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The process ended by itself.
    Exited(ExitStatus),
    /// The process was killed at its deadline, by this agent or by the kernel's timer.
    Deadline,
    /// The process was killed through its [`Kill`], or because its handle was dropped.
    Killed,
}

/// The cause of a process's end, and its output.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// A handle that kills a process and its whole group early. It is cheap to clone, and has no effect
/// once the process has been reaped.
#[derive(Clone, Debug)]
pub struct Kill(Arc<Group>);

impl Kill {
    /// Sends SIGKILL to the process group.
    pub fn kill(&self) {
        self.0.kill(Cause::Killed);
    }
}

/// A running process. Dropping it kills the group; a separate task reaps it.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    kill: Kill,
    ended: oneshot::Receiver<Ending>,
    ending: Option<Ending>,
}

impl Process {
    /// Starts `program` under `limits`, within `fence`, and behind `gate` if it is a server. Call
    /// this function within the runtime, on the thread that lives as long as the agent (see
    /// [`limits::apply`]).
    pub(super) fn spawn(
        program: &OsStr,
        args: &[String],
        limits: Limits,
        mut fence: Fence,
        gate: Option<&Gate>,
        output: Stdout,
    ) -> io::Result<Self> {
        // The signal handler is registered before the child exists, so that the child's end cannot
        // be missed.
        let ends = signal(SignalKind::child())?;
        let mut command = Command::new(program);
        // Otherwise, the environment is that of the agent: a loader, a wrapper script or a library
        // may need any part of it.
        command.args(args).env("LC_ALL", "C").process_group(0);
        // iperf3 would also read TEMP and TMP, which the checks of this directory do not.
        let directory = fence.directory.take();
        let own = directory.as_ref().map(|own| own.path().to_owned());
        command.env("TMPDIR", own.unwrap_or_else(std::env::temp_dir));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(gate) = gate {
            gate.apply(&mut command);
        }
        limits::apply(&mut command, limits, fence);

        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let pid = child.id();
        let started = Started::new(Pid::from_raw(pid.cast_signed()));
        let kill = Kill(Arc::new(Group(Mutex::new(Leader {
            child,
            unreaped: Some(started),
            reaped: None,
            killed: None,
        }))));
        let reaper = Reaper {
            kill: kill.clone(),
            _directory: directory,
        };
        // From here on, an early return drops the reaper, which kills the child.
        let stdout = stdout.map(ChildStdout::from_std).transpose()?;
        let stderr = stderr.map(ChildStderr::from_std).transpose()?;
        let (report, ended) = oneshot::channel();
        tokio::spawn(async move {
            let ending = reaper
                .run(ends, limits.deadline, (stdout, stderr), output)
                .await;
            // Sending fails only if the handle has been dropped.
            let _ = report.send(ending);
        });
        Ok(Self {
            pid,
            kill,
            ended,
            ending: None,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn killer(&self) -> Kill {
        self.kill.clone()
    }

    /// Waits until the process has ended and has been reaped. Dropping the future loses nothing:
    /// call this function again.
    pub(super) async fn wait(&mut self) -> &Ending {
        if self.ending.is_none() {
            // If no report arrives, the runtime is shutting down and the reaper has killed the
            // process.
            self.ending = (&mut self.ended).await.ok();
        }
        self.ending.get_or_insert_with(|| Ending {
            cause: Cause::Killed,
            stdout: Vec::new(),
            stderr: Vec::new(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill.kill();
    }
}

/// The process and its group. Killing and reaping take the same lock: the group gets a signal only
/// before its leader, alive or zombie, has been reaped, so its number cannot belong to other
/// processes.
#[derive(Debug)]
struct Group(Mutex<Leader>);

#[derive(Debug)]
struct Leader {
    child: Child,
    unreaped: Option<Started>,
    reaped: Option<ExitStatus>,
    /// The cause of the first kill that found the process alive.
    killed: Option<Cause>,
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Leader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self, cause: Cause) {
        let mut leader = self.lock();
        if leader.reaped.is_none() {
            if !leader.ended() {
                leader.killed.get_or_insert(cause);
            }
            leader.kill_group();
        }
    }

    /// Reaps the leader if it has ended, after killing the rest of its group.
    fn reap(&self) -> Option<Cause> {
        let mut leader = self.lock();
        if leader.reaped.is_none() && leader.ended() {
            leader.kill_group();
            // If something else reaped the process and its status is lost, the output alone must
            // suffice.
            let status = leader.child.try_wait();
            leader.reaped = status.unwrap_or(Some(ExitStatus::default()));
            leader.unreaped = None;
        }
        leader.reaped.map(|status| leader.cause(status))
    }
}

impl Leader {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Returns whether the leader has ended, without reaping it.
    fn ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(
            waitid(Id::Pid(self.pid()), flags),
            Ok(WaitStatus::StillAlive)
        )
    }

    fn kill_group(&self) {
        // This fails only if the group is empty, and an empty group is the goal.
        let _ = killpg(self.pid(), nix::sys::signal::Signal::SIGKILL);
    }

    fn cause(&self, status: ExitStatus) -> Cause {
        match status.signal() {
            Some(libc::SIGALRM) => Cause::Deadline,
            Some(libc::SIGKILL) => self.killed.unwrap_or(Cause::Exited(status)),
            _ => Cause::Exited(status),
        }
    }
}

/// Reads the output of a process, kills the process at its deadline, and reaps it. If the reaper is
/// dropped earlier (by an early return or at the end of the runtime), it kills the process.
struct Reaper {
    kill: Kill,
    /// The directory that is removed once the process is dead.
    _directory: Option<PrivateDirectory>,
}

impl Reaper {
    async fn run(
        self,
        mut ends: Signal,
        deadline: Time,
        pipes: (Option<ChildStdout>, Option<ChildStderr>),
        mut output: Stdout,
    ) -> Ending {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let cause = {
            let take = |piece: &[u8]| match &mut output {
                Stdout::Keep => keep(&mut stdout, STDOUT_MAX, piece),
                Stdout::Watch(watch) => watch(piece, &self.kill),
            };
            let take_error = |piece: &[u8]| keep(&mut stderr, STDERR_MAX, piece);
            let drained = async { tokio::join!(drain(pipes.0, take), drain(pipes.1, take_error)) };
            let (mut drained, mut at_deadline) = (pin!(drained), pin!(sleep_until(deadline)));
            let (mut draining, mut in_time) = (true, true);
            let cause = loop {
                if let Some(cause) = self.kill.0.reap() {
                    break cause;
                }
                tokio::select! {
                    _ = ends.recv() => {}
                    _ = &mut drained, if draining => draining = false,
                    () = &mut at_deadline, if in_time => {
                        in_time = false;
                        self.kill.0.kill(Cause::Deadline);
                    }
                }
            };
            if draining {
                // The output read so far counts, even if a pipe stays open.
                let _ = tokio::time::timeout(PIPES_AFTER_EXIT, drained).await;
            }
            cause
        };
        Ending {
            cause,
            stdout,
            stderr,
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let step = Duration::from_millis(1);
        let mut left = LAST_REAP;
        while self.kill.0.reap().is_none() && !left.is_zero() {
            self.kill.kill();
            std::thread::sleep(step);
            left -= step;
        }
    }
}

/// Reads `pipe` to its end, so that the writer never blocks.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        take(&buffer[..count]);
    }
}

/// Appends `piece` to `kept`, which grows to at most `max` bytes.
fn keep(kept: &mut Vec<u8>, max: usize, piece: &[u8]) {
    let room = max - kept.len();
    kept.extend_from_slice(&piece[..piece.len().min(room)]);
}
