//! The last things that happened, in words, for whoever has to understand a failure.

use std::collections::VecDeque;
use std::fmt::Display;

use crate::Time;

/// How many lines are kept, and how many of them tell of what came after an overlap.
const LINES_MAX: usize = 20_000;
const AFTERMATH: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Trace {
    is_on: bool,
    /// How many more lines are to be noted, once there was an overlap.
    left: Option<usize>,
    lines: VecDeque<String>,
}

impl Trace {
    pub(super) fn switch_on(&mut self) {
        self.is_on = true;
    }

    /// Notes what `words` says, if anybody wants to know.
    pub(super) fn note<D: Display>(&mut self, at: Time, words: impl FnOnce() -> D) {
        if !self.is_on || self.left == Some(0) {
            return;
        }
        self.left = self.left.map(|left| left - 1);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!(
            "{:12.6} {}",
            at.since(Time::default()).as_secs_f64(),
            words()
        ));
    }

    /// What it was about has happened: keeps what led to it.
    pub(super) fn come_to_an_end(&mut self) {
        self.left.get_or_insert(AFTERMATH);
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
