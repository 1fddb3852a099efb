//! The requests of a peer that this node has seen, so that a late copy of one has no effect.
//!
//! A number alone proves nothing: a forged request may have any. Only after a test of the peer do
//! older requests no longer count. Otherwise one forged request with a high number would silence
//! the peer for ever.

use crate::Epoch;

/// The number of requests whose copies are recognized although no test followed.
const RECENT: usize = 4;

#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct SeenRequests {
    epoch: Option<Epoch>,
    /// The numbers of the last requests. No meeting has the number 0.
    recent: [u64; RECENT],
    /// The highest number of a meeting in which a test took place.
    tested: u64,
}

impl SeenRequests {
    /// Returns whether this is a request that has not been seen, and that is not older than a
    /// meeting with a test.
    pub(crate) fn is_new(&self, epoch: Epoch, number: u64) -> bool {
        self.epoch != Some(epoch) || (number > self.tested && !self.recent.contains(&number))
    }

    /// Records a request that is new.
    pub(crate) fn record(&mut self, epoch: Epoch, number: u64) {
        if self.epoch != Some(epoch) {
            *self = Self {
                epoch: Some(epoch),
                ..Self::default()
            };
        }
        self.recent.rotate_right(1);
        self.recent[0] = number;
    }

    /// Records that a test took place in this meeting that the peer asked for.
    pub(crate) fn record_test(&mut self, epoch: Epoch, number: u64) {
        if self.epoch == Some(epoch) {
            self.tested = self.tested.max(number);
        }
    }
}
