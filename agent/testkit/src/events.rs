//! The test events of an agent's log: the start and the end of every test.
//!
//! The parser ignores all other lines, whether they are JSON or not.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// The kind of a test event.
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
    /// The iperf3 of the node connects.
    Client,
    /// The iperf3 of the node listens.
    Server,
}

/// One test event, with the field names of the log.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Whether the event is a start or an end.
    pub event: Kind,
    /// The node that logged the event.
    pub node: String,
    /// The epoch of that node, as an opaque value.
    pub epoch: Value,
    /// The other node.
    pub peer: String,
    /// The role of `node`.
    pub role: Role,
    /// The sending node.
    pub source_node: String,
    /// The receiving node.
    pub destination_node: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The meeting, the same at both nodes, as an opaque value.
    pub meeting: Value,
    /// The sweep of the meeting.
    pub sweep: u64,
    /// The time of the event on the clock of [`crate::boot_ns`].
    pub boot_ns: u64,
    /// The time by which the iperf3 is dead, on the clock of [`crate::boot_ns`].
    pub deadline_boot_ns: u64,
    /// The process.
    pub pid: Option<u32>,
    /// The outcome, which only an end event has.
    pub outcome: Option<String>,
    /// The reason, which only the end event of a failed test has.
    pub reason: Option<String>,
}

/// A directed pair and a protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The sending node.
    pub source: String,
    /// The receiving node.
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
    /// Returns the cell that the test measures.
    pub fn cell(&self) -> Cell {
        Cell {
            source: self.source_node.clone(),
            destination: self.destination_node.clone(),
            protocol: self.protocol.clone(),
        }
    }
}

/// Returns the test events in `log`.
///
/// # Errors
/// If a line is a test event but lacks a field; the text has the line and the problem.
pub fn parse(log: &str) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for line in log.lines() {
        // The logs are read many times, and this check costs less than parsing every line.
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
