//! The metrics of each cell: the five gauges that existing dashboards rely on, the additional
//! gauges of this program, and the count of results.
//!
//! A cell's series always agree with its row, because one function writes all of them.

use std::time::SystemTime;

use iperf3_mesh_core::{Figures, NodeName, Outcome, Protocol, Reason};
use prometheus::{
    GaugeVec, IntCounterVec, Registry, register_gauge_vec_with_registry,
    register_int_counter_vec_with_registry,
};
use strum::{Display, IntoStaticStr};

use super::unix_seconds;
use crate::config::FailedCells;

const LABELS: [&str; 3] = ["source_node", "destination_node", "protocol"];

/// The way in which a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TestOutcome {
    /// The test produced a measurement.
    Success,
    /// The test failed for a reason.
    Failure,
    /// The test was cut off because this node or its peer left the meeting. It counts neither as a
    /// measurement nor as a failure.
    Cancelled,
}

/// The metrics with the labels of a cell, and the count of results.
#[derive(Clone)]
pub(super) struct Cells {
    source: NodeName,
    failed: FailedCells,
    figures: FigureGauges,
    results: ResultGauges,
    tests: IntCounterVec,
}

impl Cells {
    pub(super) fn register(
        registry: &Registry,
        source: NodeName,
        failed: FailedCells,
        protocols: &[Protocol],
    ) -> prometheus::Result<Self> {
        let cells = Self {
            source,
            failed,
            figures: FigureGauges::register(registry)?,
            results: ResultGauges::register(registry)?,
            tests: register_int_counter_vec_with_registry!(
                "iperf_mesh_tests_total",
                "Results of this node's cells, also of tests whose iperf3 never started",
                &["protocol", "outcome", "reason"],
                registry
            )?,
        };
        cells.start_counters(protocols);
        Ok(cells)
    }

    /// Starts every counter at 0, so that its first event shows as an increase.
    fn start_counters(&self, protocols: &[Protocol]) {
        for protocol in protocols {
            self.counter(*protocol, TestOutcome::Success, None);
            self.counter(*protocol, TestOutcome::Cancelled, None);
            for reason in Reason::ALL {
                self.counter(*protocol, TestOutcome::Failure, Some(*reason));
            }
        }
    }

    fn counter(
        &self,
        protocol: Protocol,
        outcome: TestOutcome,
        reason: Option<Reason>,
    ) -> prometheus::IntCounter {
        let reason = reason.map_or("", Reason::as_str);
        self.tests
            .with_label_values(&[protocol.as_str(), outcome.into(), reason])
    }

    /// Writes all series of a cell, and counts the result.
    pub(super) fn record(
        &self,
        destination: &NodeName,
        protocol: Protocol,
        at: SystemTime,
        outcome: &Outcome,
    ) {
        let labels = [
            self.source.as_str(),
            destination.as_str(),
            protocol.as_str(),
        ];
        match outcome {
            Ok(figures) => {
                self.figures.show(&labels, figures);
                self.results.show_success(&labels, at);
                self.counter(protocol, TestOutcome::Success, None).inc();
            }
            Err(reason) => {
                self.figures.clear(&labels, protocol, self.failed);
                self.results.show_failure(&labels, at, *reason);
                self.counter(protocol, TestOutcome::Failure, Some(*reason))
                    .inc();
            }
        }
    }

    /// Counts a test that was cut off. The cell keeps its values.
    pub(super) fn cancelled(&self, protocol: Protocol) {
        self.counter(protocol, TestOutcome::Cancelled, None).inc();
    }

    /// Removes all series of `destination`.
    pub(super) fn forget(&self, destination: &NodeName) {
        for protocol in Protocol::ALL {
            let labels = [
                self.source.as_str(),
                destination.as_str(),
                protocol.as_str(),
            ];
            self.figures.clear(&labels, *protocol, FailedCells::Absent);
            self.results.forget(&labels);
        }
    }
}

/// The figures of a test.
#[derive(Clone)]
struct FigureGauges {
    bandwidth: GaugeVec,
    jitter: GaugeVec,
    packets: GaugeVec,
    lost_packets: GaugeVec,
    retransmits: GaugeVec,
    rtt: GaugeVec,
    loss: GaugeVec,
}

