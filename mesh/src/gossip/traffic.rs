//! The traffic of gossip in a stable mesh, as a function of the number of its nodes.
//!
//! A digest has one entry for each node, and each message is compressed. The size of a compressed
//! entry depends on how much the entries have in common, above all the time of the start.

use chitchat::gossip_count;

use crate::seal::{DATAGRAM_MAX, DATAGRAM_OVERHEAD};

/// An exchange consists of SYN, SYN-ACK and ACK. The first two carry a digest.
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

/// The number of bytes that a node sends in one round of gossip, with the headers of UDP and IPv4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundBytes {
    /// The number after all agents have started within a minute.
    pub together: f64,
    /// The number after the agents have started in the course of months.
    pub apart: f64,
}

impl RoundBytes {
    /// Estimates the traffic of a stable mesh of `nodes`, which is sealed. The figures were
    /// measured with real instances; the tests measure them again.
    pub fn estimate(nodes: usize) -> Self {
        // A node starts so many exchanges in each round. As many, on average, are started with it.
        let exchanges = gossip_count(nodes.saturating_sub(1)) as f64;
        let round = |entry: f64| {
            let digest = EMPTY_DIGEST + entry * nodes as f64;
            exchanges * (DIGESTS * sealed(digest) + sealed(ACK))
        };
        Self {
            together: round(ENTRY_TOGETHER),
            apart: round(ENTRY_APART),
        }
    }
}

/// Returns the number of bytes that are sent for a message.
fn sealed(message: f64) -> f64 {
    let room = (DATAGRAM_MAX - DATAGRAM_OVERHEAD) as f64;
    message + (message / room).ceil() * (DATAGRAM_OVERHEAD as f64 + HEADERS)
}
