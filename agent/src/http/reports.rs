//! The answers that show this agent's own state. Their readers share a large one for a moment,
//! because it is made on the thread that runs the meetings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::matrix;
use crate::state::AgentState;

/// How long readers share a large answer.
const SHARED_FOR: Duration = Duration::from_millis(500);
/// The size from which on an answer is shared. Smaller ones cost about as much as a request.
const SHARED_FROM: usize = 64 << 10;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Report {
    Metrics,
    Row,
    Members,
    Schedule,
}

/// Makes the answers. It is cheap to clone: all clones share the same answers.
#[derive(Clone)]
pub(super) struct Reports {
    state: AgentState,
    shared: Arc<Mutex<BTreeMap<Key, Shared>>>,
    /// The permits of the threads that compress.
    workshop: Arc<Semaphore>,
}

/// An answer, and whether it is compressed.
type Key = (Report, bool);

struct Shared {
    until: Instant,
    bytes: Bytes,
}

impl Reports {
    pub(super) fn new(state: AgentState, workshop: Arc<Semaphore>) -> Self {
        Self {
            state,
            shared: Arc::default(),
            workshop,
        }
    }

    /// Returns an answer, which is at most [`SHARED_FOR`] old.
    ///
    /// # Errors
    /// Returns a text about the fault of this program that keeps it from the answer.
    pub(super) fn plain(&self, report: Report) -> Result<Bytes, String> {
        self.plain_at(report, Instant::now())
    }

    fn plain_at(&self, report: Report, now: Instant) -> Result<Bytes, String> {
        let key = (report, false);
        if let Some(bytes) = self.shared(key, now) {
            return Ok(bytes);
        }
        let bytes = Bytes::from(self.make(report)?);
        if bytes.len() >= SHARED_FROM {
            self.share(key, &bytes, now);
        }
        Ok(bytes)
    }

    /// Returns `plain`, which is an answer, compressed. It is at most [`SHARED_FOR`] older.
    ///
    /// # Errors
    /// As [`Self::plain`].
    pub(super) async fn compressed(&self, report: Report, plain: Bytes) -> Result<Bytes, String> {
        let key = (report, true);
        let permit = self.workshop.acquire().await;
        let _permit = permit.map_err(|error| error.to_string())?;
        let now = Instant::now();
        if let Some(bytes) = self.shared(key, now) {
            return Ok(bytes);
        }
        let compressed = matrix::compressed(plain).await;
        let bytes = Bytes::from(compressed.map_err(|error| error.to_string())?);
        self.share(key, &bytes, now);
        Ok(bytes)
    }

    fn make(&self, report: Report) -> Result<String, String> {
        match report {
            Report::Metrics => self.state.metrics().text().map_err(|it| it.to_string()),
            Report::Row => json(&self.state.row()),
            Report::Members => json(&self.state.members()),
            Report::Schedule => json(&self.state.schedule()),
        }
    }

    fn shared(&self, key: Key, now: Instant) -> Option<Bytes> {
        let shared = self.lock();
        let shared = shared.get(&key)?;
        (now < shared.until).then(|| shared.bytes.clone())
    }

    /// Keeps an answer for other readers, and no longer.
    fn share(&self, key: Key, bytes: &Bytes, now: Instant) {
        let until = now + SHARED_FOR;
        let bytes = bytes.clone();
        self.lock().insert(key, Shared { until, bytes });
        let this = self.clone();
        tokio::spawn(async move {
            sleep_until(until).await;
            this.lock().retain(|_, it| it.until > until);
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(answer: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(answer).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use iperf3_mesh_core::{Epoch, NodeName};

    use super::*;
    use crate::api::{Member, NodeState};
    use crate::config::FailedCells;
    use crate::http::matrix::workshop;
    use crate::metrics::{Metrics, Settings};
    use crate::state::Identity;

    #[tokio::test]
    async fn readers_share_a_large_answer_for_a_moment() {
        let reports = Reports::new(state(2000), workshop());
        let now = Instant::now();
        let first = reports.plain_at(Report::Members, now).unwrap();
        assert!(first.len() > SHARED_FROM);
        reports.state.set_members(Vec::new(), None);
        let soon = now + SHARED_FOR - Duration::from_millis(1);
        let second = reports.plain_at(Report::Members, soon).unwrap();
        assert!(second == first, "made again after {} bytes", first.len());
        let later = reports.plain_at(Report::Members, now + SHARED_FOR);
        assert!(later.unwrap().len() < SHARED_FROM, "a new one");
        while !reports.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn small_answer_is_made_for_each_reader() {
        let reports = Reports::new(state(1), workshop());
        let now = Instant::now();
        let first = reports.plain_at(Report::Members, now).unwrap();
        reports.state.set_members(Vec::new(), None);
        assert_ne!(reports.plain_at(Report::Members, now).unwrap(), first);
    }

    #[tokio::test]
    async fn readers_share_the_compressed_row() {
        let reports = Reports::new(state(1), workshop());
        let plain = || Bytes::from_static(&[b'x'; 100_000]);
        let first = reports.compressed(Report::Row, plain()).await.unwrap();
        let key = (Report::Row, true);
        let shared = reports.lock().get(&key).map(|it| it.bytes.as_ptr());
        assert_eq!(shared, Some(first.as_ptr()));
    }

    /// An agent with this many members.
    fn state(members: usize) -> AgentState {
        let name = |text: &str| NodeName::new(text).unwrap();
        let metrics = Metrics::new(Settings {
            source: name("node-a"),
            protocols: Vec::new(),
            failed_cells: FailedCells::Zero,
            pause: Duration::ZERO,
            iperf3_version: "3.12".to_owned(),
            landlock: "abi6".to_owned(),
        });
        let identity = Identity {
            name: name("node-a"),
            zone: String::new(),
            epoch: Epoch(1),
            protocols: Vec::new(),
            iperf3: "3.12".to_owned(),
        };
        let state = AgentState::new(identity, metrics.unwrap());
        let members = (0..members).map(|number| Member {
            name: name(&format!("node-{number:04}")),
            zone: String::new(),
            state: NodeState::Live,
            silent_since: None,
            http: None,
            epoch: Epoch(7),
            iperf3: None,
            sweep: 3,
            answered: true,
            seal: None,
        });
        state.set_members(members.collect(), None);
        state
    }
}
