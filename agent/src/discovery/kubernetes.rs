//! Asks the Kubernetes API for the agents' pods: lists them, and watches for changes as long as the
//! agent lives.
//!
//! It needs to get, list and watch pods in one namespace, and nothing else. Whatever the API server
//! does, the agent goes on: error is told once, and the next try comes after a pause that grows,
//! and is never the same for all agents, so that a server that comes back is not overrun. What was
//! found stays found meanwhile.
//!
//! `kube-runtime` has a watcher, too; what is needed of it are the few functions here, instead of
//! twenty crates.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::error::{DiscoveryError, Reporter};
use super::pod::{Pod, resource};
use super::pods::{PodStore, pod_entry};
use crate::metrics::Metrics;

/// Pods in one answer: some hundred kilobytes.
const PAGE: u32 = 100;

/// The most pods, and the most pages of them. It is more than gossip carries nodes.
const PAGES_MAX: usize = 40;
const PODS_MAX: usize = PAGES_MAX * PAGE as usize;

/// The longest watch in seconds, and the shortest: all agents began theirs together, and shall not
/// go on so.
const WATCH_MAX: u32 = 290;
const WATCH_MIN: u32 = 190;

/// What is looked for, and where.
pub struct Search {
    /// How the API server is reached.
    pub server: kube::Config,
    /// The pods' namespace; `None` is this pod's own.
    pub namespace: Option<String>,
    /// What the pods have in common.
    pub label_selector: String,
    /// Where this agent gossips.
    pub gossip: SocketAddr,
    /// How patient it is.
    pub pace: Pace,
}

/// How long the waits are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before the first question, at most: the agents of a whole cluster may start at once.
    pub first: Duration,
    /// Between two tries, at first. It doubles with each that fails.
    pub least: Duration,
    /// Between two tries, at last. What goes well for so long is no failure, however it ends.
    pub most: Duration,
    /// For the beginning of an answer.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            least: Duration::from_secs(1),
            most: Duration::from_secs(60),
            answer: Duration::from_secs(15),
        }
    }
}

impl Pace {
    /// The pause after so many failures in a row, less up to half of it by chance.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = 2u32
            .checked_pow(failures)
            .and_then(|factor| self.least.checked_mul(factor));
        let pause = doubled.unwrap_or(self.most).min(self.most);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Keeps a pods of the pods.
pub struct Watcher {
    api: Api<Pod>,
    label_selector: String,
    gossip: SocketAddr,
    pace: Pace,
    pods: watch::Sender<PodStore>,
    /// How far the server's history is known; `None` before the first list, and when it does not
    /// join on.
    version: Option<String>,
}

impl Watcher {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// If `search.server` makes no sense, for example its certificates.
    pub fn new(search: Search) -> Result<Self, DiscoveryError> {
        let Search {
            mut server,
            namespace,
            label_selector,
            gossip,
            pace,
        } = search;
        server.connect_timeout = Some(pace.answer);
        // How often, and when, is decided here.
        server.default_retry = false;
        let namespace = namespace.unwrap_or_else(|| server.default_namespace.clone());
        let client = Client::try_from(server)?;
        Ok(Self {
            api: Api::namespaced_with(client, &namespace, &resource()),
            label_selector,
            gossip,
            pace,
            pods: watch::Sender::default(),
            version: None,
        })
    }

    /// What it knows, told again with each change.
    pub fn pods(&self) -> watch::Receiver<PodStore> {
        self.pods.subscribe()
    }

    /// Asks once, and tells how many other agents there are to gossip with.
    ///
    /// # Errors
    /// If the API server does not tell.
    pub async fn look(&self) -> Result<usize, DiscoveryError> {
        self.list().await?;
        Ok(self.pods.borrow().addresses().len())
    }

    /// Works for ever.
    pub async fn run(mut self, metrics: Metrics) {
        let mut reporter = Reporter::new(metrics);
        sleep(self.pace.first.mul_f64(rand::random_range(0.0..=1.0))).await;
        let mut failures = 0u32;
        loop {
            let began = Instant::now();
            if let Err(error) = self.follow(&mut reporter).await {
                if !error.is_resumable() {
                    self.version = None;
                }
                reporter.error(&error);
            }
            // Who hangs up at once is no better than who does not answer.
            if began.elapsed() >= self.pace.most {
                failures = 0;
            }
            sleep(self.pace.pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Follows the pods until the server, or something on the way to it, hangs up.
    async fn follow(&mut self, reporter: &mut Reporter) -> Result<(), DiscoveryError> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list().await?,
        };
        self.version = Some(version.clone());
        let events = self.watch(&version).await?;
        reporter.well();
        let mut events = pin!(events);
        while let Some(event) = events.try_next().await? {
            self.take(event)?;
            reporter.well();
        }
        Ok(())
    }

    /// Lists all pods, and tells how far the server's history was then.
    async fn list(&self) -> Result<String, DiscoveryError> {
        let mut params = ListParams::default()
            .labels(&self.label_selector)
            .limit(PAGE);
        let mut pods = BTreeMap::new();
        for _ in 0..PAGES_MAX {
            let page = self.answer(self.api.list(&params)).await?;
            pods.extend(
                page.items
                    .iter()
                    .filter_map(|pod| pod_entry(pod, self.gossip)),
            );
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                self.pods.send_modify(|store| store.replace(pods));
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
        Err(DiscoveryError::TooManyPods(PODS_MAX))
    }

    async fn watch(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<Pod>>> + use<>, DiscoveryError> {
        let seconds = rand::random_range(WATCH_MIN..=WATCH_MAX);
        let params = WatchParams::default()
            .labels(&self.label_selector)
            .timeout(seconds);
        self.answer(self.api.watch(&params, version)).await
    }

    async fn answer<T>(
        &self,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, DiscoveryError> {
        let slow = |_| DiscoveryError::Timeout(self.pace.answer);
        Ok(timeout(self.pace.answer, answer).await.map_err(slow)??)
    }

    fn take(&mut self, event: WatchEvent<Pod>) -> Result<(), DiscoveryError> {
        let version = match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                self.pods.send_modify(|pods| pods.put(&pod, self.gossip));
                pod.metadata.resource_version
            }
            WatchEvent::Deleted(pod) => {
                self.pods.send_modify(|pods| pods.remove(&pod));
                pod.metadata.resource_version
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err((*status).into()),
        };
        if self.pods.borrow().len() > PODS_MAX {
            return Err(DiscoveryError::TooManyPods(PODS_MAX));
        }
        self.version = version.or_else(|| self.version.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_not_the_same_for_all() {
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
