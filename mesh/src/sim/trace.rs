//! The last things that happened, in words, for whoever has to understand a failure.

use std::collections::VecDeque;
use std::fmt::Display;

use crate::Time;

/// How many lines are kept.
const LINES_MAX: usize = 2000;

#[derive(Debug, Default)]
pub(super) struct Trace {
    is_on: bool,
    lines: VecDeque<String>,
}

impl Trace {
    pub(super) fn switch_on(&mut self) {
        self.is_on = true;
    }

    /// Notes what `words` says, if anybody wants to know.
    pub(super) fn note<D: Display>(&mut self, at: Time, words: impl FnOnce() -> D) {
        if !self.is_on {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!(
            "{:12.6} {}",
            at.since(Time::default()).as_secs_f64(),
            words()
        ));
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
