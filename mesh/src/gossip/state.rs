//! What a node publishes of itself in gossip, and how it reads what others published.
//!
//! Pure text in, plain values out: nothing here knows chitchat. What a peer publishes is never
//! trusted to be complete or sane; whatever cannot be read makes it a node that is not (yet) a
//! member, never an error.

use std::net::SocketAddr;

use crate::wire::SWEEP_MAX;
use crate::{Epoch, NodeName};

/// The longest zone, in bytes: that of a Kubernetes label value.
pub const ZONE_LEN_MAX: usize = 63;

/// Keys are one letter: they travel with every state.
mod key {
    pub(super) const NAME: &str = "n";
    pub(super) const EPOCH: &str = "e";
    pub(super) const ZONE: &str = "z";
    pub(super) const CONTROL: &str = "c";
    pub(super) const HTTP_PORT: &str = "h";
    pub(super) const WIRE: &str = "w";
    pub(super) const SWEEP: &str = "s";
    pub(super) const PRESENCE: &str = "p";
}

const UP: &str = "up";
const LEAVING: &str = "leaving";

/// The whole state of one life of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) name: NodeName,
    pub(super) epoch: Epoch,
    pub(super) zone: String,
    pub(super) control: SocketAddr,
    pub(super) http_port: u16,
    pub(super) wire: u16,
    pub(super) sweep: u64,
    pub(super) leaving: bool,
}

impl Published {
    /// The keys and values to gossip, under 1 KB in all.
    pub(super) fn to_pairs(&self) -> Vec<(String, String)> {
        let state = if self.leaving { LEAVING } else { UP };
        let pairs = [
            (key::NAME, self.name.to_string()),
            (key::EPOCH, self.epoch.to_string()),
            (key::ZONE, self.zone.clone()),
            (key::CONTROL, self.control.to_string()),
            (key::HTTP_PORT, self.http_port.to_string()),
            (key::WIRE, self.wire.to_string()),
            (key::SWEEP, self.sweep.to_string()),
            (key::PRESENCE, state.to_owned()),
        ];
        pairs
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect()
    }

    /// Reads a node's state through `get`. None if a key is missing, as long as the state has not
    /// arrived entirely, or if a value makes no sense.
    ///
    /// A foreign wire version is no reason to refuse: the member is shown, and the caller says
    /// `incompatible`.
    pub(super) fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let epoch = get(key::EPOCH)?;
        let state = Self {
            name: NodeName::new(get(key::NAME)?).ok()?,
            epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?),
            zone: get(key::ZONE)?.to_owned(),
            control: get(key::CONTROL)?.parse().ok()?,
            http_port: get(key::HTTP_PORT)?.parse().ok()?,
            wire: get(key::WIRE)?.parse().ok()?,
            sweep: get(key::SWEEP)?.parse().ok()?,
            leaving: get(key::PRESENCE)? == LEAVING,
        };
        let sane =
            zone_is_sane(&state.zone) && is_reachable(state.control) && state.sweep <= SWEEP_MAX;
        sane.then_some(state)
    }
}

/// A zone becomes a label and a column in tables.
pub(super) fn zone_is_sane(zone: &str) -> bool {
    zone.len() <= ZONE_LEN_MAX && !zone.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Whether something may be sent to `address` at all.
pub(super) fn is_reachable(address: SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

/// A node's id in the digests: eight characters, since every digest carries every id and the size
/// of the digest is what limits the mesh.
///
/// Two names may well share an id. That harms nothing: address and generation belong to the
/// identity too, and everything that is believed of a node goes by the name that it publishes.
pub(super) fn short_id(name: &NodeName) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.as_str().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    (0..8)
        .map(|digit| char::from(ALPHABET[(hash >> (5 * digit)) as usize % 32]))
        .collect()
}
