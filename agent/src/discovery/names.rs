//! Resolves the names of the agents to join (`--join`) again and again. A name that does not
//! resolve is reported until it does, at growing intervals.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::addresses::{Resolved, Seeds, Unresolved, reachable};
use super::sink::DiscoverySink;

/// The pauses between two warnings about a target that does not resolve. The last pause repeats.
const WARNING_PAUSES: [Duration; 3] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
];

/// Resolves the agents to join, once per `pause` while the mesh has peers, and never returns.
/// Only the [`reachable`] addresses are contacted.
pub(super) async fn find_names(
    sink: &DiscoverySink<'_>,
    resolve: impl AsyncFn() -> Resolved,
    pause: Duration,
) {
    let mut failures = Failures::default();
    let mut other_family = None;
    loop {
        let resolved = resolve().await;
        let now = Instant::now();
        for event in failures.update(&resolved.failures, now) {
            event.log();
        }
        let seeds = Seeds::from(resolved);
        let reachable = reachable(&seeds.addresses, sink.own);
        if !reachable.is_empty() || seeds.addresses.is_empty() {
            other_family = None;
        } else if other_family
            .get_or_insert(Failure::new(now))
            .is_warning_due(now)
        {
            warn_of_other_family(sink.own);
        }
        (sink.seeds)(seeds);
        sink.gossip.join(&reachable);
        tokio::time::sleep(sink.pause(pause)).await;
    }
}

/// Logs that this agent cannot contact any of the agents to join.
fn warn_of_other_family(own: SocketAddr) {
    let (family, own_family) = if own.is_ipv4() {
        ("IPv6", "IPv4")
    } else {
        ("IPv4", "IPv6")
    };
    tracing::warn!(
        own = %own.ip(),
        "all addresses of the agents to join (--join, MESH_JOIN) are {family}, and this agent \
         is in a mesh of {own_family}: give all agents one family (--ip-family, MESH_IP_FAMILY)"
    );
}

/// The targets that do not resolve. There are at most as many entries as targets.
#[derive(Default)]
struct Failures {
    by_target: BTreeMap<String, Failure>,
}

struct Failure {
    since: Instant,
    warnings: usize,
    next_warning: Instant,
}

/// A log line that is due.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Failing { text: String, lasted: Duration },
    Resolved { target: String, lasted: Duration },
}

impl Failures {
    /// Records the targets that failed at `now`, and returns the log lines that are due.
    fn update(&mut self, failed: &[Unresolved], now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        let failed: BTreeMap<String, &Unresolved> = failed
            .iter()
            .map(|failure| (failure.target.to_string(), failure))
            .collect();
        self.by_target.retain(|target, failure| {
            let is_failing = failed.contains_key(target);
            if !is_failing {
                events.push(Event::Resolved {
                    target: target.clone(),
                    lasted: now - failure.since,
                });
            }
            is_failing
        });
        for (target, error) in failed {
            let failure = self.by_target.entry(target).or_insert(Failure::new(now));
            if failure.is_warning_due(now) {
                events.push(Event::Failing {
                    text: format!("{error}. {}", error.hint()),
                    lasted: now - failure.since,
                });
            }
        }
        events
    }
}

impl Failure {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            warnings: 0,
            next_warning: now,
        }
    }

    /// Returns whether a warning is due at `now`. If so, the next warning is due after the next
    /// pause.
    fn is_warning_due(&mut self, now: Instant) -> bool {
        if now < self.next_warning {
            return false;
        }
        let last = WARNING_PAUSES.len() - 1;
        self.next_warning = now + WARNING_PAUSES[self.warnings.min(last)];
        self.warnings += 1;
        true
    }
}

impl Event {
    fn log(&self) {
        match self {
            Self::Failing { text, lasted } => {
                let failing_seconds = lasted.as_secs();
                tracing::warn!(failing_seconds, "{text} The agent tries again.");
            }
            Self::Resolved { target, lasted } => {
                let failed_seconds = lasted.as_secs();
                tracing::info!(failed_seconds, "{target}, an agent to join, resolves now");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io;
    use std::net::UdpSocket;
    use std::sync::{Arc, Mutex};

    use iperf3_mesh_core::gossip::{Gossip, GossipConfig, Security};
    use iperf3_mesh_core::seal::Signer;
    use iperf3_mesh_core::{AddressRules, MeshName, NodeName};
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::config::JoinTarget;

    #[test]
    fn warnings_about_a_failing_name_repeat_at_a_slowing_pace() {
        let start = Instant::now();
        let mut failures = Failures::default();
        let minutes: Vec<u64> = (0..=2 * 60)
            .filter(|minute| {
                let now = start + Duration::from_secs(60 * minute);
                !failures.update(&[unresolved("node-9")], now).is_empty()
            })
            .collect();
        assert_eq!(minutes, [0, 1, 6, 36, 66, 96]);
    }

    #[test]
    fn name_that_resolves_again_is_reported_once() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut failures = Failures::default();
        failures.update(&[unresolved("node-8"), unresolved("node-9")], start);
        let resolved = Event::Resolved {
            target: "node-8".to_owned(),
            lasted: minute / 2,
        };
        let still_failing = [unresolved("node-9")];
        assert_eq!(
            failures.update(&still_failing, start + minute / 2),
            [resolved]
        );
        assert_eq!(
            failures.update(&still_failing, start + minute / 2 + minute / 4),
            []
        );
    }

    #[tokio::test]
    async fn name_that_resolves_later_is_joined() {
        let (own, peer) = (free_address(), free_address());
        let (one, _two) = (gossip("node-1", own).await, gossip("node-2", peer).await);
        let attempts = Mutex::new(0);
        let resolve = async || {
            let mut attempts = attempts.lock().unwrap();
            *attempts += 1;
            if *attempts < 3 {
                return Resolved {
                    addresses: Vec::new(),
                    failures: vec![unresolved("node-2")],
                };
            }
            Resolved {
                addresses: vec![peer],
                failures: Vec::new(),
            }
        };
        let published = Mutex::new(Vec::new());
        let sink = DiscoverySink {
            gossip: &one,
            inputs: mpsc::channel(1).0,
            seeds: &|seeds: Seeds| published.lock().unwrap().push(seeds.unresolved),
            own,
        };
        let mut views = one.views();
        let name = NodeName::new("node-2").unwrap();
        let joined = views.wait_for(|view| view.get(&name).is_some());
        tokio::select! {
            () = find_names(&sink, resolve, Duration::from_secs(1)) => panic!("it ended"),
            seen = timeout(Duration::from_secs(20), joined) => assert!(seen.is_ok()),
        }
        let published = published.lock().unwrap();
        assert_eq!(published[..2], [["node-2"], ["node-2"]]);
        assert!(published[2].is_empty(), "{published:?}");
    }

    fn unresolved(host: &str) -> Unresolved {
        Unresolved {
            target: JoinTarget {
                host: host.to_owned(),
                port: None,
            },
            cause: io::Error::other("no such name"),
        }
    }

    fn free_address() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    }

    async fn gossip(node: &str, address: SocketAddr) -> Gossip {
        let config = GossipConfig {
            mesh: MeshName::default(),
            name: NodeName::new(node).unwrap(),
            signer: Arc::new(Signer::new(&rand::random())),
            generation: 1,
            zone: String::new(),
            advertise: address,
            rules: AddressRules::new(address.ip(), []),
            listen: address,
            control: address,
            http_port: 9876,
            security: Security::Insecure,
            members_max: 16,
            iperf3: String::new(),
            interval: Duration::from_millis(100),
        };
        Gossip::over_udp(config).await.unwrap()
    }
}
