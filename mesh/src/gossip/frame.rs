//! The content of a gossip message: read within limits, and written again.
//!
//! Chitchat's own decoder decompresses and stores whatever it is sent. This module therefore reads
//! each datagram first. A message that is malformed or too large is rejected as a whole. An entry
//! that no agent writes is left out, and the rest of the message stands, because an honest peer
//! passes on what it was told. The result is written again in a plain form, so that chitchat only
//! ever decodes bytes that this module has written.
//!
//! A message has one or two streams, see [`super::packed`]. The stream of the digest lists every
//! identity that the sender knows; that of the delta has the keys that the receiver lacks.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use chitchat::{ChitchatId, Serializable};

use super::packed::{ACK, HEADER, Kind, Packed, SYN, SYN_ACK, Unpacked, write_stream};
use super::reader::Reader;
use super::rejections::Rejection;
use super::state;
use crate::MeshName;
use crate::seal::Life;

/// The operations of a delta.
const OP_NODE: u8 = 0;
const OP_KEY: u8 = 1;
const OP_MAX_VERSION: u8 = 2;

/// The maximum length of the short id of a node. Agents of this version use two characters.
const SHORT_ID_MAX: usize = 8;
/// Heartbeats stay below this limit for years. Each poll adds [`HEARTBEAT_STEP`].
pub(super) const HEARTBEAT_MAX: u64 = 1 << 60;
/// The distance between the heartbeats of two polls. A heartbeat in between that only one peer was
/// told proves that the peer receives what it is sent.
pub(super) const HEARTBEAT_STEP: u64 = 1 << 24;
/// Versions and Unix times stay below this limit for millennia. It leaves room above
/// it, because chitchat panics at the end of the range.
pub(super) const COUNTER_MAX: u64 = 1 << 40;
/// The status of a key that has a value. No agent deletes a key.
const STATUS_SET: u8 = 0;

/// The identity of one run of chitchat on one node, in a form that is cheap to copy and to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    short: [u8; SHORT_ID_MAX],
    pub(super) generation: u64,
    pub(super) address: SocketAddr,
}

impl Id {
    /// Returns the identity, unless no agent can have it.
    pub(super) fn new(short: &str, generation: u64, address: SocketAddr) -> Option<Self> {
        let is_short_id = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_valid = !short.is_empty()
            && short.len() <= SHORT_ID_MAX
            && short.bytes().all(is_short_id)
            && generation < COUNTER_MAX
            && state::is_reachable(address);
        let mut padded = [0; SHORT_ID_MAX];
        is_valid.then(|| {
            padded[..short.len()].copy_from_slice(short.as_bytes());
            Self {
                short: padded,
                generation,
                address,
            }
        })
    }

    /// Returns the identity that chitchat calls `id`.
    pub(super) fn of(id: &ChitchatId) -> Option<Self> {
        Self::new(&id.node_id, id.generation_id, id.gossip_advertise_addr)
    }

    /// Returns whether a run of an agent with this life may have the identity.
    fn may_be_of(&self, life: Life) -> bool {
        self.short() == state::short_id(life.epoch())
    }

    fn short(&self) -> &str {
        let length = self.short.iter().take_while(|byte| **byte != 0).count();
        str::from_utf8(&self.short[..length]).unwrap_or_default()
    }

    /// Returns the identity as bytes that no other one has.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// Returns the identity as chitchat has it.
    pub(super) fn as_chitchat_id(&self) -> ChitchatId {
        ChitchatId::new(self.short(), self.generation, self.address)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        self.short().serialize(bytes);
        self.generation.serialize(bytes);
        self.address.serialize(bytes);
    }
}

/// One entry of a digest: an identity, and how much the sender knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) heartbeat: u64,
    pub(super) version: u64,
}

impl Entry {
    /// Returns the entry of a node that knows nothing of the identity but this.
    pub(super) fn unread(&self) -> Self {
        Self {
            version: 0,
            ..*self
        }
    }
}

/// The news about one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeDelta<'a> {
    pub(super) id: Id,
    /// The version after which the news begin.
    pub(super) after: u64,
    pub(super) keys: Vec<KeyValue<'a>>,
}

