//! What a shaped link must yield: computed from its rate and the sizes of the headers, not from a
//! measurement.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What the token bucket counts of a frame beyond the IP packet: addresses and type, but neither
/// the checksum nor the gap, which a veth has not.
const ETHERNET: f64 = 14.0;
const MTU: f64 = 1500.0;
const IPV4: f64 = 20.0;
/// With the timestamp option, which Linux uses unless told otherwise.
const TCP: f64 = 20.0 + 12.0;
const UDP: f64 = 8.0;

/// After which TCP sends again, in seconds, what nothing that follows tells to be lost: Linux's
/// `TCP_RTO_MIN`.
const RETRANSMISSION: f64 = 0.2;

/// How one direction of a link is shaped; displays as the arguments of `tc qdisc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bits per second.
    pub rate: u64,
}

impl Shape {
    /// How long a packet may wait before it is dropped.
    ///
    /// Enough for the window that TCP needs to fill the link on a machine whose scheduler is late
    /// by some milliseconds, and for a millisecond's burst of a paced UDP sender below the rate
    /// (so that it loses nothing); not so long that what is still in the queue when a short
    /// test ends would count: 50 ms of a test of 2 s are delivered during the exchange of
    /// results, and change its rate by less than 0.1 %.
    ///
    /// Plain iperf3 over BBR on a busy machine came within 3 % in all of 48 tests at 20 and 100
    /// Mbit/s, but not in 11 of 24 at 8 Mbit/s (it keeps the queue full and loses up to 10 %):
    /// measure TCP on no slower link than 20. With 10 ms it missed 2 of 24 at each of these
    /// rates, by up to 34 %.
    const QUEUE: Duration = Duration::from_millis(50);

    /// Shapes to `rate` bits per second.
    pub const fn new(rate: u64) -> Self {
        Self { rate }
    }

    /// Bytes that may pass at once after a pause.
    ///
    /// The bucket refills by timer: what does not fit while the timer is late is lost, so it holds
    /// 2.5 ms of the rate. More would be given away at the start of each test; this is 0.1 % of
    /// a test of 2 s. Slow links take 16 KiB, room for several frames (a longer
    /// segmentation-offload packet is cut up by the bucket itself).
    fn burst(self) -> u64 {
        (self.rate / 8 / 400).max(16 * 1024)
    }

    /// Bytes of the bucket and of the queue before it: what the link can hold back and deliver
    /// late.
    fn reserve(self) -> f64 {
        self.burst() as f64 + self.rate as f64 / 8.0 * Self::QUEUE.as_secs_f64()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, burst, latency) = (self.rate, self.burst(), Self::QUEUE.as_millis());
        write!(f, "tbf rate {rate}bit burst {burst} latency {latency}ms")
    }
}

/// The narrower of the two links on a path: the source's on its way out, the destination's on its
/// way in.
pub fn narrowest(source: Shape, destination: Shape) -> Shape {
    if source.rate < destination.rate {
        source
    } else {
        destination
    }
}

/// TCP payload that a link carries, megabits per second: 1448 of each 1514 bytes.
pub fn tcp_mbps(link: Shape) -> f64 {
    link.rate as f64 / 1e6 * (MTU - IPV4 - TCP) / (ETHERNET + MTU)
}

/// A UDP test, as far as the link is concerned.
#[derive(Clone, Copy, Debug)]
pub struct UdpLoad {
    /// Payload that is sent, bits per second.
    pub bitrate: f64,
    /// Datagrams that were sent in all.
    pub packets: f64,
    /// Seconds it was sent for.
    pub seconds: f64,
}

impl UdpLoad {
    /// The share of datagrams that `link` must lose.
    ///
    /// Least if what bucket and queue hold back counts as arrived, most if it does not.
    pub fn loss(self, link: Shape) -> RangeInclusive<f64> {
        let (least, most) = self.fitting(link).into_inner();
        1.0 - most..=1.0 - least
    }

    /// The payload that `link` must deliver, megabits per second.
    ///
    /// Most if the receiver's clock stops with the sender. It runs until the receiver is told that
    /// the test is over, and that message finds the queue full where the link is too narrow: it
    /// comes with the last datagrams, or is lost and sent again, as happened in 1 of 20 such
    /// tests (3.70 instead of 3.92 Mbit/s).
    pub fn mbps(self, link: Shape) -> RangeInclusive<f64> {
        let (least, most) = self.fitting(link).into_inner();
        let sent = self.bitrate / 1e6;
        let on_time = if least < 1.0 {
            self.seconds / (self.seconds + RETRANSMISSION)
        } else {
            1.0
        };
        sent * least * on_time..=sent * most
    }

    /// The share that fits through.
    fn fitting(self, link: Shape) -> RangeInclusive<f64> {
        let payload = self.bitrate * self.seconds / 8.0 / self.packets;
        let sent = self.packets * (payload + ETHERNET + IPV4 + UDP);
        let carried = link.rate as f64 / 8.0 * self.seconds;
        let share = |bytes: f64| (bytes / sent).min(1.0);
        share(carried)..=share(carried + link.reserve())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_yields_what_the_headers_leave() {
        assert!((tcp_mbps(Shape::new(100_000_000)) - 95.64).abs() < 0.01);
        assert!((tcp_mbps(Shape::new(20_000_000)) - 19.13).abs() < 0.01);
    }

    #[test]
    fn the_narrower_link_counts_whichever_end_it_is_at() {
        let (slow, fast) = (Shape::new(20), Shape::new(100));
        assert_eq!(narrowest(slow, fast), slow);
        assert_eq!(narrowest(fast, slow), slow);
    }

    #[test]
    fn udp_below_the_rate_loses_nothing() {
        let load = UdpLoad {
            bitrate: 10e6,
            packets: 1726.0,
            seconds: 2.0,
        };
        assert_eq!(load.loss(Shape::new(20_000_000)), 0.0..=0.0);
    }

    #[test]
    fn udp_above_the_rate_loses_what_does_not_fit() {
        // 1448 bytes of payload are 1490 on the link: 10 Mbit/s need 10.29, and 5 fit.
        let load = UdpLoad {
            bitrate: 10e6,
            packets: 2.0 * 10e6 / 8.0 / 1448.0,
            seconds: 2.0,
        };
        let loss = load.loss(Shape::new(5_000_000));
        assert!((loss.end() - (1.0 - 5.0 / 10.29)).abs() < 0.001, "{loss:?}");
        assert!(loss.end() - loss.start() < 0.02, "{loss:?}");
    }

    #[test]
    fn udp_above_the_rate_may_be_measured_for_too_long() {
        let load = UdpLoad {
            bitrate: 6e6,
            packets: 1250.0,
            seconds: 2.0,
        };
        let narrow = load.mbps(Shape::new(4_000_000));
        assert!(
            narrow.contains(&3.92) && narrow.contains(&3.70),
            "{narrow:?}"
        );
        assert!(
            !narrow.contains(&3.4) && !narrow.contains(&4.1),
            "{narrow:?}"
        );
        assert_eq!(load.mbps(Shape::new(50_000_000)), 6.0..=6.0);
    }

    #[test]
    fn the_shape_is_what_tc_takes() {
        let shape = Shape::new(100_000_000).to_string();
        assert_eq!(shape, "tbf rate 100000000bit burst 31250 latency 50ms");
    }
}
