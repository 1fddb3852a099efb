//! One network namespace, held by a file descriptor and by nothing else.
//!
//! It has no name, so two laboratories cannot clash, and the kernel removes it, with every
//! interface, address, queue and rule in it, as soon as its descriptor is closed and its processes
//! are gone: after a panic or a `kill -9` of the laboratory too. There is nothing to clean up and
//! nothing to find left over.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::privilege::search_path;

/// A network namespace; it lasts as long as this value and the processes that were started in it.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Makes an empty one, with its loopback up.
    pub fn create() -> Self {
        // Only the thread moves; its namespace outlives it through the descriptor.
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("no right to make a network namespace");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(file.join().unwrap());
        namespace.run("ip link set lo up");
        namespace
    }

    /// The number that tells it from every other: that of `/proc/<pid>/ns/net` of its processes.
    pub fn inode(&self) -> u64 {
        self.0.metadata().unwrap().ino()
    }

    /// Where `ip link … netns` finds it, for as long as this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// A command that will run inside, and is killed when the thread that spawns it ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let fd = self.0.as_raw_fd();
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        // SAFETY: between fork and exec only two system calls are made, no memory is allocated and
        // no lock taken; the descriptor is open there, for it is closed by the exec at the
        // earliest.
        unsafe {
            command.pre_exec(move || {
                setns(BorrowedFd::borrow_raw(fd), CloneFlags::CLONE_NEWNET)?;
                Ok(set_pdeathsig(Signal::SIGKILL)?)
            });
        }
        command
    }

    /// Processes a command line (its words are parted by blanks, there is no quoting) inside, to
    /// its end.
    ///
    /// # Panics
    /// If it fails, with the line and what it said.
    pub fn run(&self, line: &str) {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        let output = command.args(words).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "`{line}` failed, {}: {said}",
            output.status
        );
    }

    /// Processes `work` on a thread inside.
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
