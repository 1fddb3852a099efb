//! What the samples prove: pure functions, which do not take the agents' word for it.
//!
//! A sample takes a moment, and a process may end and the next one begin within it. So only what
//! stands in two samples, one after the other, counts: it was there between them, all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::samples::{Listener, Process, Sample};
use crate::checker::{Deaths, Interval};
use crate::events::Role;

/// How far an event's time may be from that of the fork or the death that it tells of, nanoseconds.
const SLACK: u64 = 250_000_000;

/// How long a kill may take, nanoseconds: what the protocol allows for it in its margin.
const KILL: u64 = 900_000_000;

/// What certainly ran and listened at one instant.
#[derive(Clone, Debug)]
pub struct Instant {
    /// When, on the clock of the events.
    pub at: u64,
    processes: BTreeSet<Process>,
    listeners: BTreeSet<Listener>,
}

/// The instants between the samples. The socket of a process that is stopped still listens, and
/// nobody answers: what listens at its host does not count.
pub fn instants(samples: &[Sample]) -> Vec<Instant> {
    let between = samples.windows(2).map(|pair| {
        let mut listeners = &pair[0].listeners & &pair[1].listeners;
        for process in &pair[0].stopped | &pair[1].stopped {
            listeners.retain(|listener| listener.host != process.host);
        }
        let processes = &pair[0].processes & &pair[1].processes;
        Instant {
            at: pair[0].end_ns,
            processes,
            listeners,
        }
    });
    between.collect()
}

/// When processes were gone for good, or stopped for good, by their ids: a long run sees an id more
/// than once.
pub fn deaths(samples: &[Sample]) -> Deaths {
    let mut gone = BTreeMap::new();
    for (at, sample) in samples.iter().enumerate() {
        // Whoever is not in the next look was gone at its end.
        let gone_by = samples.get(at + 1).unwrap_or(sample).end_ns;
        gone.extend(
            sample
                .processes
                .iter()
                .map(|it| ((it.pid, it.began), gone_by)),
        );
        for it in &sample.stopped {
            gone.entry((it.pid, it.began)).or_insert(sample.end_ns);
        }
    }
    let mut deaths = Deaths::new();
    for ((pid, _), gone_by) in gone {
        deaths.entry(pid).or_default().insert(gone_by);
    }
    deaths
}

/// Rule 1 without the events: instants at which a host has two servers or two clients, where a
/// client counts at its target too.
pub fn overlaps(instants: &[Instant], hosts: &BTreeMap<Ipv4Addr, String>) -> Vec<String> {
    let mut found = BTreeMap::new();
    for instant in instants {
        let mut parts: BTreeMap<(&str, Role), BTreeSet<u32>> = BTreeMap::new();
        for process in &instant.processes {
            let target = process.target.and_then(|address| hosts.get(&address));
            for host in target.into_iter().chain([&process.host]) {
                parts
                    .entry((host, process.role))
                    .or_default()
                    .insert(process.pid);
            }
        }
        for ((host, role), pids) in parts {
            if pids.len() > 1 {
                let text = format!("{host}: iperf3 {role:?}s {pids:?} at the same time");
                found.entry((host.to_owned(), role, pids)).or_insert(text);
            }
        }
    }
    found.into_values().collect()
}

/// Rule 2: processes and sockets that were there outside the test, or the meeting, that the events
/// speak of. `deaths` says which node's agent died when: nothing of it may outlive it.
pub fn leftovers(
    instants: &[Instant],
    intervals: &[Interval],
    deaths: &[(String, u64)],
) -> Vec<String> {
    let tests = allowed(intervals, deaths);
    let mut found = BTreeMap::new();
    for Instant {
        at,
        processes,
        listeners,
    } in instants
    {
        let second = *at as f64 / 1e9;
        for process in processes {
            if !tests.iter().any(|test| test.covers(process, *at)) {
                let Process {
                    host, pid, role, ..
                } = process;
                found.entry((host, *pid)).or_insert_with(|| {
                    format!("{host}: iperf3 {role:?} {pid} outside any test at {second:.3} s")
                });
            }
        }
        for listener in listeners {
            let Listener { host, port, inode } = listener;
            if !tests.iter().any(|test| test.serves_at(host, *at)) {
                found.entry((host, *inode)).or_insert_with(|| {
                    format!("{host}: port {port} open outside any meeting at {second:.3} s")
                });
            }
        }
    }
    found.into_values().collect()
}

