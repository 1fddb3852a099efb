//! The state of this agent, for its readers: row, members, sweep, schedule, health.
//!
//! The driver publishes a [`Snapshot`] and everything else reads it. The metrics are written
//! together with the snapshot, so that the row and `/metrics` cannot disagree. Nothing is decided
//! here, nothing waits, and nothing knows of HTTP.

mod row;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use iperf3_mesh_core::{Epoch, NodeName, Outcome, Protocol, Time};
use tokio::sync::watch;

use crate::VERSION;
use crate::api::{Member, Members, NodeState, RowReport, Schedule, ScheduleReport};
use crate::clock::boot_now;
use crate::metrics::Metrics;
pub use row::Row;

/// The driver counts as stuck when its last heartbeat is older than this.
pub const HEARTBEAT_WITHIN: Duration = Duration::from_secs(30);

/// The identity of this agent.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Node name.
    pub name: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The epoch of this run.
    pub epoch: Epoch,
    /// The protocols under test.
    pub protocols: Vec<Protocol>,
}

/// All that the agent publishes, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The other nodes that have not departed, sorted by name.
    pub members: Arc<[Member]>,
    /// The control address of another live agent that uses this node's name.
    pub namesake: Option<SocketAddr>,
    /// The sweep, the meeting, and the next partners.
    pub schedule: Schedule,
    /// The outgoing results.
    pub row: Row,
    /// The names of `--join` that do not resolve at present.
    pub unresolved_join: Arc<[String]>,
    /// All ports are listening.
    pub is_listening: bool,
    /// The last heartbeat of the driver.
    pub heartbeat: Time,
}

impl Snapshot {
    fn new() -> Self {
        Self {
            members: Arc::default(),
            namesake: None,
            schedule: Schedule::default(),
            row: Row::default(),
            unresolved_join: Arc::default(),
            is_listening: false,
            heartbeat: boot_now(),
        }
    }

    /// The state of this node itself.
    pub fn own_state(&self) -> NodeState {
        match self.namesake {
            Some(_) => NodeState::Conflict,
            None => NodeState::Live,
        }
    }
}

/// The state of an agent. Cheap to clone; all clones are the same state.
#[derive(Clone)]
pub struct AgentState {
    identity: Arc<Identity>,
    metrics: Metrics,
    snapshot: watch::Sender<Snapshot>,
}

impl AgentState {
    /// The state of an agent that knows nothing yet. The first heartbeat is due from now on.
    pub fn new(identity: Identity, metrics: Metrics) -> Self {
        let state = Self {
            identity: Arc::new(identity),
            metrics,
            snapshot: watch::Sender::new(Snapshot::new()),
        };
        state.set_members(Vec::new(), None);
        state
    }

