//! A watcher of the agents' pods. It lists them through the Kubernetes API, and follows their
//! changes for as long as the agent runs.
//!
//! The watcher needs permission to get, list and watch pods in one namespace, and nothing else. The
//! agent tolerates any behaviour of the API server: it logs an error once, and retries after a
//! pause that grows and has jitter, so that the agents do not overload a server that comes back.
//! Meanwhile, the pods found so far remain known.
//!
//! # Why not `kube-runtime`
//!
//! The loop in this module was compared with `kube::runtime::watcher` (kube 5.0). That watcher
//! would save about 40 lines, but it adds 20 crates to the agent (207 instead of 187), among them
//! second versions of `getrandom` and `hashbrown`, and 53 kB to its 14 MB. It also lacks the
//! following features, which tests in `tests/kubernetes` require:
//!
//! - A pause before a new watch when the server ended the last one at once: the watcher reopens it
//!   immediately, about 80 times a second in the test.
//! - A timeout for the head of an answer, and a bound on the pages of a list.
//! - A new list after status 410 in answer to the request for a watch: the watcher sends the same
//!   request again for ever.
//! - Repeated lists if the permission to watch is missing.
//! - The time of the last success: the watcher reports neither bookmarks nor an opened watch, so in
//!   a cluster without changes, success would look the same as failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use hyper::Response;
use kube::Client;
use kube::api::{ListParams, ObjectList, Request, WatchEvent, WatchParams};
use kube::client::ClientBuilder;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tower::util::MapResponseLayer;

use super::error::{DiscoveryError, Reporter};
use super::pod::Item;
use super::pods::{PodStore, UnreadablePod, pod_entry};
use super::server_clock::ServerClock;
use crate::metrics::Metrics;

/// The number of pods per page of a list. A page has some hundred kilobytes.
const PAGE: u32 = 100;

/// The maximum number of pages of a list.
const PAGES_MAX: usize = 40;
/// The maximum number of pods. Gossip supports fewer nodes than that.
const PODS_MAX: usize = PAGES_MAX * PAGE as usize;

/// The shortest and the longest duration of one watch, in seconds. Each watch has a random
/// duration, because all agents may have started together and must not reconnect together.
const WATCH_MIN: u32 = 190;
const WATCH_MAX: u32 = 290;

/// The settings of a [`Watcher`].
pub struct Search {
    /// The client configuration for the API server.
    pub server: kube::Config,
    /// The namespace of the pods; `None` selects the namespace of this pod.
    pub namespace: Option<String>,
    /// The labels of the pods.
    pub label_selector: String,
    /// The gossip address of this agent.
    pub gossip: SocketAddr,
    /// The pauses and the timeout.
    pub pace: Pace,
}

/// The pauses and the timeout of a [`Watcher`].
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest pause before the first request; the shortest is zero. The pause is random,
    /// because the agents of a whole cluster may start at once.
    pub start_max: Duration,
    /// The pause after the first failure. It doubles with each further failure in a row.
    pub retry_min: Duration,
    /// The longest pause between two attempts. An attempt that lasted at least this long ends the
    /// series of failures, whatever its outcome.
    pub retry_max: Duration,
    /// How long to wait for the head of an answer.
    pub answer_timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            start_max: Duration::from_secs(2),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(15),
        }
    }
}

impl Pace {
    /// Returns the pause after `failures` failures in a row, reduced at random by up to half.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = 2u32
            .checked_pow(failures)
            .and_then(|factor| self.retry_min.checked_mul(factor));
        let pause = doubled.unwrap_or(self.retry_max).min(self.retry_max);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Keeps a [`PodStore`] up to date.
pub struct Watcher {
    client: Client,
    requests: Request,
    label_selector: String,
    gossip: SocketAddr,
    pace: Pace,
    pods: watch::Sender<PodStore>,
    clock: ServerClock,
    /// The resource version to resume from; `None` if the pods must be listed first.
    version: Option<String>,
}

impl Watcher {
    /// Creates a watcher that has not sent any request yet.
    ///
    /// # Errors
    /// Returns an error if `search.server` is invalid, for example its certificates.
    pub fn new(search: Search) -> Result<Self, DiscoveryError> {
        let Search {
            mut server,
            namespace,
            label_selector,
            gossip,
            pace,
        } = search;
        server.connect_timeout = Some(pace.answer_timeout);
        // The client must not retry, because this module decides when to retry.
        server.default_retry = false;
        let namespace = namespace.unwrap_or_else(|| server.default_namespace.clone());
        let clock = ServerClock::default();
        let reader = clock.clone();
        let read_date = MapResponseLayer::new(move |answer: Response<_>| {
            reader.read(&answer);
            answer
        });
        let client = ClientBuilder::try_from(server)?
            .with_layer(&read_date)
            .build();
        Ok(Self {
            client,
            requests: Request::new(format!("/api/v1/namespaces/{namespace}/pods")),
            label_selector,
            gossip,
            pace,
            pods: watch::Sender::default(),
            clock,
            version: None,
        })
    }

    /// Subscribes to the known pods, which are published after each change.
    pub fn pods(&self) -> watch::Receiver<PodStore> {
        self.pods.subscribe()
    }

