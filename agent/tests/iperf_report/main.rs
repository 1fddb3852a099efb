//! Reading of real iperf3 reports, and of damaged ones.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is a failed test, and the table reads better"
)]

mod helpers;
mod odd_figures;

use std::fs;

use iperf3_mesh::iperf::Report;
use iperf3_mesh_core::{Figures, Outcome, Protocol, Reason, plausible};
use proptest::prelude::*;
use serde_json::{Value, json};

use Protocol::{Tcp, Udp};
use helpers::{assert_close, report, samples, spec, tcp, udp, udp_report};

#[rustfmt::skip]
fn one_way() -> Vec<(&'static str, Protocol, Outcome)> {
    use Reason::{BadReport, Busy, Connect, Interrupted, Iperf, NoData};
    vec![
        ("ok-3.7-tcp.client", Tcp, tcp(97.871, 0, Some(0.172))),
        ("ok-3.7-P4.client", Tcp, tcp(389.029, 4, Some(0.293))),
        ("ok-3.7-omit.client", Tcp, tcp(94.763, 0, Some(0.174))),
        ("ok-3.7-udp.client", Udp, udp(10.085, 0.2225, 77, 0)),
        ("ok-3.7-udp-P4.client", Udp, udp(40.369, 0.0994, 308, 0)),
        ("ok-3.9-tcp.client", Tcp, tcp(96.823, 1, Some(0.179))),
        ("ok-3.9-P4.client", Tcp, tcp(390.402, 8, Some(0.214))),
        ("ok-3.9-omit.client", Tcp, tcp(98.064, 0, Some(0.135))),
        ("ok-3.9-udp.client", Udp, udp(9.922, 0.8040, 76, 0)),
        // The sender's 40.138 less the six of 308 that were lost.
        ("ok-3.9-udp-P4.client", Udp, udp(39.356, 0.2922, 308, 6)),
        ("ok-3.12-tcp.client", Tcp, tcp(10171.629, 1807, Some(0.586))),
        ("ok-3.12-tcp-P4.client", Tcp, tcp(6880.000, 1939, Some(0.666))),
        ("ok-3.12-tcp-i0.client", Tcp, tcp(10950.479, 5, Some(0.223))),
        ("ok-3.12-tcp-ipv6.client", Tcp, tcp(9591.072, 0, Some(0.282))),
        ("ok-3.12-tcp-omit.client", Tcp, tcp(9229.170, 1104, Some(0.173))),
        ("ok-3.12-udp.client", Udp, udp(9.996, 0.0082, 2589, 0)),
        ("ok-3.12-udp-P4.client", Udp, udp(40.001, 0.0153, 10360, 0)),
        ("ok-3.12-udp-omit.client", Udp, udp(9.980, 0.0569, 2590, 0)),
        // 98 of 416270 were on their way when the receiver stopped: not lost.
        ("ok-3.12-udp-b0.client", Udp, udp(702.303, 0.0063, 416_270, 234_164)),
        ("ok-3.12-udp-reorder-30-0.client", Udp, udp(1.977, 1.8988, 1042, 0)),
        // Three were still under way.
        ("ok-3.12-udp-reorder-5-20.client", Udp, udp(1.983, 7.9430, 1042, 0)),
        ("ok-3.17.1-tcp.client", Tcp, tcp(98.420, 2, Some(4.193))),
        ("ok-3.17.1-P4.client", Tcp, tcp(371.858, 8, Some(1.665))),
        ("ok-3.17.1-omit.client", Tcp, tcp(93.701, 0, Some(1.181))),
        ("ok-3.17.1-udp.client", Udp, udp(9.918, 2.3539, 77, 0)),
        ("ok-3.17.1-udp-P4.client", Udp, udp(39.357, 1.9268, 305, 0)),
        ("ok-3.17.1-jsonstream-client.client", Tcp, Err(BadReport)),
        ("ok-3.21-tcp.client", Tcp, tcp(98.753, 3, Some(0.154))),
        ("ok-3.21-P4.client", Tcp, tcp(396.721, 10, Some(1.579))),
        ("ok-3.21-omit.client", Tcp, tcp(100.124, 0, Some(0.606))),
        ("ok-3.21-udp.client", Udp, udp(9.877, 0.2789, 77, 0)),
        ("ok-3.21-udp-P4.client", Udp, udp(39.143, 1.8323, 309, 2)),
        ("ok-3.21-udp-reorder-30-0.client", Udp, udp(1.976, 0.1028, 1042, 0)),
        ("ok-3.21-udp-reorder-5-20.client", Udp, udp(1.982, 6.5088, 1042, 0)),
        ("ok-3.21-jsonstream-client.client", Tcp, Err(BadReport)),
        // It reports no loss; the server printed 10/5214.
        ("mixed-3.18-3.12-udp.client", Udp, udp(9.9807, 0.0039, 5214, 10)),

        ("auth-3.12-ok.client", Tcp, tcp(10.484, 0, Some(0.074))),
        ("auth-3.12-wrongpw.client", Tcp, Err(Iperf)),
        ("auth-3.21client-3.12server-oaep.client", Tcp, Err(Iperf)),
        ("auth-3.21client-3.12server-pkcs1.client", Tcp, Err(Iperf)),

        ("fail-3.9-badarg-range", Tcp, Err(Iperf)),
        ("fail-3.9-busy", Tcp, Err(Connect)),
        ("fail-3.9-client-SIGTERM-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.9-connect-timeout-2000", Tcp, Err(Connect)),
        ("fail-3.9-hostunreach", Tcp, Err(Connect)),
        ("fail-3.9-noroute", Tcp, Err(Connect)),
        ("fail-3.9-refused", Tcp, Err(Connect)),
        ("fail-3.9-server-SIGKILL-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.9-server-SIGKILL-midtest-udp.client", Udp, Err(Interrupted)),
        ("fail-3.9-server-SIGTERM-midtest.client", Tcp, Err(Interrupted)),
        // It has sums of 1199 datagrams with none lost, and its error on stderr.
        ("fail-3.9-server-SIGTERM-midtest-udp.client", Udp, Err(Interrupted)),
        ("fail-3.12-badarg", Tcp, Err(Iperf)),
        ("fail-3.12-badarg-range", Tcp, Err(Iperf)),
        ("fail-3.12-busy", Tcp, Err(Busy)),
        ("fail-3.12-client-SIGKILL-midtest.client", Tcp, Err(BadReport)),
        ("fail-3.12-client-SIGTERM-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.12-connect-timeout-2000", Tcp, Err(Connect)),
        ("fail-3.12-hostunreach", Tcp, Err(Connect)),
        ("fail-3.12-noroute", Tcp, Err(Connect)),
        ("fail-3.12-refused", Tcp, Err(Connect)),
        ("fail-3.12-server-SIGKILL-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.12-server-SIGKILL-midtest-udp.client", Udp, Err(Interrupted)),
        ("fail-3.12-server-SIGTERM-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.12-server-SIGTERM-midtest-udp.client", Udp, Err(Interrupted)),
        // It says itself: no error, nothing lost.
        ("fail-3.12-udp-100pct-dataloss.client", Udp, Err(NoData)),
        ("fail-3.12-udp-blocked.client", Udp, Err(Connect)),
        ("fail-3.16-badarg-range", Tcp, Err(Iperf)),
        ("fail-3.16-busy", Tcp, Err(Busy)),
        ("fail-3.16-client-SIGTERM-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.16-connect-timeout-2000", Tcp, Err(Connect)),
        ("fail-3.16-hostunreach", Tcp, Err(Connect)),
        ("fail-3.16-noroute", Tcp, Err(Connect)),
        ("fail-3.16-refused", Tcp, Err(Connect)),
        ("fail-3.16-server-SIGKILL-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.16-server-SIGKILL-midtest-udp.client", Udp, Err(Interrupted)),
        ("fail-3.16-server-SIGTERM-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.16-server-SIGTERM-midtest-udp.client", Udp, Err(Interrupted)),
        ("fail-3.21-badarg-range", Tcp, Err(Iperf)),
        ("fail-3.21-busy", Tcp, Err(Busy)),
        ("fail-3.21-client-SIGTERM-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.21-connect-timeout-2000", Tcp, Err(Connect)),
        ("fail-3.21-hostunreach", Tcp, Err(Connect)),
        ("fail-3.21-noroute", Tcp, Err(Connect)),
        ("fail-3.21-refused", Tcp, Err(Connect)),
        ("fail-3.21-server-SIGKILL-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.21-server-SIGKILL-midtest-udp.client", Udp, Err(Interrupted)),
        ("fail-3.21-server-SIGTERM-midtest.client", Tcp, Err(Interrupted)),
        ("fail-3.21-server-SIGTERM-midtest-udp.client", Udp, Err(Interrupted)),
        ("fail-3.21-udp-100pct-dataloss.client", Udp, Err(NoData)),

        ("blackhole-3.12-tcp-both.client", Tcp, Err(Interrupted)),
        ("blackhole-3.12-udp-both.client", Udp, Err(Interrupted)),
        ("blackhole-3.21-tcp-both.client", Tcp, Err(Interrupted)),
        ("blackhole-3.21-udp-none.client", Udp, Err(BadReport)),
        ("blackhole-3.21-udp-both.client", Udp, Err(Interrupted)),
    ]
}

