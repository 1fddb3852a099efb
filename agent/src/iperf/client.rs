//! iperf3 as a client: it runs the test, and its report is the test's outcome.
//!
//! The choice of arguments is `command`'s, the reading of the report `report`'s.

use std::os::unix::process::ExitStatusExt;

use iperf3_mesh_core::{Reason, TestSpec};

use super::process::{Cause, Ending, Kill, Process};
use super::report::Report;

/// A client at work. Dropping it kills it.
#[derive(Debug)]
pub struct Client {
    pub(super) process: Process,
    pub(super) spec: TestSpec,
}

/// What came of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientEnd {
    /// The outcome of its test.
    pub report: Report,
    /// It was ended early through its [`Kill`]; the report is then no measurement and no failure
    /// of the test.
    pub cancelled: bool,
}

impl Client {
    /// Its process id, which is also its group's.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// To end it early.
    pub fn killer(&self) -> Kill {
        self.process.killer()
    }

    /// Until it has ended and is reaped, which is at its deadline at the latest. Nothing is lost if
    /// the future is dropped and this is called again.
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
        Cause::Killed => Report::failed(spec, Reason::Interrupted, "ended early by this node"),
        Cause::Exited(status) => match status.signal() {
            Some(number) => {
                Report::failed(spec, Reason::Iperf, &format!("ended by signal {number}"))
            }
            None => Report::read(spec, &ending.stdout, &ending.stderr),
        },
    }
}