/// Tests of a second and longer whose processes were never seen. There must be none, or the samples
/// prove nothing.
pub fn unseen(samples: &[Sample], intervals: &[Interval]) -> Vec<String> {
    const LONG: u64 = 1_000_000_000;
    let seen = deaths(samples);
    let missed = intervals.iter().filter(|interval| {
        interval.outcome.is_some()
            && interval.end - interval.start >= LONG
            && !interval.pid.is_some_and(|pid| seen.contains_key(&pid))
    });
    missed
        .map(|it| format!("{}: {} as {:?} was never seen", it.node, it.cell, it.role))
        .collect()
}

/// When a test's process, and its node's port, may be there.
struct Allowed<'a> {
    test: &'a Interval,
    from: u64,
    until: u64,
}

impl Allowed<'_> {
    fn covers(&self, process: &Process, at: u64) -> bool {
        let same = self.test.pid == Some(process.pid) && self.test.node == process.host;
        same && self.test.role == process.role && self.contains(at)
    }

    fn serves_at(&self, host: &str, at: u64) -> bool {
        self.test.role == Role::Server && self.test.node == host && self.contains(at)
    }

    fn contains(&self, at: u64) -> bool {
        (self.from..=self.until).contains(&at)
    }
}

fn allowed<'a>(intervals: &'a [Interval], deaths: &[(String, u64)]) -> Vec<Allowed<'a>> {
    let until = |test: &Interval| {
        let of_node = deaths
            .iter()
            .filter(|(node, at)| *node == test.node && *at >= test.start);
        let death = of_node.map(|(_, at)| *at).min().unwrap_or(u64::MAX);
        // Whoever wrote no end was killed, or frozen: then the kernel's timer has the last word.
        let last = test.deadline.saturating_add(KILL);
        let end = if test.outcome.is_some() {
            test.end
        } else {
            last
        };
        end.min(death).saturating_add(SLACK).min(last)
    };
    let span = |test: &'a Interval| Allowed {
        test,
        from: test.start.saturating_sub(SLACK),
        until: until(test),
    };
    intervals.iter().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::tests::{closed, served, test};

    const S: u64 = 1_000_000_000;

    fn hosts() -> BTreeMap<Ipv4Addr, String> {
        let names = ["a", "b", "c"].into_iter();
        names
            .zip(1..)
            .map(|(name, last)| (Ipv4Addr::new(198, 18, 0, last), name.into()))
            .collect()
    }

    fn client(host: &str, pid: u32, target: u8) -> Process {
        let target = Some(Ipv4Addr::new(198, 18, 0, target));
        Process {
            host: host.into(),
            pid,
            began: 0,
            role: Role::Client,
            target,
        }
    }

    fn server(host: &str, pid: u32) -> Process {
        Process {
            host: host.into(),
            pid,
            began: 0,
            role: Role::Server,
            target: None,
        }
    }

    fn sample(at: u64, processes: &[Process], ports: &[(&str, u16)]) -> Sample {
        let listeners = ports.iter().map(|&(host, port)| Listener {
            host: host.into(),
            port,
            inode: u32::from(port),
        });
        Sample {
            begin_ns: at,
            end_ns: at + 1,
            processes: processes.iter().cloned().collect(),
            stopped: BTreeSet::new(),
            listeners: listeners.collect(),
        }
    }

    fn always(processes: &[Process], ports: &[(&str, u16)]) -> Vec<Instant> {
        instants(&[
            sample(S, processes, ports),
            sample(S + 50, processes, ports),
        ])
    }

    #[test]
    fn a_pair_is_no_overlap() {
        let pair = always(&[client("a", 1, 2), server("b", 2)], &[]);
        assert!(overlaps(&pair, &hosts()).is_empty());
    }

    #[test]
    fn two_of_a_kind_at_one_host_are_an_overlap() {
        for (processes, host) in [
            ([client("a", 1, 2), client("a", 2, 3)], "a"),
            ([client("a", 1, 2), client("c", 2, 2)], "b"),
            ([client("a", 1, 2), client("b", 2, 3)], "b"),
            ([server("c", 1), server("c", 2)], "c"),
        ] {
            let found = overlaps(&always(&processes, &[]), &hosts());
            assert!(found.len() == 1 && found[0].starts_with(host), "{found:?}");
        }
    }

    #[test]
    fn what_ended_while_it_was_looked_at_is_no_overlap() {
        let (old, new) = (client("a", 1, 2), client("a", 2, 3));
        let looks = [
            sample(10, std::slice::from_ref(&old), &[]),
            sample(20, &[old, new.clone()], &[]),
            sample(30, &[new], &[]),
        ];
        assert!(overlaps(&instants(&looks), &hosts()).is_empty());
    }

    /// A test from `a` to `b` that lasts from one second to two, with the pids that the samples
    /// show.
    fn tested() -> Vec<Interval> {
        let client = test("a", "b", "1", S, 2 * S);
        let mut server = served(client.clone());
        for event in &mut server {
            event.pid = Some(7);
        }
        let mut intervals = closed(&[client, server]);
        for interval in &mut intervals {
            interval.deadline = 10 * S;
            interval.pid = if interval.role == Role::Client {
                Some(3)
            } else {
                Some(7)
            };
        }
        intervals
    }

    fn at(at: u64) -> Vec<Instant> {
        let processes = [client("a", 3, 2), server("b", 7)];
        let ports = [("b", 5201)];
        instants(&[
            sample(at, &processes, &ports),
            sample(at + 50, &processes, &ports),
        ])
    }

    #[test]
    fn a_test_covers_its_processes_and_its_port() {
        assert!(leftovers(&at(3 * S / 2), &tested(), &[]).is_empty());
    }

    #[test]
    fn processes_and_ports_outside_their_test_are_leftovers() {
        assert_eq!(
            leftovers(&at(3 * S), &tested(), &[]).len(),
            3,
            "after its end"
        );
        assert_eq!(
            leftovers(&at(S / 2), &tested(), &[]).len(),
            3,
            "before its start"
        );
        assert_eq!(
            leftovers(&at(3 * S / 2), &[], &[]).len(),
            3,
            "never spoken of"
        );
    }

    #[test]
    fn a_port_of_a_node_that_only_connects_is_a_leftover() {
        let found = leftovers(&always(&[], &[("a", 5203)]), &tested(), &[]);
        assert!(found.len() == 1 && found[0].contains("5203"), "{found:?}");
    }

    #[test]
    fn what_is_stopped_is_seen_and_does_nothing() {
        let stopped = |at, pid| Sample {
            stopped: BTreeSet::from([client("a", pid, 2)]),
            ..sample(at, &[], &[("a", 5201)])
        };
        let looks = [
            sample(5, &[client("a", 3, 2)], &[]),
            stopped(9, 3),
            stopped(12, 3),
        ];
        let found = instants(&looks);
        assert!(overlaps(&found, &hosts()).is_empty());
        assert!(leftovers(&found, &[], &[]).is_empty());
        assert_eq!(
            deaths(&looks)[&3],
            BTreeSet::from([10]),
            "when it was seen to be stopped"
        );
        let at_once = [stopped(9, 4), stopped(12, 4)];
        assert_eq!(
            deaths(&at_once)[&4],
            BTreeSet::from([10]),
            "it was never seen to run"
        );
    }

    #[test]
    fn nothing_outlives_its_agent() {
        let mut cut = tested();
        for interval in &mut cut {
            interval.outcome = None;
            interval.end = u64::MAX;
        }
        assert!(
            leftovers(&at(5 * S), &cut, &[]).is_empty(),
            "frozen: until the deadline"
        );
        assert_eq!(
            leftovers(&at(11 * S), &cut, &[]).len(),
            3,
            "after the deadline"
        );
        let dead = [("b".to_owned(), 4 * S)];
        assert_eq!(
            leftovers(&at(5 * S), &cut, &dead).len(),
            2,
            "the server and its port"
        );
    }

    #[test]
    fn a_sampler_that_is_blind_is_found_out() {
        assert_eq!(unseen(&[], &tested()).len(), 2);
        let look = sample(S, &[client("a", 3, 2), server("b", 7)], &[]);
        assert!(unseen(&[look], &tested()).is_empty());
    }

    #[test]
    fn a_process_is_gone_when_a_look_misses_it_for_good() {
        let look = |at, processes: &[Process]| sample(at, processes, &[]);
        let (first, namesake) = (
            server("b", 7),
            Process {
                began: 3,
                ..server("b", 7)
            },
        );
        let looks = [
            look(5, std::slice::from_ref(&first)),
            look(9, &[]),
            look(12, &[first]),
            look(15, &[namesake]),
        ];
        assert_eq!(deaths(&looks), Deaths::from([(7, BTreeSet::from([16]))]));
        assert_eq!(
            deaths(&looks[..3]),
            Deaths::from([(7, BTreeSet::from([13]))])
        );
    }
}