#[rustfmt::skip]
fn both_ways() -> Vec<(&'static str, Protocol, Outcome, Outcome)> {
    use Reason::{BadReport, Interrupted};
    vec![
        // Before 3.11 the two directions have the same keys.
        ("ok-3.7-bidir.client", Tcp, Err(BadReport), Err(BadReport)),
        ("ok-3.7-udp-bidir.client", Udp, Err(BadReport), Err(BadReport)),
        ("ok-3.9-bidir.client", Tcp, Err(BadReport), Err(BadReport)),
        ("ok-3.9-udp-bidir.client", Udp, Err(BadReport), Err(BadReport)),
        ("ok-3.12-tcp-bidir.client", Tcp, tcp(5598.453, 1338, Some(0.893)), tcp(4681.314, 924, None)),
        ("ok-3.12-tcp-P2-bidir.client", Tcp, tcp(5782.169, 1177, Some(1.7345)), tcp(3083.824, 355, None)),
        ("ok-3.12-udp-bidir.client", Udp, udp(9.996, 0.0132, 2589, 0), udp(10.000, 0.0151, 2590, 0)),
        ("ok-3.17.1-bidir.client", Tcp, tcp(98.053, 1, Some(0.794)), tcp(99.090, 0, None)),
        ("ok-3.17.1-udp-bidir.client", Udp, udp(9.841, 4.6769, 76, 0), udp(9.971, 0.9558, 77, 0)),
        ("ok-3.21-bidir.client", Tcp, tcp(98.338, 1, Some(0.124)), tcp(98.852, 1, None)),
        ("ok-3.21-udp-bidir.client", Udp, udp(9.898, 0.0308, 77, 0), udp(9.898, 0.0392, 77, 0)),
        // The client has the first version, the server the second; 0.2 % of the datagrams were
        // dropped.
        ("mixed-3.18-3.12-tcp-bidir.client", Tcp, tcp(20.066, 0, Some(0.011)), tcp(20.066, 0, None)),
        ("mixed-3.18-3.12-udp-bidir.client", Udp, udp(9.9734, 0.0079, 5222, 5), udp(9.9696, 0.0045, 5223, 8)),
        ("mixed-3.12-3.18-udp-bidir.client", Udp, udp(9.9779, 0.0064, 5208, 11), udp(9.9740, 0.0065, 5209, 14)),
        ("blackhole-3.12-tcp-bidir-both.client", Tcp, Err(Interrupted), Err(Interrupted)),
        ("blackhole-3.21-tcp-bidir-both.client", Tcp, Err(Interrupted), Err(Interrupted)),
    ]
}

