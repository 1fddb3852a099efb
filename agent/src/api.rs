//! The types of the read API, as they appear in JSON. Their fields are a contract: order, names and
//! units.
//!
//! Plain data. `state` fills in what this agent knows, `http::collector` what its peers know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iperf3_mesh_core::wire::Role;
use iperf3_mesh_core::{Epoch, NodeName, Protocol, Reason, Time};
use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strum::{Display, IntoStaticStr, VariantArray};

use crate::clock::boot_now;

/// An instant that JSON shows as its age: seconds until the moment of writing, to the millisecond
/// (more digits would only make the answers longer).
///
/// It lies on the boot clock, so a step of the wall clock makes nothing older or younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(pub Time);

impl Since {
    /// The present instant.
    pub fn now() -> Self {
        Self(boot_now())
    }

    /// The age in seconds.
    pub fn seconds(self) -> f64 {
        let seconds = boot_now().since(self.0).as_secs_f64();
        (seconds * 1000.0).round() / 1000.0
    }
}

impl Serialize for Since {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.seconds())
    }
}

/// `/api/v1/matrix`: every ordered pair of nodes × configured protocol, sorted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// The version of the program that assembled the matrix.
    pub version: String,
    /// The nodes, sorted by name.
    pub nodes: Vec<NodeReport>,
    /// The cells, sorted by source, destination and protocol; no diagonal.
    pub cells: Vec<CellReport>,
    /// The sweep that filled the cells, where one is known (`local -o json`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepReport>,
}

/// A node of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Node name.
    pub name: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The state in the view of the agent that assembled the matrix.
    pub state: NodeState,
    /// Time since the node sent its row; null if it did not.
    pub row_age_seconds: Option<f64>,
    /// Why the row is not available; null if it is.
    pub row_error: Option<String>,
}

/// The state of a node in the view of an agent.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NodeState {
    /// Gossip has heard from it within seconds.
    Live,
    /// Gossip has not heard from it for some seconds, and it has not departed.
    Silent,
    /// Kubernetes runs an agent there, and gossip has never heard from it.
    Missing,
    /// Two live agents use this name.
    Conflict,
    /// Its wire version is incompatible with this agent's.
    Incompatible,
    /// A state that only a newer version knows. No agent reports it.
    #[serde(other)]
    Unknown,
}

impl NodeState {
    /// Every state that an agent reports, in the order of the documentation.
    pub fn reported() -> impl Iterator<Item = Self> {
        Self::VARIANTS
            .iter()
            .copied()
            .filter(|state| *state != Self::Unknown)
    }

    /// The name in labels and in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A cell of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// The node that sent.
    pub source_node: NodeName,
    /// The node that received.
    pub destination_node: NodeName,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The result of the last test.
    #[serde(flatten)]
    pub result: CellResult,
}

/// The result of a cell's last test. The default is a cell that was never tested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Null if the cell was never tested, or its row is not available.
    pub success: Option<bool>,
    /// Why the test failed; null unless it did.
    #[serde(deserialize_with = "known_reason")]
    pub reason: Option<Reason>,
    /// Null unless the test succeeded, as all figures.
    pub bandwidth_mbps: Option<f64>,
    /// UDP only.
    pub jitter_ms: Option<f64>,
    /// UDP only, 0 to 1.
    pub loss_ratio: Option<f64>,
    /// TCP only.
    pub retransmits: Option<u64>,
    /// TCP only.
    pub rtt_ms: Option<f64>,
    /// Time since the last test ended. An age, because the clocks of the nodes need not agree.
    pub age_seconds: Option<f64>,
    /// Time since the last successful test ended.
    pub success_age_seconds: Option<f64>,
}

/// Reads a reason that only a newer version knows as [`Reason::Iperf`], rather than rejecting the
/// whole answer.
fn known_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Reason>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    Ok(name.map(|name| {
        let name = IntoDeserializer::<Error>::into_deserializer(name);
        Reason::deserialize(name).unwrap_or(Reason::Iperf)
    }))
}

/// A complete sweep of the mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepReport {
    /// The number of the sweep.
    pub number: u64,
    /// From the start of the first test to the end of the last one.
    pub seconds: f64,
    /// The lower bound: no schedule can be faster.
    pub bound_seconds: f64,
    /// The number of tests.
    pub tests: u64,
    /// How many of them failed.
    pub failed: u64,
}

