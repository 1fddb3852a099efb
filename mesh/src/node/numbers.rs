//! The sweep numbers of the other nodes, and what may be concluded from them.
//!
//! A sweep number is a label: two nodes meet only if theirs are equal. No node's word is taken
//! alone, and no number on somebody's word is far from the own one unless most nodes have it. Only
//! live peers that have answered at their control address count.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Time;
use crate::wire::SWEEP_MAX;

/// The number that a node takes instead of an absurd one. Numbers therefore never run out.
pub(super) const TAKEN_MAX: u64 = SWEEP_MAX / 2;

/// How far above [`TAKEN_MAX`] a number is not absurd yet: a mesh that has taken it goes on from
/// there, a step at a time, and nodes that come later must find it.
const RUN_UP: u64 = 1 << 32;

/// How far from the median a number is out of step. One step is normal: nodes do not begin a sweep
/// at the same instant.
pub(super) const OUT_OF_STEP: u64 = 2;

/// The number of peers that must say that a sweep has begun, if there are as many.
const WORDS: usize = 2;

/// The numbers of the peers that count, and how many peers have each of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    counts: BTreeMap<u64, usize>,
    total: usize,
    /// The number of live peers, whether their numbers count or not.
    live: usize,
}

impl Numbers {
    pub(super) fn add(&mut self, is_live: bool, number: Option<u64>) {
        self.live += usize::from(is_live);
        if let Some(number) = number {
            *self.counts.entry(number).or_default() += 1;
            self.total += 1;
        }
    }

    pub(super) fn remove(&mut self, is_live: bool, number: Option<u64>) {
        self.live -= usize::from(is_live);
        if let Some(number) = number
            && let Some(count) = self.counts.get_mut(&number)
        {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.counts.remove(&number);
            }
        }
    }

    /// Returns how many peers count.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Returns how many peers are in a later sweep.
    pub(super) fn above(&self, own: u64) -> usize {
        self.counts
            .range(own.saturating_add(1)..)
            .map(|(_, count)| count)
            .sum()
    }

    /// Returns whether this many words are enough to follow one step.
    pub(super) fn is_enough(&self, words: usize) -> bool {
        words >= WORDS.min(self.live) && words > 0
    }

    /// Returns the median of all numbers, the own one included. If there are two halves, the lower
    /// one counts.
    pub(super) fn median_with(&self, own: u64) -> u64 {
        let mut rank = self.total / 2;
        let mut own_is_left = true;
        for (&number, &count) in &self.counts {
            if own_is_left && own <= number {
                own_is_left = false;
                match rank.checked_sub(1) {
                    None => return own,
                    Some(rest) => rank = rest,
                }
            }
            match rank.checked_sub(count) {
                None => return number,
                Some(rest) => rank = rest,
            }
        }
        own
    }

    /// Returns the number with which a starting node joins: the median of the others. A single word
    /// counts only if there is no other peer.
    pub(super) fn to_join(&self) -> u64 {
        if !self.is_enough(self.total) {
            return 1;
        }
        let mut rank = (self.total - 1) / 2;
        for (&number, &count) in &self.counts {
            match rank.checked_sub(count) {
                None => return taken(number).max(1),
                Some(rest) => rank = rest,
            }
        }
        1
    }

    /// Returns whether a peer is in the first of all sweeps, so that the mesh has just started.
    pub(super) fn is_first_begun(&self) -> bool {
        self.counts.contains_key(&1)
    }
}

/// Returns the number that a node takes if most others have this one.
pub(super) fn taken(number: u64) -> u64 {
    if number <= TAKEN_MAX + RUN_UP {
        number
    } else {
        TAKEN_MAX
    }
}

/// The pace at which a node follows others: one step per shortest possible sweep, and one more in
/// hand, for a sweep that began late. (The generic cell rate algorithm, ITU-T I.371.)
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// The instant at which the steps taken so far would have been taken at that pace.
    spent_until: Time,
}

impl Pace {
    pub(super) const fn new(now: Time) -> Self {
        Self { spent_until: now }
    }

    /// Records that a sweep begins that takes at least `shortest`.
    pub(super) fn step(&mut self, now: Time, shortest: Duration) {
        self.spent_until = self.spent_until.max(now) + shortest;
    }

    /// Returns when the node may follow again. The steps taken in a larger mesh count no more than
    /// two in this one.
    pub(super) fn next_step(&mut self, now: Time, shortest: Duration) -> Time {
        self.spent_until = self.spent_until.min(now + 2 * shortest);
        self.spent_until - shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_three_numbers_moves_no_median() {
        for lie in [0, 11, 13, SWEEP_MAX] {
            assert_eq!(numbers(&[12, lie]).median_with(12), 12, "{lie}");
        }
    }

    #[test]
    fn lower_half_wins_if_a_mesh_is_split_evenly() {
        assert_eq!(numbers(&[12, 90, 90]).median_with(12), 12);
        assert_eq!(numbers(&[12, 12, 90]).median_with(90), 12);
        assert_eq!(numbers(&[90]).median_with(12), 12);
        assert_eq!(numbers(&[12]).median_with(90), 12);
        assert_eq!(numbers(&[12, 12, 90, 90]).median_with(90), 90);
    }

    #[test]
    fn starting_node_takes_the_median_and_no_single_word() {
        assert_eq!(numbers(&[]).to_join(), 1);
        assert_eq!(numbers(&[7]).to_join(), 7);
        assert_eq!(numbers(&[7, 7, SWEEP_MAX]).to_join(), 7);
        assert_eq!(numbers(&[SWEEP_MAX, SWEEP_MAX]).to_join(), TAKEN_MAX);
        let mut alone_among_starting = numbers(&[SWEEP_MAX]);
        alone_among_starting.add(true, None);
        assert_eq!(alone_among_starting.to_join(), 1);
    }

    #[test]
    fn mesh_that_has_been_led_to_the_highest_number_is_found() {
        for (number, found) in [
            (TAKEN_MAX + 1, TAKEN_MAX + 1),
            (TAKEN_MAX + RUN_UP, TAKEN_MAX + RUN_UP),
            (TAKEN_MAX + RUN_UP + 1, TAKEN_MAX),
        ] {
            assert_eq!(numbers(&[number, number]).to_join(), found);
        }
    }

    #[test]
    fn pace_allows_one_step_per_sweep_and_one_in_hand() {
        let (start, sweep) = (Time::from_nanos(1 << 40), Duration::from_secs(60));
        let mut pace = Pace::new(start);
        let mut now = start;
        let mut steps = 0;
        while now < start + 10 * sweep {
            if now >= pace.next_step(now, sweep) {
                pace.step(now, sweep);
                steps += 1;
            }
            now = now + Duration::from_secs(2);
        }
        assert_eq!(steps, 11);
    }

    #[test]
    fn steps_of_a_larger_mesh_delay_no_smaller_one() {
        let (now, large, small) = (
            Time::from_nanos(1 << 40),
            Duration::from_secs(6000),
            Duration::from_secs(60),
        );
        let mut pace = Pace::new(now);
        pace.step(now, large);
        assert_eq!(pace.next_step(now, small), now + small);
        assert_eq!(pace.next_step(now + small, small), now + small);
    }

    /// Live peers with these numbers.
    fn numbers(all: &[u64]) -> Numbers {
        let mut numbers = Numbers::default();
        all.iter()
            .for_each(|&number| numbers.add(true, Some(number)));
        numbers
    }
}
