//! Checkers of the agents' test events: pure functions, written independently of the agent's code.
//!
//! Each violation is a sentence; an empty list means that there are no violations.
//! [`crate::lab::evidence`] checks what actually ran.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::events::{Cell, Event, Kind, Role};

/// The part of one node in one test, from its start to its end.
#[derive(Clone, Debug)]
pub struct Interval {
    /// The node that logged the events.
    pub node: String,
    /// The other node.
    pub peer: String,
    /// The role of `node`.
    pub role: Role,
    /// The cell that is measured.
    pub cell: Cell,
    /// The meeting, the same at both nodes.
    pub meeting: String,
    /// The sweep.
    pub sweep: u64,
    /// The process.
    pub pid: Option<u32>,
    /// The start of the part, in nanoseconds of the events' clock.
    pub start: u64,
    /// The end of the part; see [`intervals`].
    pub end: u64,
    /// The time by which the process is dead.
    pub deadline: u64,
    /// The result in its end event; `None` if there is no such event.
    pub outcome: Option<Outcome>,
}

/// The result of a test, in the words of the log.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `success`, `failure`, …
    pub word: String,
    /// The reason of a failure.
    pub reason: Option<String>,
}

impl Interval {
    fn new(started: &Event) -> Self {
        Self {
            node: started.node.clone(),
            peer: started.peer.clone(),
            role: started.role,
            cell: started.cell(),
            meeting: started.meeting.to_string(),
            sweep: started.sweep,
            pid: started.pid,
            start: started.boot_ns,
            end: started.boot_ns,
            deadline: started.deadline_boot_ns,
            outcome: None,
        }
    }

    /// Returns whether the end event reports a success.
    pub fn succeeded(&self) -> bool {
        let outcome = self.outcome.as_ref();
        outcome.is_some_and(|outcome| outcome.word == "success")
    }

    fn close(&mut self, finished: &Event) {
        self.end = finished.boot_ns;
        self.outcome = Some(Outcome {
            word: finished.outcome.clone().unwrap_or_default(),
            reason: finished.reason.clone(),
        });
    }

    fn death(&self, deaths: &Deaths) -> Option<u64> {
        deaths.get(&self.pid?)?.range(self.start..).next().copied()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            role,
            cell,
            meeting,
            ..
        } = self;
        let [start, end] = [self.start, self.end].map(|ns| ns as f64 / 1e9);
        write!(
            f,
            "{cell} by {node} as {role:?} in {meeting} from {start:.3} to {end:.3} s"
        )
    }
}

/// The times at which processes died, by process id. The kernel reuses ids in a long run.
pub type Deaths = BTreeMap<u32, BTreeSet<u64>>;

/// Pairs starts with ends, and also returns what is wrong with the events themselves.
///
/// An interval without an end lasts until the death of its process in `deaths`, or else until
/// `now`. An end after the deadline was logged by an agent that had been frozen; such an interval
/// also lasts until the death of its process, if that was earlier.
pub fn intervals(events: &[Event], deaths: &Deaths, now: u64) -> (Vec<Interval>, Vec<String>) {
    let (mut done, open, faults) = paired(events);
    for mut interval in open {
        interval.end = interval.death(deaths).unwrap_or(now);
        done.push(interval);
    }
    for interval in &mut done {
        if interval.end > interval.deadline
            && let Some(death) = interval.death(deaths)
        {
            interval.end = interval.end.min(death);
        }
    }
    done.sort_by_key(|interval| interval.start);
    (done, faults)
}

/// Returns the intervals with an end, those without an end, and the events that match no other
/// event.
fn paired(events: &[Event]) -> (Vec<Interval>, Vec<Interval>, Vec<String>) {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| event.boot_ns);
    let (mut done, mut faults) = (Vec::new(), Vec::new());
    let mut open: BTreeMap<_, Interval> = BTreeMap::new();
    for event in events {
        let (node, cell) = (&event.node, event.cell());
        let meeting = (event.epoch.to_string(), event.meeting.to_string());
        let key = (node, meeting, cell.clone());
        match event.event {
            Kind::TestStarted => {
                if open.insert(key, Interval::new(event)).is_some() {
                    faults.push(format!("{node}: {cell} started twice"));
                }
            }
            Kind::TestFinished => match open.remove(&key) {
                Some(mut interval) => {
                    interval.close(event);
                    done.push(interval);
                }
                None => faults.push(format!("{node}: {cell} ended but never started")),
            },
        }
    }
    (done, open.into_values().collect(), faults)
}