#[test]
fn every_sample_is_read_as_the_table_says() {
    for (name, protocol, expected) in one_way() {
        let report = report(name, &spec(protocol, false));
        assert_close(name, &report.forward, &expected);
        assert_eq!(report.reverse, None, "{name}");
        assert_eq!(
            report.detail.is_empty(),
            expected.is_ok(),
            "{name}: {report:?}"
        );
    }
    for (name, protocol, forward, reverse) in both_ways() {
        let report = report(name, &spec(protocol, true));
        assert_close(name, &report.forward, &forward);
        assert_close(name, &report.reverse.unwrap(), &reverse);
    }
}

#[test]
fn the_table_lists_every_sample() {
    let mut listed: Vec<_> = one_way().iter().map(|row| row.0).collect();
    listed.extend(both_ways().iter().map(|row| row.0));
    for entry in fs::read_dir(samples()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let known = name == "README" || listed.contains(&name);
        assert!(known, "{} is in no row of the table", path.display());
    }
}

#[test]
fn the_detail_is_the_message_of_iperf3() {
    let detail = |name| report(name, &spec(Tcp, false)).detail;
    assert_eq!(
        detail("fail-3.12-refused"),
        "unable to connect to server: Connection refused"
    );
    assert_eq!(
        detail("fail-3.9-server-SIGKILL-midtest.client"),
        "error - control socket has closed unexpectedly"
    );
    assert_eq!(
        detail("fail-3.12-badarg-range"),
        "parameter error - test duration too long (maximum = 86400 seconds)"
    );
    assert!(detail("fail-3.12-badarg").contains("unrecognized option"));
}

