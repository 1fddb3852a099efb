//! What is yet to happen, in the order of its time; at the same instant, in the order of its
//! planning.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Time;

#[derive(Debug)]
pub(super) struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    planned: u64,
}

#[derive(Debug)]
struct Entry<E> {
    key: (Time, u64),
    event: E,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }

    pub(super) fn plan(&mut self, at: Time, event: E) {
        self.planned += 1;
        self.heap.push(Reverse(Entry {
            key: (at, self.planned),
            event,
        }));
    }

    /// The next event, if it comes by `end`.
    pub(super) fn next_by(&mut self, end: Time) -> Option<(Time, E)> {
        if self.heap.peek()?.0.key.0 > end {
            return None;
        }
        self.heap.pop().map(
            |Reverse(Entry {
                 key: (at, _),
                 event,
             })| (at, event),
        )
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}
