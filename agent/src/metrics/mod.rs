//! Everything that `/metrics` shows, in one registry of its own: two agents in one process do not
//! mix.
//!
//! Only remembers; decides nothing, and a scrape only reads. Labels come from fixed lists, never
//! from what a peer sent. What each metric means is in `docs/metrics.md`.

mod cells;
mod discovery;
mod gossip;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use iperf3_mesh_core::gossip::GossipStatus;
use iperf3_mesh_core::wire::{Refusal, Role};
use iperf3_mesh_core::{NodeName, Outcome, Protocol, Reason, ReservationOutcome};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Counter, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::VERSION;
use crate::api::NodeState;
use crate::config::FailedCells;
use cells::Cells;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What an agent is, as far as its metrics say it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The source of every cell.
    pub source: NodeName,
    /// What is tested.
    pub protocols: Vec<Protocol>,
    /// What bandwidth and jitter say after a failed test.
    pub failed_cells: FailedCells,
    /// The pause after a sweep.
    pub pause: Duration,
    /// The version of the iperf3 that runs the tests.
    pub iperf3_version: String,
}

/// The metrics of one agent. Cheap to clone; all clones are the same metrics.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    cells: Cells,
    tests: IntCounterVec,
    reservations: IntCounterVec,
    overlaps: IntCounter,
    unexpected_clients: IntCounter,
    rejected: IntCounterVec,
    meeting_seconds: Counter,
    members: IntGaugeVec,
    incompatible: IntGauge,
    sweep: IntGauge,
    sweep_progress: Gauge,
    sweep_duration: GaugeVec,
    sweep_bound: Gauge,
    quiet: IntGauge,
    name_conflict: IntGauge,
    gossip: gossip::Gossip,
    discovery: discovery::Discovery,
}

impl Metrics {
    /// Registers everything. What can be counted begins with 0, so that the first event is a rise.
    ///
    /// # Errors
    /// If two metrics have one name, or a name is none: a mistake in this file.
    pub fn new(settings: Settings) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let metrics = Self::register(registry, settings.source, settings.failed_cells)?;
        metrics.start_counters(&settings.protocols);
        let build = gauges(
            &metrics.registry,
            "iperf_mesh_build_info",
            "Always 1; the versions of the agent and of its iperf3 are labels",
            &["version", "iperf3_version"],
        )?;
        build
            .with_label_values(&[VERSION, &settings.iperf3_version])
            .set(1);
        let pause = gauge(
            &metrics.registry,
            "iperf_mesh_pause_seconds",
            "The configured pause after a sweep",
        )?;
        pause.set(settings.pause.as_secs_f64());
        metrics
            .registry
            .register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    fn register(
        registry: Registry,
        source: NodeName,
        failed: FailedCells,
    ) -> prometheus::Result<Self> {
        let r = &registry;
        Ok(Self {
            cells: Cells::register(r, source, failed)?,
            tests: counters(
                r,
                "iperf_mesh_tests_total",
                "Results of this node's cells, also where no iperf3 came to run",
                &["protocol", "outcome", "reason"],
            )?,
            reservations: counters(
                r,
                "iperf_mesh_reservations_total",
                "Meetings that this node asked for or was asked for",
                &["role", "outcome", "reason"],
            )?,
            overlaps: counter(
                r,
                "iperf_mesh_overlaps_total",
                "Times that this node found itself in two meetings at once; must stay 0",
            )?,
            unexpected_clients: counter(
                r,
                "iperf_mesh_unexpected_clients_total",
                "Clients thrown out of this node's iperf3 server that had no meeting with it",
            )?,
            rejected: counters(
                r,
                "iperf_mesh_rejected_messages_total",
                "Messages and connections that were refused for their form",
                &["reason"],
            )?,
            meeting_seconds: registered(
                r,
                Counter::new(
                    "iperf_mesh_meeting_seconds_total",
                    "Time that this node has spent in meetings",
                ),
            )?,
            members: gauges(
                r,
                "iperf_mesh_members",
                "Nodes that this node counts to the mesh, itself among them",
                &["state"],
            )?,
            incompatible: int_gauge(
                r,
                "iperf_mesh_incompatible_peers",
                "Peers whose wire version this node does not talk to",
            )?,
            sweep: int_gauge(r, "iperf_mesh_sweep", "The sweep that this node works on")?,
            sweep_progress: gauge(
                r,
                "iperf_mesh_sweep_progress_ratio",
                "Share of this node's pairs that have met in this sweep, 0 to 1",
            )?,
            sweep_duration: registered(
                r,
                GaugeVec::new(
                    Opts::new(
                        "iperf_mesh_sweep_duration_seconds",
                        "How long this node's last complete sweep took",
                    ),
                    &[],
                ),
            )?,
            sweep_bound: gauge(
                r,
                "iperf_mesh_sweep_bound_seconds",
                "The least time that any schedule needs for this sweep, of the nodes that were there when it began",
            )?,
            quiet: int_gauge(
                r,
                "iperf_mesh_quiet",
                "1 while this node waits for the reservations of its former life to end, else 0",
            )?,
            name_conflict: int_gauge(
                r,
                "iperf_mesh_name_conflict",
                "1 while another live agent goes by this node's name, else 0",
            )?,
            gossip: gossip::Gossip::register(r)?,
            discovery: discovery::Discovery::register(r)?,
            registry,
        })
    }