    /// The identity of this agent.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The metrics, for events that the snapshot does not hold.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The present snapshot. The driver cannot publish while the reference is held.
    pub fn snapshot(&self) -> watch::Ref<'_, Snapshot> {
        self.snapshot.borrow()
    }

    /// Every snapshot from now on.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// Records the outcome of a test that has just ended. The outcome for a node that is no member
    /// is dropped: a result that arrives after its node has departed must not bring back the
    /// node's series.
    pub fn record(&self, destination: &NodeName, protocol: Protocol, outcome: &Outcome) {
        self.snapshot.send_if_modified(|snapshot| {
            let is_member = contains(&snapshot.members, destination);
            if is_member {
                snapshot.row.record(destination, protocol, outcome);
                self.metrics
                    .record(destination, protocol, SystemTime::now(), outcome);
            }
            is_member
        });
    }

    /// Replaces the list of members, sorted by name, and the address of another live agent that
    /// uses this node's name. The cells and series of a node that is no longer on the list go.
    pub fn set_members(&self, members: Vec<Member>, namesake: Option<SocketAddr>) {
        self.snapshot.send_modify(|snapshot| {
            for member in snapshot.members.iter() {
                if !contains(&members, &member.name) {
                    self.metrics.forget(&member.name);
                }
            }
            snapshot
                .row
                .retain(|destination| contains(&members, destination));
            snapshot.members = members.into();
            snapshot.namesake = namesake;
            let states = snapshot.members.iter().map(|member| member.state);
            self.metrics
                .show_members(states.chain([snapshot.own_state()]));
            self.metrics.show_name_conflict(namesake.is_some());
        });
    }

    /// Replaces the schedule.
    pub fn set_schedule(&self, schedule: Schedule) {
        self.snapshot.send_if_modified(|snapshot| {
            let is_new = snapshot.schedule != schedule;
            if is_new {
                self.metrics.show_schedule(&schedule);
                snapshot.schedule = schedule;
            }
            is_new
        });
    }

    /// Replaces the names of `--join` that do not resolve at present.
    pub fn set_unresolved_join(&self, targets: Vec<String>) {
        self.snapshot.send_if_modified(|snapshot| {
            let is_new = *snapshot.unresolved_join != *targets;
            if is_new {
                snapshot.unresolved_join = targets.into();
            }
            is_new
        });
    }

    /// The names of `--join` that do not resolve at present.
    pub fn unresolved_join(&self) -> Arc<[String]> {
        self.snapshot().unresolved_join.clone()
    }

    /// Sets whether all ports are listening.
    pub fn set_listening(&self, is_listening: bool) {
        self.snapshot
            .send_modify(|snapshot| snapshot.is_listening = is_listening);
    }

    /// Records that the driver is at work.
    pub fn heartbeat(&self) {
        self.snapshot
            .send_modify(|snapshot| snapshot.heartbeat = boot_now());
    }

    /// Whether the driver is at work, by its last heartbeat.
    ///
    /// # Errors
    /// How long it has been stuck, in words.
    pub fn health(&self, now: Time) -> Result<(), String> {
        let silent = now.since(self.snapshot().heartbeat);
        if silent <= HEARTBEAT_WITHIN {
            return Ok(());
        }
        Err(format!(
            "the event loop has been stuck for {} s",
            silent.as_secs()
        ))
    }

    /// Whether this agent can take part in the mesh.
    ///
    /// # Errors
    /// The obstacle, in words.
    pub fn readiness(&self) -> Result<(), String> {
        let snapshot = self.snapshot();
        if !snapshot.is_listening {
            return Err("not all ports are listening yet".to_owned());
        }
        if let Some(other) = snapshot.namesake {
            let name = &self.identity.name;
            return Err(format!(
                "another live agent, at {other}, uses the node name {name}: \
                 give one of them another --node-name (SOURCE_NODE_NAME)"
            ));
        }
        Ok(())
    }

    /// The answer to `/api/v1/row`.
    pub fn row(&self) -> RowReport {
        RowReport {
            version: VERSION.to_owned(),
            node: self.identity.name.clone(),
            zone: self.identity.zone.clone(),
            cells: self.snapshot().row.report(),
        }
    }

    /// The answer to `/api/v1/members`.
    pub fn members(&self) -> Members {
        let snapshot = self.snapshot();
        Members {
            version: VERSION,
            node: self.identity.name.clone(),
            zone: self.identity.zone.clone(),
            epoch: self.identity.epoch,
            name_taken: snapshot.namesake.is_some(),
            unresolved_join: snapshot.unresolved_join.clone(),
            members: snapshot.members.clone(),
        }
    }

    /// The answer to `/api/v1/schedule`.
    pub fn schedule(&self) -> ScheduleReport {
        ScheduleReport {
            version: VERSION,
            node: self.identity.name.clone(),
            schedule: self.snapshot().schedule.clone(),
        }
    }
}

/// Whether `members`, sorted by name, has that node.
fn contains(members: &[Member], node: &NodeName) -> bool {
    members
        .binary_search_by(|member| member.name.cmp(node))
        .is_ok()
}
