//! Who meets whom in which round: the round-robin tournament by the circle method.
//!
//! Sources: T. P. Kirkman (1847); E. Lucas, *Récréations mathématiques* (1883), vol. 2. The bound
//! is the chromatic index of the complete graph: n−1 colours for even n, n for odd.
//! `docs/schedule.md` has the sketch of the proof.

use std::time::Duration;

use crate::TestSpec;

/// A tournament of players numbered from 0, where each meets each other exactly once.
///
/// Every answer is computed from the numbers alone, so that all nodes with one view agree without a
/// word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tournament {
    players: usize,
}

impl Tournament {
    /// A tournament of that many players.
    pub const fn new(players: usize) -> Self {
        Self { players }
    }

    /// The number of rounds: one less than the players if these are even, else as many (each has
    /// one bye).
    pub const fn rounds(self) -> usize {
        match self.players {
            0 | 1 => 0,
            even if even % 2 == 0 => even - 1,
            odd => odd,
        }
    }

    /// The partner of `player` in `round`; `None` is a bye.
    ///
    /// On a circle of `rounds` seats, i and j meet in round r when i + j ≡ 2r. Who would meet
    /// itself meets the player outside the circle, who exists only if the players are even.
    pub const fn partner(self, player: usize, round: usize) -> Option<usize> {
        let seats = self.rounds();
        if player >= self.players || round >= seats {
            return None;
        }
        if player == seats {
            return Some(round);
        }
        let partner = (2 * round + seats - player) % seats;
        if partner != player {
            Some(partner)
        } else if self.players.is_multiple_of(2) {
            Some(seats)
        } else {
            None
        }
    }

    /// The round in which two different players meet; `None` if they are no two players.
    pub const fn round_of(self, a: usize, b: usize) -> Option<usize> {
        if a == b || a >= self.players || b >= self.players {
            return None;
        }
        let seats = self.rounds();
        if a == seats {
            Some(b)
        } else if b == seats {
            Some(a)
        } else {
            // (seats + 1) / 2 is the inverse of 2 modulo the odd number of seats.
            Some((a + b) * seats.div_ceil(2) % seats)
        }
    }
}

/// The length of one meeting in which nothing goes wrong and nothing costs any time but the tests.
pub fn meeting_length(tests: &[TestSpec]) -> Duration {
    tests
        .iter()
        .map(|test| test.length() * if test.bidir { 1 } else { 2 })
        .sum()
}

/// The least time in which `nodes` nodes can be swept: no node is in two tests at once, every pair
/// is tested.
pub fn sweep_bound(nodes: usize, tests: &[TestSpec]) -> Duration {
    let rounds = u32::try_from(Tournament::new(nodes).rounds()).unwrap_or(u32::MAX);
    meeting_length(tests).saturating_mul(rounds)
}
