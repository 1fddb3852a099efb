//! Helpers of the tests: the samples, the settings of their tests, and expected figures.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use iperf3_mesh::iperf::Report;
use iperf3_mesh_core::{Figures, Outcome, Protocol, TestSpec};
use serde_json::{Value, json};

/// Megabits per second, retransmits, round-trip time in milliseconds.
pub(crate) fn tcp(bandwidth_mbps: f64, retransmits: u64, rtt_ms: Option<f64>) -> Outcome {
    Ok(Figures {
        bandwidth_mbps,
        retransmits: Some(retransmits),
        rtt_ms,
        ..Figures::default()
    })
}

/// Megabits per second, jitter in milliseconds, datagrams sent and lost.
pub(crate) fn udp(bandwidth_mbps: f64, jitter_ms: f64, packets: u64, lost: u64) -> Outcome {
    Ok(Figures {
        bandwidth_mbps,
        jitter_ms: Some(jitter_ms),
        packets: Some(packets),
        lost_packets: Some(lost),
        ..Figures::default()
    })
}

/// The report of a test of 5 s that sent so many datagrams. `highest` is the highest sequence
/// number at the receiver, `lost` is iperf3's own count.
pub(crate) fn udp_report(sent: u64, arrived: u64, highest: u64, lost: i64) -> Vec<u8> {
    let sum = |datagrams: u64, packets: u64| {
        let bytes = datagrams * 1200;
        json!({ "seconds": 5, "bytes": bytes, "bits_per_second": bytes as f64 * 8.0 / 5.0,
            "jitter_ms": 0.1, "lost_packets": lost, "packets": packets })
    };
    json!({ "start": { "test_start": { "blksize": 1200 } },
        "end": { "sum": sum(sent, sent), "sum_sent": sum(sent, sent),
            "sum_received": sum(arrived, highest) } })
    .to_string()
    .into_bytes()
}

pub(crate) fn spec(protocol: Protocol, bidir: bool) -> TestSpec {
    TestSpec {
        protocol,
        duration: Duration::from_secs(5),
        omit: Duration::ZERO,
        timeout: Duration::from_secs(10),
        bitrate: None,
        streams: 1,
        bidir,
    }
}

pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples")
}

/// Returns the document of a sample.
pub(crate) fn sample(name: &str) -> Value {
    serde_json::from_slice(&fs::read(samples().join(format!("{name}.json"))).unwrap()).unwrap()
}

/// Reads a sample. The test had the settings that the sample itself tells.
pub(crate) fn report(name: &str, spec: &TestSpec) -> Report {
    let stdout = fs::read(samples().join(format!("{name}.json"))).unwrap();
    let stderr = fs::read(samples().join(format!("{name}.stderr"))).unwrap_or_default();
    let document: Value = serde_json::from_slice(&stdout).unwrap_or_default();
    let setting = |key| document["start"]["test_start"][key].as_u64();
    let spec = TestSpec {
        duration: setting("duration").map_or(spec.duration, Duration::from_secs),
        streams: setting("num_streams").map_or(1, |streams| u8::try_from(streams).unwrap()),
        ..spec.clone()
    };
    Report::read(&spec, &stdout, &stderr)
}

pub(crate) fn assert_close(name: &str, actual: &Outcome, expected: &Outcome) {
    let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 0.0006 * b.max(1.0),
        (a, b) => a == b,
    };
    let same = match (actual, expected) {
        (Ok(a), Ok(b)) => {
            close(Some(a.bandwidth_mbps), Some(b.bandwidth_mbps))
                && close(a.jitter_ms, b.jitter_ms)
                && close(a.rtt_ms, b.rtt_ms)
                && (a.packets, a.lost_packets, a.retransmits)
                    == (b.packets, b.lost_packets, b.retransmits)
        }
        (a, b) => a == b,
    };
    assert!(same, "{name}: expected {expected:?}, read {actual:?}");
}
