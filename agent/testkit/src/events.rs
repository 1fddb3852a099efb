//! The agents' log, as far as it is evidence: the start and the end of every test.
//!
//! Everything else in a log is ignored here, whether it is JSON or not.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An iperf3 was started for a test.
    TestStarted,
    /// It is over, and its iperf3 dead.
    TestFinished,
}

/// The part a node has in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Its iperf3 connects.
    Client,
    /// Its iperf3 is connected to.
    Server,
}

/// One event, with the names of the log.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// What happened.
    pub event: Kind,
    /// Where.
    pub node: String,
    /// In which life of that node; opaque.
    pub epoch: Value,
    /// With whom.
    pub peer: String,
    /// In which part.
    pub role: Role,
    /// Who sends.
    pub source_node: String,
    /// Who receives.
    pub destination_node: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The meeting it belongs to, the same at both nodes; opaque.
    pub meeting: Value,
    /// The sweep it belongs to.
    pub sweep: u64,
    /// When, on the clock of [`super::boot_ns`].
    pub boot_ns: u64,
    /// When the iperf3 is dead at the latest, on the same clock.
    pub deadline_boot_ns: u64,
    /// The process.
    pub pid: Option<u32>,
    /// What came of it, in an end.
    pub outcome: Option<String>,
    /// Why it failed, in the end of a failure.
    pub reason: Option<String>,
}

/// A directed pair and a protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Who sends.
    pub source: String,
    /// Who receives.
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

/// The events in `log`. A line that calls itself one of them and lacks what belongs to it is an
/// error.
///
/// # Errors
/// With the line and what is wrong with it.
pub fn parse(log: &str) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for line in log.lines() {
        // Cheaper than to read every line as JSON, many times over.
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
    fn events_are_found_among_other_lines() {
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
    fn an_event_without_its_fields_is_an_error() {
        let line = LINE.replace('\n', "").replace("\"boot_ns\":2000,", "");
        assert!(parse(&line).unwrap_err().contains("boot_ns"));
    }
}
