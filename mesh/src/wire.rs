//! The messages between two agents, and their encoding: JSON, bounded, checked before anything acts
//! on it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantArray};

use crate::protocol::TIMEOUT_MAX;
use crate::{Epoch, NodeName, Outcome, Protocol, TestSpec, WIRE_VERSION};

/// The longest encoded message, in bytes.
pub const MESSAGE_LEN_MAX: usize = 8 * 1024;

/// The most tests of one meeting.
pub const TESTS_MAX: usize = 8;

/// The highest sweep number that is believed: what JSON can carry without loss. The sweep is a
/// gossiped maximum, so that garbage beyond it, believed once, would stay.
pub const SWEEP_MAX: u64 = 1 << 53;

/// One meeting, named by who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeetingId {
    /// The asker's name.
    pub asker: NodeName,
    /// The asker's life.
    pub epoch: Epoch,
    /// Counts the meetings asked for in that life, upwards.
    pub number: u64,
}

impl fmt::Display for MeetingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.asker, self.epoch, self.number)
    }
}

/// The two roles in a meeting.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Asked for the meeting; is the client of the first tests.
    Asker,
    /// Granted it; is the client of the last tests, after the asker's `go`.
    Granter,
}

impl Role {
    /// The name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A test of a meeting, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTest {
    /// Who runs the client, and is the source of the cell.
    pub client: Role,
    /// The test.
    pub spec: TestSpec,
}

/// Why a request was not granted. A refusal alone fails no cell.
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
pub enum Refusal {
    /// In another meeting.
    Busy,
    /// Free, but about to meet somebody else.
    Expecting,
    /// Both asked at once, and this one is the rightful asker.
    Crossed,
    /// Still in the quiet time after its start, or not yet settled.
    Quiet,
    /// Works on another sweep.
    Sweep,
    /// On its way out.
    Stopping,
    /// The asker is not (yet) in the granter's view.
    Unknown,
    /// The request was for another life of this node.
    StaleEpoch,
    /// Another live agent goes by the name of one of the two.
    NameConflict,
    /// The wire versions do not fit.
    Incompatible,
    /// iperf3 could not be started as a server.
    Spawn,
}

impl Refusal {
    /// The name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The result of a two-way test for the side that did not run the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// The protocol of the cell.
    pub protocol: Protocol,
    /// What the client saw arrive from the receiver of this message.
    pub outcome: Outcome,
}

/// What a message says. `docs/protocol.md` tells when each is sent and what its loss does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[strum(serialize_all = "snake_case")]
pub enum Body {
    /// The sender has begun the sweep whose number every message carries.
    Sweep,
    /// Asks for a meeting and, in the same breath, to be the client of its first test.
    Request {
        /// All tests of the meeting, the asker's first.
        plan: Vec<PlannedTest>,
    },
    /// Asks to be the client of another test of the same meeting.
    Next {
        /// Its place in the plan.
        test: u8,
    },
    /// The server of a test is listening.
    Grant {
        /// The test's place in the plan.
        test: u8,
        /// Where the server listens.
        address: IpAddr,
        /// The port of this test.
        port: u16,
    },
    /// The meeting does not take place.
    Refuse {
        /// Why.
        refusal: Refusal,
        /// When the refuser expects to be free, as far as it knows, in milliseconds.
        free_in_ms: Option<u64>,
    },
    /// The asker has run its tests and its iperf3 is dead: the granter may ask to be a client now.
    Go {
        /// Results for the granter.
        handover: Vec<Handover>,
    },
    /// The sender has left the meeting and all its iperf3 are dead.
    End {
        /// Results for the receiver.
        handover: Vec<Handover>,
    },
}

impl Body {
    /// The name in logs.
    pub fn kind(&self) -> &'static str {
        self.into()
    }
}

