//! Checkers of the samples: pure functions that do not rely on anything that the agents report.
//!
//! A sample takes a moment, and one process may end and the next one start within that moment. Only
//! what is in two consecutive samples counts, because all of that existed at once, between the two
//! samples.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::samples::{Listener, Process, Sample};
use crate::checker::{Deaths, Interval};
use crate::events::Role;

/// The maximum difference between an event and the fork or the death that it reports, in
/// nanoseconds.
const SLACK: u64 = 250_000_000;

/// The maximum time that a kill may take, in nanoseconds: the part of the protocol's margin that is
/// meant for it.
const KILL: u64 = 900_000_000;

/// Everything that certainly ran and listened at one instant.
#[derive(Clone, Debug)]
pub struct Instant {
    /// The time on the clock of the events.
    at: u64,
    processes: BTreeSet<Process>,
    listeners: BTreeSet<Listener>,
}

/// Returns the instants between the samples. The socket of a stopped process still listens, but
/// nobody answers, so the sockets of such a host do not count.
pub fn instants(samples: &[Sample]) -> Vec<Instant> {
    let between = samples.windows(2).map(|pair| {
        let mut listeners = &pair[0].listeners & &pair[1].listeners;
        for process in &pair[0].stopped | &pair[1].stopped {
            listeners.retain(|listener| listener.host != process.host);
        }
        Instant {
            at: pair[0].end_ns,
            processes: &pair[0].processes & &pair[1].processes,
            listeners,
        }
    });
    between.collect()
}

/// Returns the times by which processes had ended, or were stopped for good.
pub(crate) fn deaths(samples: &[Sample]) -> Deaths {
    let mut gone = BTreeMap::new();
    for (at, sample) in samples.iter().enumerate() {
        // A process that is not in the next sample had ended when that sample was complete.
        let gone_by = samples.get(at + 1).unwrap_or(sample).end_ns;
        gone.extend(sample.processes.iter().map(|it| (it.id, gone_by)));
        for it in &sample.stopped {
            gone.entry(it.id).or_insert(sample.end_ns);
        }
    }
    let mut deaths = Deaths::new();
    for (process, gone_by) in gone {
        deaths.entry(process.pid).or_default().insert(gone_by);
    }
    deaths
}

/// Checks rule 1 without the events: returns the instants at which a host has two servers or two
/// clients. A client counts at the host that it connects to as well.
pub fn overlaps(instants: &[Instant], hosts: &BTreeMap<Ipv4Addr, String>) -> Vec<String> {
    let mut found = BTreeMap::new();
    for instant in instants {
        let mut parts: BTreeMap<(&str, Role), BTreeSet<u32>> = BTreeMap::new();
        for process in &instant.processes {
            let target = process.target.and_then(|address| hosts.get(&address));
            for host in target.into_iter().chain([&process.host]) {
                let pids = parts.entry((host, process.role)).or_default();
                pids.insert(process.pid());
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

/// Checks rule 2: returns the processes and sockets outside the test or the meeting that the events
/// report. `deaths` has the times at which the agents of nodes died; nothing may outlive its agent.
pub(crate) fn leftovers(
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
                let (host, pid, role) = (&process.host, process.pid(), process.role);
                found.entry((host, pid)).or_insert_with(|| {
                    format!("{host}: iperf3 {role:?} {pid} outside any test at {second:.3} s")
                });
            }
        }
        for Listener { host, port, inode } in listeners {
            if !tests.iter().any(|test| test.serves_at(host, *at)) {
                found.entry((host, *inode)).or_insert_with(|| {
                    format!("{host}: port {port} open outside any meeting at {second:.3} s")
                });
            }
        }
    }
    found.into_values().collect()
}

/// Returns the tests of a second and longer whose processes are in no sample. If there are any, the
/// samples prove nothing.
pub(crate) fn unseen(samples: &[Sample], intervals: &[Interval]) -> Vec<String> {
    const LONG: u64 = 1_000_000_000;
    let seen = deaths(samples);
    let is_unseen = |interval: &&Interval| {
        interval.outcome.is_some()
            && interval.end - interval.start >= LONG
            && !interval.pid.is_some_and(|pid| seen.contains_key(&pid))
    };
    intervals
        .iter()
        .filter(is_unseen)
        .map(|it| format!("{}: {} as {:?} was never seen", it.node, it.cell, it.role))
        .collect()
}

/// The time in which the process of a test, and the port of its node, may exist.
struct Allowed<'a> {
    test: &'a Interval,
    from: u64,
    until: u64,
}