#[test]
fn a_truncated_report_is_never_a_success() {
    for name in [
        "ok-3.12-tcp.client",
        "ok-3.9-udp.client",
        "ok-3.21-bidir.client",
    ] {
        let whole = fs::read(samples().join(format!("{name}.json"))).unwrap();
        let end = whole.iter().rposition(|byte| *byte == b'}').unwrap();
        for length in (0..end).step_by(7).chain([end]) {
            let report = Report::read(&spec(Tcp, false), &whole[..length], b"");
            assert_eq!(
                report.forward,
                Err(Reason::BadReport),
                "{name} cut to {length}"
            );
        }
    }
}

#[test]
fn warnings_before_the_document_are_skipped() {
    let mut text =
        b"WARNING:  Size of data read does not correspond {to} offered length\n".to_vec();
    text.extend(fs::read(samples().join("ok-3.12-tcp.client.json")).unwrap());
    let report = Report::read(
        &spec(Tcp, false),
        &text,
        b"warning: this is only a warning\n",
    );
    assert!(report.forward.is_ok(), "{report:?}");
}

#[test]
fn datagrams_in_flight_at_the_end_are_not_counted_as_lost() {
    // (sent, arrived, highest sequence number, iperf3's count) and what was lost.
    for ((sent, arrived, highest, reported), lost) in [
        ((1000, 1000, 1000, 0), 0),
        // On their way when the receiver stopped.
        ((1000, 997, 997, 0), 0),
        // More than can be under way: the link went down near the end.
        ((1000, 996, 996, 0), 4),
        ((1000, 500, 500, 0), 500),
        // Single losses show as gaps.
        ((1000, 999, 1000, 1), 1),
        ((1000, 950, 999, 49), 49),
        // Gaps of the omitted time, which 3.12 counts.
        ((1000, 960, 1000, 66), 40),
        // Twice or late: a gap is made good again.
        ((1000, 1000, 1000, -2), 0),
        ((1000, 1001, 1000, 0), 0),
        // A count that the client did not understand: 0.2 % are lost.
        ((1000, 998, 1000, 0), 2),
        ((1000, 997, 999, 0), 2),
        // A sequence number that cannot be.
        ((1000, 950, 0, 50), 50),
        ((1000, 950, 1 << 40, 50), 50),
    ] {
        let text = udp_report(sent, arrived, highest, reported);
        let figures = Report::read(&spec(Udp, false), &text, b"").forward.unwrap();
        assert_eq!(figures.packets, Some(sent));
        assert_eq!(
            figures.lost_packets,
            Some(lost),
            "sent {sent}, arrived {arrived}, highest {highest}, reported {reported}"
        );
    }
}

