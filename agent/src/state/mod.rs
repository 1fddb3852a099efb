//! What this agent knows, for anyone who asks: its row, the members, the sweep, the schedule, its
//! health.
//!
//! The driver writes, everybody else reads copies. The state owns the metrics and feeds them, so
//! that the row and `/metrics` cannot disagree. It decides nothing, waits for nothing and knows no
//! HTTP.

pub mod row;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use iperf3_mesh_core::{Epoch, NodeName, Outcome, Protocol};

use crate::VERSION;
use crate::api::{
    MeetingReport, MemberReport, MembersReport, NodeState, RowReport, ScheduleReport, SweepProgress,
};
use crate::metrics::Metrics;
use row::{Row, age};

/// After this long without a heartbeat the driver counts as stuck.
pub const HEARTBEAT_WITHIN: Duration = Duration::from_secs(30);

/// Who this agent is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its node.
    pub name: NodeName,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// Its present life.
    pub epoch: Epoch,
    /// What it tests.
    pub protocols: Vec<Protocol>,
}

/// Another node that this agent counts to the mesh: every one that has not departed, silent ones
/// too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its name.
    pub name: NodeName,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// What this agent thinks of it.
    pub state: NodeState,
    /// Since when it has been silent, if it is.
    pub silent_since: Option<Instant>,
    /// Where it answers the read API, if that is known.
    pub http: Option<SocketAddr>,
    /// Its present life.
    pub epoch: Epoch,
    /// The sweep that it works on.
    pub sweep: u64,
}

/// How far the sweep has come on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepStatus {
    /// Its number.
    pub number: u64,
    /// Pairs of this node that have met, or were given up.
    pub met: usize,
    /// All pairs of this node.
    pub total: usize,
    /// When it began here, `None` between sweeps.
    pub started: Option<Instant>,
    /// How long the last complete one took here, `None` before there was one.
    pub last: Option<Duration>,
    /// The least time that any schedule needs for a sweep.
    pub bound: Duration,
    /// The tests that this node has run as the client, in this sweep and in the one before.
    pub tests: [SweepTests; 2],
}

/// The tests of one sweep that a node has run as the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepTests {
    /// The number of the sweep.
    pub number: u64,
    /// When the first of them began and the last of them ended.
    pub span: Option<(Instant, Instant)>,
    /// How many ended.
    pub ended: u64,
    /// How many of these failed.
    pub failed: u64,
}

/// What this node does now and next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleStatus {
    /// The meeting that it takes part in.
    pub meeting: Option<MeetingStatus>,
    /// Whom it means to meet next, in this order.
    pub next: Vec<NodeName>,
    /// How many of its pairs have not met in this sweep.
    pub open_pairs: usize,
}

/// A meeting that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeetingStatus {
    /// The other node.
    pub peer: NodeName,
    /// This node's role in it, by its name on the wire.
    pub role: &'static str,
    /// When it began.
    pub since: Instant,
}

/// What an agent knows. Cheap to clone; all clones are the same state.
#[derive(Clone)]
pub struct AgentState {
    identity: Arc<Identity>,
    metrics: Metrics,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    row: Row,
    members: BTreeMap<NodeName, MemberStatus>,
    sweep: SweepStatus,
    schedule: ScheduleStatus,
    listening: bool,
    name_taken: bool,
    quiet: bool,
    heartbeat: Instant,
}

impl AgentState {
    /// A state on which nothing is written yet. The driver's first heartbeat is due from now on.
    pub fn new(identity: Identity, metrics: Metrics) -> Self {
        let inner = Inner {
            row: Row::default(),
            members: BTreeMap::new(),
            sweep: SweepStatus::default(),
            schedule: ScheduleStatus::default(),
            listening: false,
            name_taken: false,
            quiet: false,
            heartbeat: Instant::now(),
        };
        let state = Self {
            identity: Arc::new(identity),
            metrics,
            inner: Arc::new(Mutex::new(inner)),
        };
        state.set_members(Vec::new(), false);
        state
    }

    /// Who this agent is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The metrics, for what only they remember.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Nothing can break half-way while the lock is held, so what a panic elsewhere left behind is
    /// whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the outcome of a test that ended just now. That of a node which is no member is
    /// dropped: a result that comes after its node has departed must not bring back its series.
    pub fn record(&self, destination: &NodeName, protocol: Protocol, outcome: &Outcome) {
        let mut inner = self.lock();
        if inner.members.contains_key(destination) {
            inner
                .row
                .record(destination, protocol, Instant::now(), outcome);
            self.metrics
                .record(destination, protocol, SystemTime::now(), outcome);
        }
    }

