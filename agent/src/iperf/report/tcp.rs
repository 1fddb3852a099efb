//! The figures of a TCP test.

use iperf3_mesh_core::{Figure, Figures, Outcome, Reason, TestSpec};
use serde_json::{Map, Value};

use super::sum::{Removed, Sum};

/// Reads one direction of a TCP test.
pub(super) fn read(
    spec: &TestSpec,
    end: &Map<String, Value>,
    reverse: bool,
    removed: &mut Removed,
) -> Outcome {
    let received = Sum::of(end, "sum_received", reverse).ok_or(Reason::BadReport)?;
    let bandwidth_mbps = received.bandwidth_mbps(spec, removed)?;
    let retransmits = Sum::of(end, "sum_sent", reverse)
        .and_then(|sent| sent.figure("retransmits", Figure::Retransmits, removed));
    // Only the sending end measures the round-trip time, and the report contains only the streams
    // that the client sent.
    let rtt_ms = if reverse { None } else { rtt_ms(end, removed) };
    Ok(Figures {
        retransmits: retransmits.map(|count| count as u64),
        rtt_ms,
        ..Figures::of_bandwidth(bandwidth_mbps)
    })
}

/// Returns the mean of the mean round-trip times of the streams that this end sent. The report
/// gives them in microseconds, and zero if there was no sample. A stream that this end received has
/// a time of its own, which says nothing about the path under load.
fn rtt_ms(end: &Map<String, Value>, removed: &mut Removed) -> Option<f64> {
    let streams = end.get("streams")?.as_array()?;
    let mut means = Vec::new();
    for stream in streams {
        let Some(sender) = stream.get("sender").and_then(Value::as_object) else {
            continue;
        };
        if sender.get("sender").and_then(Value::as_bool) == Some(false) {
            continue;
        }
        let mean = Sum(sender).figure("mean_rtt", Figure::Rtt, removed);
        means.extend(mean.filter(|mean| *mean > 0.0));
    }
    let count = means.len() as f64;
    (!means.is_empty()).then(|| means.iter().sum::<f64>() / count / 1000.0)
}
