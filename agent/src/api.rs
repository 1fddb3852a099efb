//! The types of the read API, as they stand in JSON. Their fields are a contract: order, names and
//! units.
//!
//! Plain data: who fills them is `state` (what this agent knows) and `matrix` (what the peers
//! know).

use iperf3_mesh_core::{NodeName, Protocol, Reason};
use serde::{Deserialize, Deserializer, Serialize};

/// `/api/v1/matrix`: every ordered pair of nodes × configured protocol, sorted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// The version of the program that put the matrix together.
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
    /// Its name.
    pub name: NodeName,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// A [`NodeState`] as text, so that a reader takes states of versions to come.
    pub state: String,
    /// How long ago the node gave its row; null if it did not.
    pub row_age_seconds: Option<f64>,
    /// Why the row could not be had; null if it could.
    pub row_error: Option<String>,
}

/// What an agent thinks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Heard of lately.
    Live,
    /// Not heard of for some seconds, and not departed.
    Silent,
    /// Kubernetes runs an agent there, and gossip has never heard of it.
    Missing,
    /// Two live agents go by this name.
    Conflict,
    /// Speaks a wire version that this agent does not talk to.
    Incompatible,
}

impl NodeState {
    /// All states, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Live,
        Self::Silent,
        Self::Missing,
        Self::Conflict,
        Self::Incompatible,
    ];

    /// The name as it stands in labels and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Silent => "silent",
            Self::Missing => "missing",
            Self::Conflict => "conflict",
            Self::Incompatible => "incompatible",
        }
    }
}

/// A cell of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// Who sent.
    pub source_node: NodeName,
    /// Who received.
    pub destination_node: NodeName,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What came of the last test.
    #[serde(flatten)]
    pub result: CellResult,
}

/// What came of a cell's last test. The default is a cell that was never tested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Null for a cell that was never tested, or whose row could not be had.
    pub success: Option<bool>,
    /// Why it failed; null unless it did.
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
    /// Time since the last test ended. Ages, because the nodes' clocks need not agree.
    pub age_seconds: Option<f64>,
    /// Time since the last successful test ended.
    pub success_age_seconds: Option<f64>,
}

/// Takes a reason of a version to come for a failure without a name, rather than refusing the whole
/// answer.
fn known_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Reason>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    Ok(name.map(|name| {
        Reason::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == name)
            .unwrap_or(Reason::Iperf)
    }))
}

/// A whole sweep of the mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Its number.
    pub number: u64,
    /// From the start of its first test to the end of its last one.
    pub seconds: f64,
    /// The least time that any schedule needs for it.
    pub bound_seconds: f64,
    /// How many cells it tested.
    pub tests: u64,
    /// How many of them failed.
    pub failed: u64,
}

/// `/api/v1/row`: a node's outgoing cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowReport {
    /// The version of the program that answers.
    pub version: String,
    /// The source of all cells.
    pub node: NodeName,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// The cells that have a result, sorted by destination and protocol.
    pub cells: Vec<RowCell>,
}

/// A cell of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowCell {
    /// Who received.
    pub destination_node: NodeName,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What came of the last test.
    #[serde(flatten)]
    pub result: CellResult,
}

/// `/api/v1/members`: everybody whom an agent counts to the mesh, itself left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MembersReport {
    /// The version of the program that answers.
    pub version: &'static str,
    /// Whose opinion this is.
    pub node: NodeName,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// Its present life: 16 hexadecimal digits, since 64 bits are more than a JavaScript number
    /// holds.
    pub epoch: String,
    /// Another live agent goes by its name.
    pub name_taken: bool,
    /// The members, sorted by name.
    pub members: Vec<MemberReport>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberReport {
    /// Its name.
    pub name: NodeName,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// A [`NodeState`].
    pub state: &'static str,
    /// How long it has been silent; null unless it is.
    pub silent_seconds: Option<f64>,
    /// Its present life: 16 hexadecimal digits, since 64 bits are more than a JavaScript number
    /// holds.
    pub epoch: String,
    /// The sweep that it works on.
    pub sweep: u64,
    /// Where it answers this API; null if that is not known.
    pub http: Option<String>,
}

/// `/api/v1/schedule`: what an agent does now and next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleReport {
    /// The version of the program that answers.
    pub version: &'static str,
    /// Whose schedule this is.
    pub node: NodeName,
    /// It waits for the reservations of its former life to end.
    pub quiet: bool,
    /// The sweep that it works on.
    pub sweep: SweepProgress,
    /// The meeting that it takes part in.
    pub meeting: Option<MeetingReport>,
    /// Whom it means to meet next, in this order.
    pub next: Vec<NodeName>,
    /// How many pairs of this node have not met in this sweep.
    pub open_pairs: usize,
}

/// How far a sweep has come on one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepProgress {
    /// Its number.
    pub number: u64,
    /// Pairs of this node that have met, or were given up.
    pub met: usize,
    /// All pairs of this node.
    pub total: usize,
    /// Time since it began here; null between sweeps.
    pub running_seconds: Option<f64>,
    /// How long the last complete sweep took here.
    pub last_seconds: Option<f64>,
    /// The least time that any schedule needs for a sweep.
    pub bound_seconds: f64,
}

/// A meeting that goes on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeetingReport {
    /// The other node.
    pub peer: NodeName,
    /// `asker` or `granter`.
    pub role: &'static str,
    /// Time since it began.
    pub running_seconds: f64,
}
