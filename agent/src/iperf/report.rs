//! Reads the outcome of a test from the output of its client.
//!
//! This module does no I/O. Only the client's report is read: both ends exchange their results at
//! the end of a test, and the server's own report contains only one side. Exit codes are ignored. A
//! test succeeded if the output contains a JSON document without an `error`, if the document has
//! the sums that the test must have, and if at least one byte arrived.
//!
//! The document is kept as a tree rather than as typed structs: iperf3 up to 3.14 repeats keys,
//! which typed structs reject, and no field is present in every version.

use iperf3_mesh_core::{Figures, Outcome, Protocol, Reason, TestSpec};
use serde_json::{Map, Value};

use super::reason;
use crate::text::excerpt;

/// The maximum number of characters of an iperf3 message that are kept for the log.
pub(super) const DETAIL_MAX: usize = 300;

/// The prefix of iperf3's own messages.
const PREFIX: &str = "iperf3: ";

/// The highest plausible bitrate, in bits per second: no link is faster.
const BITRATE_MAX: f64 = 1e14;

/// The highest plausible count: up to here a double holds every whole number.
const COUNT_MAX: f64 = (1_u64 << 53) as f64;

/// The maximum number of datagrams per stream that may be in flight, neither lost nor counted, when
/// the receiver stops.
const TAIL: f64 = 3.0;

/// The same limit for a large test, as a share of its datagrams.
const TAIL_RATIO: f64 = 0.003;

/// The outcome of one client.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The outcome from the client to the server.
    pub forward: Outcome,
    /// The outcome from the server to the client, if the test measured both directions.
    pub reverse: Option<Outcome>,
    /// Text for the log: iperf3's message after a failure, empty after a success.
    pub detail: String,
}

impl Report {
    /// Reads the standard output and standard error of a client that ended by itself.
    pub fn read(spec: &TestSpec, stdout: &[u8], stderr: &[u8]) -> Self {
        let stderr = String::from_utf8_lossy(stderr);
        let message = error_message(&stderr);
        let Some(document) = document(stdout) else {
            return if message.is_empty() {
                Self::failed(spec, Reason::BadReport, "no complete report was written")
            } else {
                Self::failed(spec, reason::of(message, false), message)
            };
        };
        if let Some(error) = document.get("error") {
            let error = error.as_str().unwrap_or("an error that is not text");
            return Self::failed(spec, reason::of(error, begun(&document)), error);
        }
        // 3.9 writes its errors only to standard error, even if the test broke off.
        let reason = reason::of(message, begun(&document));
        if !message.is_empty() && reason != Reason::Iperf {
            return Self::failed(spec, reason, message);
        }
        match document.get("end").and_then(Value::as_object) {
            Some(end) if !end.is_empty() => figures(spec, &document, end),
            _ if message.is_empty() => {
                Self::failed(spec, Reason::BadReport, "the report has no end")
            }
            _ => Self::failed(spec, reason, message),
        }
    }

