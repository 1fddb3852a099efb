//! The types of the read API, as they appear in JSON. The order, the names and the units of their
//! fields are part of the API's contract.
//!
//! This module contains only data. `state` fills in what this agent knows, and `http::collector`
//! adds what its peers have reported.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iperf3_mesh_core::wire::Role;
use iperf3_mesh_core::{
    Epoch, Figures, NodeName, Protocol, Reason, TIMEOUT_MAX, TestSpec, Time, plausible,
};
use ring::digest;
use serde::de::value::Error;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use strum::{Display, IntoStaticStr, VariantArray};

use crate::clock::boot_now;
use crate::sealing::PeerSeal;

/// The greatest age of a result, ten years: the time since the start of a machine is shorter.
const AGE_MAX_SECONDS: f64 = 3.2e8;

/// An instant that JSON shows as its age: the seconds until the moment of writing, with millisecond
/// precision (more digits would only make the answers longer).
///
/// The instant is on the boot clock, so a step of the wall clock does not change the age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(pub Time);

impl Since {
    /// Returns the present instant.
    pub fn now() -> Self {
        Self(boot_now())
    }

    /// Returns the age in seconds.
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

/// The answer of `/api/v1/matrix`: one cell for every ordered pair of nodes and every configured
/// protocol, sorted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// The version of the program that assembled the matrix.
    pub version: String,
    /// Whether the agent that assembled the matrix has no key, so that everybody who reaches its
    /// ports can steer it; absent otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub insecure: bool,
    /// The nodes, sorted by name.
    pub nodes: Vec<NodeReport>,
    /// The cells, sorted by source, destination and protocol. There is no cell from a node to
    /// itself.
    pub cells: Vec<CellReport>,
    /// The sweep that filled the cells, if it is known (`local -o json`).
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
    /// The state of the node in the view of the agent that assembled the matrix.
    pub state: NodeState,
    /// The time since the node sent its row; null if it sent none.
    pub row_age_seconds: Option<f64>,
    /// The reason why the row is not available; null if the row is available.
    pub row_error: Option<String>,
    /// The version of the node's iperf3; null if it is not known.
    #[serde(default)]
    pub iperf3: Option<String>,
    /// Whether the row came without a seal, although the agent has a key (`--auth permissive`);
    /// absent otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub row_unsealed: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
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
    /// Gossip has heard from the node within the last few seconds.
    Live,
    /// Gossip has not heard from the node for some seconds, but the node has not departed.
    Silent,
    /// Kubernetes runs an agent on the node, but gossip has never heard from it.
    Missing,
    /// Two live agents use this name.
    Conflict,
    /// The node's wire version is incompatible with this agent's wire version.
    Incompatible,
    /// A state that only a newer version of the program defines. No agent reports it.
    #[serde(other)]
    Unknown,
}

impl NodeState {
    /// Returns every state that an agent reports, in the order of the documentation.
    pub fn reported() -> impl Iterator<Item = Self> {
        Self::VARIANTS
            .iter()
            .copied()
            .filter(|state| *state != Self::Unknown)
    }

    /// Returns the name of the state in labels and in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A cell of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// The node that sent the data.
    pub source_node: NodeName,
    /// The node that received the data.
    pub destination_node: NodeName,
    /// The protocol of the test.
    pub protocol: Protocol,
    /// The result of the last test.
    #[serde(flatten)]
    pub result: CellResult,
}

/// The result of a cell's last test. The default is a cell that was never tested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Whether the last test succeeded; null if the cell was never tested or its row is not
    /// available.
    pub success: Option<bool>,
    /// The reason why the test failed; null unless it failed.
    #[serde(default, deserialize_with = "known_reason")]
    pub reason: Option<Reason>,
    /// The bandwidth. Like all figures, it is null unless the test succeeded.
    #[serde(default, deserialize_with = "readable")]
    pub bandwidth_mbps: Option<f64>,
    /// The jitter of a UDP test.
    #[serde(default, deserialize_with = "readable")]
    pub jitter_ms: Option<f64>,
    /// The share of lost datagrams in a UDP test, from 0 to 1.
    #[serde(default, deserialize_with = "readable")]
    pub loss_ratio: Option<f64>,
    /// The number of retransmits of a TCP test.
    #[serde(default, deserialize_with = "readable")]
    pub retransmits: Option<u64>,
    /// The round-trip time of a TCP test.
    #[serde(default, deserialize_with = "readable")]
    pub rtt_ms: Option<f64>,
    /// The time since the last test ended. This is an age, because the clocks of the nodes need not
    /// agree.
    pub age_seconds: Option<f64>,
    /// The time since the last successful test ended.
    pub success_age_seconds: Option<f64>,
    /// The end whose settings made the test smaller than the source's own settings; absent if none
    /// did.
    #[serde(
        default,
        deserialize_with = "readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub limited_by: Option<LimitedBy>,
}

