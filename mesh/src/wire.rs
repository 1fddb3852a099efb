//! The messages between two agents and their encoding: JSON, bounded, and checked before anything
//! acts on it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use strum::{Display, IntoStaticStr, VariantArray};

use crate::protocol::TIMEOUT_MAX;
use crate::{Epoch, NodeName, Outcome, Protocol, Reason, TestSpec, WIRE_VERSION};

/// The maximum length of an encoded message, in bytes.
pub const MESSAGE_LEN_MAX: usize = 8 * 1024;

/// The maximum number of tests in one meeting.
pub const TESTS_MAX: usize = 8;

/// The maximum length of the words of a [`Complaint`], in bytes.
pub const WORDS_MAX: usize = 200;

/// The highest sweep number that is accepted: the maximum that JSON carries without loss.
pub const SWEEP_MAX: u64 = 1 << 53;

/// The identity of one meeting. The asker assigns it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeetingId {
    /// The asker's name.
    pub asker: NodeName,
    /// The asker's epoch.
    pub epoch: Epoch,
    /// The number of this meeting. It only rises in one epoch, by steps that nobody can guess, so
    /// that a node outside the meeting cannot end it.
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
    /// The node that asked for the meeting. It runs the client of the first tests.
    Asker,
    /// The node that granted the meeting. It runs the client of the last tests, after the asker's
    /// `go`.
    Granter,
}

impl Role {
    /// Returns the name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A test of a meeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTest {
    /// The role of the node that runs the client, which is the source of the cell.
    pub client: Role,
    /// The test.
    pub spec: TestSpec,
}

/// The kind of a meeting. The granter has a quota for each.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
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
pub enum MeetingKind {
    /// The meeting that every pair has once in a sweep.
    #[default]
    Scheduled,
    /// Another meeting of the pair in the same sweep, because the first one brought no result, or
    /// not all of them.
    MakeUp,
}

impl MeetingKind {
    /// Returns the name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    fn is_scheduled(&self) -> bool {
        *self == Self::Scheduled
    }
}

/// The reason why a request was not granted. A refusal alone does not fail any cell.
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
    /// The granter is in another meeting.
    Busy,
    /// The granter is free, but about to meet another node.
    Expecting,
    /// Both nodes asked at once, and the refusing node is the rightful asker.
    Crossed,
    /// The granter is in its quiet time, or does not yet know the mesh.
    Quiet,
    /// The granter is in another sweep.
    Sweep,
    /// The granter is stopping.
    Stopping,
    /// The asker is not, or not yet, in the granter's view.
    Unknown,
    /// The request was meant for another epoch of this node.
    StaleEpoch,
    /// Another live agent uses the name of one of the two nodes.
    NameConflict,
    /// The wire versions are incompatible.
    Incompatible,
    /// The granter could not start its iperf3 server.
    Spawn,
    /// The granter lacks something that its iperf3 server needs, such as open files.
    Resources,
    /// The pair has met in this sweep, as often as the granter agrees to.
    Met,
    /// The asker has recently held the granter's slot without a test, or nodes that have never run
    /// a test with the granter have.
    Quota,
    /// The granter has no limit for a test of the plan, so it agrees to none.
    Limits,
}

impl Refusal {
    /// Returns the name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The result of a two-way test, for the node that did not run the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// The protocol of the cell.
    pub protocol: Protocol,
    /// The result of the direction from the receiver of this message to its sender. The receiver
    /// checks it with [`plausible`](crate::plausible).
    #[serde(deserialize_with = "readable_outcome")]
    pub outcome: Outcome,
}

/// Reads an outcome that cannot be read as a bad report: it costs one cell, and not the message,
/// on which the meeting depends.
fn readable_outcome<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or(Err(Reason::BadReport)))
}

/// The reason why a test failed, as the node of its server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Complaint {
    reason: Reason,
    words: String,
}

