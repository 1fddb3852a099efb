//! The state that this agent publishes to its readers: row, members, sweep, schedule, health.
//!
//! The driver publishes a [`Snapshot`], and all other parts read it. The metrics are written
//! together with the snapshot, so that the row and `/metrics` cannot disagree. This module makes no
//! decisions, never waits, and does not depend on HTTP.

mod row;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use iperf3_mesh_core::gossip::SendError;
use iperf3_mesh_core::seal::{Life, Refusal, Standing};
use iperf3_mesh_core::{Epoch, NodeName, Outcome, Protocol, RefusedMember};
use tokio::sync::watch;

use crate::VERSION;
use crate::api::{self, Member, Members, NodeState, Refused, RowReport, Schedule, ScheduleReport};
use crate::keys::KeyFileError;
use crate::metrics::{Metrics, Resource};
use crate::own_address::AddressProblem;
use crate::sealing::{PeerSeal, Sealing};
use crate::telemetry::{MINUTE, Throttles};
pub use row::Row;

/// How old the last heartbeat of the driver may be. After that, the driver counts as stuck.
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
    /// The version of this node's iperf3.
    pub iperf3: String,
}

/// The lack that keeps this node from running any test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starvation {
    /// The resource that this node lacks.
    pub resource: Resource,
    /// The problem, and how to fix it.
    pub words: String,
}

/// Everything that the agent publishes, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The other nodes that have not departed, sorted by name.
    pub members: Arc<[Member]>,
    /// The lives of these nodes, with their names and addresses.
    lives: BTreeMap<Life, (NodeName, Option<IpAddr>)>,
    /// The members in gossip that this node has nothing to do with.
    pub refused: Refused,
    /// The control address of another live agent that uses this node's name.
    pub namesake: Option<SocketAddr>,
    /// The sweep, the meeting, and the next partners.
    pub schedule: Schedule,
    /// The results of the outgoing tests.
    pub row: Row,
    /// The names of `--join` that do not resolve at present.
    pub unresolved_join: Arc<[String]>,
    /// Why the key file cannot be used.
    pub key_problem: Option<KeyFileError>,
    /// Why the other nodes cannot reach this node at its own address.
    pub address_problem: Option<AddressProblem>,
    /// The error that keeps this node from sending any gossip.
    pub unsent_gossip: Option<SendError>,
    /// The lack that keeps this node from running any test.
    pub starvation: Option<Starvation>,
    /// Whether all ports are listening.
    pub is_listening: bool,
    /// The time of the driver's last heartbeat, on the monotonic clock, as the driver's timer. On
    /// the boot clock the driver would count as stuck after the machine was suspended.
    pub heartbeat: Instant,
}

impl Snapshot {
    fn new() -> Self {
        Self {
            members: Arc::default(),
            lives: BTreeMap::new(),
            refused: Refused::default(),
            namesake: None,
            schedule: Schedule::default(),
            row: Row::default(),
            unresolved_join: Arc::default(),
            key_problem: None,
            address_problem: None,
            unsent_gossip: None,
            starvation: None,
            is_listening: false,
            heartbeat: Instant::now(),
        }
    }

    /// Returns the state of this node itself.
    pub fn own_state(&self) -> NodeState {
        match self.namesake {
            Some(_) => NodeState::Conflict,
            None => NodeState::Live,
        }
    }
}

/// The state of an agent. It is cheap to clone: all clones share the same state.
#[derive(Clone)]
pub struct AgentState {
    identity: Arc<Identity>,
    metrics: Metrics,
    snapshot: watch::Sender<Snapshot>,
    sealing: Sealing,
    protects_reads: bool,
    refusals: Arc<Throttles<Refusal>>,
}

impl AgentState {
    /// Creates the state of an agent that has no information yet. The time until the first
    /// heartbeat counts from now on.
    pub fn new(identity: Identity, metrics: Metrics) -> Self {
        let state = Self {
            identity: Arc::new(identity),
            metrics,
            snapshot: watch::Sender::new(Snapshot::new()),
            sealing: Sealing::default(),
            protects_reads: false,
            refusals: Arc::new(Throttles::new(MINUTE)),
        };
        state.set_members(Vec::new(), None);
        state
    }

    /// Seals the HTTP ports with `sealing`. If `protects_reads`, only holders of a key read the
    /// API.
    pub fn sealed(self, sealing: Sealing, protects_reads: bool) -> Self {
        Self {
            sealing,
            protects_reads,
            ..self
        }
    }

    /// Returns the sealed side of the HTTP ports.
    pub(crate) fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// Returns whether only holders of a key read the API.
    pub(crate) fn protects_reads(&self) -> bool {
        self.protects_reads
    }

