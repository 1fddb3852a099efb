//! Everything that `/metrics` shows. Each agent has a registry of its own, so that the metrics of
//! two agents in one process do not mix.
//!
//! This module only records values, and a scrape only reads them. Labels come from fixed lists,
//! never from data that a peer sent. `docs/metrics.md` explains what each metric means.

mod address;
mod cells;
mod discovery;
mod gossip;
mod keys;
mod mesh;
mod optional_gauge;
mod starvation;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iperf3_mesh_core::gossip::GossipStatus;
use iperf3_mesh_core::seal::KeyId;
use iperf3_mesh_core::wire::{Refusal, Role};
use iperf3_mesh_core::{
    AddressProblem, AuthMode, Figure, Ignored, NodeName, Outcome, Protocol, ReservationOutcome,
};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    IntCounter, Registry, TextEncoder, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry,
};

use crate::VERSION;
use crate::api::{NodeState, Schedule};
use crate::config::FailedCells;
use crate::keys::KeyReason;
use crate::telemetry;
use cells::Cells;
use mesh::{Meetings, Members, Sweeps};

pub use cells::TestOutcome;
pub use starvation::Resource;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The facts about an agent that are needed for its metrics.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The source node of every cell.
    pub source: NodeName,
    /// The protocols under test.
    pub protocols: Vec<Protocol>,
    /// The value of bandwidth and jitter after a failed test.
    pub failed_cells: FailedCells,
    /// The pause after a sweep.
    pub pause: Duration,
    /// The version of the iperf3 that runs the tests.
    pub iperf3_version: String,
    /// The version of Landlock that restricts iperf3, or why none does.
    pub landlock: String,
}