/// A key with its value. Each key is one letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyValue<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    pub(super) version: u64,
}

/// A message within the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Syn(Vec<Entry>),
    SynAck(Vec<Entry>, Vec<NodeDelta<'a>>),
    Ack(Vec<NodeDelta<'a>>),
}

/// Returns a SYN of chitchat with one more entry.
pub(super) fn with_entry(syn: &[u8], entry: &Entry, mesh: &MeshName) -> Option<Vec<u8>> {
    let digest = Packed::read(syn, mesh).ok()?.digest;
    let at = HEADER.len() + 1 + digest.len();
    let mut more = Vec::new();
    write_digest(&[*entry], &mut more);
    more.pop();
    let (before, after) = syn.split_at_checked(at)?;
    Some([before, &more, after].concat())
}

impl Unpacked {
    /// Reads the message, with at most `ids_max` identities in each stream. The second value is
    /// whether anything was left out.
    pub(super) fn read(&self, ids_max: usize) -> Result<(Frame<'_>, bool), Rejection> {
        let mut is_cut = false;
        let digest = read_digest(&self.digest, ids_max, &mut is_cut)?;
        let delta = read_delta(&self.delta, ids_max, &mut is_cut)?;
        let frame = match self.kind {
            Kind::Syn => Frame::Syn(digest),
            Kind::SynAck => Frame::SynAck(digest, delta),
            Kind::Ack => Frame::Ack(delta),
        };
        Ok((frame, is_cut))
    }
}

fn read_digest(bytes: &[u8], ids_max: usize, is_cut: &mut bool) -> Result<Vec<Entry>, Rejection> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    for count in 0.. {
        if reader.is_empty() {
            break;
        }
        if count >= ids_max {
            return Err(Rejection::TooManyIds);
        }
        let id = reader.id()?;
        let (heartbeat, deleted, version) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let is_valid = heartbeat < HEARTBEAT_MAX && deleted == 0 && version < COUNTER_MAX;
        match id.filter(|_| is_valid) {
            Some(id) => entries.push(Entry {
                id,
                heartbeat,
                version,
            }),
            None => *is_cut = true,
        }
    }
    Ok(entries)
}

fn read_delta<'a>(
    bytes: &'a [u8],
    ids_max: usize,
    is_cut: &mut bool,
) -> Result<Vec<NodeDelta<'a>>, Rejection> {
    let mut reader = Reader::new(bytes);
    let mut nodes: Vec<Option<NodeDelta<'a>>> = Vec::new();
    let mut seen = BTreeSet::new();
    while !reader.is_empty() {
        match reader.u8()? {
            OP_NODE if nodes.len() >= ids_max => return Err(Rejection::TooManyIds),
            OP_NODE => {
                let node = read_node(&mut reader)?;
                nodes.push(node.filter(|node| seen.insert(node.id)));
            }
            OP_KEY => {
                let key = read_key(&mut reader)?;
                let node = nodes.last_mut().ok_or(Rejection::Malformed)?;
                if !node.as_mut().is_some_and(|node| node.push(key)) {
                    *node = None;
                }
            }
            OP_MAX_VERSION => {
                reader.u64()?;
                // It replaces keys that were deleted, and no agent deletes one.
                *nodes.last_mut().ok_or(Rejection::Malformed)? = None;
            }
            _ => return Err(Rejection::Malformed),
        }
    }
    let count = nodes.len();
    let nodes: Vec<_> = nodes.into_iter().flatten().collect();
    *is_cut |= nodes.len() < count;
    Ok(nodes)
}

fn read_node<'a>(reader: &mut Reader<'_>) -> Result<Option<NodeDelta<'a>>, Rejection> {
    let id = reader.id()?;
    let (deleted, after) = (reader.u64()?, reader.u64()?);
    let id = id.filter(|_| deleted == 0 && after < COUNTER_MAX);
    Ok(id.map(|id| NodeDelta {
        id,
        after,
        keys: Vec::new(),
    }))
}

