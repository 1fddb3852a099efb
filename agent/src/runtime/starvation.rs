//! Watches what this node needs to start iperf3: room for temporary files, file descriptors,
//! processes and memory. While it lacks something, no test can run, and the agent says so.

use iperf3_mesh_core::Reason;

use crate::iperf::{self, Needs, SpawnError, UnusableDirectory};
use crate::metrics::Resource;
use crate::state::{AgentState, Starvation};

/// The present lack, and how it was noticed.
pub(super) struct StarvationWatch {
    state: AgentState,
    needs: Needs,
    /// The resource that this node lacks.
    lack: Option<Resource>,
    /// Whether the temporary directory only seems to have room: its files could not be filled, for
    /// example because of a quota. Until they can be, looking at it is not enough.
    must_fill: bool,
}

impl StarvationWatch {
    /// Creates a watch for tests that need `needs`.
    pub(super) fn new(state: AgentState, needs: Needs) -> Self {
        Self {
            state,
            needs,
            lack: None,
            must_fill: false,
        }
    }

    /// Looks at the directory for temporary files. Call this function regularly.
    pub(super) fn look(&mut self) {
        let directory = std::env::temp_dir();
        let looked = iperf::room(&directory, self.needs);
        let looked = match looked {
            Ok(()) if self.must_fill => iperf::try_filling(&directory, self.needs),
            looked => looked,
        };
        match looked {
            Err(problem) if problem.lack() == Resource::TemporaryDirectory => {
                self.starve(Resource::TemporaryDirectory, words(&problem));
            }
            // The directory cannot be tried without file descriptors, but may be all right.
            Err(_) => {}
            Ok(()) => {
                self.must_fill = false;
                if self.lack == Some(Resource::TemporaryDirectory) {
                    self.feed();
                }
            }
        }
    }

    /// Handles the end of an iperf3 of this node that ran out of something: the directory may have
    /// less room than it says.
    pub(super) fn suspect(&mut self) {
        self.must_fill = true;
        self.look();
    }

    /// Handles the start of an iperf3.
    pub(super) fn started(&mut self) {
        if !self.must_fill {
            self.feed();
        }
    }

    /// Handles an iperf3 that was not started, and returns the reason of its test.
    pub(super) fn refused(&mut self, error: &SpawnError) -> Reason {
        let Some(resource) = error.lack() else {
            return Reason::Spawn;
        };
        self.must_fill |= resource == Resource::TemporaryDirectory;
        let words = match error {
            SpawnError::Directory { problem } => words(problem),
            _ => error.to_string(),
        };
        self.starve(resource, words);
        Reason::Resources
    }

    fn starve(&mut self, resource: Resource, words: String) {
        if self.lack != Some(resource) {
            let resource = resource.as_str();
            tracing::warn!(resource, "this node cannot run tests: {words}");
        }
        self.lack = Some(resource);
        self.state
            .set_starvation(Some(Starvation { resource, words }));
    }

    fn feed(&mut self) {
        if let Some(resource) = self.lack.take() {
            let resource = resource.as_str();
            tracing::info!(resource, "this node can run tests again");
            self.state.set_starvation(None);
        }
    }
}

/// Returns the problem, and how to fix it.
fn words(problem: &UnusableDirectory) -> String {
    format!("{problem}. {}", problem.hint())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::io;
    use std::time::Duration;

    use iperf3_mesh_core::{Epoch, NodeName, Protocol};

    use super::*;
    use crate::config::FailedCells;
    use crate::metrics::{Metrics, Settings};
    use crate::state::Identity;

    const NEEDS: Needs = Needs {
        files: 1,
        file_size: 1200,
        open_files: 12,
    };

    #[test]
    fn a_spawn_without_open_files_makes_the_node_unready() {
        let state = state();
        state.set_listening(true);
        let mut watch = StarvationWatch::new(state.clone(), NEEDS);
        let error = SpawnError::System {
            program: "iperf3".into(),
            source: io::Error::from_raw_os_error(libc::EMFILE),
        };
        assert_eq!(watch.refused(&error), Reason::Resources);
        // A look at the directory says nothing about files.
        watch.look();
        let words = state.readiness().unwrap_err();
        assert!(words.contains("Raise the limit on open files"), "{words}");
        let text = state.metrics().text().unwrap();
        let series = "iperf_mesh_starved{resource=\"open_files\"} 1";
        assert!(text.contains(series), "{text}");
        watch.started();
        assert_eq!(state.readiness(), Ok(()));
    }

    #[test]
    fn a_directory_without_room_is_told_with_its_needs() {
        let state = state();
        state.set_listening(true);
        let needs = Needs {
            file_size: 1 << 60,
            ..NEEDS
        };
        let mut watch = StarvationWatch::new(state.clone(), needs);
        watch.look();
        let words = state.readiness().unwrap_err();
        for part in ["TMPDIR", "no room for the", "KiB are free. Free space"] {
            assert!(words.contains(part), "{words}");
        }
    }

    #[test]
    fn a_program_that_does_not_start_is_no_lack() {
        let mut watch = StarvationWatch::new(state(), NEEDS);
        assert_eq!(watch.refused(&SpawnError::TooLate), Reason::Spawn);
    }

    fn state() -> AgentState {
        let name = NodeName::new("a").unwrap();
        let metrics = Metrics::new(Settings {
            source: name.clone(),
            protocols: vec![Protocol::Tcp],
            failed_cells: FailedCells::Zero,
            pause: Duration::from_secs(1),
            iperf3_version: String::new(),
            landlock: String::new(),
        });
        let identity = Identity {
            name,
            zone: String::new(),
            epoch: Epoch(1),
            protocols: vec![Protocol::Tcp],
            iperf3: String::new(),
        };
        AgentState::new(identity, metrics.unwrap())
    }
}