impl Complaint {
    /// Creates a complaint, and restricts the words to a short line of ASCII. A reason that the
    /// node of a server cannot know becomes [`Reason::Iperf`].
    pub fn new(reason: Reason, words: &str) -> Self {
        let reason = if reason.is_known_to_server() {
            reason
        } else {
            Reason::Iperf
        };
        let mut clean = String::new();
        for c in words.chars() {
            if clean.len() + c.len_utf8() > WORDS_MAX {
                break;
            }
            clean.push(match c {
                ' '..='~' => c,
                _ if c.is_whitespace() || c.is_control() => ' ',
                _ => '?',
            });
        }
        Self {
            reason,
            words: clean,
        }
    }

    /// Returns the reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns iperf3's own words, for the log: at most [`WORDS_MAX`] printable ASCII characters.
    pub fn words(&self) -> &str {
        &self.words
    }
}

/// The complaints of a node's servers, by the position of their test in the plan.
pub type Complaints = BTreeMap<u8, Complaint>;

/// Reads the complaints that can be read: an odd one must not cost the message, because all later
/// messages of the meeting repeat it. An unknown reason is a failure of iperf3.
fn readable_complaints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Complaints, D::Error> {
    #[derive(Deserialize)]
    struct Written {
        reason: String,
        words: String,
    }
    let read = |(test, complaint): (String, Value)| {
        let Written { reason, words } = serde_json::from_value(complaint).ok()?;
        let reason = serde_json::from_value(reason.into()).unwrap_or(Reason::Iperf);
        Some((test.parse().ok()?, Complaint::new(reason, &words)))
    };
    Ok(match Value::deserialize(deserializer)? {
        Value::Object(complaints) => complaints.into_iter().filter_map(read).collect(),
        _ => Complaints::new(),
    })
}

/// The content of a message. `docs/protocol.md` tells when each kind is sent, and what happens if
/// it is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[strum(serialize_all = "snake_case")]
pub enum Body {
    /// The sender has begun the sweep whose number every message carries. This is also the ping:
    /// an agent accepts it only if it is meant.
    Sweep,
    /// The sender asks for a meeting, and at the same time to be the client of its first test.
    Request {
        /// All tests of the meeting, the asker's first, as the asker's settings allow them.
        plan: Vec<PlannedTest>,
        /// The kind of the meeting.
        #[serde(default, skip_serializing_if = "MeetingKind::is_scheduled")]
        kind: MeetingKind,
    },
    /// The sender asks to be the client of another test of the same meeting.
    Next {
        /// The position of the test in the plan.
        test: u8,
    },
    /// The server of a test is listening.
    Grant {
        /// The position of the test in the plan.
        test: u8,
        /// The address of the server. The receiver knows this address already, and drops a grant
        /// that names another one: a grant must not direct the receiver's client to a third node.
        address: IpAddr,
        /// The port of this test.
        port: u16,
        /// The largest socket buffer that the server can have in a UDP test, in bytes; `None` if it
        /// is unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        buffer: Option<u64>,
        /// All tests of the meeting as agreed, in the order of the plan: what is asked, within the
        /// granter's own limits. Only the grant of the first test has them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        agreed: Vec<TestSpec>,
    },
    /// The meeting does not take place.
    Refuse {
        /// The reason of the refusal.
        refusal: Refusal,
        /// The time until the granter expects to be free, in milliseconds; `None` if it cannot
        /// tell.
        free_in_ms: Option<u64>,
    },
    /// The asker has run its tests, and its iperf3 is dead: the granter may now ask to be a client.
    Go {
        /// Results for the granter.
        handover: Vec<Handover>,
    },
    /// The sender has left the meeting, and all its iperf3 processes are dead.
    End {
        /// Results for the receiver.
        handover: Vec<Handover>,
        /// Whether the sender waits for the receiver's own `end`, because it may contain the reason
        /// of a failure.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        confirm: bool,
    },
}

impl Body {
    /// Returns an `end` without results, which asks for nothing.
    pub const fn bare_end() -> Self {
        Self::End {
            handover: Vec::new(),
            confirm: false,
        }
    }