    /// Lists the pods once, and returns the number of other agents to gossip with, and the pods
    /// that cannot be read.
    ///
    /// # Errors
    /// Returns an error if the list cannot be read.
    pub async fn count_peers(&self) -> Result<(usize, Vec<UnreadablePod>), DiscoveryError> {
        let (_, unreadable) = self.list().await?;
        Ok((self.pods.borrow().addresses().len(), unreadable))
    }

    /// Keeps the pods up to date, and never returns.
    pub async fn run(mut self, metrics: Metrics) {
        let mut reporter = Reporter::new(metrics);
        sleep(self.pace.start_max.mul_f64(rand::random_range(0.0..=1.0))).await;
        let mut failures = 0u32;
        loop {
            let started = Instant::now();
            if let Err(error) = self.follow(&mut reporter).await {
                if !error.is_resumable() {
                    self.version = None;
                }
                reporter.failed(&error);
            }
            // A server that closes each watch at once is treated like one that does not answer.
            if started.elapsed() >= self.pace.retry_max {
                failures = 0;
            }
            sleep(self.pace.pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Follows the changes of the pods until the watch ends.
    async fn follow(&mut self, reporter: &mut Reporter) -> Result<(), DiscoveryError> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => {
                let (version, unreadable) = self.list().await?;
                reporter.unreadable(&unreadable);
                version
            }
        };
        self.version = Some(version.clone());
        let events = self.watch(&version).await?;
        reporter.succeeded();
        let mut events = pin!(events);
        while let Some(event) = events.try_next().await? {
            let unreadable = self.apply(event)?;
            reporter.succeeded();
            reporter.unreadable(unreadable.as_slice());
        }
        Ok(())
    }

    /// Lists all pods, and returns the resource version of the list and the pods that cannot be
    /// read.
    async fn list(&self) -> Result<(String, Vec<UnreadablePod>), DiscoveryError> {
        let mut params = ListParams::default()
            .labels(&self.label_selector)
            .limit(PAGE);
        let (mut pods, mut unreadable) = (BTreeMap::new(), Vec::new());
        for _ in 0..PAGES_MAX {
            let request = self.requests.list(&params);
            let request = request.map_err(kube::Error::BuildRequest)?;
            let page: ObjectList<Item> = self.within_timeout(self.client.request(request)).await?;
            for Item { name, pod, .. } in page.items {
                match pod {
                    Ok(pod) => {
                        pods.insert(name, pod_entry(&pod, self.gossip, &self.clock));
                    }
                    Err(reason) => unreadable.push(UnreadablePod { name, reason }),
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                self.pods
                    .send_modify(|store| store.replace(pods, &unreadable));
                let version = page.metadata.resource_version.unwrap_or_default();
                return Ok((version, unreadable));
            }
        }
        Err(DiscoveryError::TooManyPods(PODS_MAX))
    }

    /// Opens a watch of the changes after `version`.
    async fn watch(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<Item>>> + use<>, DiscoveryError> {
        let seconds = rand::random_range(WATCH_MIN..=WATCH_MAX);
        let params = WatchParams::default()
            .labels(&self.label_selector)
            .timeout(seconds);
        let request = self.requests.watch(&params, version);
        let request = request.map_err(kube::Error::BuildRequest)?;
        self.within_timeout(self.client.request_events(request))
            .await
    }

    async fn within_timeout<T>(
        &self,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, DiscoveryError> {
        let answer_timeout = self.pace.answer_timeout;
        Ok(timeout(answer_timeout, answer)
            .await
            .map_err(|_| DiscoveryError::Timeout(answer_timeout))??)
    }

    /// Applies an event, and returns its pod if it cannot be read. Such a pod keeps its last entry.
    fn apply(&mut self, event: WatchEvent<Item>) -> Result<Option<UnreadablePod>, DiscoveryError> {
        let mut unreadable = None;
        let version = match event {
            WatchEvent::Added(item) | WatchEvent::Modified(item) => {
                let name = item.name;
                match item.pod {
                    Ok(pod) => {
                        let entry = pod_entry(&pod, self.gossip, &self.clock);
                        self.pods.send_modify(|pods| pods.put(name, entry));
                    }
                    Err(reason) => unreadable = Some(UnreadablePod { name, reason }),
                }
                item.resource_version
            }
            WatchEvent::Deleted(item) => {
                self.pods.send_modify(|pods| pods.remove(&item.name));
                item.resource_version
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err((*status).into()),
        };
        if self.pods.borrow().len() > PODS_MAX {
            return Err(DiscoveryError::TooManyPods(PODS_MAX));
        }
        self.version = version.or_else(|| self.version.take());
        Ok(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_pauses_double_up_to_a_bound_with_jitter() {
        let pace = Pace::default();
        for (failures, most) in [(0, 1), (1, 2), (5, 32), (6, 60), (40, 60), (u32::MAX, 60)] {
            let most = Duration::from_secs(most);
            let pauses: Vec<_> = (0..100).map(|_| pace.pause(failures)).collect();
            assert!(
                pauses.iter().all(|pause| (most / 2..=most).contains(pause)),
                "{pauses:?}"
            );
            assert!(
                pauses
                    .iter()
                    .any(|pause| pause.abs_diff(pauses[0]) > most / 10),
                "{pauses:?}"
            );
        }
    }
}
