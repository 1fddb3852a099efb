//! The metrics of each cell: the five gauges that were promised from the start, and ours beside
//! them.
//!
//! Whatever happens to a cell, its series say the same as its row: one function writes all of them.

use std::time::{SystemTime, UNIX_EPOCH};

use iperf3_mesh_core::{Figures, NodeName, Outcome, Protocol, Reason};
use prometheus::{GaugeVec, Opts, Registry};

use crate::config::FailedCells;

const LABELS: [&str; 3] = ["source_node", "destination_node", "protocol"];

/// The gauges with the labels of a cell.
#[derive(Clone)]
pub(super) struct Cells {
    source: NodeName,
    failed: FailedCells,
    bandwidth: GaugeVec,
    jitter: GaugeVec,
    packets: GaugeVec,
    lost_packets: GaugeVec,
    success: GaugeVec,
    retransmits: GaugeVec,
    rtt: GaugeVec,
    loss: GaugeVec,
    tested: GaugeVec,
    succeeded: GaugeVec,
    failure: GaugeVec,
}

impl Cells {
    pub(super) fn register(
        registry: &Registry,
        source: NodeName,
        failed: FailedCells,
    ) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| register(registry, name, help, &LABELS);
        Ok(Self {
            source,
            failed,
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
            success: gauge(
                "iperf_test_success",
                "Indicates if the iperf3 test was successful (1) or failed (0)",
            )?,
            retransmits: gauge(
                "iperf_network_retransmits",
                "Segments that the sender sent again during the iperf3 TCP test",
            )?,
            rtt: gauge(
                "iperf_network_rtt_seconds",
                "Mean round-trip time that the sender saw during the iperf3 TCP test",
            )?,
            loss: gauge(
                "iperf_network_loss_ratio",
                "Share of the datagrams of the iperf3 UDP test that did not arrive, 0 to 1",
            )?,
            tested: gauge(
                "iperf_test_timestamp_seconds",
                "When the last iperf3 test ended, in Unix time",
            )?,
            succeeded: gauge(
                "iperf_test_success_timestamp_seconds",
                "When the last successful iperf3 test ended, in Unix time",
            )?,
            failure: register(
                registry,
                "iperf_mesh_cell_failure",
                "Always 1, while the last test of the cell is a failed one; why is a label",
                &[LABELS[0], LABELS[1], LABELS[2], "reason"],
            )?,
        })
    }

    /// Writes every series of a cell.
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
        let at = at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let figures = outcome.as_ref().ok();
        let zero = match self.failed {
            FailedCells::Zero => Some(0.0),
            FailedCells::Absent => None,
        };
        let bandwidth = figures.map_or(zero, |figures| Some(figures.bandwidth_mbps));
        let jitter = figures.map_or(zero, |figures| figures.jitter_ms);
        put(&self.bandwidth, &labels, bandwidth);
        // A TCP cell has no jitter, not even that of a failed test.
        put(
            &self.jitter,
            &labels,
            jitter.filter(|_| protocol == Protocol::Udp),
        );
        self.put_counts(&labels, figures);
        put(
            &self.success,
            &labels,
            Some(if figures.is_some() { 1.0 } else { 0.0 }),
        );
        put(&self.tested, &labels, Some(at));
        if figures.is_some() {
            put(&self.succeeded, &labels, Some(at));
        }
        self.put_reason(&labels, outcome.as_ref().err().copied());
    }

    fn put_reason(&self, labels: &[&str; 3], reason: Option<Reason>) {
        let [source, destination, protocol] = labels;
        for known in Reason::ALL.iter().copied() {
            let labels = [source, destination, protocol, known.as_str()];
            put(
                &self.failure,
                &labels,
                (reason == Some(known)).then_some(1.0),
            );
        }
    }

    /// Writes what has no meaning without a measurement, not even as zero.
    fn put_counts(&self, labels: &[&str; 3], figures: Option<&Figures>) {
        let count = |pick: fn(&Figures) -> Option<u64>| figures.and_then(pick).map(|n| n as f64);
        put(&self.packets, labels, count(|figures| figures.packets));
        put(
            &self.lost_packets,
            labels,
            count(|figures| figures.lost_packets),
        );
        put(
            &self.retransmits,
            labels,
            count(|figures| figures.retransmits),
        );
        put(
            &self.rtt,
            labels,
            figures
                .and_then(|figures| figures.rtt_ms)
                .map(|ms| ms / 1000.0),
        );
        put(&self.loss, labels, figures.and_then(Figures::loss_ratio));
    }

    /// Removes every series of `destination`.
    pub(super) fn forget(&self, destination: &NodeName) {
        let gauges = [
            &self.bandwidth,
            &self.jitter,
            &self.packets,
            &self.lost_packets,
            &self.success,
            &self.retransmits,
            &self.rtt,
            &self.loss,
            &self.tested,
            &self.succeeded,
        ];
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let labels = [
                self.source.as_str(),
                destination.as_str(),
                protocol.as_str(),
            ];
            for gauge in gauges {
                put(gauge, &labels, None);
            }
            self.put_reason(&labels, None);
        }
    }
}

fn register(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<GaugeVec> {
    let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Sets a series, or removes it.
fn put(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        // That it was not there is no error.
        None => drop(gauge.remove_label_values(labels)),
    }
}