/// The metrics of one agent. They are cheap to clone: all clones share the same metrics.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    cells: Cells,
    meetings: Meetings,
    members: Members,
    sweeps: Sweeps,
    gossip: gossip::Gossip,
    discovery: discovery::Discovery,
    log_lines_dropped: IntCounter,
    address: address::Address,
    starvation: starvation::Starvation,
    keys: keys::Keys,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// Returns an error if two metrics have the same name, which would be a mistake in this module.
    pub fn new(settings: Settings) -> prometheus::Result<Self> {
        let registry = Registry::new();
        register_int_gauge_vec_with_registry!(
            "iperf_mesh_build_info",
            "Always 1; the labels are the versions of the agent and of its iperf3",
            &["version", "iperf3_version"],
            registry
        )?
        .with_label_values(&[VERSION, &settings.iperf3_version])
        .set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            cells: Cells::register(
                &registry,
                settings.source,
                settings.failed_cells,
                &settings.protocols,
            )?,
            meetings: Meetings::register(&registry)?,
            members: Members::register(&registry)?,
            sweeps: Sweeps::register(&registry, settings.pause)?,
            gossip: gossip::Gossip::register(&registry)?,
            discovery: discovery::Discovery::register(&registry)?,
            log_lines_dropped: register_int_counter_with_registry!(
                "iperf_mesh_log_lines_dropped_total",
                "Lines of the log that were dropped because nobody read it, or because it could \
                 not be written",
                registry
            )?,
            address: address::Address::register(&registry)?,
            starvation: starvation::Starvation::register(&registry, &settings.landlock)?,
            keys: keys::Keys::register(&registry)?,
            registry,
        })
    }

    /// Records the outcome of a cell's test that ended at the time `at`, and counts it.
    pub fn record(
        &self,
        destination: &NodeName,
        protocol: Protocol,
        at: SystemTime,
        outcome: &Outcome,
    ) {
        self.cells.record(destination, protocol, at, outcome);
    }

    /// Counts a test that was cut off because this node or its peer left the meeting. The cell
    /// keeps its values.
    pub fn test_cancelled(&self, protocol: Protocol) {
        self.cells.cancelled(protocol);
    }

    /// Removes all series of `destination`.
    pub fn forget(&self, destination: &NodeName) {
        self.cells.forget(destination);
    }

    /// Counts a reservation that is over or was not made. It occupied this node's slot for
    /// `lasted`.
    pub fn reservation(&self, role: Role, outcome: ReservationOutcome, lasted: Duration) {
        let reason = outcome.refusal().map_or("", Refusal::as_str);
        self.meetings
            .reservations
            .with_label_values(&[role.as_str(), outcome.as_str(), reason])
            .inc();
        self.meetings.seconds.inc_by(lasted.as_secs_f64());
    }

    /// Counts that this node was in two meetings at once.
    pub fn overlap(&self) {
        self.meetings.overlaps.inc();
    }

    /// Counts connections and datagrams to this node's iperf3 servers from others than the peer.
    pub fn unexpected_clients(&self, count: u64) {
        self.meetings.unexpected_clients.inc_by(count);
    }

    /// Sets the number of known vulnerabilities of this node's iperf3.
    pub fn show_vulnerabilities(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.meetings.vulnerabilities.set(count);
    }

    /// Sets whether the filter works in this node's iperf3 servers.
    pub fn show_filter(&self, works: bool) {
        self.meetings.filter.set(i64::from(works));
    }

    /// Counts a figure of a test that could not be.
    pub fn implausible_figure(&self, figure: Figure) {
        self.meetings
            .implausible
            .with_label_values(&[figure.as_str()])
            .inc();
    }

    /// Counts an iperf3 server of this node that failed. `reason` comes from a fixed list.
    pub fn server_failed(&self, reason: &'static str) {
        let failures = &self.meetings.server_failures;
        failures.with_label_values(&[reason]).inc();
    }

    /// Counts a message that had no effect.
    pub fn ignored_message(&self, reason: Ignored) {
        let ignored = &self.meetings.ignored;
        ignored.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts a message or a connection that was rejected. `reason` comes from a fixed list.
    pub fn rejected_message(&self, reason: &'static str) {
        self.meetings.rejected.with_label_values(&[reason]).inc();
    }

    /// Sets the number of nodes in each state.
    pub fn show_members(&self, states: impl IntoIterator<Item = NodeState>) {
        self.members.show(states);
    }

    /// Sets the number of members in gossip that this node does not accept for this reason.
    pub fn show_refused_members(&self, problem: AddressProblem, members: usize) {
        self.members.show_refused(problem, members);
    }

    /// Sets the number of versions of iperf3 among the nodes.
    pub fn show_iperf3_versions(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.members.iperf3_versions.set(count);
    }

    /// Sets whether another live agent uses this node's name.
    pub fn show_name_conflict(&self, conflict: bool) {
        self.members.name_conflict.set(i64::from(conflict));
    }

    /// Sets whether the other nodes cannot reach this node at its own address.
    pub fn show_address_problem(&self, has_problem: bool) {
        self.address.unreachable.set(i64::from(has_problem));
    }

    /// Sets the resource that this node lacks for a test.
    pub fn show_starvation(&self, lack: Option<Resource>) {
        self.starvation.show(lack);
    }

    /// Sets what this node accepts of other agents.
    pub fn show_auth_mode(&self, mode: AuthMode) {
        self.keys.show_mode(mode);
    }

    /// Sets, for each member key of the key file, the number of members to which this node sends
    /// with it.
    pub fn show_keys_in_use(&self, members: &BTreeMap<KeyId, usize>) {
        self.keys.show_in_use(members);
    }

    /// Sets the reason why the key file cannot be used.
    pub fn show_key_problem(&self, reason: Option<KeyReason>) {
        self.keys.show_problem(reason);
    }

    /// Counts a move to another address.
    pub fn address_changed(&self) {
        self.address.changes.inc();
    }

    /// Sets the progress of the sweep, and whether this node is in its quiet time.
    pub fn show_schedule(&self, schedule: &Schedule) {
        self.sweeps.show(&schedule.sweep);
        self.sweeps.quiet.set(i64::from(schedule.quiet));
    }

    /// Sets the health of gossip.
    pub fn show_gossip(&self, status: &GossipStatus) {
        self.gossip.show(status);
    }

    /// Shows the number of nodes whose sweep number is far from those of most nodes.
    pub fn show_out_of_step(&self, nodes: usize) {
        self.sweeps.show_out_of_step(nodes);
    }

    /// Sets the number of peers that speak on the control port, but that gossip does not hear.
    pub fn show_unheard(&self, peers: usize) {
        self.gossip.show_unheard(peers);
    }

    /// Records that the Kubernetes API answered.
    pub fn discovery_succeeded(&self, at: SystemTime) {
        self.discovery.succeeded(at);
    }

    /// Counts a failed request to the Kubernetes API. `reason` comes from a fixed list.
    pub fn discovery_failed(&self, reason: &'static str) {
        self.discovery.failed(reason);
    }

    /// Returns all metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// Returns an error if a metric has no name or no type, which would be a mistake in this
    /// module.
    pub fn text(&self) -> prometheus::Result<String> {
        gossip::raise(&self.log_lines_dropped, telemetry::dropped_lines());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Returns the seconds since 1970, or zero if the clock is set to an earlier time.
fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
