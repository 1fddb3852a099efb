//! The figures of a UDP test.
//!
//! Some figures of iperf3 are wrong when the two ends have different versions: a client from 3.14
//! on does not understand the counts of a server up to 3.13 (`docs/iperf3.md` has the table). The
//! bytes of both ends and the highest sequence number at the receiver are right in every
//! combination, so the loss is computed from them.

use iperf3_mesh_core::{Figure, Figures, Outcome, Reason, TestSpec};
use serde_json::{Map, Value};

use super::sum::{Removed, Sum};

/// The maximum number of datagrams per stream that may be in flight, neither lost nor counted, when
/// the receiver stops.
const TAIL: f64 = 3.0;

/// The same limit for a large test, as a share of its datagrams.
const TAIL_RATIO: f64 = 0.003;

/// The share by which the two counts of the datagrams that were sent may differ.
const COUNT_RATIO: f64 = 0.01;

/// Reads one direction of a UDP test.
pub(super) fn read(
    spec: &TestSpec,
    document: &Value,
    end: &Map<String, Value>,
    reverse: bool,
    removed: &mut Removed,
) -> Outcome {
    let sum = |name| Sum::of(end, name, reverse);
    match (sum("sum_sent"), sum("sum_received")) {
        (Some(sent), Some(received)) => {
            let sums = Sums {
                sent,
                received,
                lost: sum("sum").and_then(lost_packets),
                block: block(document),
                streams: f64::from(spec.streams.max(1)),
            };
            sums.read(spec, removed)
        }
        _ => by_gaps(spec, sum("sum").ok_or(Reason::BadReport)?, removed),
    }
}

/// Returns the payload of a datagram, in bytes.
fn block(document: &Value) -> Option<f64> {
    let block = document.pointer("/start/test_start/blksize")?;
    block.as_f64().filter(|block| *block >= 1.0)
}

/// Returns the number of lost datagrams, which can be negative: iperf3 subtracts each datagram that
/// arrives twice or late, even if that datagram was never counted as lost.
fn lost_packets(total: Sum) -> Option<f64> {
    total.0.get("lost_packets")?.as_f64()
}

/// The sums of one direction, from 3.11 on.
struct Sums<'a> {
    sent: Sum<'a>,
    received: Sum<'a>,
    /// The number of lost datagrams that iperf3 reports.
    lost: Option<f64>,
    block: Option<f64>,
    streams: f64,
}

impl Sums<'_> {
    fn read(&self, spec: &TestSpec, removed: &mut Removed) -> Outcome {
        let bandwidth_mbps = self.received.bandwidth_mbps(spec, removed)?;
        let packets = self.packets(removed);
        let lost = packets.and_then(|packets| self.lost(packets, removed));
        Ok(Figures {
            jitter_ms: self.received.figure("jitter_ms", Figure::Jitter, removed),
            packets: packets.map(|packets| packets as u64),
            lost_packets: lost.map(|lost| lost as u64),
            ..Figures::of_bandwidth(bandwidth_mbps)
        })
    }

    /// Returns the number of whole datagrams in the bytes of `sum`.
    fn datagrams(&self, sum: Sum) -> Option<f64> {
        Some((sum.number("bytes")? / self.block?).round())
    }

    /// Returns the number of datagrams that were sent. The sender's bytes correct its count, and if
    /// there are no such bytes either, it sent as many as the receiver saw.
    fn packets(&self, removed: &mut Removed) -> Option<f64> {
        let is_some = |count: &f64| *count >= 1.0;
        let reported = self.sent.number("packets").filter(is_some);
        let computed = self.datagrams(self.sent).filter(is_some);
        let agrees = |reported: &f64| {
            computed.is_none_or(|computed| {
                let tolerance = self.streams + computed * COUNT_RATIO;
                (reported - computed).abs() <= tolerance
            })
        };
        reported.filter(agrees).or_else(|| {
            removed.add(Figure::Packets);
            let seen = self.received.number("packets").filter(is_some);
            computed.or(seen)
        })
    }

    /// Returns the number of lost datagrams.
    ///
    /// The gaps in the sequence numbers at the receiver are exact, but miss every loss after the
    /// last datagram that arrived, so they show no loss if nothing arrives at all. The count
    /// derived from missing bytes does include such losses, but it also includes the last few
    /// datagrams that were still in flight when the receiver stopped. Therefore the gaps count as
    /// long as those few datagrams explain the difference.
    fn lost(&self, packets: f64, removed: &mut Removed) -> Option<f64> {
        let tail = (TAIL * self.streams).max(packets * TAIL_RATIO);
        let arrived = self.datagrams(self.received);
        let gaps = self.gaps(packets, arrived, removed);
        let Some(arrived) = arrived else {
            return gaps.map(|gaps| gaps.min(packets - 1.0));
        };
        let missing = (packets - arrived).max(0.0);
        let gaps = gaps.unwrap_or(0.0);
        Some(if missing <= gaps + tail {
            missing.min(gaps)
        } else {
            missing
        })
    }

    /// Returns the number of datagrams that are missing before the last one that arrived. The
    /// highest sequence number less the datagrams that arrived gives the same number as iperf3's
    /// own count, whenever that count is right.
    fn gaps(&self, packets: f64, arrived: Option<f64>, removed: &mut Removed) -> Option<f64> {
        let highest = self.received.number("packets");
        let highest = highest.filter(|highest| (1.0..=packets).contains(highest));
        let gaps = match (highest, arrived) {
            (Some(highest), Some(arrived)) => Some((highest - arrived).max(0.0)),
            _ => None,
        };
        let reported = self.lost.filter(|lost| *lost <= packets);
        let tolerance = TAIL * self.streams;
        let agrees = |lost: f64| gaps.is_none_or(|gaps| (lost - gaps).abs() <= tolerance);
        if !reported.is_some_and(agrees) {
            removed.add(Figure::LostPackets);
        }
        gaps.or(reported.map(|lost| lost.max(0.0)))
    }
}

/// Reads the outcome from the sender's sum and the receiver's gaps, which are all that 3.9 and 3.10
/// report. A jitter of exactly zero means that fewer than two datagrams arrived.
fn by_gaps(spec: &TestSpec, total: Sum, removed: &mut Removed) -> Outcome {
    let packets = total.number("packets").filter(|packets| *packets >= 1.0);
    let packets = packets.ok_or(Reason::BadReport)?;
    let lost = lost_packets(total).filter(|lost| *lost <= packets);
    let lost = lost.ok_or(Reason::BadReport)?.max(0.0);
    let jitter_ms = total.figure("jitter_ms", Figure::Jitter, removed);
    let is_absent = total.0.get("jitter_ms").and_then(Value::as_f64).is_none();
    if jitter_ms == Some(0.0) || lost == packets {
        return Err(Reason::NoData);
    }
    if is_absent && lost == 0.0 {
        // Nothing shows whether anything arrived.
        return Err(Reason::BadReport);
    }
    let arrived_ratio = 1.0 - lost / packets;
    Ok(Figures {
        jitter_ms,
        packets: Some(packets as u64),
        lost_packets: Some(lost as u64),
        ..Figures::of_bandwidth(total.bandwidth_mbps(spec, removed)? * arrived_ratio)
    })
}