    /// Returns the name in logs.
    pub fn kind(&self) -> &'static str {
        self.into()
    }
}

/// A message from one epoch of a node to one epoch of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The sender's wire version.
    pub wire: u16,
    /// The sender.
    pub from: NodeName,
    /// The sender's epoch.
    pub from_epoch: Epoch,
    /// The receiver.
    pub to: NodeName,
    /// The receiver's epoch, as far as the sender knows.
    pub to_epoch: Epoch,
    /// The sender's present sweep.
    pub sweep: u64,
    /// The meeting that the message is about; only a [`Body::Sweep`] is about no meeting.
    pub meeting: Option<MeetingId>,
    /// The complaints of the sender's servers in this meeting so far.
    #[serde(
        default,
        skip_serializing_if = "Complaints::is_empty",
        deserialize_with = "readable_complaints"
    )]
    pub complaints: Complaints,
    /// The content.
    pub body: Body,
}

/// The reason why bytes are not an acceptable message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum WireError {
    /// The message is longer than [`MESSAGE_LEN_MAX`].
    #[error("a message has at most {MESSAGE_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// The bytes are not JSON, or do not have the form of a message.
    #[error("not a message: {0}")]
    Malformed(String),
    /// The wire version is incompatible.
    #[error("wire version {0}, and this agent speaks {WIRE_VERSION}")]
    Incompatible(u16),
    /// The message is well-formed, but beyond a limit of the protocol.
    #[error("beyond a limit of the protocol: {0}")]
    Limit(&'static str),
}

impl WireError {
    /// Returns the name in labels.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// Returns whether this version is compatible with `other`: each version talks to itself and to its
/// neighbours.
pub const fn is_compatible(other: u16) -> bool {
    other.abs_diff(WIRE_VERSION) <= 1
}

impl Message {
    /// Returns the message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a message and checks every limit of the protocol. It checks the version first, so that
    /// an incompatible version is not mistaken for garbage.
    ///
    /// # Errors
    /// If the bytes are too many, are not a message, or break a limit.
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
        if self.complaints.len() > TESTS_MAX {
            return Err(WireError::Limit("number of complaints"));
        }
        match &self.body {
            Body::Request { plan, .. } => check_plan(plan),
            Body::Grant { agreed, .. } if agreed.len() > TESTS_MAX => {
                Err(WireError::Limit("number of tests"))
            }
            Body::Grant { agreed, .. } => agreed.iter().try_for_each(check_spec),
            Body::Go { handover } | Body::End { handover, .. } => check_handover(handover),
            Body::Sweep | Body::Next { .. } | Body::Refuse { .. } => Ok(()),
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
    for (at, PlannedTest { client, spec }) in plan.iter().enumerate() {
        let fills_same_cell = |other: &PlannedTest| {
            let is_two_way = spec.bidir || other.spec.bidir;
            other.spec.protocol == spec.protocol && (other.client == *client || is_two_way)
        };
        if plan[..at].iter().any(fills_same_cell) {
            return Err(WireError::Limit("one test for each cell"));
        }
    }
    plan.iter().try_for_each(|test| check_spec(&test.spec))
}

fn check_spec(spec: &TestSpec) -> Result<(), WireError> {
    let too_short = spec.duration < Duration::from_secs(1);
    if too_short || spec.timeout > TIMEOUT_MAX || spec.length() >= spec.timeout {
        return Err(WireError::Limit(
            "1 s <= duration, omit + duration < timeout <= 60 s",
        ));
    }
    if spec.streams == 0 || spec.streams > 128 {
        return Err(WireError::Limit("1 <= streams <= 128"));
    }
    // iperf3 takes 0 for no limit.
    if spec.bitrate == Some(0) {
        return Err(WireError::Limit("bitrate > 0"));
    }
    Ok(())
}

fn check_handover(handover: &[Handover]) -> Result<(), WireError> {
    if handover.len() > TESTS_MAX {
        return Err(WireError::Limit("number of results handed over"));
    }
    Ok(())
}