/// The end of a test whose settings ruled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LimitedBy {
    /// The destination allows less than the source: a shorter test, fewer streams, or a lower
    /// bitrate.
    Destination,
}

impl CellResult {
    /// Returns the result without the figures that cannot be; a success without a possible
    /// bandwidth is a bad report. The result may come from another agent, of any version, so the
    /// figures are those of the longest possible test.
    pub fn plausible(self, protocol: Protocol) -> Self {
        let is_age = |age: &f64| (0.0..=AGE_MAX_SECONDS).contains(age);
        let ages = Self {
            success: self.success,
            age_seconds: self.age_seconds.filter(is_age),
            success_age_seconds: self.success_age_seconds.filter(is_age),
            limited_by: self.limited_by,
            ..Self::default()
        };
        let outcome = match (self.success, self.reason) {
            (None, _) => return ages,
            (Some(false), reason) => Err(reason.unwrap_or(Reason::Iperf)),
            (Some(true), _) => Ok(Figures {
                bandwidth_mbps: self.bandwidth_mbps.unwrap_or_default(),
                jitter_ms: self.jitter_ms,
                retransmits: self.retransmits,
                rtt_ms: self.rtt_ms,
                ..Figures::default()
            }),
        };
        let is_ratio = |loss: &f64| protocol == Protocol::Udp && (0.0..=1.0).contains(loss);
        match plausible(outcome, &longest_test(protocol)).0 {
            Ok(figures) => Self {
                bandwidth_mbps: Some(figures.bandwidth_mbps),
                jitter_ms: figures.jitter_ms,
                loss_ratio: self.loss_ratio.filter(is_ratio),
                retransmits: figures.retransmits,
                rtt_ms: figures.rtt_ms,
                ..ages
            },
            Err(reason) => Self {
                success: Some(false),
                reason: Some(reason),
                ..ages
            },
        }
    }
}

/// Returns the longest test with the most streams that an agent runs.
fn longest_test(protocol: Protocol) -> TestSpec {
    TestSpec {
        protocol,
        duration: TIMEOUT_MAX,
        omit: Duration::ZERO,
        timeout: TIMEOUT_MAX,
        bitrate: None,
        streams: u8::MAX,
        bidir: false,
    }
}

/// Reads a figure that is no such number as an absent one.
fn readable<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Reads the cells of a row, except those that say nothing.
fn readable_cells<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RowCell>, D::Error> {
    let cells = Vec::<ReadableCell>::deserialize(deserializer)?;
    Ok(cells.into_iter().filter_map(|cell| cell.0).collect())
}

/// A cell of a row. One that cannot be read is a bad report if it names its destination and its
/// protocol, and says nothing otherwise; the other cells are not affected.
struct ReadableCell(Option<RowCell>);

impl<'de> Deserialize<'de> for ReadableCell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Place {
            destination_node: NodeName,
            protocol: Protocol,
        }
        let cell = Value::deserialize(deserializer)?;
        let cell = RowCell::deserialize(&cell).or_else(|_| {
            let place = Place::deserialize(&cell)?;
            Ok::<_, serde_json::Error>(RowCell {
                destination_node: place.destination_node,
                protocol: place.protocol,
                result: CellResult {
                    success: Some(false),
                    reason: Some(Reason::BadReport),
                    ..CellResult::default()
                },
            })
        });
        Ok(Self(cell.ok()))
    }
}

/// Reads a reason that only a newer version of the program defines as [`Reason::Iperf`], so that
/// the answer as a whole is not rejected.
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
    /// The time from the start of the first test to the end of the last test.
    pub seconds: f64,
    /// The lower bound on the duration: no schedule can be faster.
    pub bound_seconds: f64,
    /// The number of tests.
    pub tests: u64,
    /// The number of failed tests.
    pub failed: u64,
}

/// The answer of `/api/v1/row`: the outgoing cells of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowReport {
    /// The version of the program that answers.
    pub version: String,
    /// The source of all cells.
    pub node: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The cells that have a result, sorted by destination and protocol.
    #[serde(deserialize_with = "readable_cells")]
    pub cells: Vec<RowCell>,
}

/// A cell of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowCell {
    /// The node that received the data.
    pub destination_node: NodeName,
    /// The protocol of the test.
    pub protocol: Protocol,
    /// The result of the last test.
    #[serde(flatten)]
    pub result: CellResult,
}

