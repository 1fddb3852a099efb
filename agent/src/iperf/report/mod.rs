//! Reads the outcome of a test from the output of its client.
//!
//! This module does no I/O. Only the client's report is read: both ends exchange their results at
//! the end of a test, and the server's own report contains only one side. Exit codes are ignored. A
//! test succeeded if the output contains a JSON document without an `error`, if the document has
//! the sums that the test must have, and if at least one byte arrived.
//!
//! One odd figure does not spoil the others: a figure that cannot be is derived from those that
//! contradict it, or is absent. Only a bandwidth that nothing supports makes the report bad.
//!
//! The document is kept as a tree rather than as typed structs: iperf3 up to 3.14 repeats keys,
//! which typed structs reject, and no field is present in every version.

mod document;
mod sum;
mod tcp;
mod udp;

use iperf3_mesh_core::{Figure, Outcome, Protocol, Reason, TestSpec, plausible};
use serde_json::{Map, Value};

use self::document::document;
use self::sum::Removed;
use super::reason;
use crate::text::excerpt;

/// The maximum number of characters of an iperf3 message that are kept for the log.
pub(super) const DETAIL_MAX: usize = 300;

/// The prefix of iperf3's own messages.
const PREFIX: &str = "iperf3: ";

/// The outcome of one client.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The outcome from the client to the server.
    pub forward: Outcome,
    /// The outcome from the server to the client, if the test measured both directions.
    pub reverse: Option<Outcome>,
    /// Text for the log: iperf3's message after a failure, empty after a success.
    pub detail: String,
    /// The figures that cannot be, each once. They are absent from the outcomes, or derived from
    /// others.
    pub implausible: Vec<Figure>,
}

impl Report {
    /// Reads the standard output and standard error of a client that ended by itself.
    pub fn read(spec: &TestSpec, stdout: &[u8], stderr: &[u8]) -> Self {
        let stderr = String::from_utf8_lossy(stderr);
        let message = error_message(&stderr);
        let document = match document(stdout) {
            Ok(document) => document,
            Err(why) if message.is_empty() => return Self::failed(spec, Reason::BadReport, &why),
            Err(_) => return Self::failed(spec, reason::of(message, false), message),
        };
        if let Some(error) = document.get("error") {
            let error = error.as_str().unwrap_or("an error that is not text");
            return Self::failed(spec, reason::of(error, begun(&document)), error);
        }
        // 3.9 writes its errors only to standard error, even if the test broke off.
        if let Some(own) = own_message(&stderr)
            && let reason = reason::of(own, begun(&document))
            && reason != Reason::Iperf
        {
            return Self::failed(spec, reason, own);
        }
        match document.get("end").and_then(Value::as_object) {
            Some(end) if !end.is_empty() => figures(spec, &document, end),
            _ if message.is_empty() => {
                Self::failed(spec, Reason::BadReport, "the report has no end")
            }
            _ => Self::failed(spec, reason::of(message, begun(&document)), message),
        }
    }

    /// Returns a report in which every direction has failed.
    pub(super) fn failed(spec: &TestSpec, reason: Reason, detail: &str) -> Self {
        Self {
            forward: Err(reason),
            reverse: spec.bidir.then_some(Err(reason)),
            detail: excerpt(detail, DETAIL_MAX),
            implausible: Vec::new(),
        }
    }
}

/// Returns whether a data connection was made.
fn begun(document: &Value) -> bool {
    let connected = document
        .pointer("/start/connected")
        .and_then(Value::as_array);
    connected.is_some_and(|connected| !connected.is_empty())
}

fn figures(spec: &TestSpec, document: &Value, end: &Map<String, Value>) -> Report {
    if spec.bidir && !end.contains_key("sum_received_bidir_reverse") {
        let detail = "the report does not tell the directions apart";
        return Report::failed(spec, Reason::BadReport, detail);
    }
    let mut removed = Removed::default();
    let mut read = |reverse| {
        let outcome = match spec.protocol {
            Protocol::Tcp => tcp::read(spec, end, reverse, &mut removed),
            Protocol::Udp => udp::read(spec, document, end, reverse, &mut removed),
        };
        let (outcome, figures) = plausible(outcome, spec);
        removed.extend(figures);
        outcome
    };
    let (forward, reverse) = (read(false), spec.bidir.then(|| read(true)));
    let failure = forward
        .as_ref()
        .err()
        .or(reverse.as_ref().and_then(|reverse| reverse.as_ref().err()));
    let detail = match failure {
        None => "",
        Some(Reason::NoData) => "iperf3 reported no error, but nothing arrived",
        Some(_) => "the report lacks figures or has impossible ones",
    };
    Report {
        forward,
        reverse,
        detail: detail.to_owned(),
        implausible: removed.into_figures(),
    }
}

/// Returns the last error message of iperf3 on standard error, without the program's name. If there
/// is no such message, returns the last line.
pub(super) fn error_message(stderr: &str) -> &str {
    let last = |line: &&str| !line.trim().is_empty();
    own_message(stderr)
        .or_else(|| stderr.lines().rfind(last).map(str::trim))
        .unwrap_or_default()
}

/// Returns the last of iperf3's own error messages in `text`, without the program's name. Other
/// lines may come from the loader or from a wrapper, also if nothing is wrong.
pub(super) fn own_message(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(PREFIX))
        .rfind(|&own| own != "exiting")
}