/// `/api/v1/row`: the outgoing cells of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowReport {
    /// The version of the program that answers.
    pub version: String,
    /// The source of all cells.
    pub node: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The cells that have a result, sorted by destination and protocol.
    pub cells: Vec<RowCell>,
}

/// A cell of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowCell {
    /// The node that received.
    pub destination_node: NodeName,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The result of the last test.
    #[serde(flatten)]
    pub result: CellResult,
}

/// `/api/v1/members`: the other nodes of the mesh, as an agent sees them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Members {
    /// The version of the program that answers.
    pub version: &'static str,
    /// The node that answers.
    pub node: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The epoch of the agent: 16 hexadecimal digits, since a JavaScript number cannot hold 64
    /// bits.
    #[serde(serialize_with = "as_text")]
    pub epoch: Epoch,
    /// Another live agent uses this node's name.
    pub name_taken: bool,
    /// The names of `--join` that do not resolve at present.
    pub unresolved_join: Arc<[String]>,
    /// The members, sorted by name.
    pub members: Arc<[Member]>,
}

/// A member of the mesh: another node that has not departed, silent ones included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Member {
    /// Node name.
    pub name: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The state in this agent's view.
    pub state: NodeState,
    /// Since when it has been silent; null unless it is.
    #[serde(rename = "silent_seconds")]
    pub silent_since: Option<Since>,
    /// The epoch of the agent there: 16 hexadecimal digits, since a JavaScript number cannot hold
    /// 64 bits.
    #[serde(serialize_with = "as_text")]
    pub epoch: Epoch,
    /// The sweep that it works on.
    pub sweep: u64,
    /// Where it answers this API; null if that is not known.
    pub http: Option<SocketAddr>,
}

fn as_text<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(epoch)
}

/// `/api/v1/schedule`: the present and the next work of an agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleReport {
    /// The version of the program that answers.
    pub version: &'static str,
    /// The node that answers.
    pub node: NodeName,
    /// The schedule of that node.
    #[serde(flatten)]
    pub schedule: Schedule,
}

/// The present and the next work of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Schedule {
    /// The node is in its quiet time after the start.
    pub quiet: bool,
    /// The sweep that it works on.
    pub sweep: Sweep,
    /// The meeting that it takes part in.
    pub meeting: Option<Meeting>,
    /// The peers that it will meet next, in this order.
    pub next: Vec<NodeName>,
    /// How many pairs of this node have not met in this sweep.
    pub open_pairs: usize,
}

/// The progress of a sweep on one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sweep {
    /// The number of the sweep, 0 before the first.
    pub number: u64,
    /// Pairs of this node that have met or were given up.
    pub met: usize,
    /// All pairs of this node.
    pub total: usize,
    /// When the sweep began here; null between sweeps.
    #[serde(rename = "running_seconds")]
    pub began: Option<Since>,
    /// How long the last complete sweep took here; null before the first.
    #[serde(rename = "last_seconds", serialize_with = "as_optional_seconds")]
    pub last: Option<Duration>,
    /// The lower bound: no schedule can be faster.
    #[serde(rename = "bound_seconds", serialize_with = "as_seconds")]
    pub bound: Duration,
}

impl Sweep {
    /// The share of this node's pairs that have met or were given up, 0 to 1. Without a peer
    /// nothing is left to do.
    pub fn progress(&self) -> f64 {
        match (self.number, self.total) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            (_, total) => self.met as f64 / total as f64,
        }
    }

    /// Whether every pair of this node has met or was given up in sweep `number`.
    pub fn is_over(&self, number: u64) -> bool {
        let is_done = self.total > 0 && self.met == self.total;
        self.number > number || (self.number == number && is_done)
    }
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn as_optional_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration
        .map(|duration| duration.as_secs_f64())
        .serialize(serializer)
}

/// A meeting in progress.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Meeting {
    /// The other node.
    pub peer: NodeName,
    /// This node's role.
    pub role: Role,
    /// When the meeting began.
    #[serde(rename = "running_seconds")]
    pub began: Since,
}
