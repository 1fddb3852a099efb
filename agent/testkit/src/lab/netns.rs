//! A network namespace that only a file descriptor holds.
//!
//! The namespace has no name, so two laboratories cannot clash. Once the descriptor is closed and
//! the processes in the namespace are gone, the kernel removes the namespace with all its
//! interfaces, addresses, queues and rules, even after a panic or a `kill -9` of the laboratory.
//! There is nothing to clean up.

#![expect(unsafe_code, reason = "a namespace is entered between fork and exec")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::privilege::search_path;

/// A handle of a network namespace. The namespace exists as long as there is a handle or a process
/// in it.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// Creates an empty namespace with its loopback up.
    pub fn create() -> Self {
        // Only this thread moves into the namespace; the descriptor keeps the namespace after the
        // thread has ended.
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("no right to make a network namespace");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(Arc::new(file.join().unwrap()));
        namespace.run("ip link set lo up");
        namespace
    }

    /// Returns the inode of `/proc/<pid>/ns/net` of its processes, which identifies the namespace.
    pub(crate) fn inode(&self) -> u64 {
        self.0.metadata().unwrap().ino()
    }

    /// Returns the namespace's path for `ip link … netns`, valid while this process lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Returns a command that runs inside the namespace; see [`Namespace::enter`].
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.enter(&mut command);
        command
    }

    /// Makes `command` run inside the namespace. Its process is killed when the thread that spawns
    /// it ends.
    pub(crate) fn enter(&self, command: &mut Command) {
        let namespace = self.clone();
        command.env("PATH", search_path());
        // SAFETY: between fork and exec, this closure makes two system calls, allocates no memory
        // and takes no lock.
        unsafe {
            command.pre_exec(move || {
                setns(namespace.0.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok(set_pdeathsig(Signal::SIGKILL)?)
            });
        }
    }

    /// Runs a command line inside the namespace until it ends. Blanks separate its words; there is
    /// no quoting.
    ///
    /// # Panics
    /// If the command fails; the message has the line and its standard error.
    pub fn run(&self, line: &str) {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        let output = command.args(words).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        assert!(status.success(), "`{line}` failed, {status}: {stderr}");
    }

    /// Runs `work` inside the namespace, on a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }
}
