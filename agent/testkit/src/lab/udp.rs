//! What a UDP cell must be, given its link and the number of datagrams that were sent.

use std::ops::RangeInclusive;

use super::agents::Agent;
use super::goodput::{Shape, UdpLoad};
use crate::events::Cell;

/// How far a loss may be from what a narrow link implies: gossip and control messages share the
/// link, and what a sender without a processor for some 40 ms of 2 s catches up on later comes
/// through the more. A link that is wide enough must lose nothing.
const LOSS_TOLERANCE: f64 = 0.02;

/// How far the bandwidth may be from what the link implies, a share.
const TOLERANCE: f64 = 0.03;

/// A source's UDP series for one cell.
#[derive(Clone, Copy, Debug)]
pub struct UdpCell {
    /// Megabits per second that arrived.
    pub mbps: f64,
    /// Milliseconds.
    pub jitter_ms: f64,
    /// Datagrams sent.
    pub packets: f64,
    /// Datagrams lost.
    pub lost: f64,
}

impl UdpCell {
    /// Reads them at the cell's source.
    ///
    /// # Errors
    /// With what is missing, or is nothing.
    pub fn read(source: &Agent<'_>, cell: &Cell) -> Result<Self, String> {
        let all = source.metrics().map_err(|error| error.to_string())?;
        let value = |name: &str| {
            let mut of_cell = all.iter().filter(|series| {
                series.name == name
                    && series.has("source_node", &cell.source)
                    && series.has("destination_node", &cell.destination)
                    && series.has("protocol", "udp")
            });
            of_cell
                .next()
                .map(|series| series.value)
                .ok_or(format!("{cell}: no {name}"))
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

    /// The share of datagrams that were lost.
    pub fn loss(self) -> f64 {
        self.lost / self.packets
    }

    /// What is wrong with it, if its test sent `bitrate` bits per second for `seconds` over `link`.
    pub fn fault(self, link: Shape, bitrate: f64, seconds: f64) -> Option<String> {
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
        let right = widened(&implied, implied.end() * TOLERANCE).contains(&self.mbps);
        (!right).then(|| format!("{:.2} Mbit/s instead of {implied:.2?}", self.mbps))
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

    fn fault(cell: UdpCell, link: Shape) -> Option<String> {
        cell.fault(link, 10e6, 2.0)
    }

    #[test]
    fn a_clean_link_loses_nothing() {
        assert_eq!(fault(GOOD, CLEAN), None);
        assert!(
            fault(UdpCell { lost: 1.0, ..GOOD }, CLEAN)
                .unwrap()
                .contains("loss")
        );
    }

    #[test]
    fn a_narrow_link_loses_what_its_rate_implies() {
        // 1200 bytes are 1242 on the link: 10.35 Mbit/s for 5, and what bucket and queue hold back.
        let lossy = UdpCell {
            mbps: 4.95,
            lost: 0.505 * 2083.0,
            ..GOOD
        };
        assert_eq!(fault(lossy, NARROW), None);
        assert!(fault(GOOD, NARROW).unwrap().contains("loss"));
        assert!(
            fault(
                UdpCell {
                    lost: 0.6 * 2083.0,
                    ..lossy
                },
                NARROW
            )
            .unwrap()
            .contains("loss")
        );
        assert!(
            fault(
                UdpCell {
                    mbps: 10.0,
                    ..lossy
                },
                NARROW
            )
            .unwrap()
            .contains("Mbit/s")
        );
    }

    #[test]
    fn jitter_and_packets_must_be_filled() {
        assert!(GOOD.is_filled());
        assert!(
            !UdpCell {
                jitter_ms: 0.0,
                ..GOOD
            }
            .is_filled()
        );
        assert!(
            !UdpCell {
                packets: 0.0,
                ..GOOD
            }
            .is_filled()
        );
    }
}
