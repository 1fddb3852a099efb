//! Messages that no agent writes.

use std::net::SocketAddr;

use chitchat::{ChitchatId, Serializable};

use super::address;

/// The fields of an entry in a digest, and of a state in a delta.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forged {
    pub(super) short: &'static str,
    pub(super) generation: u64,
    pub(super) address: SocketAddr,
    pub(super) heartbeat: u64,
    pub(super) deleted: u64,
    pub(super) version: u64,
}

impl Default for Forged {
    fn default() -> Self {
        Self {
            short: "aa",
            generation: 1000,
            address: address(9),
            heartbeat: 1,
            deleted: 0,
            version: 9,
        }
    }
}

impl Forged {
    pub(super) fn at(address: SocketAddr) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }

    fn id(&self) -> ChitchatId {
        ChitchatId::new(self.short, self.generation, self.address)
    }

    /// Returns the entry of a digest.
    pub(super) fn entry(&self) -> Vec<u8> {
        let mut bytes = self.id().serialize_to_vec();
        for number in [self.heartbeat, self.deleted, self.version] {
            number.serialize(&mut bytes);
        }
        bytes
    }

    /// Returns the operation that starts a state in a delta.
    pub(super) fn node(&self) -> Vec<u8> {
        let mut op = vec![0];
        self.id().serialize(&mut op);
        self.deleted.serialize(&mut op);
        0u64.serialize(&mut op);
        op
    }

    pub(super) fn key(key: &str, value: &str, version: u64, status: u8) -> Vec<u8> {
        let mut op = vec![1];
        key.serialize(&mut op);
        value.serialize(&mut op);
        version.serialize(&mut op);
        op.push(status);
        op
    }

    pub(super) fn set_max_version(version: u64) -> Vec<u8> {
        let mut op = vec![2];
        version.serialize(&mut op);
        op
    }

    /// Returns a SYN with a digest of `entries`.
    pub(super) fn syn(entries: &[Self]) -> Vec<u8> {
        let digest: Vec<u8> = entries.iter().flat_map(Self::entry).collect();
        message(0, &[&stream(&digest)], b"\x0b\0iperf3-mesh")
    }

    /// Returns a SYN-ACK with a digest of `entries` and a delta of `ops`.
    pub(super) fn syn_ack(entries: &[Self], ops: &[u8]) -> Vec<u8> {
        let digest: Vec<u8> = entries.iter().flat_map(Self::entry).collect();
        message(1, &[&stream(&digest), &stream(ops)], b"")
    }

    /// Returns an ACK with a delta of `ops`.
    pub(super) fn ack(ops: &[u8]) -> Vec<u8> {
        message(2, &[&stream(ops)], b"")
    }
}

/// Returns the challenge of an introduction: the heartbeat of its first entry.
pub(super) fn challenge(introduction: &[u8]) -> u64 {
    // The header, the head of the block, and the identity with a short id of two characters.
    let at = 4 + 3 + 2 + 2 + 8 + 1 + 4 + 2;
    u64::from_le_bytes(introduction[at..at + 8].try_into().unwrap())
}

/// Returns a message of `kind` with these streams, followed by `rest`.
pub(super) fn message(kind: u8, streams: &[&[u8]], rest: &[u8]) -> Vec<u8> {
    [&[0x53, 0xb0, 1, kind], &streams.concat()[..], rest].concat()
}

/// Returns a stream of blocks that are not compressed.
pub(super) fn stream(content: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = content
        .chunks(16_384)
        .flat_map(|chunk| block(2, chunk))
        .collect();
    bytes.push(0);
    bytes
}

pub(super) fn block(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_le_bytes();
    [&[kind], &length[..], content].concat()
}
