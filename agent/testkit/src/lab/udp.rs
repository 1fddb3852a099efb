//! The checker of a UDP cell, given its link and the number of datagrams sent.

use std::ops::RangeInclusive;

use super::goodput::{Shape, UdpLoad};
use crate::agents::Agent;
use crate::events::Cell;

/// The maximum deviation of a loss from the one that a narrow link implies. Gossip and control
/// messages share the link. A sender that gets no processor for some 40 ms of 2 s catches up later,
/// and the link then carries more of its datagrams. A link that is wide enough must lose nothing.
const LOSS_TOLERANCE: f64 = 0.02;

/// The maximum deviation of the bandwidth from the one that the link implies, as a share.
const TOLERANCE: f64 = 0.03;

/// The UDP series of one cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpCell {
    /// The received payload, in megabits per second.
    mbps: f64,
    /// The jitter, in milliseconds.
    jitter_ms: f64,
    /// The number of datagrams sent.
    packets: f64,
    /// The number of datagrams lost.
    lost: f64,
}

impl UdpCell {
    /// Reads the series of the cell from the agent of its source.
    ///
    /// # Errors
    /// If a series is missing, or jitter or packets are zero.
    pub(crate) fn read(source: &Agent, cell: &Cell) -> Result<Self, String> {
        let labels = [
            ("source_node", cell.source.as_str()),
            ("destination_node", &cell.destination),
            ("protocol", "udp"),
        ];
        let value = |name: &str| {
            let value = source.labelled(name, &labels);
            value.ok_or_else(|| format!("{cell}: no {name}"))
        };
        let read = Self {
            mbps: value("iperf_network_bandwidth_mbps")?,
            jitter_ms: value("iperf_network_jitter_ms")?,
            packets: value("iperf_network_packets_total")?,
            lost: value("iperf_network_lost_packets_total")?,
        };
        if read.is_filled() {
            Ok(read)
        } else {
            Err(format!("{cell}: {read:?}"))
        }
    }

    fn is_filled(self) -> bool {
        self.jitter_ms > 0.0 && self.packets > 0.0
    }

    /// Returns the share of datagrams lost.
    fn loss(self) -> f64 {
        self.lost / self.packets
    }

    /// Returns the fault of a cell whose test sent `bitrate` bits per second for `seconds` over
    /// `link`.
    pub(crate) fn fault(self, link: Shape, bitrate: f64, seconds: f64) -> Option<String> {
        let load = UdpLoad {
            bitrate,
            packets: self.packets,
            seconds,
        };
        let implied = load.loss(link);
        let slack = if *implied.end() == 0.0 {
            0.0
        } else {
            LOSS_TOLERANCE
        };
        if !widened(&implied, slack).contains(&self.loss()) {
            return Some(format!("loss {:.4} instead of {implied:.4?}", self.loss()));
        }
        let implied = load.mbps(link);
        let is_right = widened(&implied, implied.end() * TOLERANCE).contains(&self.mbps);
        (!is_right).then(|| format!("{:.2} Mbit/s instead of {implied:.2?}", self.mbps))
    }
}

fn widened(range: &RangeInclusive<f64>, by: f64) -> RangeInclusive<f64> {
    range.start() - by..=range.end() + by
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: Shape = Shape::new(100_000_000);
    const NARROW: Shape = Shape::new(5_000_000);
    const GOOD: UdpCell = UdpCell {
        mbps: 10.0,
        jitter_ms: 0.05,
        packets: 2083.0,
        lost: 0.0,
    };
    /// 1200 bytes of payload are 1242 on the link. So 10.35 Mbit/s meet 5 Mbit/s and the reserve of
    /// bucket and queue.
    const LOSSY: UdpCell = UdpCell {
        mbps: 4.95,
        lost: 0.505 * 2083.0,
        ..GOOD
    };

    #[test]
    fn any_loss_on_a_clean_link_is_a_fault() {
        assert_eq!(fault(GOOD, CLEAN), "");
        let lossy = UdpCell { lost: 1.0, ..GOOD };
        assert!(fault(lossy, CLEAN).contains("loss"));
    }

    #[test]
    fn loss_that_a_narrow_link_implies_is_no_fault() {
        assert_eq!(fault(LOSSY, NARROW), "");
    }

    #[test]
    fn too_little_or_too_much_loss_on_a_narrow_link_is_a_fault() {
        for lost in [0.0, 0.6 * 2083.0] {
            let fault = fault(UdpCell { lost, ..LOSSY }, NARROW);
            assert!(fault.contains("loss"), "{fault}");
        }
    }

    #[test]
    fn bandwidth_above_the_rate_of_the_link_is_a_fault() {
        let mbps = 10.0;
        let fault = fault(UdpCell { mbps, ..LOSSY }, NARROW);
        assert!(fault.contains("Mbit/s"), "{fault}");
    }

    #[test]
    fn cell_that_lacks_jitter_or_packets_is_not_filled() {
        assert!(GOOD.is_filled());
        let (jitter_ms, packets) = (0.0, 0.0);
        assert!(!UdpCell { jitter_ms, ..GOOD }.is_filled());
        assert!(!UdpCell { packets, ..GOOD }.is_filled());
    }

    fn fault(cell: UdpCell, link: Shape) -> String {
        cell.fault(link, 10e6, 2.0).unwrap_or_default()
    }
}