    fn start_counters(&self, protocols: &[Protocol]) {
        for protocol in protocols {
            let protocol = protocol.as_str();
            self.tests.with_label_values(&[protocol, "success", ""]);
            self.tests.with_label_values(&[protocol, "cancelled", ""]);
            for reason in Reason::ALL {
                self.tests
                    .with_label_values(&[protocol, "failure", reason.as_str()]);
            }
        }
        for state in NodeState::ALL {
            self.members.with_label_values(&[state.as_str()]);
        }
    }

    /// Shows the outcome of a cell's test that ended `at`, and counts it.
    pub fn record(
        &self,
        destination: &NodeName,
        protocol: Protocol,
        at: SystemTime,
        outcome: &Outcome,
    ) {
        self.cells.record(destination, protocol, at, outcome);
        let (outcome, reason) = match outcome {
            Ok(_) => ("success", ""),
            Err(reason) => ("failure", reason.as_str()),
        };
        self.tests
            .with_label_values(&[protocol.as_str(), outcome, reason])
            .inc();
    }

    /// Counts a test that was cut off since this node or its peer left the meeting. The cell keeps
    /// what it says.
    pub fn test_cancelled(&self, protocol: Protocol) {
        self.tests
            .with_label_values(&[protocol.as_str(), "cancelled", ""])
            .inc();
    }

    /// Removes every series of `destination`.
    pub fn forget(&self, destination: &NodeName) {
        self.cells.forget(destination);
    }

    /// Counts the end of a reservation. The reason is that of a refusal, else empty.
    pub fn reservation(&self, role: Role, outcome: ReservationOutcome) {
        let reason = outcome.refusal().map_or("", Refusal::as_str);
        self.reservations
            .with_label_values(&[role.as_str(), outcome.as_str(), reason])
            .inc();
    }

    /// Counts a meeting's time.
    pub fn meeting_ended(&self, lasted: Duration) {
        self.meeting_seconds.inc_by(lasted.as_secs_f64());
    }

    /// Counts that this node found itself in two meetings at once.
    pub fn overlap(&self) {
        self.overlaps.inc();
    }

    /// Counts a client of this node's iperf3 server that had no meeting with it.
    pub fn unexpected_client(&self) {
        self.unexpected_clients.inc();
    }

    /// Counts a message or a connection that was refused for its form, under a name from a fixed
    /// list.
    pub fn rejected_message(&self, reason: &'static str) {
        self.rejected.with_label_values(&[reason]).inc();
    }

    /// Shows how many nodes are in which state.
    pub fn set_members(&self, counts: &BTreeMap<NodeState, usize>) {
        let count = |state| {
            i64::try_from(counts.get(&state).copied().unwrap_or_default()).unwrap_or(i64::MAX)
        };
        for state in NodeState::ALL {
            self.members
                .with_label_values(&[state.as_str()])
                .set(count(state));
        }
        self.incompatible.set(count(NodeState::Incompatible));
    }

    /// Shows how far the sweep is. `last` is how long the last complete one took, `None` before
    /// there was one.
    pub fn set_sweep(&self, number: u64, progress: f64, last: Option<Duration>, bound: Duration) {
        self.sweep.set(i64::try_from(number).unwrap_or(i64::MAX));
        self.sweep_progress.set(progress);
        self.sweep_bound.set(bound.as_secs_f64());
        if let Some(last) = last {
            self.sweep_duration
                .with_label_values::<&str>(&[])
                .set(last.as_secs_f64());
        }
    }

    /// Shows whether this node waits for the reservations of its former life to end.
    pub fn set_quiet(&self, quiet: bool) {
        self.quiet.set(i64::from(quiet));
    }

    /// Shows whether another live agent goes by this node's name.
    pub fn set_name_conflict(&self, conflict: bool) {
        self.name_conflict.set(i64::from(conflict));
    }

    /// Shows how gossip does.
    pub fn set_gossip(&self, status: &GossipStatus) {
        self.gossip.show(status);
    }

    /// The API server told of the agents' pods.
    pub fn discovery_succeeded(&self, at: SystemTime) {
        self.discovery.succeeded(at);
    }

    /// It did not, for a reason from a fixed list.
    pub fn discovery_failed(&self, reason: &'static str) {
        self.discovery.failed(reason);
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// If the encoder finds a metric without a name or type: a mistake in this file.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    registered(registry, IntCounter::new(name, help))
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Gauge> {
    registered(registry, Gauge::new(name, help))
}

fn int_gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    registered(registry, IntGauge::new(name, help))
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntGaugeVec> {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}