/// Checks rule 1: returns every instant at which a node takes part in two meetings. The interval of
/// a client counts at both nodes, so a node with an empty log is judged by its peers' tests.
pub fn overlaps(intervals: &[Interval]) -> Vec<String> {
    let mut at_node: BTreeMap<&str, Vec<&Interval>> = BTreeMap::new();
    for interval in intervals {
        at_node.entry(&interval.node).or_default().push(interval);
        if interval.role == Role::Client {
            at_node.entry(&interval.peer).or_default().push(interval);
        }
    }
    at_node
        .into_iter()
        .flat_map(|(node, parts)| overlaps_at(node, parts))
        .collect()
}

fn overlaps_at(node: &str, mut parts: Vec<&Interval>) -> Vec<String> {
    parts.sort_by_key(|part| part.start);
    let mut found = BTreeMap::new();
    let mut active: Vec<&Interval> = Vec::new();
    for part in parts {
        active.retain(|other| other.end > part.start);
        for other in active.iter().filter(|other| other.meeting != part.meeting) {
            let ms = (other.end.min(part.end) - part.start) / 1_000_000;
            found
                .entry((&other.meeting, &part.meeting))
                .or_insert_with(|| {
                    format!("{node}: {other} and {part}: two meetings at once for {ms} ms")
                });
        }
        active.push(part);
    }
    found.into_values().collect()
}

/// Checks rule 4: returns the cells that `sweep` did not test exactly once, and the cells that it
/// tested but that are not in `cells`.
pub fn not_once(intervals: &[Interval], cells: &BTreeSet<Cell>, sweep: u64) -> Vec<String> {
    let mut tests: BTreeMap<&Cell, usize> = cells.iter().map(|cell| (cell, 0)).collect();
    for interval in clients(intervals, sweep) {
        *tests.entry(&interval.cell).or_default() += 1;
    }
    tests
        .into_iter()
        .filter(|(cell, times)| *times != 1 || !cells.contains(cell))
        .map(|(cell, times)| format!("sweep {sweep}: {cell} tested {times} times"))
        .collect()
}

/// Returns the tests of `sweep` that did not succeed, with their outcomes.
pub fn failures(intervals: &[Interval], sweep: u64) -> Vec<String> {
    clients(intervals, sweep)
        .filter(|interval| !interval.succeeded())
        .map(|it| format!("sweep {sweep}: {} {:?}", it.cell, it.outcome))
        .collect()
}

/// Returns the cells of `sweep` for which the client has logged an end event.
pub fn finished(intervals: &[Interval], sweep: u64) -> BTreeSet<Cell> {
    clients(intervals, sweep)
        .filter(|interval| interval.outcome.is_some())
        .map(|interval| interval.cell.clone())
        .collect()
}

/// Returns the time from the first start of a test of `sweep` to the last end.
pub fn span(intervals: &[Interval], sweep: u64) -> Option<Duration> {
    let of_sweep = || intervals.iter().filter(|interval| interval.sweep == sweep);
    let start = of_sweep().map(|interval| interval.start).min()?;
    let end = of_sweep().map(|interval| interval.end).max()?;
    Some(Duration::from_nanos(end - start))
}

/// Returns the lower bound of a sweep: the duration of all tests of a meeting in both directions,
/// times the number of rounds of a round-robin tournament. An odd number of nodes needs one more
/// round, because one node has a bye in each round.
pub fn bound(nodes: u32, protocols: u32, test: Duration) -> Duration {
    const DIRECTIONS: u32 = 2;
    let rounds = if nodes.is_multiple_of(2) {
        nodes - 1
    } else {
        nodes
    };
    test * DIRECTIONS * protocols * rounds
}