    /// Counts a request of `from` that was refused for the sake of its seal, and logs each reason
    /// at most once a minute.
    pub(crate) fn refuse(&self, reason: Refusal, from: IpAddr) {
        self.metrics.rejected_message(reason.as_str());
        if let Some(count) = self.refusals.count(reason, 1, Instant::now()) {
            tracing::warn!(
                %reason, %from, count,
                "a request was refused because of its seal: a stranger, or an agent with other keys"
            );
        }
    }

    /// Returns the identity of this agent.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the metrics, for events that the snapshot does not contain.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the present snapshot. The driver cannot publish while the reference is held.
    pub fn snapshot(&self) -> watch::Ref<'_, Snapshot> {
        self.snapshot.borrow()
    }

    /// Subscribes to all snapshots from now on.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// Records the outcome of a test that has just ended. The outcome is dropped if the destination
    /// is not a member: a result that arrives after its node has departed must not bring back the
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

    /// Records that the settings of the destination ruled in the test that was recorded last.
    pub fn record_limit(&self, destination: &NodeName, protocol: Protocol) {
        self.snapshot
            .send_modify(|snapshot| snapshot.row.record_limit(destination, protocol));
    }

    /// Replaces the list of members, sorted by name, and the address of another live agent that
    /// uses this node's name. Removes the cells and series of every node that is no longer on the
    /// list.
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
            let life = |member: &Member| {
                let address = member.http.map(|http| http.ip());
                Some((member.seal.as_ref()?.life, (member.name.clone(), address)))
            };
            snapshot.lives = members.iter().filter_map(life).collect();
            snapshot.members = members.into();
            snapshot.namesake = namesake;
            let versions = iperf3_versions(&self.identity.iperf3, &snapshot.members);
            self.metrics.show_iperf3_versions(versions.len());
            let states = snapshot.members.iter().map(|member| member.state);
            self.metrics
                .show_members(states.chain([snapshot.own_state()]));
            self.metrics.show_name_conflict(namesake.is_some());
        });
    }

    /// Replaces the members in gossip that this node has nothing to do with.
    pub fn set_refused(&self, members: &[RefusedMember]) {
        let first = members.iter().take(Refused::NAMED_MAX);
        let refused = Refused {
            count: members.len(),
            first: first.map(api::RefusedMember::from).collect(),
        };
        self.snapshot.send_if_modified(|snapshot| {
            let is_new = snapshot.refused != refused;
            if is_new {
                snapshot.refused = refused;
            }
            is_new
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

    /// Replaces the error that keeps this node from sending any gossip.
    pub fn set_unsent_gossip(&self, error: Option<SendError>) {
        self.snapshot.send_if_modified(|snapshot| {
            let is_new = snapshot.unsent_gossip != error;
            snapshot.unsent_gossip = error;
            is_new
        });
    }

    /// Returns the faults that do not keep this agent from taking part, one a line.
    pub fn remarks(&self) -> Vec<String> {
        let snapshot = self.snapshot();
        let names = snapshot.unresolved_join.join(", ");
        let unresolved =
            (!names.is_empty()).then(|| format!("names to join that do not resolve: {names}"));
        let unsent = snapshot.unsent_gossip;
        let unsent = unsent.map(|error| format!("gossip cannot be sent: {}", error.advice()));
        unresolved.into_iter().chain(unsent).collect()
    }

    /// Replaces the reason why the other nodes cannot reach this node at its own address.
    pub fn set_address_problem(&self, problem: Option<AddressProblem>) {
        self.metrics.show_address_problem(problem.is_some());
        self.snapshot
            .send_modify(|snapshot| snapshot.address_problem = problem);
    }

    /// Replaces what keeps this node from running any test.
    pub fn set_starvation(&self, starvation: Option<Starvation>) {
        let resource = starvation.as_ref().map(|starvation| starvation.resource);
        self.metrics.show_starvation(resource);
        self.snapshot.send_if_modified(|snapshot| {
            let is_new = snapshot.starvation != starvation;
            snapshot.starvation = starvation;
            is_new
        });
    }

    /// Replaces the reason why the key file cannot be used.
    pub fn set_key_problem(&self, problem: Option<KeyFileError>) {
        let reason = problem.as_ref().map(KeyFileError::reason);
        self.metrics.show_key_problem(reason);
        self.snapshot
            .send_modify(|snapshot| snapshot.key_problem = problem);
    }

    /// Sets whether all ports are listening.
    pub fn set_listening(&self, is_listening: bool) {
        self.snapshot
            .send_modify(|snapshot| snapshot.is_listening = is_listening);
    }

    /// Records that the driver is running.
    pub fn heartbeat(&self) {
        self.snapshot
            .send_modify(|snapshot| snapshot.heartbeat = Instant::now());
    }

    /// Checks by the last heartbeat whether the driver is running.
    ///
    /// # Errors
    /// Returns a text that says how long the driver has been stuck.
    pub fn health(&self, now: Instant) -> Result<(), String> {
        let silent = now.saturating_duration_since(self.snapshot().heartbeat);
        if silent <= HEARTBEAT_WITHIN {
            return Ok(());
        }
        Err(format!(
            "the event loop has been stuck for {} s",
            silent.as_secs()
        ))
    }

    /// Checks whether this agent can take part in the mesh.
    ///
    /// # Errors
    /// Returns a text that describes the obstacle.
    pub fn readiness(&self) -> Result<(), String> {
        let snapshot = self.snapshot();
        if let Some(problem) = &snapshot.key_problem {
            return Err(format!("{problem}. {}", problem.hint()));
        }
        if !snapshot.is_listening {
            return Err("not all ports are listening yet".to_owned());
        }
        if let Some(problem) = &snapshot.address_problem {
            return Err(problem.to_string());
        }
        if let Some(other) = snapshot.namesake {
            let name = &self.identity.name;
            return Err(format!(
                "another live agent, at {other}, uses the node name {name}: \
                 give one of them another --node-name (SOURCE_NODE_NAME)"
            ));
        }
        if let Some(starvation) = &snapshot.starvation {
            return Err(format!("no test can run: {}", starvation.words));
        }
        Ok(())
    }

    /// Returns the address of a member, if it is known.
    pub fn address_of(&self, name: &NodeName) -> Option<IpAddr> {
        let snapshot = self.snapshot();
        Some(find(&snapshot.members, name)?.http?.ip())
    }

    /// Returns the seal for requests to a member, if it seals.
    pub(crate) fn seal_of(&self, name: &NodeName) -> Option<PeerSeal> {
        let snapshot = self.snapshot();
        find(&snapshot.members, name)?.seal.clone()
    }

    /// Returns what is known of the life that is said to have sealed a request from `address`.
    pub(crate) fn standing(&self, life: Life, address: IpAddr) -> Standing {
        match self.snapshot().lives.get(&life) {
            None | Some((_, None)) => Standing::Stranger,
            Some((_, Some(expected))) if !is_source(address, *expected) => Standing::Elsewhere,
            Some(_) => Standing::Member,
        }
    }

    /// Returns whether `life` is that of another member than `name`.
    pub(crate) fn is_life_of_another(&self, life: Life, name: &NodeName) -> bool {
        let snapshot = self.snapshot();
        let holder = snapshot.lives.get(&life);
        holder.is_some_and(|(holder, _)| holder != name)
    }

    /// Returns the answer to `/api/v1/row`.
    pub fn row(&self) -> RowReport {
        RowReport {
            version: VERSION.to_owned(),
            node: self.identity.name.clone(),
            zone: self.identity.zone.clone(),
            cells: self.snapshot().row.report(),
        }
    }

    /// Returns the answer to `/api/v1/members`.
    pub fn members(&self) -> Members {
        let snapshot = self.snapshot();
        Members {
            version: VERSION,
            node: self.identity.name.clone(),
            zone: self.identity.zone.clone(),
            epoch: self.identity.epoch,
            iperf3: self.identity.iperf3.clone(),
            name_taken: snapshot.namesake.is_some(),
            unresolved_join: snapshot.unresolved_join.clone(),
            members: snapshot.members.clone(),
            refused: snapshot.refused.clone(),
        }
    }

    /// Returns the answer to `/api/v1/schedule`.
    pub fn schedule(&self) -> ScheduleReport {
        ScheduleReport {
            version: VERSION,
            node: self.identity.name.clone(),
            schedule: self.snapshot().schedule.clone(),
        }
    }
}

/// Returns the known versions of iperf3 in the mesh, each with the number of its nodes. `own` is
/// the version of this node.
pub fn iperf3_versions<'a>(own: &'a str, members: &'a [Member]) -> BTreeMap<&'a str, usize> {
    let others = members.iter().filter_map(|member| member.iperf3.as_deref());
    let mut versions = BTreeMap::new();
    for version in others.chain([own]) {
        *versions.entry(version).or_default() += 1;
    }
    versions
}

/// Returns whether a connection from `address` can be one of the member at `expected`: it proves
/// the address of its client, so nobody else can speak for a member.
///
/// Within one host, any program can have any loopback address, so that it proves nothing, and
/// agents of older versions use 127.0.0.1 for all messages.
pub(crate) fn is_source(address: IpAddr, expected: IpAddr) -> bool {
    address == expected || (address.is_loopback() && expected.is_loopback())
}

/// Returns whether `members`, sorted by name, contains `node`.
fn contains(members: &[Member], node: &NodeName) -> bool {
    find(members, node).is_some()
}

/// Returns the member `node` of `members`, which are sorted by name.
fn find<'a>(members: &'a [Member], node: &NodeName) -> Option<&'a Member> {
    let at = members.binary_search_by(|member| member.name.cmp(node));
    members.get(at.ok()?)
}