/// A message from one life of a node to one life of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The sender's wire version.
    pub wire: u16,
    /// The sender.
    pub from: NodeName,
    /// The sender's life.
    pub from_epoch: Epoch,
    /// The receiver.
    pub to: NodeName,
    /// The receiver's life, as far as the sender knows.
    pub to_epoch: Epoch,
    /// The sweep that the sender works on.
    pub sweep: u64,
    /// The meeting that this is about; only [`Body::Sweep`] is about none.
    pub meeting: Option<MeetingId>,
    /// What it says.
    pub body: Body,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum WireError {
    /// Longer than [`MESSAGE_LEN_MAX`].
    #[error("a message has at most {MESSAGE_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// Not JSON, or not of the form of a message.
    #[error("not a message: {0}")]
    Malformed(String),
    /// A version that this one does not talk to.
    #[error("wire version {0}, and this agent speaks {WIRE_VERSION}")]
    Incompatible(u16),
    /// Well-formed, but beyond a limit of the protocol.
    #[error("beyond a limit of the protocol: {0}")]
    Limit(&'static str),
}

impl WireError {
    /// The name in labels.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// Whether this version talks to `other`: each talks to itself and to its neighbours.
pub const fn is_compatible(other: u16) -> bool {
    other.abs_diff(WIRE_VERSION) <= 1
}

impl Message {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a message and checks every limit of the protocol.
    ///
    /// # Errors
    /// If the bytes are too many, are no message, or break a limit; the version is looked at first,
    /// so that a foreign version is told apart from garbage.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        #[derive(Deserialize)]
        struct Version {
            wire: u16,
        }
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(WireError::TooLong(bytes.len()));
        }
        let malformed = |error: serde_json::Error| WireError::Malformed(error.to_string());
        let version: Version = serde_json::from_slice(bytes).map_err(malformed)?;
        if !is_compatible(version.wire) {
            return Err(WireError::Incompatible(version.wire));
        }
        let message: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), WireError> {
        if self.sweep > SWEEP_MAX {
            return Err(WireError::Limit("sweep number"));
        }
        if self.meeting.is_none() != (self.body == Body::Sweep) {
            return Err(WireError::Limit(
                "a message is about a meeting, unless about the sweep",
            ));
        }
        let is_of_both = |id: &MeetingId| id.asker == self.from || id.asker == self.to;
        if self.from == self.to || !self.meeting.as_ref().is_none_or(is_of_both) {
            return Err(WireError::Limit(
                "a meeting is of the two nodes of the message",
            ));
        }
        match &self.body {
            Body::Request { plan } => check_plan(plan),
            Body::Go { handover } | Body::End { handover } => check_handover(handover),
            Body::Sweep | Body::Next { .. } | Body::Grant { .. } | Body::Refuse { .. } => Ok(()),
        }
    }
}

fn check_plan(plan: &[PlannedTest]) -> Result<(), WireError> {
    if plan.is_empty() || plan.len() > TESTS_MAX {
        return Err(WireError::Limit("number of tests"));
    }
    if plan[0].client != Role::Asker || !plan.is_sorted_by_key(|test| test.client == Role::Granter)
    {
        return Err(WireError::Limit("the asker's tests come first"));
    }
    for PlannedTest { spec, .. } in plan {
        let too_short = spec.duration < Duration::from_secs(1);
        if too_short || spec.timeout > TIMEOUT_MAX || spec.length() >= spec.timeout {
            return Err(WireError::Limit(
                "1 s <= duration, omit + duration < timeout <= 60 s",
            ));
        }
        if spec.streams == 0 || spec.streams > 128 {
            return Err(WireError::Limit("1 <= streams <= 128"));
        }
    }
    Ok(())
}

fn check_handover(handover: &[Handover]) -> Result<(), WireError> {
    if handover.len() > TESTS_MAX {
        return Err(WireError::Limit("number of results handed over"));
    }
    let is_measure = |value: f64| value.is_finite() && value >= 0.0;
    for figures in handover
        .iter()
        .filter_map(|result| result.outcome.as_ref().ok())
    {
        let all = [
            Some(figures.bandwidth_mbps),
            figures.jitter_ms,
            figures.rtt_ms,
        ];
        if !all.into_iter().flatten().all(is_measure) {
            return Err(WireError::Limit("figures are finite and not negative"));
        }
        if figures.lost_packets > figures.packets {
            return Err(WireError::Limit("no more packets are lost than are sent"));
        }
    }
    Ok(())
}