impl Allowed<'_> {
    fn covers(&self, process: &Process, at: u64) -> bool {
        self.test.pid == Some(process.pid())
            && self.test.node == process.host
            && self.test.role == process.role
            && self.contains(at)
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
        // An agent that logged no end was killed or frozen; in that case, the kernel's timer ends
        // iperf3.
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
    use crate::processes;

    const S: u64 = 1_000_000_000;

    #[test]
    fn client_and_server_of_one_test_do_not_overlap() {
        let pair = always(&[client("a", 1, 2), server("b", 2)], &[]);
        assert!(overlaps(&pair, &hosts()).is_empty());
    }

    #[test]
    fn two_clients_or_two_servers_at_one_host_overlap() {
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
    fn process_that_ends_during_a_sample_does_not_overlap() {
        let (old, new) = (client("a", 1, 2), client("a", 2, 3));
        let samples = [
            sample(10, std::slice::from_ref(&old), &[]),
            sample(20, &[old, new.clone()], &[]),
            sample(30, &[new], &[]),
        ];
        assert!(overlaps(&instants(&samples), &hosts()).is_empty());
    }

    #[test]
    fn processes_and_port_within_their_test_are_no_leftovers() {
        assert!(leftovers(&at(3 * S / 2), &tested(), &[]).is_empty());
    }

    #[test]
    fn processes_and_port_outside_their_test_are_leftovers() {
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
            "no event reports it"
        );
    }

    #[test]
    fn open_port_of_a_client_is_a_leftover() {
        let found = leftovers(&always(&[], &[("a", 5203)]), &tested(), &[]);
        assert!(found.len() == 1 && found[0].contains("5203"), "{found:?}");
    }

    #[test]
    fn stopped_process_neither_overlaps_nor_is_a_leftover() {
        let samples = [stopped(9, 3), stopped(12, 3)];
        let found = instants(&samples);
        assert!(overlaps(&found, &hosts()).is_empty());
        assert!(leftovers(&found, &[], &[]).is_empty());
    }

    #[test]
    fn stopped_process_is_dead_when_it_was_first_seen_stopped() {
        let running = sample(5, &[client("a", 3, 2)], &[]);
        let samples = [running, stopped(9, 3), stopped(12, 3)];
        assert_eq!(deaths(&samples)[&3], BTreeSet::from([10]));
        assert_eq!(
            deaths(&samples[1..])[&3],
            BTreeSet::from([10]),
            "no sample saw it run"
        );
    }

    #[test]
    fn test_without_an_end_may_last_until_its_deadline() {
        let cut = cut_off();
        assert!(leftovers(&at(5 * S), &cut, &[]).is_empty());
        assert_eq!(leftovers(&at(11 * S), &cut, &[]).len(), 3);
    }

    #[test]
    fn server_and_port_that_outlive_their_agent_are_leftovers() {
        let dead = [("b".to_owned(), 4 * S)];
        assert_eq!(leftovers(&at(5 * S), &cut_off(), &dead).len(), 2);
    }

    #[test]
    fn test_without_a_sample_of_its_process_is_unseen() {
        assert_eq!(unseen(&[], &tested()).len(), 2);
        let sample = sample(S, &[client("a", 3, 2), server("b", 7)], &[]);
        assert!(unseen(&[sample], &tested()).is_empty());
    }

    #[test]
    fn death_is_the_first_sample_that_lacks_the_process_for_good() {
        let process = server("b", 7);
        let mut later = process.clone();
        later.id.start = 3;
        let samples = [
            sample(5, std::slice::from_ref(&process), &[]),
            sample(9, &[], &[]),
            sample(12, &[process], &[]),
            sample(15, &[later], &[]),
        ];
        let death = |at| Deaths::from([(7, BTreeSet::from([at]))]);
        assert_eq!(deaths(&samples), death(16), "its id is in use again");
        assert_eq!(deaths(&samples[..3]), death(13));
    }

    fn hosts() -> BTreeMap<Ipv4Addr, String> {
        let names = ["a", "b", "c"].into_iter();
        names
            .zip(1..)
            .map(|(name, last)| (Ipv4Addr::new(198, 18, 0, last), name.into()))
            .collect()
    }

    fn client(host: &str, pid: u32, target: u8) -> Process {
        Process {
            role: Role::Client,
            target: Some(Ipv4Addr::new(198, 18, 0, target)),
            ..server(host, pid)
        }
    }

    fn server(host: &str, pid: u32) -> Process {
        Process {
            host: host.into(),
            id: processes::Process { pid, start: 0 },
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
            end_ns: at + 1,
            processes: processes.iter().cloned().collect(),
            stopped: BTreeSet::new(),
            listeners: listeners.collect(),
        }
    }

    /// Returns a sample of a stopped client and of a port at its host.
    fn stopped(at: u64, pid: u32) -> Sample {
        Sample {
            stopped: BTreeSet::from([client("a", pid, 2)]),
            ..sample(at, &[], &[("a", 5201)])
        }
    }

    fn always(processes: &[Process], ports: &[(&str, u16)]) -> Vec<Instant> {
        instants(&[S, S + 50].map(|at| sample(at, processes, ports)))
    }

    /// Returns the processes and the port of [`tested`] at that time.
    fn at(at: u64) -> Vec<Instant> {
        let processes = [client("a", 3, 2), server("b", 7)];
        instants(&[at, at + 50].map(|at| sample(at, &processes, &[("b", 5201)])))
    }

    /// Returns a test from `a` to `b` that lasts from second 1 to second 2, with deadline 10.
    fn tested() -> Vec<Interval> {
        let client = test("a", "b", "1", S, 2 * S);
        let mut intervals = closed(&[client.clone(), served(client)]);
        for interval in &mut intervals {
            interval.deadline = 10 * S;
            interval.pid = match interval.role {
                Role::Client => Some(3),
                Role::Server => Some(7),
            };
        }
        intervals
    }

    /// Returns the same test without its end events.
    fn cut_off() -> Vec<Interval> {
        let mut intervals = tested();
        for interval in &mut intervals {
            interval.outcome = None;
            interval.end = u64::MAX;
        }
        intervals
    }
}
