//! The test events of an agent's log: the start and the end of every test.
//!
//! All other lines are ignored, JSON or not.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// The two events of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The iperf3 of a test was started.
    TestStarted,
    /// The test is over and its iperf3 is dead.
    TestFinished,
}

/// The role of a node in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Its iperf3 connects.
    Client,
    /// Its iperf3 listens.
    Server,
}

/// One event, with the field names of the log.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Start or end.
    pub event: Kind,
    /// The node that logged it.
    pub node: String,
    /// The epoch of that node; opaque.
    pub epoch: Value,
    /// The other node.
    pub peer: String,
    /// The role of `node`.
    pub role: Role,
    /// The sender.
    pub source_node: String,
    /// The receiver.
    pub destination_node: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The meeting, the same at both nodes; opaque.
    pub meeting: Value,
    /// The sweep of the meeting.
    pub sweep: u64,
    /// The time of the event on the clock of [`crate::boot_ns`].
    pub boot_ns: u64,
    /// The time by which the iperf3 is dead, on the same clock.
    pub deadline_boot_ns: u64,
    /// The process.
    pub pid: Option<u32>,
    /// The outcome; only in an end.
    pub outcome: Option<String>,
    /// The reason; only in the end of a failed test.
    pub reason: Option<String>,
}

/// A directed pair and a protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The sender.
    pub source: String,
    /// The receiver.
    pub destination: String,
    /// `tcp` or `udp`.
    pub protocol: String,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} -> {} {}",
            self.source, self.destination, self.protocol
        )
    }
}

impl Event {
    /// The cell that the test measures.
    pub fn cell(&self) -> Cell {
        Cell {
            source: self.source_node.clone(),
            destination: self.destination_node.clone(),
            protocol: self.protocol.clone(),
        }
    }
}

/// The test events in `log`.
///
/// # Errors
/// If a line is a test event and lacks a field; the text has the line and the problem.
pub fn parse(log: &str) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for line in log.lines() {
        // The logs are read many times, and this costs less than parsing every line.
        if !line.contains("\"test_") {
            continue;
        }
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let kind = value.get("event").cloned().unwrap_or_default();
        if serde_json::from_value::<Kind>(kind).is_err() {
            continue;
        }
        events.push(serde_json::from_value(value).map_err(|error| format!("{error}: {line}"))?);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"timestamp":"2026-01-01T00:00:00Z","level":"INFO","event":"test_started","node":"n1",
        "epoch":"00ff","peer":"n2","role":"client","source_node":"n1","destination_node":"n2","protocol":"tcp",
        "meeting":"00ff-7","sweep":3,"unix_ns":1,"boot_ns":2000,"deadline_boot_ns":9000,"pid":17}"#;

    #[test]
    fn parse_finds_events_among_other_lines() {
        let line = LINE.replace('\n', "");
        let log = format!("thread panicked\n{{\"event\":\"left\"}}\n{line}\n{{\"half\": ");
        let events = parse(&log).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].sweep, events[0].boot_ns, events[0].pid),
            (3, 2000, Some(17))
        );
    }

    #[test]
    fn event_that_lacks_a_field_is_an_error() {
        let line = LINE.replace('\n', "").replace("\"boot_ns\":2000,", "");
        assert!(parse(&line).unwrap_err().contains("boot_ns"));
    }
}
