//! The control network: whether, how often and after what delay a message arrives, and which nodes
//! can reach each other.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kernel::{DELIVERY_TIMEOUT, Delivery};

/// TCP's first retransmission timeout for a new connection (RFC 6298), and for an established one
/// (the minimum of Linux). Each retransmission doubles the timeout.
const INITIAL_RTO: Duration = Duration::from_secs(1);
const MIN_RTO: Duration = Duration::from_millis(200);

/// The conditions of the network, which apply to each message independently.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetworkConditions {
    /// The share of messages that are lost and reported to their senders as lost.
    pub loss: f64,
    /// The share of messages that arrive although their senders are told that they may be lost.
    pub delivery_uncertain: f64,
    /// The share of messages that arrive twice.
    pub duplicated: f64,
    /// The maximum of a message's random extra delay, which also reorders messages.
    pub jitter: Duration,
}

#[derive(Debug)]
pub(super) struct Network {
    latency: Duration,
    /// The share of packets that are lost, so that TCP sends them again.
    packet_loss: f64,
    pub(super) conditions: NetworkConditions,
    /// The number of faults that cut the path, by sender and receiver.
    cut: Vec<Vec<u32>>,
    rng: StdRng,
}

impl Network {
    pub(super) fn new(nodes: usize, latency: Duration, packet_loss: f64, seed: u64) -> Self {
        Self {
            latency,
            packet_loss,
            conditions: NetworkConditions::default(),
            cut: vec![vec![0; nodes]; nodes],
            rng: StdRng::seed_from_u64(seed),
        }
    }

    pub(super) fn latency(&self) -> Duration {
        self.latency
    }

    /// Returns whether packets from one node reach the other.
    pub(super) fn is_open(&self, from: usize, to: usize) -> bool {
        self.cut[from][to] == 0
    }

    /// Returns whether packets pass in both directions.
    pub(super) fn is_connected(&self, one: usize, other: usize) -> bool {
        self.is_open(one, other) && self.is_open(other, one)
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut[from][to] += 1;
    }

    pub(super) fn restore(&mut self, from: usize, to: usize) {
        self.cut[from][to] -= 1;
    }

    /// Draws the fate of a message at random.
    pub(super) fn deliver(&mut self, from: usize, to: usize) -> Delivery {
        let lost = Delivery::lost(true);
        if !self.is_open(from, to) {
            return lost;
        }
        let Some(retransmission) = self.retransmission_delay() else {
            return lost;
        };
        let NetworkConditions {
            loss,
            delivery_uncertain,
            duplicated,
            jitter,
        } = self.conditions;
        if self.happens(loss) {
            return lost;
        }
        let copies = if self.happens(duplicated) { 2 } else { 1 };
        let delays = (0..copies)
            .map(|_| retransmission + self.delay(jitter))
            .collect();
        // No connection can be made without a return path, but one may have been made before the
        // path was cut.
        let reported_lost = self.happens(delivery_uncertain) || !self.is_open(to, from);
        Delivery {
            delays,
            reported_lost,
        }
    }

    fn delay(&mut self, jitter: Duration) -> Duration {
        self.latency.mul_f64(1.0 + 0.1 * self.rng.random::<f64>())
            + jitter.mul_f64(self.rng.random::<f64>())
    }

    /// Returns how long TCP's retransmissions delay a message; `None` if they take so long that the
    /// sender gives up.
    fn retransmission_delay(&mut self) -> Option<Duration> {
        if self.packet_loss == 0.0 {
            return Some(Duration::ZERO);
        }
        // The connection needs a packet and its answer; the message needs one packet.
        let connection = 1.0 - (1.0 - self.packet_loss).powi(2);
        let mut late = Duration::ZERO;
        for (loss, mut timeout) in [(connection, INITIAL_RTO), (self.packet_loss, MIN_RTO)] {
            while self.happens(loss) {
                late += timeout;
                timeout *= 2;
                if late >= DELIVERY_TIMEOUT {
                    return None;
                }
            }
        }
        Some(late)
    }

    fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.random_bool(share)
    }
}
