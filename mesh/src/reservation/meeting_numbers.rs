//! The numbers of the meetings that this node asks for.
//!
//! A number rises, so that an old request is recognized. It rises by a step that nobody can guess,
//! so that only the two nodes of a meeting can send messages about it: everything else in a message
//! is known to others.

use siphasher::sip::SipHasher24;

/// The length of a step, in bits: too many to guess during a meeting, and few enough for 500
/// million meetings of one agent.
const STEP_BITS: u32 = 36;

#[derive(Clone, Debug, Hash)]
pub(super) struct MeetingNumbers {
    /// A random number that only this agent knows.
    secret: u128,
    drawn: u64,
    last: u64,
}

impl MeetingNumbers {
    pub(super) fn new(secret: u128) -> Self {
        Self {
            secret,
            drawn: 0,
            last: 0,
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        // Whatever values of SipHash are seen, they tell neither its key nor further values.
        let hasher = SipHasher24::new_with_key(&self.secret.to_le_bytes());
        let step = hasher.hash(&self.drawn.to_le_bytes()) >> (u64::BITS - STEP_BITS);
        self.drawn += 1;
        self.last = self.last.saturating_add(1).saturating_add(step);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_the_next_meeting_cannot_be_guessed() {
        let numbers = |secret| {
            let mut numbers = MeetingNumbers::new(secret);
            std::iter::repeat_with(move || numbers.next())
        };
        let pairs = numbers(1).zip(numbers(2)).take(1000);
        assert!(pairs.clone().all(|(one, other)| one != other));
        let (one, _): (Vec<u64>, Vec<u64>) = pairs.unzip();
        let steps: Vec<u64> = one.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A random step of so many bits is so small once in a million times.
        let least = 1 << (STEP_BITS - 20);
        let small = steps.iter().filter(|step| **step < least).count();
        assert!(small <= 1, "{small} of {} steps are small", steps.len());
    }
}
