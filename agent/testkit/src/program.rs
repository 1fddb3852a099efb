//! The program as a child process, with its output in files.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait_until;

/// A running program. It is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// The directory of the two files, unless the caller provides them.
    _dir: Option<TempDir>,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal ended the program.
    pub code: Option<i32>,
    /// The standard output of the program.
    pub stdout: String,
    /// The standard error of the program.
    pub stderr: String,
}

impl Program {
    /// Starts the program with `args`.
    pub fn start<S: AsRef<str>>(args: &[S]) -> Self {
        Self::start_with(args, &[])
    }

    /// Starts the program with `args` and these variables; see [`Program::command`].
    pub fn start_with<S: AsRef<str>>(args: &[S], variables: &[(&str, &str)]) -> Self {
        Self::start_command(Self::command(args, variables))
    }

    /// Starts `command`.
    pub(crate) fn start_command(command: Command) -> Self {
        Self::start_in_files(command, None)
    }

    /// Starts the program with `args`, and with `log` as its standard error.
    pub(crate) fn start_logging_to<S: AsRef<str>>(args: &[S], log: impl Into<Stdio>) -> Self {
        Self::start_in_files(Self::command(args, &[]), Some(log.into()))
    }

    fn start_in_files(mut command: Command, log: Option<Stdio>) -> Self {
        let dir = tempfile::tempdir_in(scratch()).unwrap();
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| dir.path().join(name));
        let file = File::create(&stderr).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(log.unwrap_or_else(|| file.into()))
            .spawn()
            .unwrap();
        Self {
            child,
            stdout,
            stderr,
            _dir: Some(dir),
        }
    }

    /// Starts `command`, with both of its output streams appended to the file `log`.
    pub(crate) fn start_logging(mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            child,
            stdout: log.clone(),
            stderr: log,
            _dir: None,
        }
    }

    /// Returns the command that starts the program, for a test that needs its output elsewhere. The
    /// command inherits PATH from the test and no other variable. Without a key it is insecure.
    pub fn command<S: AsRef<str>>(args: &[S], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(executable());
        let has_key = args
            .iter()
            .any(|arg| arg.as_ref().starts_with("--key-file"));
        command
            .args(args.iter().map(AsRef::as_ref))
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .envs((!has_key).then_some(("MESH_INSECURE", "true")))
            .envs(variables.iter().copied());
        command
    }

    /// Runs the program until it ends.
    ///
    /// # Panics
    /// If the program still runs after `limit`.
    #[track_caller]
    pub fn run<S: AsRef<str>>(args: &[S], limit: Duration) -> Ended {
        Self::start(args).ended(limit)
    }

    /// Returns the process id of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the standard output of the program so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Returns the standard error of the program so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Returns whether the program still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        // Nobody but this value reaps the child, so its id is not in use again.
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Kills the program with SIGKILL and reaps it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the program has ended.
    ///
    /// # Panics
    /// If the program still runs after `limit`; the message has its standard error.
    #[track_caller]
    pub fn ended(&mut self, limit: Duration) -> Ended {
        match self.ended_within(limit) {
            Some(ended) => ended,
            None => panic!("still running after {limit:?}: {}", self.stderr()),
        }
    }

    /// Waits until the program ends; returns `None` if it still runs after `limit`.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> Option<Ended> {
        let mut status = None;
        wait_until(limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        Some(Ended {
            code: status?.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.stderr();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(20)..].join("\n");
            eprintln!("--- end of {}:\n{end}", self.stderr.display());
        }
    }
}

/// Returns the path of the program that cargo built for the tests and benches of its package.
///
/// Tests and benches are in `<profile>/deps`, and the program is one directory above them.
/// `CARGO_BIN_EXE_…` is known only where the tests and benches themselves are compiled.
///
/// # Panics
/// If the program is not there, as in the tests of another package.
pub fn executable() -> PathBuf {
    let path = profile_dir().join("iperf3-mesh");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// Returns a directory for temporary files, beside the build.
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
