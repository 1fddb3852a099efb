//! The entry points of the fuzz targets in `fuzz/`. Each of them takes arbitrary bytes and asserts
//! the properties that must hold for all inputs.
//!
//! The module is behind the feature `fuzzing`, which no released build enables. The properties are
//! in this crate because the parsers are private. `tests/fuzz_seeds.rs` runs the seed corpora
//! through these functions.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use iperf3_mesh_core::wire::{Body, Complaints, Handover, MeetingId, Message};
use iperf3_mesh_core::{Epoch, NodeName, Outcome, Protocol, TestSpec, WIRE_VERSION};

use crate::api::{Matrix, RowReport};
pub use crate::config::fuzzing::config_value;
pub use crate::discovery::fuzzing::pod_list;
use crate::http;
use crate::iperf::{Report, Version, read_output};
use crate::render::heatmap::{self, Screen};
use crate::render::table;
use crate::runtime::is_message;
use crate::sealing;

/// The content types of a message.
const MESSAGE_TYPES: [&str; 2] = ["application/json", sealing::CONTENT_TYPE];

/// The address of the peer in [`iperf_output`] and in its seed corpus.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Reads `bytes` as the output of an iperf3 client: standard output up to the first zero byte,
/// standard error after it. The peer must accept every outcome that is read from this output.
///
/// # Panics
/// Panics if this does not hold.
pub fn iperf_report(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let stdout = parts.next().unwrap_or_default();
    let stderr = parts.next().unwrap_or_default();
    for (protocol, bidir) in [
        (Protocol::Tcp, false),
        (Protocol::Tcp, true),
        (Protocol::Udp, false),
        (Protocol::Udp, true),
    ] {
        let report = Report::read(&spec(protocol, bidir), stdout, stderr);
        assert_eq!(report.reverse.is_some(), bidir);
        let handover = std::iter::once(report.forward)
            .chain(report.reverse)
            .map(|outcome| Handover { protocol, outcome })
            .collect();
        assert_handed_over(handover);
    }
}

/// Reads `bytes` as the output of an iperf3 server (`-V`), and as the answer to `iperf3 --version`.
/// The result must not depend on the pieces in which the output arrives, only the peer may count as
/// accepted, and a server that sends data must count as a breach.
///
/// # Panics
/// Panics if this does not hold.
pub fn iperf_output(bytes: &[u8]) {
    let _ = Version::parse(&String::from_utf8_lossy(bytes));
    let spec = spec(Protocol::Udp, false);
    let whole = read_output(bytes, bytes.len(), PEER, &spec);
    let (_, _, unexpected_client, breach) = &whole;
    assert_ne!(*unexpected_client, Some(PEER));
    let sends = |line: &[u8]| line.starts_with(b"[ ID][Role] Interval");
    let has_sent = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .any(|line| line.ends_with(b"\n") && sends(line));
    assert!(breach.is_some() || !has_sent, "data from the server");
    for size in [1, 7] {
        assert_eq!(
            read_output(bytes, size, PEER, &spec),
            whole,
            "pieces of {size}"
        );
    }
}

/// Reads `bytes` as a request for one of the HTTP ports, after a line for `--allowed-hosts`. Only a
/// name that no stranger can have may be admitted without that option, only a listed one with it,
/// and only the content types of messages may count as one.
///
/// # Panics
/// Panics if this does not hold.
pub fn http_request(bytes: &[u8]) {
    let Some(request) = http::fuzzing::request(bytes) else {
        return;
    };
    let is_message_type = |value: &HeaderValue| {
        let value = value.as_bytes().trim_ascii_start();
        MESSAGE_TYPES.iter().any(|expected| {
            let start = value.get(..expected.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(expected.as_bytes()))
        })
    };
    if is_message(request.method(), request.uri().path(), request.headers()) {
        assert!(
            request
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(is_message_type)
        );
    }
}

/// Reads `bytes` as the answer of an agent to `/api/v1/matrix` and to `/api/v1/row`. No figure of a
/// row may be one that cannot be, and no rendering
/// of a matrix may contain anything that a terminal would interpret, except for the colours of the
/// heatmap.
///
/// # Panics
/// Panics if this does not hold.
pub fn api_answer(bytes: &[u8]) {
    if let Ok(row) = serde_json::from_slice::<RowReport>(bytes) {
        for cell in row.cells {
            let result = cell.result.plausible(cell.protocol);
            let ages = [result.age_seconds, result.success_age_seconds];
            let figures = [result.bandwidth_mbps, result.jitter_ms, result.rtt_ms];
            let all = ages.into_iter().chain(figures).flatten();
            assert!(
                all.into_iter().all(|it| (0.0..1e9).contains(&it)),
                "{result:?}"
            );
        }
    }
    let Ok(matrix) = serde_json::from_slice::<Matrix>(bytes) else {
        return;
    };
    let texts = [
        heatmap::render(&matrix, Screen::PLAIN),
        table::table(&matrix),
        table::csv(&matrix),
        table::json(&matrix).unwrap_or_default(),
    ];
    for text in texts {
        let is_harmless = |c: char| !c.is_control() || c == '\n' || c == '\r';
        assert!(text.chars().all(is_harmless), "{text:?}");
    }
    let narrow = Screen {
        colour: true,
        width: Some(40),
    };
    let _ = heatmap::render(&matrix, narrow);
}

fn spec(protocol: Protocol, bidir: bool) -> TestSpec {
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

/// Asserts that the receiver accepts these results.
fn assert_handed_over(handover: Vec<Handover>) {
    let name = |text| NodeName::new(text).expect("a name");
    let outcomes: Vec<Outcome> = handover.iter().map(|one| one.outcome.clone()).collect();
    let message = Message {
        wire: WIRE_VERSION,
        from: name("a"),
        from_epoch: Epoch(1),
        to: name("b"),
        to_epoch: Epoch(2),
        sweep: 1,
        meeting: Some(MeetingId {
            asker: name("a"),
            epoch: Epoch(1),
            number: 1,
        }),
        complaints: Complaints::new(),
        body: Body::End {
            handover,
            confirm: false,
        },
    };
    let received = Message::decode(&message.encode());
    assert!(received.is_ok(), "{received:?} for {outcomes:?}");
}
