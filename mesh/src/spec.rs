//! One test: a single iperf3 run with one protocol, from a client to a server.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantArray};

/// The protocol under test.
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
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Protocol {
    /// The protocol that measures bandwidth, retransmits and round-trip time.
    Tcp,
    /// The protocol that measures jitter and loss at a given bitrate.
    Udp,
}

impl Protocol {
    /// All protocols, in the order of a meeting's tests.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name in labels and in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The settings of one test, in the form in which iperf3 takes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSpec {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The length of the measured part (iperf3 `-t`, whole seconds).
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
    /// The length of the part before the measured part, which is not measured (iperf3 `-O`, whole
    /// seconds).
    #[serde(rename = "omit_ms", with = "millis")]
    pub omit: Duration,
    /// The maximum time from the client's request for this test until its iperf3 is dead.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
    /// The bitrate of each stream, in bits per second; `None` is unlimited (TCP only).
    #[serde(
        rename = "bitrate_bps",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub bitrate: Option<u64>,
    /// The number of parallel streams (iperf3 `-P`).
    pub streams: u8,
    /// Whether both directions run at the same time (iperf3 `--bidir`): one test then fills two
    /// cells.
    pub bidir: bool,
}

impl TestSpec {
    /// Returns the length of the test when nothing goes wrong, not counting any set-up.
    pub fn length(&self) -> Duration {
        self.omit + self.duration
    }
}

/// The encoding of durations on the wire as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(deserializer)?))
    }
}