#[test]
fn impossible_figures_are_a_bad_report() {
    let good = json!({ "seconds": 5, "bytes": 5e6, "bits_per_second": 8e6 });
    let tcp = |received: Value| {
        let text = json!({ "start": {}, "end": { "sum_received": received } }).to_string();
        Report::read(&spec(Tcp, false), text.as_bytes(), b"").forward
    };
    assert!(tcp(good.clone()).is_ok());
    for (key, value, reason) in [
        ("bytes", json!(0), Reason::NoData),
        ("bytes", json!(1e15), Reason::BadReport),
        ("bits_per_second", json!(-1), Reason::BadReport),
        ("bits_per_second", json!(null), Reason::BadReport),
    ] {
        let mut received = good.clone();
        if key == "bits_per_second" {
            received["bytes"] = json!("many");
        }
        received[key] = value.clone();
        assert_eq!(tcp(received), Err(reason), "{key} = {value}");
    }
    let nested = format!("{{\"start\":{}", "[".repeat(1 << 20));
    let huge = br#"{"end":{"sum_received":{"bytes":1e999,"bits_per_second":-nan}}}"#;
    for text in [
        nested.as_bytes(),
        huge,
        b"{",
        b"{}",
        b"[]",
        b"\xff\xfe{\n{",
        b"{\"end\":1}",
    ] {
        let report = Report::read(&spec(Tcp, false), text, b"");
        assert_eq!(report.forward, Err(Reason::BadReport));
    }
}

proptest! {
    /// Any bytes, any JSON, and real reports with one value exchanged: reading never panics, and
    /// a success has plausible figures.
    #[test]
    fn hostile_reports_do_no_harm(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        value in any_json(),
        at in any::<prop::sample::Index>(),
        sample in prop::sample::select(vec!["ok-3.12-tcp-bidir", "ok-3.12-udp-P4", "ok-3.9-udp"]),
    ) {
        let mut document: Value =
            serde_json::from_slice(&fs::read(samples().join(format!("{sample}.client.json"))).unwrap())
                .unwrap();
        let mut places = Vec::new();
        pointers(&document, &mut String::new(), &mut places);
        *document.pointer_mut(at.get::<String>(&places)).unwrap() = value.clone();
        for text in [noise, value.to_string().into_bytes(), document.to_string().into_bytes()] {
            for spec in [spec(Tcp, false), spec(Tcp, true), spec(Udp, false), spec(Udp, true)] {
                let report = Report::read(&spec, &text, &text);
                prop_assert_eq!(report.reverse.is_some(), spec.bidir);
                prop_assert!(report.detail.chars().count() <= 300);
                for outcome in [Some(report.forward), report.reverse].into_iter().flatten() {
                    // Nothing is left that the same rule would remove at the peer.
                    let (again, removed) = plausible(outcome.clone(), &spec);
                    prop_assert!(removed.is_empty(), "{:?} of {:?}", removed, outcome);
                    prop_assert_eq!(again, outcome.clone());
                    prop_assert!(outcome.as_ref().map_or(true, is_measure), "{:?}", outcome);
                }
            }
        }
    }
}

fn is_measure(figures: &Figures) -> bool {
    let positive = |number: f64| number.is_finite() && number > 0.0;
    positive(figures.bandwidth_mbps)
        && figures.rtt_ms.is_none_or(positive)
        && figures
            .jitter_ms
            .is_none_or(|jitter| jitter.is_finite() && jitter >= 0.0)
        && figures.lost_packets <= figures.packets
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![0.0, -0.0, 1e-320, 1e308, -1e308]).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let key = prop::sample::select(vec![
            "end",
            "sum",
            "sum_received",
            "bytes",
            "error",
            "streams",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The place of every value in `value`.
fn pointers(value: &Value, at: &mut String, places: &mut Vec<String>) {
    places.push(at.clone());
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, child)| (key.clone(), child))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(i, child)| (i.to_string(), child))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let length = at.len();
        at.push('/');
        at.push_str(&key);
        pointers(child, at, places);
        at.truncate(length);
    }
}
