//! The gossip layer's share of [`crate::fuzzing`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use chitchat::{ChitchatEnvelope, ChitchatMessage, ProtocolVersion};
use tokio::time::Instant;

use super::frame::Id;
use super::packed::{Packed, Unpacker};
use super::roster::Own;
use super::shared::GossipShared;
use super::state::{Published, is_reachable};
use super::udp::Screen;
use crate::MeshName;

/// The maximum number of members.
const MEMBERS_MAX: usize = 64;

/// Checks a datagram on the gossip port. Chitchat can decode whatever this node makes of it, and
/// this node reads the same again.
///
/// # Panics
/// If that does not hold.
#[allow(clippy::unwrap_used, reason = "an assertion of the fuzz target")]
pub fn gossip_datagram(bytes: &[u8]) {
    let mesh = MeshName::default();
    let mut unpacker = Unpacker::new().unwrap();
    let Ok(packed) = Packed::read(bytes, &mesh) else {
        return;
    };
    let Ok(unpacked) = packed.unpack(&mut unpacker) else {
        return;
    };
    let bytes = unpacked.digest.len() + unpacked.delta.len();
    assert_eq!(bytes, packed.unpacked_bytes);
    let Ok((frame, _)) = unpacked.read(MEMBERS_MAX) else {
        return;
    };
    assert!(frame.digest().len() <= MEMBERS_MAX);
    let written = frame.write(&mesh);
    ChitchatEnvelope::deserialize(&mut &written[..]).unwrap();
    let again = Packed::read(&written, &mesh).unwrap();
    let again = again.unpack(&mut unpacker).unwrap();
    assert_eq!(again.read(MEMBERS_MAX).unwrap(), (frame, false));
}

/// Gives a node a row of datagrams, each with the last byte of its source and its length in front.
/// Before each one, the node begins an exchange with that source. The node never keeps more
/// identities than it has room for.
///
/// # Panics
/// If that does not hold.
#[allow(clippy::unwrap_used, reason = "an assertion of the fuzz target")]
pub fn gossip_datagrams(mut bytes: &[u8]) {
    let shared = Arc::<GossipShared>::default();
    shared.roster.set_members_max(MEMBERS_MAX);
    let address = SocketAddr::from(([10, 0, 0, 1], 9877));
    let id = Id::new("aa", 1000, address).unwrap();
    shared.roster.set_own(Own {
        id,
        heartbeat: 100,
        version: 9,
    });
    let now = Instant::now();
    let mut screen = Screen::new(Arc::clone(&shared), now).unwrap();
    while let [host, low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (datagram, next) = rest.split_at(length);
        let from = SocketAddr::from(([10, 0, 0, *host], 9877));
        for message in [syn(), syn_ack()] {
            let version = ProtocolVersion::V1;
            screen.send(&ChitchatEnvelope { version, message }, from, now);
        }
        screen.receive(datagram, from, now);
        bytes = next;
    }
    assert!(shared.roster.len() <= 2 * MEMBERS_MAX);
}

fn syn() -> ChitchatMessage {
    ChitchatMessage::Syn {
        cluster_id: String::new(),
        digest: Default::default(),
    }
}

fn syn_ack() -> ChitchatMessage {
    ChitchatMessage::SynAck {
        digest: Default::default(),
        delta: Default::default(),
    }
}

/// Checks the state that a peer publishes, one `key=value` per line. A state that is accepted can
/// be published again, and reads the same.
///
/// # Panics
/// If that does not hold.
pub fn gossip_state(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let Some(state) = Published::read(|key| pairs.get(key).copied()) else {
        return;
    };
    assert!(is_reachable(state.control));
    let published: BTreeMap<String, String> = state.to_pairs().into_iter().collect();
    let again = Published::read(|key| published.get(key).map(String::as_str));
    assert_eq!(again, Some(state));
}
