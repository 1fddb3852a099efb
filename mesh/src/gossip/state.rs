//! The state that a node publishes through gossip: how a node writes its own state, and how it
//! reads the state of a peer.
//!
//! The module reads text and returns plain values; it does not depend on chitchat. The state of a
//! peer may be incomplete or invalid. Such a peer is not (yet) a member; it never causes an error.

use std::net::{IpAddr, SocketAddr};

use super::frame::KeyValue;
use super::signature;
use crate::seal::{KEYS_MAX, PublicKey};
use crate::wire::SWEEP_MAX;
use crate::{Auth, Epoch, Life, NodeName, WireId, is_zone};

/// The maximum length of a version of iperf3, in bytes.
const VERSION_LEN_MAX: usize = 16;

/// The keys of the published state. They have one letter each, because every state carries them.
pub(super) mod key {
    /// The first one of a signed state; see [`super::signature`].
    pub(in super::super) const WIRE: &str = "w";
    pub(in super::super) const PUBLIC_KEY: &str = "g";
    pub(super) const NAME: &str = "n";
    pub(super) const EPOCH: &str = "e";
    pub(super) const ZONE: &str = "z";
    pub(super) const CONTROL: &str = "c";
    pub(super) const HTTP_PORT: &str = "h";
    pub(super) const IPERF3: &str = "i";
    pub(super) const SWEEP: &str = "s";
    pub(super) const STATE: &str = "p";
    pub(super) const AUTH_MODE: &str = "a";
    pub(super) const ACCEPTED: &str = "k";
    pub(in super::super) const SIGNATURE: &str = "x";
    pub(in super::super) const SIGNATURE_END: &str = "y";
}

/// The first wire version in which a state is signed, and tells the protection of the node.
pub(super) const SIGNED_SINCE: u16 = 4;

/// The maximum length of a value, in bytes: of the name, and of all others.
const NAME_VALUE_MAX: usize = 253;
const VALUE_MAX: usize = 64;

const UP: &str = "up";
const LEAVING: &str = "leaving";

/// The complete published state of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) name: NodeName,
    pub(super) epoch: Epoch,
    /// The key of the life, if the agent signs its state.
    pub(super) public: Option<PublicKey>,
    pub(super) auth: Auth,
    pub(super) zone: String,
    pub(super) control: SocketAddr,
    pub(super) http_port: u16,
    pub(super) iperf3: String,
    pub(super) wire: u16,
    pub(super) sweep: u64,
    pub(super) leaving: bool,
}

impl Published {
    /// Returns the keys and values to publish, less than 1 KB in total.
    pub(super) fn to_pairs(&self) -> Vec<(String, String)> {
        let state = if self.leaving { LEAVING } else { UP };
        let pairs = [
            (key::NAME, self.name.to_string()),
            (key::EPOCH, self.epoch.to_string()),
            (key::ZONE, self.zone.clone()),
            (key::CONTROL, self.control.to_string()),
            (key::HTTP_PORT, self.http_port.to_string()),
            (key::IPERF3, self.iperf3.clone()),
            (key::AUTH_MODE, self.auth.mode.to_string()),
            (key::ACCEPTED, accepted_text(&self.auth.accepted)),
            (key::SWEEP, self.sweep.to_string()),
            (key::STATE, state.to_owned()),
        ];
        let wire = [(key::WIRE, self.wire.to_string())];
        let public = self.public.map(|it| signature::public_key_text(&it));
        let public = public.map(|public| (key::PUBLIC_KEY, public));
        let pairs = wire.into_iter().chain(public).chain(pairs);
        pairs.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads a node's state through `get`. Returns `None` if a key is missing because the state has
    /// not fully arrived yet, or if a value is invalid.
    ///
    /// Any wire version is accepted: the caller shows the member as `incompatible`.
    pub(super) fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let epoch = Epoch(u64::from_str_radix(get(key::EPOCH)?, 16).ok()?);
        let wire = get(key::WIRE)?.parse().ok()?;
        let (public, auth) = if wire < SIGNED_SINCE {
            (None, Auth::default())
        } else {
            let public = signature::read_public_key(get(key::PUBLIC_KEY)?)?;
            // The life is a hash of the key, and the epoch is the first half of the life.
            (public.life().epoch() == epoch).then_some((Some(public), read_auth(&get)?))?
        };
        let state = Self {
            name: NodeName::new(get(key::NAME)?).ok()?,
            epoch,
            public,
            auth,
            zone: get(key::ZONE)?.to_owned(),
            control: canonical(get(key::CONTROL)?.parse().ok()?),
            http_port: get(key::HTTP_PORT)?.parse().ok()?,
            // Older agents do not publish it, and nothing depends on it.
            iperf3: get(key::IPERF3)
                .filter(|version| is_version(version))
                .unwrap_or_default()
                .to_owned(),
            wire,
            sweep: get(key::SWEEP)?.parse().ok()?,
            leaving: get(key::STATE)? == LEAVING,
        };
        let is_valid =
            is_zone(&state.zone) && is_reachable(state.control) && state.sweep <= SWEEP_MAX;
        is_valid.then_some(state)
    }
}