/// Reads a key with its value. Returns `None` if it is none that an agent may publish.
fn read_key<'a>(reader: &mut Reader<'a>) -> Result<Option<KeyValue<'a>>, Rejection> {
    let (key, value) = (reader.text()?, reader.text()?);
    let (version, status) = (reader.u64()?, reader.u8()?);
    let is_valid = status == STATUS_SET && version < COUNTER_MAX && state::is_pair(key, value);
    Ok(is_valid.then_some(KeyValue {
        key,
        value,
        version,
    }))
}

impl<'a> NodeDelta<'a> {
    /// Adds a key. Returns whether the news stay valid.
    fn push(&mut self, key: Option<KeyValue<'a>>) -> bool {
        let last = self.keys.last().map_or(0, |last| last.version);
        let key = key.filter(|key| key.version > last);
        self.keys.extend(key);
        key.is_some()
    }
}

impl Frame<'_> {
    /// Returns the digest, which is empty if the message has none.
    pub(super) fn digest(&self) -> &[Entry] {
        match self {
            Self::Syn(digest) | Self::SynAck(digest, _) => digest,
            Self::Ack(_) => &[],
        }
    }

    /// Returns whether this is an answer of `from` that has nothing but the identities of the two
    /// ends, and whose sender knows nothing of this node.
    pub(super) fn is_introduction(&self, own: Id, from: SocketAddr) -> bool {
        let is_unread = |entry: &Entry| entry.id == own && entry.version == 0;
        let is_of_both = |entry: &Entry| entry.id.address == from || is_unread(entry);
        matches!(self, Self::SynAck(digest, delta)
            if delta.is_empty()
                && digest.iter().any(is_unread)
                && digest.iter().all(is_of_both))
    }

    /// Returns whether a run with this life may say this at `from`: what it says of its own address
    /// is about itself.
    pub(super) fn may_be_of(&self, life: Life, from: SocketAddr) -> bool {
        let entries = self.digest().iter().map(|entry| entry.id);
        let is_own = |id: &Id| id.address == from;
        let mut news = self.delta().iter().filter(|news| is_own(&news.id));
        entries.filter(is_own).all(|id| id.may_be_of(life))
            && news.all(|news| news.id.may_be_of(life) && state::may_be_of(&news.keys, life))
    }

    /// Returns the news, which are empty if the message has none.
    pub(super) fn delta(&self) -> &[NodeDelta<'_>] {
        match self {
            Self::SynAck(_, delta) | Self::Ack(delta) => delta,
            Self::Syn(_) => &[],
        }
    }

    /// Writes the message without compression, for `mesh`.
    pub(super) fn write(&self, mesh: &MeshName) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        match self {
            Self::Syn(digest) => {
                bytes.push(SYN);
                write_digest(digest, &mut bytes);
                mesh.as_str().serialize(&mut bytes);
            }
            Self::SynAck(digest, delta) => {
                bytes.push(SYN_ACK);
                write_digest(digest, &mut bytes);
                write_delta(delta, &mut bytes);
            }
            Self::Ack(delta) => {
                bytes.push(ACK);
                write_delta(delta, &mut bytes);
            }
        }
        bytes
    }
}

fn write_digest(digest: &[Entry], bytes: &mut Vec<u8>) {
    let mut plain = Vec::new();
    for entry in digest {
        entry.id.write(&mut plain);
        entry.heartbeat.serialize(&mut plain);
        0u64.serialize(&mut plain);
        entry.version.serialize(&mut plain);
    }
    write_stream(&plain, bytes);
}

fn write_delta(delta: &[NodeDelta<'_>], bytes: &mut Vec<u8>) {
    let mut plain = Vec::new();
    for node in delta {
        plain.push(OP_NODE);
        node.id.write(&mut plain);
        0u64.serialize(&mut plain);
        node.after.serialize(&mut plain);
        for key in &node.keys {
            plain.push(OP_KEY);
            key.key.serialize(&mut plain);
            key.value.serialize(&mut plain);
            key.version.serialize(&mut plain);
            plain.push(STATUS_SET);
        }
    }
    write_stream(&plain, bytes);
}
