//! The round-robin tournament by the circle method: which nodes meet in which round.
//!
//! Sources: T. P. Kirkman (1847); E. Lucas, *Récréations mathématiques* (1883), vol. 2. The bound
//! is the chromatic index of the complete graph: n−1 colours for even n, n for odd.
//! `docs/schedule.md` has the sketch of the proof.

use std::time::Duration;

use crate::TestSpec;

/// A tournament of players numbered from 0, in which each pair meets exactly once.
///
/// Every answer is computed from the numbers alone, so all nodes with the same view agree without
/// exchanging a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tournament {
    players: usize,
}

impl Tournament {
    /// Creates a tournament of this many players.
    pub const fn new(players: usize) -> Self {
        Self { players }
    }

    /// Returns the number of rounds: one less than the number of players if that is even. If it is
    /// odd, there are as many rounds as players, and each player has one bye.
    pub const fn rounds(self) -> usize {
        match self.players {
            0 | 1 => 0,
            even if even % 2 == 0 => even - 1,
            odd => odd,
        }
    }

    /// Returns the partner of `player` in `round`; `None` is a bye.
    ///
    /// On a circle of `rounds` seats, i and j meet in round r when i + j ≡ 2r. A player that would
    /// meet itself meets the player outside the circle, which exists only if the number of players
    /// is even.
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
}

/// Returns the length of one meeting in which nothing goes wrong and only the tests take time.
pub fn meeting_length(tests: &[TestSpec]) -> Duration {
    tests
        .iter()
        .map(|test| test.length() * if test.bidir { 1 } else { 2 })
        .sum()
}

/// Returns the lower bound of the duration of a sweep of `nodes` nodes, in which every pair is
/// tested and no node is in two tests at once.
pub fn sweep_bound(nodes: usize, tests: &[TestSpec]) -> Duration {
    let rounds = u32::try_from(Tournament::new(nodes).rounds()).unwrap_or(u32::MAX);
    meeting_length(tests).saturating_mul(rounds)
}
