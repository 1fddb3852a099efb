//! The metrics of this node's participation in the mesh: its meetings, members and sweeps.

use std::collections::BTreeMap;
use std::time::Duration;

use iperf3_mesh_core::{AddressProblem, Figure};
use prometheus::{
    Counter, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    register_counter_with_registry, register_gauge_with_registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry, register_int_gauge_with_registry,
};

use super::optional_gauge::OptionalGauge;
use crate::api::{NodeState, Sweep};

/// The metrics of meetings, and of events that took the place of a meeting.
#[derive(Clone)]
pub(super) struct Meetings {
    pub(super) reservations: IntCounterVec,
    pub(super) overlaps: IntCounter,
    pub(super) unexpected_clients: IntCounter,
    pub(super) filter: IntGauge,
    pub(super) vulnerabilities: IntGauge,
    pub(super) server_failures: IntCounterVec,
    pub(super) rejected: IntCounterVec,
    pub(super) ignored: IntCounterVec,
    pub(super) seconds: Counter,
    pub(super) implausible: IntCounterVec,
}

impl Meetings {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let implausible = register_int_counter_vec_with_registry!(
            "iperf_mesh_implausible_figures_total",
            "Figures of tests that could not be, and were left out or derived from others",
            &["figure"],
            registry
        )?;
        for figure in Figure::ALL {
            implausible.with_label_values(&[figure.as_str()]);
        }
        Ok(Self {
            implausible,
            reservations: register_int_counter_vec_with_registry!(
                "iperf_mesh_reservations_total",
                "Reservations that this node requested or was asked for, by outcome",
                &["role", "outcome", "reason"],
                registry
            )?,
            overlaps: register_int_counter_with_registry!(
                "iperf_mesh_overlaps_total",
                "Number of times this node took part in two meetings at once; must always be 0",
                registry
            )?,
            unexpected_clients: register_int_counter_with_registry!(
                "iperf_mesh_unexpected_clients_total",
                "Connections and datagrams to this node's iperf3 servers from others than the peer",
                registry
            )?,
            filter: register_int_gauge_with_registry!(
                "iperf_mesh_iperf3_filter",
                "1 if this node's iperf3 servers are hidden from all but the peer, else 0",
                registry
            )?,
            vulnerabilities: register_int_gauge_with_registry!(
                "iperf_mesh_iperf3_vulnerabilities",
                "Known vulnerabilities of this node's iperf3 that a message of a client can exploit",
                registry
            )?,
            server_failures: register_int_counter_vec_with_registry!(
                "iperf_mesh_server_failures_total",
                "Tests that failed at this node's iperf3 server, by reason",
                &["reason"],
                registry
            )?,
            rejected: register_int_counter_vec_with_registry!(
                "iperf_mesh_rejected_messages_total",
                "Messages and connections rejected on the TCP ports of this agent, by reason",
                &["reason"],
                registry
            )?,
            ignored: register_int_counter_vec_with_registry!(
                "iperf_mesh_ignored_messages_total",
                "Messages of other agents that had no effect, by reason",
                &["reason"],
                registry
            )?,
            seconds: register_counter_with_registry!(
                "iperf_mesh_meeting_seconds_total",
                "Time that this node has spent in meetings, requests included",
                registry
            )?,
        })
    }
}

/// The metrics of the members in this node's view.
#[derive(Clone)]
pub(super) struct Members {
    states: IntGaugeVec,
    incompatible: IntGauge,
    refused: IntGaugeVec,
    pub(super) name_conflict: IntGauge,
    pub(super) iperf3_versions: IntGauge,
}

impl Members {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let members = Self {
            states: register_int_gauge_vec_with_registry!(
                "iperf_mesh_members",
                "Nodes of the mesh in the view of this node, itself included, by state",
                &["state"],
                registry
            )?,
            incompatible: register_int_gauge_with_registry!(
                "iperf_mesh_incompatible_peers",
                "Peers whose wire version is incompatible with this node's",
                registry
            )?,
            refused: register_int_gauge_vec_with_registry!(
                "iperf_mesh_refused_members",
                "Members in gossip whose address this node does not accept, by reason",
                &["reason"],
                registry
            )?,
            iperf3_versions: register_int_gauge_with_registry!(
                "iperf_mesh_iperf3_versions",
                "Different versions of iperf3 among the nodes in the view of this node",
                registry
            )?,
            name_conflict: register_int_gauge_with_registry!(
                "iperf_mesh_name_conflict",
                "1 while another live agent uses this node's name, else 0",
                registry
            )?,
        };
        members.show([]);
        for problem in AddressProblem::ALL {
            members.show_refused(*problem, 0);
        }
        Ok(members)
    }

    /// Sets the number of members that this node does not accept for this reason.
    pub(super) fn show_refused(&self, problem: AddressProblem, members: usize) {
        let members = i64::try_from(members).unwrap_or(i64::MAX);
        let refused = self.refused.with_label_values(&[problem.as_str()]);
        refused.set(members);
    }

    /// Sets the number of nodes in each state.
    pub(super) fn show(&self, states: impl IntoIterator<Item = NodeState>) {
        let mut counts: BTreeMap<NodeState, i64> =
            NodeState::reported().map(|state| (state, 0)).collect();
        for state in states {
            *counts.entry(state).or_default() += 1;
        }
        for (state, count) in counts {
            self.states.with_label_values(&[state.as_str()]).set(count);
            if state == NodeState::Incompatible {
                self.incompatible.set(count);
            }
        }
    }
}

/// The metrics of the sweep that this node works on.
#[derive(Clone)]
pub(super) struct Sweeps {
    number: IntGauge,
    progress: Gauge,
    duration: OptionalGauge,
    bound: Gauge,
    outliers: IntGauge,
    pub(super) quiet: IntGauge,
}

impl Sweeps {
    pub(super) fn register(registry: &Registry, pause: Duration) -> prometheus::Result<Self> {
        register_gauge_with_registry!(
            "iperf_mesh_pause_seconds",
            "Configured pause after a sweep",
            registry
        )?
        .set(pause.as_secs_f64());
        Ok(Self {
            number: register_int_gauge_with_registry!(
                "iperf_mesh_sweep",
                "Number of the sweep that this node works on",
                registry
            )?,
            progress: register_gauge_with_registry!(
                "iperf_mesh_sweep_progress_ratio",
                "Share of this node's pairs that have met or were given up in this sweep, 0 to 1",
                registry
            )?,
            duration: OptionalGauge::register(
                "iperf_mesh_sweep_duration_seconds",
                "Duration of this node's last complete sweep",
                registry,
            )?,
            bound: register_gauge_with_registry!(
                "iperf_mesh_sweep_bound_seconds",
                "Lower bound of the duration of this sweep, for the nodes present when it began",
                registry
            )?,
            outliers: register_int_gauge_with_registry!(
                "iperf_mesh_sweep_outliers",
                "Nodes whose sweep number is far from the numbers of most nodes",
                registry
            )?,
            quiet: register_int_gauge_with_registry!(
                "iperf_mesh_quiet",
                "1 during the quiet time after a start, in which this node takes no tests, else 0",
                registry
            )?,
        })
    }

    pub(super) fn show_out_of_step(&self, nodes: usize) {
        self.outliers.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    pub(super) fn show(&self, sweep: &Sweep) {
        self.number
            .set(i64::try_from(sweep.number).unwrap_or(i64::MAX));
        self.progress.set(sweep.progress());
        self.bound.set(sweep.bound.as_secs_f64());
        if let Some(last) = sweep.last {
            self.duration.set(last.as_secs_f64());
        }
    }
}
