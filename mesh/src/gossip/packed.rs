//! The outer form of a gossip message: a header, and one or two streams of blocks, most of them
//! compressed. Each block tells its size once decompressed, so that what a message costs is known
//! before it is decompressed.

use zstd::zstd_safe::get_frame_content_size;

use super::rejections::Rejection;
use crate::MeshName;

/// Chitchat's header: magic number (little endian) and protocol version 1. The kind of message
/// follows.
pub(super) const HEADER: [u8; 3] = [0x53, 0xb0, 1];
pub(super) const SYN: u8 = 0;
pub(super) const SYN_ACK: u8 = 1;
pub(super) const ACK: u8 = 2;

/// The types of blocks.
const BLOCK_END: u8 = 0;
const BLOCK_COMPRESSED: u8 = 1;
const BLOCK_PLAIN: u8 = 2;
/// The maximum size of a block once decompressed, in bytes. Chitchat fills blocks up to this size.
const BLOCK_MAX: usize = 16_384;

/// The maximum size of a message once decompressed, in bytes: this much for each byte received, and
/// one block. Messages of meshes reach a factor of 14.
const EXPANSION_MAX: usize = 64;
/// The maximum size of a message once decompressed, in bytes. The first answer of a mesh of 2,000
/// nodes takes half of it, and three quarters with the longest names.
const DECOMPRESSED_MAX: usize = 1 << 20;

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Syn,
    SynAck,
    Ack,
}

/// A message of which only the outer form has been read. Nothing is decompressed yet.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    pub(super) kind: Kind,
    pub(super) digest: &'a [u8],
    delta: &'a [u8],
    /// The size of the streams once decompressed, in bytes, as the blocks tell it.
    pub(super) unpacked_bytes: usize,
}

impl<'a> Packed<'a> {
    /// Reads the outer form of a datagram of `mesh`, and rejects one that tells a size beyond the
    /// limits.
    pub(super) fn read(datagram: &'a [u8], mesh: &MeshName) -> Result<Self, Rejection> {
        let body = datagram.strip_prefix(&HEADER).ok_or(Rejection::Foreign)?;
        let (&kind, body) = body.split_first().ok_or(Rejection::Foreign)?;
        let kind = match kind {
            SYN => Kind::Syn,
            SYN_ACK => Kind::SynAck,
            ACK => Kind::Ack,
            _ => return Err(Rejection::Foreign),
        };
        let (digest, body) = match kind {
            Kind::Syn | Kind::SynAck => split_stream(body)?,
            Kind::Ack => (&body[..0], body),
        };
        let (delta, rest) = match kind {
            Kind::Syn => (&body[..0], body),
            Kind::SynAck | Kind::Ack => split_stream(body)?,
        };
        let is_complete = match kind {
            Kind::Syn => is_cluster(rest, mesh),
            Kind::SynAck | Kind::Ack => rest.is_empty(),
        };
        if !is_complete {
            return Err(Rejection::Foreign);
        }
        let sizes = blocks(digest).chain(blocks(delta)).map(Block::told_size);
        let unpacked_bytes = sizes.sum::<Result<usize, _>>()?;
        if unpacked_bytes > (BLOCK_MAX + datagram.len() * EXPANSION_MAX).min(DECOMPRESSED_MAX) {
            return Err(Rejection::Oversize);
        }
        Ok(Self {
            kind,
            digest,
            delta,
            unpacked_bytes,
        })
    }

    /// Decompresses the streams.
    pub(super) fn unpack(&self, unpacker: &mut Unpacker) -> Result<Unpacked, Rejection> {
        Ok(Unpacked {
            kind: self.kind,
            digest: unpacker.unpack(self.digest)?,
            delta: unpacker.unpack(self.delta)?,
        })
    }
}

/// Splits the stream of blocks at the start of `bytes` from the rest. The end mark is left out.
fn split_stream(bytes: &[u8]) -> Result<(&[u8], &[u8]), Rejection> {
    let mut rest = bytes;
    loop {
        if let [BLOCK_END, after @ ..] = rest {
            return Ok((&bytes[..bytes.len() - rest.len()], after));
        }
        (_, rest) = split_block(rest).ok_or(Rejection::Foreign)?;
    }
}

/// A part of a stream.
#[derive(Clone, Copy, Debug)]
struct Block<'a> {
    is_compressed: bool,
    bytes: &'a [u8],
}

impl Block<'_> {
    /// Returns the size once decompressed, in bytes. A compressed block tells it at its start (RFC
    /// 8878, section 3.1.1.1.4).
    fn told_size(self) -> Result<usize, Rejection> {
        if !self.is_compressed {
            return Ok(self.bytes.len());
        }
        let told = get_frame_content_size(self.bytes).ok().flatten();
        let size = told.and_then(|size| usize::try_from(size).ok());
        size.filter(|size| *size <= BLOCK_MAX)
            .ok_or(Rejection::Malformed)
    }
}

/// Splits the block at the start of `bytes` from the rest.
fn split_block(bytes: &[u8]) -> Option<(Block<'_>, &[u8])> {
    let [
        kind @ (BLOCK_COMPRESSED | BLOCK_PLAIN),
        low,
        high,
        rest @ ..,
    ] = bytes
    else {
        return None;
    };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let (bytes, rest) = rest.split_at_checked(length)?;
    let is_compressed = *kind == BLOCK_COMPRESSED;
    Some((
        Block {
            is_compressed,
            bytes,
        },
        rest,
    ))
}

/// Returns the blocks of a stream that [`split_stream`] has found.
fn blocks(stream: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        let (block, next) = split_block(rest)?;
        rest = next;
        Some(block)
    })
}

/// Returns whether `bytes` are exactly the name of `mesh`, which is that of its cluster.
fn is_cluster(bytes: &[u8], mesh: &MeshName) -> bool {
    bytes.split_first_chunk().is_some_and(|(length, name)| {
        usize::from(u16::from_le_bytes(*length)) == name.len() && name == mesh.as_str().as_bytes()
    })
}

/// Decompresses blocks. It keeps its buffers from one message to the next.
pub(super) struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
    block: Box<[u8]>,
}

impl Unpacker {
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            zstd: zstd::bulk::Decompressor::new()?,
            block: vec![0; BLOCK_MAX].into(),
        })
    }

    /// Decompresses a stream. Each block has exactly the size that it tells.
    fn unpack(&mut self, stream: &[u8]) -> Result<Vec<u8>, Rejection> {
        let mut unpacked = Vec::new();
        for block in blocks(stream) {
            if !block.is_compressed {
                unpacked.extend_from_slice(block.bytes);
                continue;
            }
            let plain = &mut self.block[..block.told_size()?];
            let written = self.zstd.decompress_to_buffer(block.bytes, plain);
            if written.ok() != Some(plain.len()) {
                return Err(Rejection::Malformed);
            }
            unpacked.extend_from_slice(plain);
        }
        Ok(unpacked)
    }
}

/// The decompressed streams of a message.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) kind: Kind,
    pub(super) digest: Vec<u8>,
    pub(super) delta: Vec<u8>,
}

/// Writes a stream without compression.
pub(super) fn write_stream(plain: &[u8], bytes: &mut Vec<u8>) {
    for block in plain.chunks(BLOCK_MAX) {
        bytes.push(BLOCK_PLAIN);
        bytes.extend((block.len() as u16).to_le_bytes());
        bytes.extend(block);
    }
    bytes.push(BLOCK_END);
}
