//! Keeps the keys of a running agent those of its key file.
//!
//! A file that cannot be used any more changes nothing but the readiness: the keys that were read
//! before stay in use, so that a deleted Secret does not take a mesh apart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use iperf3_mesh_core::Time;
use iperf3_mesh_core::gossip::SealMode;
use iperf3_mesh_core::seal::{KeyId, Keyring};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::boot_now;
use crate::config::Auth;
use crate::keys::{self, KeyFileError};
use crate::state::AgentState;

/// The pause between two looks at the key file.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a file system may take to answer.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long an agent accepts plain messages although it has a key.
const PERMISSIVE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause between two heartbeats of an agent that waits for its first keys.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The keys of an agent, as they change.
pub(crate) struct Keys {
    /// The keys of the key file, `None` until it has been read.
    pub keyring: watch::Receiver<Option<Keyring>>,
    /// The messages that the agent accepts.
    pub mode: watch::Receiver<SealMode>,
    _watcher: AbortOnDropHandle<()>,
}

impl Keys {
    /// Starts to watch the key file.
    pub(super) fn watch(path: PathBuf, auth: Auth, state: AgentState) -> Self {
        let started = boot_now();
        let mode = watch::Sender::new(mode(auth, Duration::ZERO));
        state.metrics().show_auth_mode((*mode.borrow()).into());
        let keyring = watch::Sender::new(None);
        let (keys, modes) = (keyring.subscribe(), mode.subscribe());
        let watcher = KeyWatcher {
            file: KeyFile::new(path),
            auth,
            started,
            state,
            keyring,
            mode,
            problem: None,
        };
        Self {
            keyring: keys,
            mode: modes,
            _watcher: AbortOnDropHandle::new(tokio::spawn(watcher.run())),
        }
    }

    /// Waits until there are keys. The agent counts as alive meanwhile.
    pub(super) async fn until_there(&mut self, state: &AgentState) {
        loop {
            tokio::select! {
                Ok(_) = self.keyring.wait_for(Option::is_some) => return,
                () = sleep(HEARTBEAT) => state.heartbeat(),
            }
        }
    }
}

/// Returns what an agent accepts that has run for this long.
fn mode(auth: Auth, running_for: Duration) -> SealMode {
    match auth {
        Auth::Permissive if running_for < PERMISSIVE_FOR => SealMode::Permissive,
        Auth::Permissive | Auth::Required => SealMode::Required,
    }
}

struct KeyWatcher {
    file: KeyFile,
    auth: Auth,
    started: Time,
    state: AgentState,
    keyring: watch::Sender<Option<Keyring>>,
    mode: watch::Sender<SealMode>,
    /// The problem that was logged last.
    problem: Option<KeyFileError>,
}

impl KeyWatcher {
    async fn run(mut self) {
        loop {
            match self.file.read().await {
                Ok(newer) => {
                    self.take(newer);
                    self.show_problem(None);
                }
                Err(problem) => self.show_problem(Some(problem)),
            }
            self.end_permissive();
            sleep(LOOK_EVERY).await;
        }
    }

    /// Replaces the keys, if the file has others now.
    fn take(&self, newer: Keyring) {
        let keys = || newer.member_keys().map(|key| key.id.clone());
        let in_use: BTreeMap<KeyId, usize> = keys().map(|id| (id, 0)).collect();
        let ids: Vec<_> = keys().map(|id| id.to_string()).collect();
        let is_new = self.keyring.send_if_modified(|present| {
            let mut next = present.clone();
            match &mut next {
                Some(next) => next.replace(newer),
                None => next = Some(newer),
            }
            let is_new = *present != next;
            *present = next;
            is_new
        });
        if is_new {
            tracing::info!(keys = ids.join(","), "the keys of the key file are in use");
            self.state.metrics().show_keys_in_use(&in_use);
        }
    }

    /// Shows the problem with the key file, and logs each change.
    fn show_problem(&mut self, problem: Option<KeyFileError>) {
        if self.problem == problem {
            return;
        }
        match &problem {
            Some(problem) if self.keyring.borrow().is_some() => tracing::error!(
                "{problem}; the keys that were read before stay in use. {}",
                problem.hint()
            ),
            Some(problem) => tracing::error!(
                "{problem}; this node takes part in nothing until that is fixed. {}",
                problem.hint()
            ),
            None => tracing::info!("the key file can be read again"),
        }
        self.problem.clone_from(&problem);
        self.state.set_key_problem(problem);
    }

    /// Ends the permissive mode when its time is over.
    fn end_permissive(&self) {
        let present = mode(self.auth, boot_now().since(self.started));
        let is_over = self.mode.send_if_modified(|mode| {
            let is_new = *mode != present;
            *mode = present;
            is_new
        });
        if is_over {
            tracing::warn!(
                "plain messages are no longer accepted: --auth (MESH_AUTH) permissive ends after 24 h"
            );
            self.state.metrics().show_auth_mode(present.into());
        }
    }
}

/// The key file. A file system that does not answer stops nothing but the thread that reads it.
struct KeyFile {
    path: PathBuf,
    /// The attempt that has not ended yet.
    reading: Option<JoinHandle<Result<Keyring, KeyFileError>>>,
}

impl KeyFile {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            reading: None,
        }
    }

    async fn read(&mut self) -> Result<Keyring, KeyFileError> {
        let path = self.path.clone();
        let mut reading = self
            .reading
            .take()
            .unwrap_or_else(|| spawn_blocking(move || keys::read(&path)));
        match timeout(READ_WITHIN, &mut reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(KeyFileError::unreadable(&self.path, error.to_string())),
            Err(_) => {
                self.reading = Some(reading);
                let seconds = READ_WITHIN.as_secs();
                let why = format!("no answer of the file system within {seconds} s");
                Err(KeyFileError::unreadable(&self.path, why))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use iperf3_mesh_core::{Epoch, NodeName};

    use super::*;
    use crate::config::FailedCells;
    use crate::metrics::{Metrics, Settings};
    use crate::state::Identity;

    #[tokio::test]
    async fn agent_that_waits_for_keys_counts_as_alive() {
        let state = state();
        let started = state.snapshot().heartbeat;
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("keys");
        let mut keys = Keys::watch(missing, Auth::Required, state.clone());
        let waited = timeout(3 * HEARTBEAT, keys.until_there(&state)).await;
        assert!(waited.is_err(), "there are no keys");
        assert!(state.snapshot().heartbeat > started);
    }

    #[test]
    fn permissive_mode_ends_after_a_day() {
        let day = Duration::from_secs(24 * 60 * 60);
        let before = day - Duration::from_millis(1);
        for (running_for, expected) in [
            (Duration::ZERO, SealMode::Permissive),
            (before, SealMode::Permissive),
            (day, SealMode::Required),
            (10 * day, SealMode::Required),
        ] {
            assert_eq!(mode(Auth::Permissive, running_for), expected);
            assert_eq!(mode(Auth::Required, running_for), SealMode::Required);
        }
    }

    fn state() -> AgentState {
        let name = NodeName::new("node-a").unwrap();
        let metrics = Metrics::new(Settings {
            source: name.clone(),
            protocols: Vec::new(),
            failed_cells: FailedCells::Zero,
            pause: Duration::ZERO,
            iperf3_version: "3.12".to_owned(),
            landlock: "abi6".to_owned(),
        });
        let identity = Identity {
            name,
            zone: String::new(),
            epoch: Epoch(1),
            protocols: Vec::new(),
            iperf3: "3.12".to_owned(),
        };
        AgentState::new(identity, metrics.unwrap())
    }
}
