//! The program as a child process, with everything it says kept in files.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait_until;

/// A running program. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    files: tempfile::TempDir,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What else it said.
    pub stderr: String,
}

impl Program {
    /// Starts it with `args`.
    pub fn start<S: AsRef<str>>(args: &[S]) -> Self {
        Self::start_with(args, &[])
    }

    /// Starts it with `args` and these variables. Of the test's own environment it gets the PATH
    /// alone.
    pub fn start_with<S: AsRef<str>>(args: &[S], variables: &[(&str, &str)]) -> Self {
        let files = tempfile::tempdir_in(scratch()).unwrap();
        let file = |name: &str| File::create(files.path().join(name)).unwrap();
        let child = Self::command(args, variables)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        Self { child, files }
    }

    /// How it is started, for who wants its output elsewhere.
    pub fn command<S: AsRef<str>>(args: &[S], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(executable());
        command.args(args.iter().map(AsRef::as_ref));
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(variables.iter().copied());
        command
    }

    /// Processes it to its end.
    #[track_caller]
    pub fn run<S: AsRef<str>>(args: &[S], limit: Duration) -> Ended {
        Self::start(args).ended(limit)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        read(&self.files.path().join("stdout"))
    }

    /// What else it has said so far.
    pub fn stderr(&self) -> String {
        read(&self.files.path().join("stderr"))
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // The child is not reaped before this value is gone or has seen its end, so the number is
        // still its own.
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn ended(&mut self, limit: Duration) -> Ended {
        let began = Instant::now();
        let mut status: Option<ExitStatus> = None;
        wait_until(limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let Some(status) = status else {
            panic!(
                "it still runs after {:?}; {}",
                began.elapsed(),
                self.stderr()
            );
        };
        Ended {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.lives() {
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.stderr();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            eprintln!("--- last words of {}:\n{last}", self.child.id());
        }
    }
}

/// The program, built by cargo for the integration tests and benches of its package.
///
/// They lie in `<profile>/deps`, the program one directory above them. `CARGO_BIN_EXE_…` exists
/// only while the tests themselves are compiled.
///
/// # Panics
/// If it is not there, as in the tests of another package.
pub fn executable() -> PathBuf {
    let path = profile_dir().join("iperf3-mesh");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// A directory for temporary files, on the disk of the build.
pub(crate) fn scratch() -> PathBuf {
    let path = profile_dir().with_file_name("tmp");
    fs::create_dir_all(&path).unwrap();
    path
}

fn profile_dir() -> PathBuf {
    let test = env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}
