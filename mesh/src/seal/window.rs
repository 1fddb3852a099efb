//! The window of the counters that have arrived: it tells the first copy of a message from all
//! later ones, although messages overtake each other (RFC 6479).

/// The number of 64-bit words. One of them is always being reused.
const WORDS: u64 = 17;
/// A counter that lies this far or farther behind the greatest one is refused.
const WINDOW: u64 = (WORDS - 1) * 64;

/// Which of the last [`WINDOW`] counters have arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// The greatest counter that has arrived, plus one.
    next: u64,
    seen: [u64; WORDS as usize],
}

impl Window {
    /// Returns whether `counter` has not arrived yet, as far as the window tells. A message is
    /// opened only then, and passed on only if [`Self::take`] confirms it.
    pub(super) fn admits(&self, counter: u64) -> bool {
        if counter >= self.next {
            return counter != u64::MAX;
        }
        let is_old = self.next - counter > WINDOW;
        !is_old && self.seen[word(counter)] & bit(counter) == 0
    }

    /// Takes note that `counter` has arrived, in a message that opened. Returns whether it had not
    /// arrived before.
    pub(super) fn take(&mut self, counter: u64) -> bool {
        if !self.admits(counter) {
            return false;
        }
        if counter >= self.next {
            // The words between the last one in use and that of the new counter are new.
            let last = self.next.saturating_sub(1) / 64;
            let fresh = (counter / 64 - last).min(WORDS);
            for step in 1..=fresh {
                self.seen[((last + step) % WORDS) as usize] = 0;
            }
            self.next = counter + 1;
        }
        self.seen[word(counter)] |= bit(counter);
        true
    }
}

const fn word(counter: u64) -> usize {
    (counter / 64 % WORDS) as usize
}

const fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_takes_each_counter_once_up_to_the_greatest() {
        for start in [0, 1, 63, 64, 1023, 1024, 1 << 40, u64::MAX - 3000] {
            let mut window = Window::default();
            assert!(window.take(start));
            for counter in (start + 1..start + 2900).step_by(3) {
                assert!(window.take(counter) && !window.take(counter), "{counter}");
                for back in 1..1200 {
                    // The skipped ones of the last 1,024 are admitted, all others are not.
                    let Some(behind) = (counter - start).checked_sub(back) else {
                        continue;
                    };
                    let is_new = behind != 0 && behind % 3 != 1;
                    let admits = window.admits(counter - back);
                    assert_eq!(admits, is_new && back < WINDOW, "{start} {counter} {back}");
                }
            }
        }
    }

    #[test]
    fn last_counter_of_all_is_refused() {
        let mut window = Window::default();
        assert!(!window.take(u64::MAX));
        assert!(window.take(u64::MAX - 1));
        assert!(!window.take(u64::MAX - 1) && !window.take(u64::MAX));
        assert!(window.take(u64::MAX - 1024) && !window.admits(u64::MAX - 1025));
    }
}