fn clients(intervals: &[Interval], sweep: u64) -> impl Iterator<Item = &Interval> {
    intervals
        .iter()
        .filter(move |interval| interval.sweep == sweep && interval.role == Role::Client)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn consecutive_meetings_do_not_overlap() {
        let first = test("a", "b", "1", 0, 10);
        let swapped = test("b", "a", "1", 8, 20);
        let second = test("a", "c", "2", 20, 30);
        let elsewhere = test("c", "d", "3", 0, 20);
        assert!(
            overlaps(&closed(&[
                first.clone(),
                served(first),
                swapped,
                second,
                elsewhere
            ]))
            .is_empty()
        );
    }

    #[test]
    fn client_in_two_meetings_overlaps() {
        let found = overlaps(&closed(&[
            test("a", "b", "1", 0, 10),
            test("a", "c", "2", 9, 20),
        ]));
        assert!(found.len() == 1 && found[0].starts_with("a:"), "{found:?}");
    }

    #[test]
    fn two_clients_of_a_node_without_a_log_overlap_there() {
        let found = overlaps(&closed(&[
            test("a", "b", "1", 0, 10),
            test("c", "b", "2", 5, 20),
        ]));
        assert!(found.len() == 1 && found[0].starts_with("b:"), "{found:?}");
    }

    #[test]
    fn server_that_outlives_its_client_overlaps_the_next_meeting() {
        let mut server = served(test("a", "b", "1", 0, 10));
        server[1].boot_ns = 15;
        let found = overlaps(&closed(&[
            test("a", "b", "1", 0, 10),
            server,
            test("b", "c", "2", 12, 20),
        ]));
        assert!(found.len() == 1 && found[0].starts_with("b:"), "{found:?}");
    }

    #[test]
    fn overlap_is_found_behind_a_shorter_interval() {
        let long = test("a", "b", "1", 0, 100);
        let short = test("a", "b", "1", 1, 2);
        let mut short = served(short);
        short[0].protocol = "udp".into();
        short[1].protocol = "udp".into();
        let late = test("a", "c", "2", 50, 60);
        assert_eq!(overlaps(&closed(&[long, short, late])).len(), 1);
    }

    #[test]
    fn interval_without_an_end_lasts_until_its_process_dies() {
        let [cut, _] = test("a", "b", "1", 5, 10);
        let [start, end] = test("a", "c", "2", 50, 60);
        let events = [cut, start, end];
        let found = |deaths: &[(u32, u64)]| {
            let deaths = deaths
                .iter()
                .map(|&(pid, at)| (pid, BTreeSet::from([3, at])));
            let (intervals, _) = intervals(&events, &deaths.collect(), 1000);
            overlaps(&intervals).len()
        };
        assert_eq!(found(&[(5, 40)]), 0);
        assert_eq!(found(&[(5, 55)]), 1);
        assert_eq!(found(&[]), 1, "no death was seen, so it lasts until now");
    }

    #[test]
    fn end_logged_after_the_deadline_yields_to_the_death() {
        let late = test("a", "b", "1", 5, 2000);
        let next = test("c", "b", "2", 1010, 1020);
        let found = |death: u64| {
            let deaths = Deaths::from([(5, BTreeSet::from([death]))]);
            overlaps(&intervals([late.clone(), next.clone()].as_flattened(), &deaths, 9999).0).len()
        };
        assert_eq!(found(1005), 0);
        assert_eq!(found(1015), 1, "its process outlived the deadline");
    }

    #[test]
    fn unmatched_end_and_repeated_start_are_faults() {
        let [start, end] = test("a", "b", "1", 0, 10);
        let faults = |events: &[Event]| intervals(events, &BTreeMap::new(), 99).1;
        assert!(faults(&[end])[0].contains("never started"));
        assert!(faults(&[start.clone(), start])[0].contains("twice"));
    }

    #[test]
    fn not_once_finds_missing_repeated_and_unwanted_tests() {
        let wanted = cells(&[("a", "b"), ("b", "a")]);
        let both = [test("a", "b", "1", 0, 10), test("b", "a", "1", 10, 20)];
        assert!(not_once(&closed(&both), &wanted, 1).is_empty());
        assert_eq!(
            not_once(&closed(&both), &wanted, 2).len(),
            2,
            "tests of another sweep"
        );
        assert_eq!(
            not_once(&closed(&both[..1]), &wanted, 1).len(),
            1,
            "missing"
        );
        let again = test("a", "b", "2", 30, 40);
        let unwanted = test("a", "c", "3", 50, 60);
        let [one, other] = both;
        let twice = not_once(&closed(&[one.clone(), other.clone(), again]), &wanted, 1);
        assert!(
            twice.len() == 1 && twice[0].contains("2 times"),
            "{twice:?}"
        );
        assert_eq!(
            not_once(&closed(&[one, other, unwanted]), &wanted, 1).len(),
            1,
            "unwanted"
        );
    }

    #[test]
    fn server_does_not_count_as_a_test() {
        let only_served = served(test("a", "b", "1", 0, 10));
        assert_eq!(
            not_once(&closed(&[only_served]), &cells(&[("a", "b")]), 1).len(),
            1
        );
    }

    #[test]
    fn failed_and_unfinished_tests_are_failures() {
        let mut failed = test("a", "b", "1", 0, 10);
        failed[1].outcome = Some("failure".into());
        failed[1].reason = Some("timeout".into());
        let [unfinished, _] = test("a", "c", "2", 20, 30);
        let mut events = failed.to_vec();
        events.push(unfinished);
        let (intervals, _) = intervals(&events, &BTreeMap::new(), 99);
        let failures = failures(&intervals, 1);
        assert!(
            failures.len() == 2 && failures[0].contains("timeout"),
            "{failures:?}"
        );
        assert_eq!(finished(&intervals, 1).len(), 1);
    }

    #[test]
    fn span_of_a_sweep_is_first_start_to_last_end() {
        let found = closed(&[test("a", "b", "1", 5, 30), test("c", "d", "2", 10, 25)]);
        assert_eq!(span(&found, 1), Some(Duration::from_nanos(25)));
        assert_eq!(span(&found, 2), None);
    }

    #[test]
    fn bound_has_the_rounds_of_a_tournament() {
        let two = Duration::from_secs(2);
        for (nodes, protocols, seconds) in
            [(8, 1, 28), (7, 1, 28), (9, 1, 36), (4, 2, 24), (5, 2, 40)]
        {
            assert_eq!(bound(nodes, protocols, two), Duration::from_secs(seconds));
        }
    }

    /// Returns the start and the end of a test of `meeting` in sweep 1, logged by its client
    /// `node`.
    pub(crate) fn test(node: &str, peer: &str, meeting: &str, start: u64, end: u64) -> [Event; 2] {
        let event = |kind, boot_ns, outcome: Option<&str>| Event {
            event: kind,
            node: node.into(),
            epoch: "e".into(),
            peer: peer.into(),
            role: Role::Client,
            source_node: node.into(),
            destination_node: peer.into(),
            protocol: "tcp".into(),
            meeting: meeting.into(),
            sweep: 1,
            boot_ns,
            deadline_boot_ns: start + 1000,
            pid: Some(u32::try_from(start).unwrap()),
            outcome: outcome.map(str::to_owned),
            reason: None,
        };
        [
            event(Kind::TestStarted, start, None),
            event(Kind::TestFinished, end, Some("success")),
        ]
    }

    /// Returns the same test, logged by its server.
    pub(crate) fn served(mut events: [Event; 2]) -> [Event; 2] {
        for event in &mut events {
            std::mem::swap(&mut event.node, &mut event.peer);
            event.role = Role::Server;
        }
        events
    }

    /// Returns the intervals of complete tests.
    pub(crate) fn closed(events: &[[Event; 2]]) -> Vec<Interval> {
        let (found, faults) = intervals(events.as_flattened(), &BTreeMap::new(), u64::MAX);
        assert!(faults.is_empty(), "{faults:?}");
        found
    }

    fn cells(pairs: &[(&str, &str)]) -> BTreeSet<Cell> {
        pairs
            .iter()
            .map(|(source, destination)| Cell {
                source: (*source).into(),
                destination: (*destination).into(),
                protocol: "tcp".into(),
            })
            .collect()
    }
}
