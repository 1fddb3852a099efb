//! The most recent events in words, for the analysis of a failure.

use std::collections::VecDeque;
use std::fmt::Display;

use super::Kernel;
use super::policy::Policy;
use crate::wire::{Body, Message};
use crate::{Output, Time};

/// The maximum number of lines in all, and the number of lines that may follow the first overlap.
const LINES_MAX: usize = 20_000;
const LINES_AFTER_OVERLAP: usize = 200;

#[derive(Debug, Default)]
pub(in crate::sim) struct Trace {
    is_on: bool,
    /// The number of lines that are still recorded after an overlap.
    left: Option<usize>,
    lines: VecDeque<String>,
}

impl Trace {
    pub(in crate::sim) fn switch_on(&mut self) {
        self.is_on = true;
    }

    /// Records what `words` returns, if the trace is on.
    pub(in crate::sim) fn note<D: Display>(&mut self, at: Time, words: impl FnOnce() -> D) {
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

    /// Keeps the lines that led to an overlap and a few that follow it.
    pub(super) fn end_after_overlap(&mut self) {
        self.left.get_or_insert(LINES_AFTER_OVERLAP);
    }

    pub(in crate::sim) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

impl<P: Policy> Kernel<P> {
    /// Starts to record what happens, in words.
    pub fn switch_trace_on(&mut self) {
        self.trace.switch_on();
    }

    /// Returns the last `count` lines of the trace.
    pub fn last_lines(&self, count: usize) -> impl Iterator<Item = &str> {
        let lines = &self.trace.lines;
        let skipped = lines.len().saturating_sub(count);
        lines.iter().skip(skipped).map(String::as_str)
    }
}

pub(super) fn describe(number: usize, output: &Output) -> String {
    match output {
        Output::Send(_, message) => format!("n{number} sends {}", brief(message)),
        Output::Ping { message, .. } => format!("n{number} pings {}", message.to),
        output => format!("n{number} {output:?}"),
    }
}

pub(super) fn brief(message: &Message) -> String {
    let Message {
        from,
        to,
        sweep,
        meeting,
        body,
        ..
    } = message;
    let meeting = meeting
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    match body {
        Body::Request { .. } => format!("{from} -> {to} ({meeting}, sweep {sweep}) Request"),
        body => format!("{from} -> {to} ({meeting}, sweep {sweep}) {body:?}"),
    }
}