/// The answer of `/api/v1/members`: the other nodes of the mesh in the view of one agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Members {
    /// The version of the program that answers.
    pub version: &'static str,
    /// The node that answers.
    pub node: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The epoch of the agent, as a digest of 16 hexadecimal digits.
    #[serde(serialize_with = "as_digest")]
    pub epoch: Epoch,
    /// The version of this node's iperf3.
    pub iperf3: String,
    /// Whether another live agent uses this node's name.
    pub name_taken: bool,
    /// The names of `--join` that do not resolve at present.
    pub unresolved_join: Arc<[String]>,
    /// The members, sorted by name.
    pub members: Arc<[Member]>,
    /// The members in gossip that this node has nothing to do with.
    #[serde(flatten)]
    pub refused: Refused,
}

/// The members in gossip that a node has nothing to do with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The number of all of them.
    #[serde(rename = "refused_members")]
    pub count: usize,
    /// The first ones, sorted by reason.
    #[serde(rename = "refused")]
    pub first: Arc<[RefusedMember]>,
}

impl Refused {
    /// The maximum number that an answer names. Whoever forges members chooses their number.
    pub const NAMED_MAX: usize = 32;
}

/// A member whose address a node does not accept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedMember {
    /// The name that it uses.
    pub name: NodeName,
    /// The address that it gives for control messages.
    pub address: SocketAddr,
    /// The name of the rule that it breaks.
    pub reason: Cow<'static, str>,
}

impl From<&iperf3_mesh_core::RefusedMember> for RefusedMember {
    fn from(refused: &iperf3_mesh_core::RefusedMember) -> Self {
        Self {
            name: refused.name.clone(),
            address: refused.address,
            reason: refused.problem.as_str().into(),
        }
    }
}

/// A member of the mesh: another node that has not departed. Silent nodes are included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Member {
    /// Node name.
    pub name: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The state of the member in this agent's view.
    pub state: NodeState,
    /// The time since which the member has been silent; null unless it is silent.
    #[serde(rename = "silent_seconds")]
    pub silent_since: Option<Since>,
    /// The epoch of the member's agent, as a digest of 16 hexadecimal digits.
    #[serde(serialize_with = "as_digest")]
    pub epoch: Epoch,
    /// The version of the member's iperf3; null if it is not known.
    pub iperf3: Option<String>,
    /// The sweep that the member works on.
    pub sweep: u64,
    /// Whether this run of the member's agent has ever answered a control message of this one.
    /// A stranger at the gossip port can invent members, but they do not answer.
    pub answered: bool,
    /// The address at which the member's agent serves this API; null if it is not known.
    pub http: Option<SocketAddr>,
    /// The seal for requests to this run of the member's agent, if it seals; not in the API.
    #[serde(skip)]
    pub seal: Option<PeerSeal>,
}

/// Writes a digest of `epoch` that is equal for equal epochs. Every reader may have it, but
/// messages need the epoch itself.
fn as_digest<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
    let digest = digest::digest(&digest::SHA256, &epoch.0.to_be_bytes());
    let mut bits = [0; 8];
    bits.copy_from_slice(&digest.as_ref()[..8]);
    serializer.collect_str(&Epoch(u64::from_be_bytes(bits)))
}

/// The answer of `/api/v1/schedule`: the present and the next work of an agent.
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
    /// Whether the node is in its quiet time after the start.
    pub quiet: bool,
    /// The sweep that the node works on.
    pub sweep: Sweep,
    /// The meeting that the node takes part in; null if there is none.
    pub meeting: Option<Meeting>,
    /// The peers that the node will meet next, in this order.
    pub next: Vec<NodeName>,
    /// The number of this node's pairs that have not met in this sweep.
    pub open_pairs: usize,
}

/// The progress of a sweep on one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sweep {
    /// The number of the sweep; 0 before the first sweep.
    pub number: u64,
    /// The number of this node's pairs that have met or were given up.
    pub met: usize,
    /// The number of all pairs of this node.
    pub total: usize,
    /// The time at which the sweep began on this node; null between sweeps.
    #[serde(rename = "running_seconds")]
    pub began: Option<Since>,
    /// The duration of the last complete sweep on this node; null before the first one.
    #[serde(rename = "last_seconds", serialize_with = "as_optional_seconds")]
    pub last: Option<Duration>,
    /// The lower bound on the duration: no schedule can be faster.
    #[serde(rename = "bound_seconds", serialize_with = "as_seconds")]
    pub bound: Duration,
}

impl Sweep {
    /// Returns the share of this node's pairs that have met or were given up, from 0 to 1. The
    /// share is 1 if there is no peer, because nothing is left to do.
    pub fn progress(&self) -> f64 {
        match (self.number, self.total) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            (_, total) => self.met as f64 / total as f64,
        }
    }

    /// Returns whether every pair of this node has met or was given up in sweep `number`.
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
    /// The role of this node in the meeting.
    pub role: Role,
    /// The time at which the meeting began.
    #[serde(rename = "running_seconds")]
    pub began: Since,
}
