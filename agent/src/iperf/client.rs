//! iperf3 as a client: it runs the test, and its report is the outcome of the test.
//!
//! `command` chooses the arguments, `report` reads the report.

use std::os::unix::process::ExitStatusExt;

use iperf3_mesh_core::{Reason, TestSpec};

use super::process::{Cause, Ending, Kill, Process};
use super::report::Report;

/// A running client. Dropping it kills the process.
#[derive(Debug)]
pub struct Client {
    pub(super) process: Process,
    pub(super) spec: TestSpec,
}

/// How a client ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientEnd {
    /// The outcome of its test.
    pub report: Report,
    /// It was killed early through its [`Kill`]; the report is then neither a measurement nor a
    /// failure of the test.
    pub cancelled: bool,
}

impl Client {
    /// The process id, which is also that of the group.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A handle that kills it early.
    pub fn killer(&self) -> Kill {
        self.process.killer()
    }

    /// Waits until the process has ended and is reaped, which is at its deadline at the latest.
    /// Nothing is lost if the future is dropped and this is called again.
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
                Report::failed(spec, Reason::Iperf, &format!("ended by signal {number}"))
            }
            None => Report::read(spec, &ending.stdout, &ending.stderr),
        },
    }
}