impl FigureGauges {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| cell_gauge(registry, name, help);
        Ok(Self {
            bandwidth: gauge(
                "iperf_network_bandwidth_mbps",
                "Network bandwidth measured by iperf3 in Megabits per second",
            )?,
            jitter: gauge(
                "iperf_network_jitter_ms",
                "Network jitter measured by iperf3 in milliseconds",
            )?,
            packets: gauge(
                "iperf_network_packets_total",
                "Total packets transmitted or received during the iperf3 test",
            )?,
            lost_packets: gauge(
                "iperf_network_lost_packets_total",
                "Total lost packets during the iperf3 UDP test",
            )?,
            retransmits: gauge(
                "iperf_network_retransmits",
                "Segments that the sender retransmitted during the iperf3 TCP test",
            )?,
            rtt: gauge(
                "iperf_network_rtt_seconds",
                "Mean round-trip time that the sender observed during the iperf3 TCP test",
            )?,
            loss: gauge(
                "iperf_network_loss_ratio",
                "Share of the datagrams of the iperf3 UDP test that were lost, 0 to 1",
            )?,
        })
    }

    fn show(&self, labels: &[&str; 3], figures: &Figures) {
        let count = |count: Option<u64>| count.map(|count| count as f64);
        put(&self.bandwidth, labels, Some(figures.bandwidth_mbps));
        put(&self.jitter, labels, figures.jitter_ms);
        put(&self.packets, labels, count(figures.packets));
        put(&self.lost_packets, labels, count(figures.lost_packets));
        put(&self.retransmits, labels, count(figures.retransmits));
        put(&self.rtt, labels, figures.rtt_ms.map(|ms| ms / 1000.0));
        put(&self.loss, labels, figures.loss_ratio());
    }

    /// Removes the figures of the last success. Counts have no meaning without a measurement, not
    /// even as zero. `failed` determines what happens to bandwidth and jitter.
    fn clear(&self, labels: &[&str; 3], protocol: Protocol, failed: FailedCells) {
        let zero = match failed {
            FailedCells::Zero => Some(0.0),
            FailedCells::Absent => None,
        };
        put(&self.bandwidth, labels, zero);
        // A TCP cell has no jitter, not even after a failed test.
        put(
            &self.jitter,
            labels,
            zero.filter(|_| protocol == Protocol::Udp),
        );
        for counted in [
            &self.packets,
            &self.lost_packets,
            &self.retransmits,
            &self.rtt,
            &self.loss,
        ] {
            put(counted, labels, None);
        }
    }
}

/// The gauges for whether a test succeeded, when it succeeded, and why it failed.
#[derive(Clone)]
struct ResultGauges {
    success: GaugeVec,
    tested_at: GaugeVec,
    success_at: GaugeVec,
    failure: GaugeVec,
}

impl ResultGauges {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| cell_gauge(registry, name, help);
        Ok(Self {
            success: gauge(
                "iperf_test_success",
                "Indicates if the iperf3 test was successful (1) or failed (0)",
            )?,
            tested_at: gauge(
                "iperf_test_timestamp_seconds",
                "Unix time at which the last iperf3 test ended",
            )?,
            success_at: gauge(
                "iperf_test_success_timestamp_seconds",
                "Unix time at which the last successful iperf3 test ended",
            )?,
            failure: register_gauge_vec_with_registry!(
                "iperf_mesh_cell_failure",
                "1 while the most recent test of this cell failed; the reason label says why",
                &[LABELS[0], LABELS[1], LABELS[2], "reason"],
                registry
            )?,
        })
    }

    fn show_success(&self, labels: &[&str; 3], at: SystemTime) {
        put(&self.success, labels, Some(1.0));
        put(&self.tested_at, labels, Some(unix_seconds(at)));
        put(&self.success_at, labels, Some(unix_seconds(at)));
        self.show_reason(labels, None);
    }

    fn show_failure(&self, labels: &[&str; 3], at: SystemTime, reason: Reason) {
        put(&self.success, labels, Some(0.0));
        put(&self.tested_at, labels, Some(unix_seconds(at)));
        self.show_reason(labels, Some(reason));
    }

    fn forget(&self, labels: &[&str; 3]) {
        for gauge in [&self.success, &self.tested_at, &self.success_at] {
            put(gauge, labels, None);
        }
        self.show_reason(labels, None);
    }

    fn show_reason(&self, labels: &[&str; 3], reason: Option<Reason>) {
        let [source, destination, protocol] = *labels;
        for known in Reason::ALL {
            let labels = [source, destination, protocol, known.as_str()];
            let value = (reason == Some(*known)).then_some(1.0);
            put(&self.failure, &labels, value);
        }
    }
}

fn cell_gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<GaugeVec> {
    register_gauge_vec_with_registry!(name, help, &LABELS, registry)
}

/// Sets a series to `value`, or removes it if there is no value.
fn put(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        // It is not an error if the series does not exist.
        None => drop(gauge.remove_label_values(labels)),
    }
}
