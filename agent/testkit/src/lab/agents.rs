//! An agent as a process of its own in a host's namespace, treated as its users and its enemies
//! would.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::hosts::{Host, Lab};
use super::matrix::Matrix;
use crate::events::{self, Event};
use crate::http;
use crate::program::{executable, scratch};
use crate::{boot_ns, wait_until};

/// Where agents answer HTTP.
const METRICS_PORT: u16 = 9876;

/// One life of an agent. Killed when dropped.
#[derive(Debug)]
pub struct Agent<'lab> {
    host: &'lab Host,
    child: Child,
    log: PathBuf,
}

impl<'lab> Agent<'lab> {
    /// Starts the agent of a host. It joins two others, logs JSON to a file in `logs` (a later life
    /// appends), and takes `args` besides.
    pub fn start(lab: &'lab Lab, name: &str, logs: &Path, args: &[String]) -> Self {
        let host = lab.host(name);
        let log = logs.join(format!("{name}.log"));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut command = host.namespace.command(executable());
        command.args(["agent", "--discovery", "static", "--log-format", "json"]);
        command.args([
            "--node-name",
            name,
            "--advertise-address",
            &host.address.to_string(),
        ]);
        for other in lab
            .hosts()
            .iter()
            .filter(|other| other.name != name)
            .take(2)
        {
            command.args(["--join", &other.address.to_string()]);
        }
        let (out, err) = (file.try_clone().unwrap(), file);
        let child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap();
        Self { host, child, log }
    }

    /// The name of its node.
    pub fn name(&self) -> &str {
        &self.host.name
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The events of all lives that logged to its file.
    ///
    /// # Errors
    /// If the log cannot be read, or an event lacks something.
    pub fn events(&self) -> Result<Vec<Event>, String> {
        let log = fs::read(&self.log).map_err(|error| error.to_string())?;
        let log = String::from_utf8_lossy(&log);
        // The last line may be half written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        events::parse(whole).map_err(|error| format!("{}: {error}", self.name()))
    }

    /// The body of a path, asked for from the agent's own host.
    ///
    /// # Errors
    /// If it does not answer with 200 in time.
    pub fn get(&self, path: &str) -> io::Result<String> {
        let to = (self.host.address, METRICS_PORT).into();
        self.host.namespace.inside(|| http::get(to, path))
    }

    /// Its matrix.
    ///
    /// # Errors
    /// If it does not answer with one in time.
    pub fn matrix(&self) -> Result<Matrix, String> {
        Matrix::parse(
            &self
                .get("/api/v1/matrix")
                .map_err(|error| error.to_string())?,
        )
    }

    /// Its series.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub fn metrics(&self) -> io::Result<Vec<http::Series>> {
        Ok(http::series(&self.get("/metrics")?))
    }

    /// Kills it without warning; the instant by which it was dead.
    pub fn kill(&mut self) -> u64 {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
        boot_ns()
    }

    /// Stops it in its tracks, its sockets stay open.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on, as if no time had passed.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Asks it to stop, and waits for at most `limit`: how it ended, and after how long.
    pub fn terminate(&mut self, limit: Duration) -> Option<(ExitStatus, Duration)> {
        let asked = Instant::now();
        self.signal(Signal::SIGTERM);
        let mut status = None;
        wait_until(limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.map(|status| (status, asked.elapsed()))
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The end of its log, to be shown when something went wrong.
    pub fn last_words(&self) -> String {
        let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        // The child is not reaped before this value is gone, so the number is still its own.
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if self.lives() {
            self.kill();
        }
    }
}

/// A directory for the logs of one laboratory. It stays after a failure, so that they can be read.
#[derive(Debug)]
pub struct Logs(tempfile::TempDir);

impl Logs {
    /// An empty one.
    pub fn create() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("lab-")
                .tempdir_in(scratch())
                .unwrap(),
        )
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lets it stay, and says where it is.
    pub fn keep(&mut self) {
        self.0.disable_cleanup(true);
        eprintln!("logs: {}", self.path().display());
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}