    /// Takes the whole list of other members, and whether another live agent goes by this node's
    /// name. Who is no longer on the list has departed: its cells and series go.
    pub fn set_members(&self, members: Vec<MemberStatus>, name_taken: bool) {
        let members: BTreeMap<_, _> = members
            .into_iter()
            .map(|member| (member.name.clone(), member))
            .collect();
        let own = if name_taken {
            NodeState::Conflict
        } else {
            NodeState::Live
        };
        let mut counts = BTreeMap::from([(own, 1)]);
        for member in members.values() {
            *counts.entry(member.state).or_default() += 1;
        }
        let mut inner = self.lock();
        for departed in inner
            .members
            .keys()
            .filter(|name| !members.contains_key(*name))
        {
            self.metrics.forget(departed);
        }
        inner
            .row
            .retain(|destination| members.contains_key(destination));
        inner.members = members;
        inner.name_taken = name_taken;
        self.metrics.set_members(&counts);
        self.metrics.set_name_conflict(name_taken);
    }

    /// Takes how far the sweep is.
    pub fn set_sweep(&self, sweep: SweepStatus) {
        // Without a peer there is nothing left to do.
        let progress = match (sweep.number, sweep.total) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            (_, total) => sweep.met as f64 / total as f64,
        };
        self.metrics
            .set_sweep(sweep.number, progress, sweep.last, sweep.bound);
        self.lock().sweep = sweep;
    }

    /// How far the sweep is.
    pub fn sweep(&self) -> SweepStatus {
        self.lock().sweep.clone()
    }

    /// Takes what this node does now and next.
    pub fn set_schedule(&self, schedule: ScheduleStatus) {
        self.lock().schedule = schedule;
    }

    /// Takes whether this node waits for the reservations of its former life to end.
    pub fn set_quiet(&self, quiet: bool) {
        self.metrics.set_quiet(quiet);
        self.lock().quiet = quiet;
    }

    /// Takes whether all listeners are bound.
    pub fn set_listening(&self, listening: bool) {
        self.lock().listening = listening;
    }

    /// The driver's sign of life.
    pub fn heartbeat(&self) {
        self.lock().heartbeat = Instant::now();
    }

    /// Whether the driver gave a sign of life lately.
    ///
    /// # Errors
    /// How long it has been stuck, in words.
    pub fn health(&self, now: Instant) -> Result<(), String> {
        let silent = now.saturating_duration_since(self.lock().heartbeat);
        if silent <= HEARTBEAT_WITHIN {
            return Ok(());
        }
        Err(format!(
            "the event loop has been stuck for {} s",
            silent.as_secs()
        ))
    }

    /// Whether this agent can take part.
    ///
    /// # Errors
    /// What keeps it from that, in words.
    pub fn readiness(&self) -> Result<(), String> {
        let inner = self.lock();
        if !inner.listening {
            return Err("not all ports are listening yet".to_owned());
        }
        if inner.name_taken {
            let name = &self.identity.name;
            return Err(format!(
                "another live agent goes by the name {name}: give one of them another --node-name"
            ));
        }
        Ok(())
    }

    /// This node's row.
    pub fn row(&self) -> RowReport {
        RowReport {
            version: VERSION.to_owned(),
            node: self.identity.name.clone(),
            zone: self.identity.zone.clone(),
            cells: self.lock().row.report(Instant::now()),
        }
    }

    /// The members, sorted by name, and whether this node's own name is taken.
    pub fn members(&self) -> (Vec<MemberStatus>, bool) {
        let inner = self.lock();
        (inner.members.values().cloned().collect(), inner.name_taken)
    }

    /// The members as they stand in the API.
    pub fn members_report(&self) -> MembersReport {
        let now = Instant::now();
        let (members, name_taken) = self.members();
        MembersReport {
            version: VERSION,
            node: self.identity.name.clone(),
            zone: self.identity.zone.clone(),
            epoch: self.identity.epoch.to_string(),
            name_taken,
            members: members
                .into_iter()
                .map(|member| member.report(now))
                .collect(),
        }
    }

    /// The schedule as it stands in the API.
    pub fn schedule_report(&self) -> ScheduleReport {
        let now = Instant::now();
        let inner = self.lock();
        let sweep = &inner.sweep;
        ScheduleReport {
            version: VERSION,
            node: self.identity.name.clone(),
            quiet: inner.quiet,
            sweep: SweepProgress {
                number: sweep.number,
                met: sweep.met,
                total: sweep.total,
                running_seconds: sweep.started.map(|at| age(at, now)),
                last_seconds: sweep.last.map(|last| last.as_secs_f64()),
                bound_seconds: sweep.bound.as_secs_f64(),
            },
            meeting: inner
                .schedule
                .meeting
                .as_ref()
                .map(|meeting| MeetingReport {
                    peer: meeting.peer.clone(),
                    role: meeting.role,
                    running_seconds: age(meeting.since, now),
                }),
            next: inner.schedule.next.clone(),
            open_pairs: inner.schedule.open_pairs,
        }
    }
}

impl MemberStatus {
    fn report(self, now: Instant) -> MemberReport {
        MemberReport {
            name: self.name,
            zone: self.zone,
            state: self.state.as_str(),
            silent_seconds: self.silent_since.map(|at| age(at, now)),
            epoch: self.epoch.to_string(),
            sweep: self.sweep,
            http: self.http.map(|http| http.to_string()),
        }
    }
}
