//! The control network: how long a message takes, whether it arrives, how often; and who can reach
//! whom at all.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How long the sender of a lost message waits until it knows, as the agent does.
pub(super) const HANDED_OVER_WITHIN: Duration = Duration::from_secs(2);

/// When TCP sends a packet of a new connection again, and one of a connection that stands (RFC
/// 6298; the least of Linux). Each further time takes twice as long.
const FIRST_RTO: Duration = Duration::from_secs(1);
const LEAST_RTO: Duration = Duration::from_millis(200);

/// What becomes of messages, each on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetworkConditions {
    /// The share of messages that are lost, which their senders come to know.
    pub loss: f64,
    /// The share that arrive although their senders are told that they may not have.
    pub doubt: f64,
    /// The share that arrive twice.
    pub twice: f64,
    /// Each is late by up to that much, so that they overtake each other.
    pub jitter: Duration,
}

/// What becomes of one message.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Copies of it arrive after these delays.
    pub(super) arrives: Vec<Duration>,
    /// The sender is told that it may be lost.
    pub(super) doubted: bool,
}

#[derive(Debug)]
pub(super) struct Network {
    latency: Duration,
    /// The share of packets that are lost, and sent again by TCP.
    packet_loss: f64,
    pub(super) weather: NetworkConditions,
    /// What reaches whom no more: by sender and receiver, the number of faults that see to it.
    cut: Vec<Vec<u32>>,
    rng: StdRng,
}

impl Network {
    pub(super) fn new(nodes: usize, latency: Duration, packet_loss: f64, seed: u64) -> Self {
        Self {
            latency,
            packet_loss,
            weather: NetworkConditions::default(),
            cut: vec![vec![0; nodes]; nodes],
            rng: StdRng::seed_from_u64(seed),
        }
    }

    pub(super) fn latency(&self) -> Duration {
        self.latency
    }

    /// Whether packets from there arrive here.
    pub(super) fn is_open(&self, from: usize, to: usize) -> bool {
        self.cut[from][to] == 0
    }

    /// Whether packets find their way there and back.
    pub(super) fn is_connected(&self, one: usize, other: usize) -> bool {
        self.is_open(one, other) && self.is_open(other, one)
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut[from][to] += 1;
    }

    pub(super) fn mend(&mut self, from: usize, to: usize) {
        self.cut[from][to] -= 1;
    }

    /// Draws the fate of a message.
    pub(super) fn fate(&mut self, from: usize, to: usize) -> Fate {
        let lost = Fate {
            arrives: Vec::new(),
            doubted: true,
        };
        if !self.is_open(from, to) {
            return lost;
        }
        let Some(repetitions) = self.repetitions() else {
            return lost;
        };
        let NetworkConditions {
            loss,
            doubt,
            twice,
            jitter,
        } = self.weather;
        if self.happens(loss) {
            return lost;
        }
        let copies = if self.happens(twice) { 2 } else { 1 };
        let arrives = (0..copies)
            .map(|_| repetitions + self.delay(jitter))
            .collect();
        // Without a way back the connection is never made; but it may have been, before the way was
        // lost.
        let doubted = self.happens(doubt) || !self.is_open(to, from);
        Fate { arrives, doubted }
    }

    fn delay(&mut self, jitter: Duration) -> Duration {
        self.latency.mul_f64(1.0 + 0.1 * self.rng.random::<f64>())
            + jitter.mul_f64(self.rng.random::<f64>())
    }

    /// How much later a message comes since TCP had to send some of its packets again; `None` if
    /// that took so long that its sender has given up.
    fn repetitions(&mut self) -> Option<Duration> {
        if self.packet_loss == 0.0 {
            return Some(Duration::ZERO);
        }
        // The connection is made if a packet and its answer arrive, the message is there if one
        // packet is.
        let connection = 1.0 - (1.0 - self.packet_loss).powi(2);
        let mut late = Duration::ZERO;
        for (loss, mut timeout) in [(connection, FIRST_RTO), (self.packet_loss, LEAST_RTO)] {
            while self.happens(loss) {
                late += timeout;
                timeout *= 2;
                if late >= HANDED_OVER_WITHIN {
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
