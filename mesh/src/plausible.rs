//! Which figures of a test cannot be. The same rule applies to a report of iperf3 and to the
//! results that a peer hands over: both come from outside.
//!
//! The limits follow from physics and from the test itself, not from experience: a figure beyond
//! its limit is a defect of a program, never a bad network.

use std::time::Duration;

use strum::{Display, IntoStaticStr, VariantArray};

use crate::{Outcome, Protocol, Reason, TestSpec};

/// The highest possible bandwidth, in Mbit/s: no link is faster.
pub const BANDWIDTH_MAX_MBPS: f64 = 1e8;

/// The smallest segment that every IPv4 host accepts (RFC 9293), in bytes. A real path has larger
/// ones.
const SEGMENT_MIN: f64 = 536.0;

/// The retransmits per second and stream that are possible even if almost nothing arrives: a sender
/// without acknowledgements waits for at least 200 ms, and repeats a few segments.
const TIMER_RETRANSMITS: f64 = 20.0;

/// Counts from here on are negative numbers that iperf3 took for unsigned ones.
const WRAPPED: u64 = 1 << 31;

/// The largest payload of a datagram, in bytes.
const DATAGRAM_MAX: f64 = 65_507.0;

/// The ratio by which the time that the two ends measured may differ from the test's duration.
const CLOCK_RATIO: f64 = 2.0;

/// A figure of a test, as a label.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Figure {
    /// [`crate::Figures::bandwidth_mbps`].
    Bandwidth,
    /// [`crate::Figures::jitter_ms`].
    Jitter,
    /// [`crate::Figures::packets`].
    Packets,
    /// [`crate::Figures::lost_packets`].
    LostPackets,
    /// [`crate::Figures::retransmits`].
    Retransmits,
    /// [`crate::Figures::rtt_ms`].
    Rtt,
}

impl Figure {
    /// All figures, in the order of the documentation.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Removes every figure that cannot be in a test of `spec`, and returns the removed ones. An
/// outcome without a possible bandwidth is a bad report; any other figure costs only itself.
pub fn plausible(outcome: Outcome, spec: &TestSpec) -> (Outcome, Vec<Figure>) {
    let mut removed = Vec::new();
    let Ok(mut figures) = outcome else {
        return (outcome, removed);
    };
    let is_possible = |bandwidth: f64| bandwidth > 0.0 && bandwidth <= BANDWIDTH_MAX_MBPS;
    if !is_possible(figures.bandwidth_mbps) {
        return (Err(Reason::BadReport), vec![Figure::Bandwidth]);
    }
    let check = Check {
        spec,
        bytes: figures.bandwidth_mbps * 1e6 / 8.0 * spec.duration.as_secs_f64(),
    };
    let mut keep = |figure, is_possible: bool| {
        if !is_possible {
            removed.push(figure);
        }
        is_possible
    };
    figures.jitter_ms = figures
        .jitter_ms
        .filter(|ms| keep(Figure::Jitter, check.jitter(*ms)));
    figures.packets = figures.packets.filter(|packets| {
        let lost = figures.lost_packets.filter(|lost| lost < packets);
        keep(Figure::Packets, check.packets(*packets, lost))
    });
    let packets = figures.packets;
    figures.lost_packets = figures
        .lost_packets
        .filter(|lost| keep(Figure::LostPackets, packets.is_some_and(|all| *lost < all)));
    figures.retransmits = figures
        .retransmits
        .filter(|count| keep(Figure::Retransmits, check.retransmits(*count)));
    figures.rtt_ms = figures
        .rtt_ms
        .filter(|ms| keep(Figure::Rtt, check.rtt(*ms)));
    (Ok(figures), removed)
}

struct Check<'a> {
    spec: &'a TestSpec,
    /// The number of bytes that arrived.
    bytes: f64,
}

impl Check<'_> {
    fn is(&self, protocol: Protocol) -> bool {
        self.spec.protocol == protocol
    }

    /// Returns whether a time of `ms` milliseconds fits into the test: nothing that was sent and
    /// arrived within the test took longer.
    fn fits(&self, ms: f64) -> bool {
        ms <= self.spec.length().max(Duration::from_secs(1)).as_secs_f64() * 1000.0
    }

    fn jitter(&self, ms: f64) -> bool {
        self.is(Protocol::Udp) && ms >= 0.0 && self.fits(ms)
    }

    fn rtt(&self, ms: f64) -> bool {
        // The smoothed time begins with the handshake, before the time that is measured.
        self.is(Protocol::Tcp) && ms > 0.0 && ms <= self.spec.timeout.as_secs_f64() * 1000.0
    }

    /// Returns whether `packets` datagrams, of which `lost` did not arrive, can have carried the
    /// bytes that arrived.
    fn packets(&self, packets: u64, lost: Option<u64>) -> bool {
        let arrived = packets.saturating_sub(lost.unwrap_or(0));
        let payload = self.bytes / arrived.max(1) as f64;
        self.is(Protocol::Udp)
            && packets > 0
            && packets / u64::from(self.spec.streams.max(1)) < WRAPPED
            && payload <= DATAGRAM_MAX * CLOCK_RATIO
            && (lost.is_none() || payload * CLOCK_RATIO >= 1.0)
    }

    /// A sender retransmits at most the segments that it sent.
    fn retransmits(&self, count: u64) -> bool {
        let streams = f64::from(self.spec.streams.max(1));
        let by_timer = self.spec.length().as_secs_f64() * streams * TIMER_RETRANSMITS;
        self.is(Protocol::Tcp)
            && count < WRAPPED
            && count as f64 <= self.bytes * CLOCK_RATIO / SEGMENT_MIN + by_timer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Figures;

    #[test]
    fn wrapped_count_of_packets_is_removed() {
        let spec = TestSpec {
            protocol: Protocol::Udp,
            ..spec()
        };
        for packets in [u64::MAX, u64::from(u32::MAX), u64::from(u32::MAX) - 5] {
            for lost in [None, Some(u64::MAX), Some(packets - 100)] {
                let figures = Figures {
                    bandwidth_mbps: 94.0,
                    packets: Some(packets),
                    lost_packets: lost,
                    ..Figures::default()
                };
                let (outcome, _) = plausible(Ok(figures), &spec);
                let kept = outcome.map(|figures| (figures.packets, figures.lost_packets));
                assert_eq!(kept, Ok((None, None)), "{packets} {lost:?}");
            }
        }
    }

    #[test]
    fn round_trip_longer_than_the_test_is_kept() {
        let figures = Figures {
            bandwidth_mbps: 0.5,
            rtt_ms: Some(1200.0),
            ..Figures::default()
        };
        let (outcome, removed) = plausible(Ok(figures.clone()), &spec());
        assert_eq!((outcome, removed), (Ok(figures), Vec::new()));
    }

    /// A short TCP test.
    fn spec() -> TestSpec {
        TestSpec {
            protocol: Protocol::Tcp,
            duration: Duration::from_secs(1),
            omit: Duration::ZERO,
            timeout: Duration::from_secs(6),
            bitrate: None,
            streams: 1,
            bidir: false,
        }
    }
}
