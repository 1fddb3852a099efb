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

    /// Returns the test that both ends allow: in every respect the lesser of this test and of
    /// `limit`, which is the other end's setting for the same protocol.
    ///
    /// The timeout follows: the length of the agreed test, and the lesser of the two times that the
    /// ends leave beyond the length. The result is the same whoever asks, except that the asker
    /// decides whether the test is two-way.
    #[must_use]
    pub fn within(&self, limit: &Self) -> Self {
        let duration = whole_seconds(self.duration.min(limit.duration));
        let omit = whole_seconds(self.omit.min(limit.omit));
        let beyond = |spec: &Self| spec.timeout.saturating_sub(spec.length());
        Self {
            protocol: self.protocol,
            duration,
            omit,
            timeout: omit + duration + beyond(self).min(beyond(limit)),
            bitrate: match (self.bitrate, limit.bitrate) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
            streams: self.streams.min(limit.streams),
            bidir: self.bidir,
        }
    }

    /// Returns whether `self` measures less than `other` allows: it is shorter, or has fewer
    /// streams or a lower bitrate. (A shorter timeout alone makes a test no smaller.)
    pub fn is_less_than(&self, other: &Self) -> bool {
        let rate = |spec: &Self| spec.bitrate.unwrap_or(u64::MAX);
        self.duration < other.duration
            || self.omit < other.omit
            || self.streams < other.streams
            || rate(self) < rate(other)
    }
}

/// iperf3 counts in whole seconds.
fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
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
