//! Planned events, ordered by time. Events of the same instant keep the order in which they were
//! planned.

use std::collections::BTreeMap;

use crate::Time;

#[derive(Debug)]
pub(super) struct Queue<E> {
    events: BTreeMap<(Time, u64), E>,
    planned: u64,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self {
            events: BTreeMap::new(),
            planned: 0,
        }
    }

    pub(super) fn plan(&mut self, at: Time, event: E) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// Returns the next event, if it is due by `end`.
    pub(super) fn next_by(&mut self, end: Time) -> Option<(Time, E)> {
        let first = self.events.first_entry()?;
        let (at, _) = *first.key();
        (at <= end).then(|| (at, first.remove()))
    }
}
