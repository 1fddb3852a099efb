//! The outcome of a test: the figures of a success, or the reason of a failure.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use strum::{Display, IntoStaticStr, VariantArray};

/// The figures of a successful test. The bandwidth is the rate that arrived at the receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// The rate that arrived at the receiver, in megabits (10^6 bits) per second.
    #[serde(deserialize_with = "readable_bandwidth")]
    pub bandwidth_mbps: f64,
    /// The smoothed variation of the transit time at the end of a UDP test (RFC 1889), in
    /// milliseconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "readable_number"
    )]
    pub jitter_ms: Option<f64>,
    /// The number of datagrams that a UDP test sent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "readable_count"
    )]
    pub packets: Option<u64>,
    /// The number of datagrams that a UDP test sent and that did not arrive.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "readable_count"
    )]
    pub lost_packets: Option<u64>,
    /// The number of segments that the sender of a TCP test retransmitted.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "readable_count"
    )]
    pub retransmits: Option<u64>,
    /// The mean round-trip time that the sender of a TCP test saw, in milliseconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "readable_number"
    )]
    pub rtt_ms: Option<f64>,
}

impl Figures {
    /// Returns the figures of a test that measured nothing but this bandwidth.
    pub fn of_bandwidth(bandwidth_mbps: f64) -> Self {
        Self {
            bandwidth_mbps,
            ..Self::default()
        }
    }

    /// Returns the share of a UDP test's datagrams that did not arrive, from 0 to 1.
    pub fn loss_ratio(&self) -> Option<f64> {
        match (self.packets, self.lost_packets) {
            (Some(packets), Some(lost)) if packets > 0 => Some(lost as f64 / packets as f64),
            _ => None,
        }
    }
}

/// Reads a bandwidth, and one that is no number as NaN, which [`plausible`](crate::plausible)
/// rejects. One odd figure must not make the message around it unreadable.
fn readable_bandwidth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(readable(deserializer, f64::NAN)?.unwrap_or(f64::NAN))
}

/// The same for another figure; an absent one may also be written as null.
fn readable_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    readable(deserializer, f64::NAN)
}

/// The same for a count, with the highest count as the impossible one.
fn readable_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    readable(deserializer, u64::MAX)
}

fn readable<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
    impossible: T,
) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or(Some(impossible)))
}

/// The outcome of one cell's test.
pub type Outcome = Result<Figures, Reason>;

/// The reason why a cell failed. The list is short and fixed, because the reason is a label of the
/// metrics.
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
pub enum Reason {
    /// The peer's agent gave no answer.
    Unreachable,
    /// The sweep was closed before the pair had met.
    NotMet,
    /// The peer speaks another wire version.
    Incompatible,
    /// Two live agents use the same node name.
    NameConflict,
    /// iperf3 could not connect to the peer's iperf3.
    Connect,
    /// The test was killed at its deadline.
    Timeout,
    /// The peer's iperf3 was serving another client, or another client connected to it.
    Busy,
    /// The other end stopped in the middle of the test.
    Interrupted,
    /// The test ran, but nothing arrived.
    NoData,
    /// iperf3's report could not be read.
    BadReport,
    /// iperf3 could not be started on this node or on the peer.
    Spawn,
    /// iperf3 ran out of something on this node or on the peer: space in its directory for
    /// temporary files, open files, memory, threads, or socket buffer.
    Resources,
    /// The test ran, but its result did not come back from the other end.
    ResultLost,
    /// iperf3 failed in another way; the log has its message.
    Iperf,
}

impl Reason {
    /// All reasons, in the order of the documentation.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name in labels, logs and the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns whether the reason only describes how the failure looked to the node that gives it,
    /// so that the other end of the test may know the cause.
    pub fn is_guess(self) -> bool {
        self.certainty() < Certainty::Cause
    }

    /// Returns the reason that stands if the two ends of a test give different ones: `told` by the
    /// other end if it says more about the cause, otherwise this one.
    pub fn or_better(self, told: Self) -> Self {
        if told.certainty() > self.certainty() {
            told
        } else {
            self
        }
    }

    /// Returns whether the node of a test's server can know that this is the reason. The others are
    /// the business of the client's node.
    pub(crate) fn is_known_to_server(self) -> bool {
        match self {
            Self::Busy
            | Self::Spawn
            | Self::Resources
            | Self::Iperf
            | Self::Connect
            | Self::Timeout
            | Self::Interrupted
            | Self::NoData
            | Self::BadReport => true,
            Self::Unreachable
            | Self::NotMet
            | Self::Incompatible
            | Self::NameConflict
            | Self::ResultLost => false,
        }
    }

    fn certainty(self) -> Certainty {
        match self {
            Self::Connect
            | Self::Timeout
            | Self::Interrupted
            | Self::NoData
            | Self::BadReport
            | Self::ResultLost => Certainty::Symptom,
            Self::Iperf => Certainty::Message,
            Self::Unreachable
            | Self::NotMet
            | Self::Incompatible
            | Self::NameConflict
            | Self::Busy
            | Self::Spawn
            | Self::Resources => Certainty::Cause,
        }
    }
}

/// How much a reason says about the cause of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    /// The test broke in a way that many causes have in common.
    Symptom,
    /// iperf3 complained, and its message says why.
    Message,
    /// The cause itself.
    Cause,
}
