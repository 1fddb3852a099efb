//! The control network between the agents: latency and loss.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What becomes of a message.
pub(super) enum Fate {
    Arrives(Duration),
    Lost,
}

#[derive(Debug)]
pub(super) struct Network {
    latency: Duration,
    loss: f64,
    rng: StdRng,
}

impl Network {
    pub(super) fn new(latency: Duration, loss: f64, seed: u64) -> Self {
        Self { latency, loss, rng: StdRng::seed_from_u64(seed) }
    }

    pub(super) fn fate(&mut self) -> Fate {
        if self.loss > 0.0 && self.rng.random_bool(self.loss) {
            return Fate::Lost;
        }
        Fate::Arrives(self.latency.mul_f64(1.0 + 0.1 * self.rng.random::<f64>()))
    }
}
