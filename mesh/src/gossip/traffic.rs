//! The traffic of gossip in a stable mesh, as a function of the number of its nodes.
//!
//! A digest has one entry for each node, and each message is compressed. The size of a compressed
//! entry depends on how much the entries have in common, above all the time of the start.

use super::fragments::UNFRAGMENTED_MAX;

/// The number of nodes with which a node starts an exchange in each round. As many exchanges, on
/// average, are started with it.
const EXCHANGES: f64 = 3.0;
/// An exchange consists of SYN, SYN-ACK and ACK. The first two carry a digest.
const MESSAGES: f64 = 3.0;
const DIGESTS: f64 = 2.0;
/// The headers of UDP and IPv4, in bytes.
const HEADERS: f64 = 28.0;
/// The size of an ACK without news, in bytes.
const ACK: f64 = 10.0;
/// The size of a message with an empty digest, in bytes.
const EMPTY_DIGEST: f64 = 105.0;
/// The size of a compressed entry if all agents have started within a minute, in bytes.
const ENTRY_TOGETHER: f64 = 6.8;
/// The size of a compressed entry if the agents have started in the course of months, in bytes.
const ENTRY_APART: f64 = 16.8;

/// The size of the first answer to an agent that starts, in bytes: a part that is always there, and
/// the digest entry and the state of each node.
const EMPTY_ANSWER: f64 = 250.0;
const STATE: f64 = 40.0;

/// Returns the size of the largest message in a mesh of `nodes`, in bytes: the first answer to an
/// agent that starts.
pub fn largest_bytes(nodes: usize) -> f64 {
    EMPTY_ANSWER + STATE * nodes as f64
}

/// Returns whether the largest message in a mesh of `nodes` travels as IP fragments on Ethernet.
pub fn needs_fragments(nodes: usize) -> bool {
    largest_bytes(nodes) > UNFRAGMENTED_MAX as f64
}

/// The number of bytes that a node sends in one round of gossip, with the headers of UDP and IPv4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundBytes {
    /// The number after all agents have started within a minute.
    pub together: f64,
    /// The number after the agents have started in the course of months.
    pub apart: f64,
}

impl RoundBytes {
    /// Estimates the traffic of a stable mesh of `nodes`. The figures were measured with real
    /// instances; the tests measure them again.
    pub fn estimate(nodes: usize) -> Self {
        let round = |entry: f64| {
            let digest = EMPTY_DIGEST + entry * nodes as f64;
            EXCHANGES * (DIGESTS * digest + ACK + MESSAGES * HEADERS)
        };
        Self {
            together: round(ENTRY_TOGETHER),
            apart: round(ENTRY_APART),
        }
    }
}
