//! The iperf3 client. It runs the test, and its report is the outcome of the test.
//!
//! `command` chooses the arguments, `report` reads the report.

use std::os::unix::process::ExitStatusExt;

use iperf3_mesh_core::{Reason, TestSpec};

use super::process::{Cause, Ending, Kill, Process};
use super::reason;
use super::report::Report;

/// A running iperf3 client. Dropping it kills the process.
#[derive(Debug)]
pub struct Client {
    pub(super) process: Process,
    pub(super) spec: TestSpec,
}

/// How a client ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientEnd {
    /// The outcome of the test.
    pub report: Report,
    /// Whether the client was killed early through its [`Kill`]. The report is then neither a
    /// measurement nor a failure of the test.
    pub cancelled: bool,
}

impl Client {
    /// Returns the process id, which is also the id of the process group.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns a handle that kills the client early.
    pub fn killer(&self) -> Kill {
        self.process.killer()
    }

    /// Waits until the process has ended and has been reaped, at the latest at its deadline.
    /// Dropping the future loses nothing: call this function again.
    pub async fn wait(&mut self) -> ClientEnd {
        let ending = self.process.wait().await;
        ClientEnd {
            report: outcome(&self.spec, ending),
            cancelled: ending.cause == Cause::Killed,
        }
    }
}

fn outcome(spec: &TestSpec, ending: &Ending) -> Report {
    match ending.cause {
        Cause::Deadline => Report::failed(spec, Reason::Timeout, "killed at its deadline"),
        Cause::Killed => Report::failed(spec, Reason::Interrupted, "killed early by this node"),
        Cause::Exited(status) => match status.signal() {
            Some(number) => {
                let (reason, message) = reason::of_signal(number);
                Report::failed(spec, reason, &message)
            }
            None => Report::read(spec, &ending.stdout, &ending.stderr),
        },
    }
}