fn accepted_text(accepted: &[WireId]) -> String {
    let ids = accepted
        .iter()
        .map(|id| format!("{:08x}", u32::from_be_bytes(*id)));
    ids.collect::<Vec<_>>().join(",")
}

/// Reads the protection of a node. A later version may have modes and ids that this one does not
/// know; they count for nothing.
fn read_auth<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Auth> {
    let mode = get(key::AUTH_MODE)?.parse().unwrap_or_default();
    let ids = get(key::ACCEPTED)?.split(',').take(KEYS_MAX);
    let ids = ids.filter_map(|id| u32::from_str_radix(id, 16).ok());
    Some(Auth {
        mode,
        accepted: ids.map(u32::to_be_bytes).collect(),
    })
}

/// Returns whether a change of a state says that its node leaves, if it says anything about that.
pub(super) fn is_leaving(keys: &[KeyValue<'_>]) -> Option<bool> {
    let state = keys.iter().rfind(|pair| pair.key == key::STATE)?;
    Some(state.value == LEAVING)
}

/// Returns whether a run with this life may have changed its state so.
pub(super) fn may_be_of(keys: &[KeyValue<'_>], life: Life) -> bool {
    keys.iter().all(|pair| match pair.key {
        key::EPOCH => pair.value == life.epoch().to_string(),
        key::PUBLIC_KEY => {
            let public = signature::read_public_key(pair.value);
            public.is_some_and(|public| public.life() == life)
        }
        _ => true,
    })
}

/// Returns whether an agent may publish this key with this value. A later version may have more
/// keys, which this node passes on. They have one letter each, so the state of a node is bounded.
pub(super) fn is_pair(key: &str, value: &str) -> bool {
    let is_key = matches!(key.as_bytes(), [letter] if letter.is_ascii_lowercase());
    let length_max = match key {
        key::NAME => NAME_VALUE_MAX,
        _ => VALUE_MAX,
    };
    is_key && value.len() <= length_max && !value.chars().any(char::is_control)
}

/// Returns an IPv4 address that is written as an IPv6 address (`::ffff:192.0.2.1`) as IPv4, so that
/// one node has one address.
pub fn canonical(at: SocketAddr) -> SocketAddr {
    match at.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), at.port()),
        // The scope of the address is kept.
        IpAddr::V6(_) => at,
    }
}

/// Returns whether `text` has the form of a version such as 3.17.1.
fn is_version(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= VERSION_LEN_MAX && text.split('.').all(is_number)
}

/// Returns whether `address` is a possible destination: it has a port, and its IP address is that
/// of a single host.
pub(super) fn is_reachable(address: SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

/// Returns the id of one run of a node in the digests: two characters of its epoch. The id is short
/// because every digest carries every id, and digests are most of the traffic.
///
/// Two nodes may share an id without harm: the identity also includes the address and the
/// generation, and the view uses the published name. The id only tells apart two runs of one node
/// that start at the same second of a clock that stands still, which chitchat would merge.
pub(super) fn short_id(epoch: Epoch) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    (0..2)
        .map(|digit| char::from(ALPHABET[(epoch.0 >> (5 * digit)) as usize % 32]))
        .collect()
}
