//! The life of an agent: what makes one run of it different from all others.

use std::fmt;

use crate::Epoch;

/// The length of a life, in bytes.
pub(crate) const LIFE_LEN: usize = 16;

/// One run of an agent, or of a program that asks one. It is drawn at random, compared for equality
/// only, and no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life([u8; LIFE_LEN]);

impl Life {
    /// Creates a life from random bytes.
    pub const fn new(bytes: [u8; LIFE_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the life with these two halves.
    pub fn from_halves(epoch: Epoch, rest: u64) -> Self {
        let bytes = (u128::from(epoch.0) << 64) | u128::from(rest);
        Self(bytes.to_be_bytes())
    }

    /// Returns the epoch, which is the first half of the life.
    pub fn epoch(self) -> Epoch {
        Epoch((u128::from_be_bytes(self.0) >> 64) as u64)
    }

    /// Returns the half of the life that is not in the epoch.
    pub fn rest(self) -> u64 {
        u128::from_be_bytes(self.0) as u64
    }

    /// Returns the life as bytes.
    pub const fn bytes(&self) -> &[u8; LIFE_LEN] {
        &self.0
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}