    /// Returns a report in which every direction has failed.
    pub(super) fn failed(spec: &TestSpec, reason: Reason, detail: &str) -> Self {
        Self {
            forward: Err(reason),
            reverse: spec.bidir.then_some(Err(reason)),
            detail: excerpt(detail, DETAIL_MAX),
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
    let read = |reverse| match spec.protocol {
        Protocol::Tcp => tcp(end, reverse),
        Protocol::Udp => udp(spec, document, end, reverse),
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
    }
}

fn tcp(end: &Map<String, Value>, reverse: bool) -> Outcome {
    let received = Sum::of(end, "sum_received", reverse).ok_or(Reason::BadReport)?;
    let bandwidth_mbps = received.bandwidth_mbps()?;
    let retransmits = match Sum::of(end, "sum_sent", reverse) {
        Some(sent) => sent.count("retransmits")?,
        None => None,
    };
    // Only the sending end measures the round-trip time, and the report contains only the streams
    // that the client sent.
    let rtt_ms = if reverse { None } else { rtt_ms(end)? };
    Ok(Figures {
        bandwidth_mbps,
        retransmits,
        rtt_ms,
        ..Figures::default()
    })
}

/// Returns the mean of the mean round-trip times of all streams. The report gives them in
/// microseconds, with zero for a stream that this end did not send.
fn rtt_ms(end: &Map<String, Value>) -> Result<Option<f64>, Reason> {
    let streams = end
        .get("streams")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let mut means = Vec::new();
    for stream in streams {
        if let Some(sender) = stream.get("sender").and_then(Value::as_object)
            && let Some(mean) = Sum(sender).number("mean_rtt")?
            && mean > 0.0
        {
            means.push(mean);
        }
    }
    let count = means.len() as f64;
    Ok((!means.is_empty()).then(|| means.iter().sum::<f64>() / count / 1000.0))
}

fn udp(spec: &TestSpec, document: &Value, end: &Map<String, Value>, reverse: bool) -> Outcome {
    let total = Sum::of(end, "sum", reverse).ok_or(Reason::BadReport)?;
    let (Some(sent), Some(received)) = (
        Sum::of(end, "sum_sent", reverse),
        Sum::of(end, "sum_received", reverse),
    ) else {
        return udp_by_gaps(&total);
    };
    let bandwidth_mbps = received.bandwidth_mbps()?;
    let block = document
        .pointer("/start/test_start/blksize")
        .and_then(Value::as_f64);
    let block = block
        .filter(|block| *block >= 1.0)
        .ok_or(Reason::BadReport)?;
    let packets = sent
        .count("packets")?
        .filter(|packets| *packets > 0)
        .ok_or(Reason::BadReport)?;
    let arrived = received.number("bytes")?.ok_or(Reason::BadReport)? / block;
    let lost = lost(packets as f64, arrived, total.lost()?, spec.streams);
    Ok(Figures {
        bandwidth_mbps,
        jitter_ms: received.number("jitter_ms")?,
        packets: Some(packets),
        lost_packets: Some(lost),
        ..Figures::default()
    })
}

/// Returns the number of lost datagrams. `gaps` is iperf3's own count, derived from gaps in the
/// sequence numbers at the receiver. It is exact, but misses every loss after the last datagram
/// that arrived, so it shows no loss if nothing arrives at all. The count derived from missing
/// bytes does include such losses, but it also includes the last few datagrams that were still in
/// flight when the receiver stopped. Therefore `gaps` is used as long as those few datagrams
/// explain the difference.
fn lost(packets: f64, arrived: f64, gaps: f64, streams: u8) -> u64 {
    let missing = (packets - arrived).max(0.0).round();
    let tail = (TAIL * f64::from(streams.max(1))).max(packets * TAIL_RATIO);
    let lost = if missing <= gaps + tail {
        missing.min(gaps)
    } else {
        missing
    };
    lost as u64
}

/// Reads the outcome from the sender's sum and the receiver's gaps, which are all that 3.9 and 3.10
/// report. A jitter of exactly zero means that fewer than two datagrams arrived.
fn udp_by_gaps(total: &Sum) -> Outcome {
    let packets = total
        .count("packets")?
        .filter(|packets| *packets > 0)
        .ok_or(Reason::BadReport)?;
    let lost = total.lost()?.min(packets as f64);
    let jitter = total.number("jitter_ms")?.ok_or(Reason::BadReport)?;
    let arrived_ratio = 1.0 - lost / packets as f64;
    if jitter == 0.0 || arrived_ratio == 0.0 {
        return Err(Reason::NoData);
    }
    Ok(Figures {
        bandwidth_mbps: total.bandwidth_mbps()? * arrived_ratio,
        jitter_ms: Some(jitter),
        packets: Some(packets),
        lost_packets: Some(lost as u64),
        ..Figures::default()
    })
}

/// One JSON object with figures in the report. An absent figure is `None`; an impossible figure
/// makes the whole report bad.
struct Sum<'a>(&'a Map<String, Value>);

impl<'a> Sum<'a> {
    fn of(end: &'a Map<String, Value>, name: &str, reverse: bool) -> Option<Self> {
        let key = if reverse {
            format!("{name}_bidir_reverse")
        } else {
            name.to_owned()
        };
        end.get(&key)?.as_object().map(Self)
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Reason> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let plausible = value
            .as_f64()
            .filter(|number| (0.0..=COUNT_MAX).contains(number));
        plausible.map(Some).ok_or(Reason::BadReport)
    }

    fn count(&self, name: &str) -> Result<Option<u64>, Reason> {
        Ok(self.number(name)?.map(|number| number as u64))
    }

    fn bandwidth_mbps(&self) -> Result<f64, Reason> {
        let bytes = self.number("bytes")?.ok_or(Reason::BadReport)?;
        let bitrate = self.number("bits_per_second")?.ok_or(Reason::BadReport)?;
        if bytes == 0.0 || bitrate == 0.0 {
            return Err(Reason::NoData);
        }
        if bitrate > BITRATE_MAX {
            return Err(Reason::BadReport);
        }
        Ok(bitrate / 1e6)
    }

    /// Returns the number of lost datagrams, or zero if iperf3 reports a negative number: it
    /// subtracts each datagram that arrives twice or late, even if that datagram was never counted
    /// as lost.
    fn lost(&self) -> Result<f64, Reason> {
        let lost = self
            .0
            .get("lost_packets")
            .and_then(Value::as_f64)
            .ok_or(Reason::BadReport)?;
        Ok(lost.clamp(0.0, COUNT_MAX))
    }
}

/// Returns the first JSON document in the output. Warnings may precede it.
fn document(stdout: &[u8]) -> Option<Value> {
    let start =
        (0..stdout.len()).find(|&at| stdout[at] == b'{' && (at == 0 || stdout[at - 1] == b'\n'))?;
    serde_json::Deserializer::from_slice(&stdout[start..])
        .into_iter()
        .next()?
        .ok()
}

/// Returns the last error message of iperf3 on standard error, without the program's name. If there
/// is no such message, returns the last line.
pub(super) fn error_message(stderr: &str) -> &str {
    let own = |line: &&str| line.starts_with(PREFIX) && *line != "iperf3: exiting";
    let mut lines = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let line = lines
        .clone()
        .rfind(own)
        .or_else(|| lines.next_back())
        .unwrap_or_default();
    line.strip_prefix(PREFIX).unwrap_or(line)
}
