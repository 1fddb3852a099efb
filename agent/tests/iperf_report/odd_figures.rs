//! Reports with one figure that cannot be, as public reports of defects show them.

use std::time::Duration;

use iperf3_mesh::iperf::Report;
use iperf3_mesh_core::{Figure, Figures, Protocol, Reason, TestSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::helpers::{sample, spec};

const TCP: &str = "ok-3.12-tcp.client";
const UDP: &str = "ok-3.12-udp.client";

/// A sample, the places of a value in it, the value, and the figure that cannot be.
type Case = (&'static str, &'static [&'static str], Value, Figure);

#[test]
fn odd_secondary_figure_costs_only_itself() {
    let retransmits = &["/end/sum_sent/retransmits"];
    let rtt = &["/end/streams/0/sender/mean_rtt"];
    let jitter = &["/end/sum/jitter_ms", "/end/sum_received/jitter_ms"];
    let cases: Vec<Case> = vec![
        (TCP, retransmits, json!(-1), Figure::Retransmits),
        (TCP, retransmits, json!(null), Figure::Retransmits),
        (
            TCP,
            retransmits,
            json!(4_294_967_294_u64),
            Figure::Retransmits,
        ),
        (TCP, rtt, json!(-1), Figure::Rtt),
        (TCP, rtt, json!(null), Figure::Rtt),
        (TCP, rtt, json!("12"), Figure::Rtt),
        (TCP, rtt, json!(86_400_000_000_u64), Figure::Rtt),
        (UDP, jitter, json!(86_461_234.5), Figure::Jitter),
        (UDP, jitter, json!(-0.02), Figure::Jitter),
        (UDP, jitter, json!(null), Figure::Jitter),
    ];
    for (name, places, value, figure) in cases {
        let report = edited(name, places, &value);
        let figures = report.forward.unwrap();
        let expected = without(read(name), figure);
        assert_eq!(figures, expected, "{figure} = {value}");
        assert_eq!(report.implausible, [figure], "{figure} = {value}");
    }
}

#[test]
fn odd_primary_figure_is_derived_from_the_others() {
    let received = "/end/sum_received/bits_per_second";
    for name in [TCP, UDP] {
        for value in [
            json!(-1),
            json!(null),
            json!("5"),
            json!(1e13),
            json!(0),
            json!(1),
        ] {
            let report = edited(name, &[received], &value);
            assert_same_bandwidth(&report, name, &value);
            assert_eq!(report.implausible, [Figure::Bandwidth], "{name} {value}");
        }
        // The time is odd as well: the test's own duration counts.
        let places = [received, "/end/sum_received/seconds"];
        assert_same_bandwidth(&edited(name, &places, &json!(-1)), name, &json!(-1));
        let bytes = ["/end/sum_received/bytes"];
        assert_same_bandwidth(&edited(name, &bytes, &json!(null)), name, &json!(null));
    }
}

#[test]
fn odd_count_of_datagrams_is_derived_from_the_bytes() {
    let sent = ["/end/sum_sent/packets", "/end/sum/packets"];
    let lost = ["/end/sum/lost_packets", "/end/sum_received/lost_packets"];
    for (places, values, figure) in [
        (
            sent,
            [json!(0), json!(-1), json!("9"), json!(1e12)],
            Figure::Packets,
        ),
        (
            lost,
            [json!(-111), json!(null), json!("9"), json!(1e12)],
            Figure::LostPackets,
        ),
    ] {
        for value in values {
            let report = edited(UDP, &places, &value);
            assert_eq!(report.forward.unwrap(), read(UDP), "{figure} = {value}");
            assert_eq!(report.implausible, [figure], "{figure} = {value}");
        }
    }
}

#[test]
fn absent_secondary_figure_is_not_implausible() {
    let mut document = sample(TCP);
    let end = &mut document["end"];
    end["sum_sent"]
        .as_object_mut()
        .unwrap()
        .remove("retransmits");
    let report = read_document(TCP, &document);
    assert_eq!(
        report.forward.unwrap(),
        without(read(TCP), Figure::Retransmits)
    );
    assert_eq!(report.implausible, []);
}

#[test]
fn receiving_stream_adds_nothing_to_the_round_trip_time() {
    let places = ["/end/streams/1/sender/mean_rtt"];
    let name = "ok-3.12-tcp-bidir.client";
    let mut document = sample(name);
    *document.pointer_mut(places[0]).unwrap() = json!(4_000_000);
    let report = Report::read(
        &spec_of(&document, true),
        document.to_string().as_bytes(),
        b"",
    );
    assert_eq!(report.forward.unwrap().rtt_ms, Some(0.893));
}

#[test]
fn fast_link_is_believed() {
    let places = ["/end/sum_received/bits_per_second"];
    let mut document = sample(TCP);
    *document.pointer_mut(places[0]).unwrap() = json!(4e11);
    let bytes = document.pointer("/end/sum_received/seconds").unwrap();
    document["end"]["sum_received"]["bytes"] = json!(5e10 * bytes.as_f64().unwrap());
    let report = read_document(TCP, &document);
    assert_eq!(report.forward.unwrap().bandwidth_mbps, 400_000.0);
    assert_eq!(report.implausible, []);
}

#[test]
fn old_report_with_an_odd_jitter_keeps_its_loss() {
    let name = "ok-3.9-udp-P4.client";
    let report = edited(name, &["/end/sum/jitter_ms"], &json!(null));
    assert_eq!(report.forward.unwrap(), without(read(name), Figure::Jitter));
    // Without loss, nothing but the jitter shows that anything arrived.
    let report = edited("ok-3.9-udp.client", &["/end/sum/jitter_ms"], &json!(null));
    assert_eq!(report.forward, Err(Reason::BadReport));
}

proptest! {
    /// Every combination of losses, tail and defect of the count gives the loss before the tail.
    #[test]
    fn loss_does_not_depend_on_the_reported_count(
        sent in 1000_u64..1_000_000,
        lost in 0.0..0.5_f64,
        tail in 0_u64..=3,
        reported in any::<i32>(),
    ) {
        let lost = (sent as f64 * lost) as u64;
        let highest = sent - tail;
        let text = super::helpers::udp_report(sent, highest - lost, highest, reported.into());
        let figures = Report::read(&spec(Protocol::Udp, false), &text, b"").forward.unwrap();
        prop_assert_eq!(figures.packets, Some(sent));
        prop_assert_eq!(figures.lost_packets, Some(lost));
    }
}

/// Reads a sample whose values at `places` are replaced.
fn edited(name: &str, places: &[&str], value: &Value) -> Report {
    let mut document = sample(name);
    for place in places {
        *document.pointer_mut(place).unwrap() = value.clone();
    }
    read_document(name, &document)
}

fn read(name: &str) -> Figures {
    read_document(name, &sample(name)).forward.unwrap()
}

fn read_document(name: &str, document: &Value) -> Report {
    let mut spec = spec_of(document, false);
    if name.contains("udp") {
        spec.protocol = Protocol::Udp;
    }
    Report::read(&spec, document.to_string().as_bytes(), b"")
}

fn spec_of(document: &Value, bidir: bool) -> TestSpec {
    let duration = document["start"]["test_start"]["duration"].as_u64();
    TestSpec {
        duration: Duration::from_secs(duration.unwrap()),
        ..spec(Protocol::Tcp, bidir)
    }
}

fn without(figures: Figures, figure: Figure) -> Figures {
    match figure {
        Figure::Jitter => Figures {
            jitter_ms: None,
            ..figures
        },
        Figure::Retransmits => Figures {
            retransmits: None,
            ..figures
        },
        Figure::Rtt => Figures {
            rtt_ms: None,
            ..figures
        },
        Figure::Bandwidth | Figure::Packets | Figure::LostPackets => figures,
    }
}

fn assert_same_bandwidth(report: &Report, name: &str, value: &Value) {
    let (actual, expected) = (report.forward.clone().unwrap(), read(name));
    let ratio = actual.bandwidth_mbps / expected.bandwidth_mbps;
    assert!(
        (0.98..1.02).contains(&ratio),
        "{name} with {value}: {actual:?}"
    );
}
