//! Watches all agents of the local mesh, and reports each sweep that is over on all nodes.

use std::time::Duration;

use futures_util::future::select_all;
use iperf3_mesh_core::{NodeName, Time};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, watch};

use super::progress::Progress;
use crate::api::{Schedule, SweepReport};
use crate::metrics::TestOutcome;
use crate::runtime::{Agent, FinishedTest};
use crate::state::{AgentState, Snapshot};

/// The interval at which the progress is shown again even if nothing has changed.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);

/// The observed agents, and the tests of the present sweep.
pub(super) struct Observer {
    agents: Vec<Observed>,
    tests: Vec<FinishedTest>,
    missed: u64,
}

struct Observed {
    state: AgentState,
    snapshots: watch::Receiver<Snapshot>,
    finished_tests: broadcast::Receiver<FinishedTest>,
}

impl Observer {
    /// Observes `agents` from now on.
    pub(super) fn new(agents: &[Agent]) -> Self {
        let agents = agents
            .iter()
            .map(|agent| Observed {
                state: agent.state.clone(),
                snapshots: agent.state.subscribe(),
                finished_tests: agent.finished_tests(),
            })
            .collect();
        Self {
            agents,
            tests: Vec::new(),
            missed: 0,
        }
    }

    /// Returns the state of the first agent.
    pub(super) fn first(&self) -> &AgentState {
        &self.agents[0].state
    }

    /// Returns whether this observer fell behind the agents and lost the outcome of a test. The
    /// sweep of that test is unknown, so no later sweep is known to be complete either.
    pub(super) fn has_missed_tests(&self) -> bool {
        self.missed > 0
    }

    /// Waits until sweep `number` is over on all nodes, and shows every change meanwhile.
    pub(super) async fn sweep(&mut self, number: u64, progress: &mut Progress) -> SweepReport {
        loop {
            self.take_tests();
            let schedules: Vec<(NodeName, Schedule)> = self
                .agents
                .iter_mut()
                .map(|agent| {
                    let name = agent.state.identity().name.clone();
                    // Marked as seen, so that one pass consumes the changes of all agents.
                    let snapshot = agent.snapshots.borrow_and_update();
                    (name, snapshot.schedule.clone())
                })
                .collect();
            progress.show(number, &schedules);
            if schedules
                .iter()
                .all(|(_, schedule)| schedule.sweep.is_over(number))
            {
                return self.report(number, &schedules[0].1);
            }
            let changes = self
                .agents
                .iter_mut()
                .map(|agent| Box::pin(agent.snapshots.changed()));
            // The timeout is needed because the time left changes even if nothing else does.
            let _ = tokio::time::timeout(REDRAW_INTERVAL, select_all(changes)).await;
        }
    }

    /// Takes the finished tests. A finished test arrives before the snapshot that results from it,
    /// so no test is missing when a sweep is over, unless [`Self::has_missed_tests`].
    fn take_tests(&mut self) {
        for agent in &mut self.agents {
            loop {
                match agent.finished_tests.try_recv() {
                    Ok(test) => self.tests.push(test),
                    Err(TryRecvError::Lagged(missed)) => {
                        let node = &agent.state.identity().name;
                        tracing::error!(%node, missed, "lost the outcomes of finished tests");
                        self.missed += missed;
                    }
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
        }
    }

    fn report(&mut self, number: u64, schedule: &Schedule) -> SweepReport {
        self.tests.retain(|test| test.sweep >= number);
        let tests = || self.tests.iter().filter(|test| test.sweep == number);
        let first: Option<Time> = tests().map(|test| test.began).min();
        let last = tests().map(|test| test.ended).max();
        let seconds = first
            .zip(last)
            .map_or(0.0, |(first, last)| last.since(first).as_secs_f64());
        let failed = tests().filter(|test| test.outcome == TestOutcome::Failure);
        SweepReport {
            number,
            seconds,
            bound_seconds: schedule.sweep.bound.as_secs_f64(),
            tests: tests().count() as u64,
            failed: failed.count() as u64,
        }
    }
}
