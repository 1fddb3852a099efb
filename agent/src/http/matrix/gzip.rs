//! The compressed JSON of the matrix, piece by piece: it can be larger than the matrix in memory.
//!
//! Each piece is compressed by itself, so every reader can go on from its own position. Together
//! the pieces are one gzip stream (RFC 1952). Readers share as many of them as fit into
//! [`KEPT_MAX`]: all of a mesh of 600 nodes. The others are made again for each reader.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};

use super::MatrixError;
use super::json::JsonPosition;
use super::packed::Packed;

/// The maximum memory of the pieces of a matrix that readers share.
pub(super) const KEPT_MAX: usize = 16 << 20;
/// The size of a piece before it is compressed.
const PIECE: usize = 256 << 10;
/// The head of a gzip stream without a name or a time, and the last block of one, which is empty.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const LAST_BLOCK: [u8; 2] = [3, 0];

/// A piece of the stream without its head and end.
#[derive(Debug)]
pub(super) struct Piece {
    deflated: Vec<u8>,
    crc: Crc,
    /// The position after it, `None` at the end.
    pub(super) next: Option<JsonPosition>,
}

/// The pieces that readers share.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: BTreeMap<JsonPosition, Arc<Piece>>,
    bytes: usize,
}

impl Pieces {
    /// Returns the piece at a position, if it is kept.
    pub(super) fn get(&self, at: JsonPosition) -> Option<Arc<Piece>> {
        self.lock().pieces.get(&at).cloned()
    }

    /// Makes the piece at a position of `packed`, and keeps it if there is room.
    pub(super) fn make(
        &self,
        packed: &Packed,
        at: JsonPosition,
    ) -> Result<Arc<Piece>, MatrixError> {
        if let Some(piece) = self.get(at) {
            return Ok(piece);
        }
        let piece = Arc::new(Piece::new(packed, at)?);
        let mut kept = self.lock();
        let bytes = kept.bytes + piece.deflated.len();
        if bytes <= KEPT_MAX && kept.pieces.insert(at, piece.clone()).is_none() {
            kept.bytes = bytes;
        }
        Ok(piece)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    fn new(packed: &Packed, at: JsonPosition) -> Result<Self, MatrixError> {
        let mut json = Vec::with_capacity(PIECE + 1024);
        let next = at.write(packed, &mut json, PIECE)?;
        let mut crc = Crc::new();
        crc.update(&json);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&json)?;
        // The blocks end at a byte, and none of them is the last one.
        encoder.flush()?;
        let mut deflated = std::mem::take(encoder.get_mut());
        deflated.shrink_to_fit();
        Ok(Self {
            deflated,
            crc,
            next,
        })
    }
}

/// The stream of one reader.
#[derive(Default)]
pub(super) struct Stream {
    crc: Crc,
}

impl Stream {
    /// Returns the bytes of the next piece of the stream, with its head or its end.
    pub(super) fn append(&mut self, piece: &Piece, is_first: bool) -> Bytes {
        self.crc.combine(&piece.crc);
        let mut bytes = Vec::with_capacity(piece.deflated.len() + 32);
        if is_first {
            bytes.extend(HEAD);
        }
        bytes.extend_from_slice(&piece.deflated);
        if piece.next.is_none() {
            bytes.extend(LAST_BLOCK);
            bytes.extend(self.crc.sum().to_le_bytes());
            bytes.extend(self.crc.amount().to_le_bytes());
        }
        bytes.into()
    }
}

/// Returns `bytes` compressed as a whole.
pub(super) fn whole(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use iperf3_mesh_core::{NodeName, Protocol};

    use super::super::packed::Node;
    use super::*;
    use crate::api::{CellResult, NodeState, RowCell};

    #[test]
    fn pieces_are_one_stream_of_the_same_json() {
        let packed = matrix(60);
        let mut json = Vec::new();
        let start = JsonPosition::default();
        assert_eq!(start.write(&packed, &mut json, usize::MAX).unwrap(), None);
        assert!(json.len() > 2 * PIECE, "several pieces");
        for pieces in [Pieces::default(), full()] {
            assert_eq!(inflated(&read(&pieces, &packed)), json);
            assert_eq!(inflated(&read(&pieces, &packed)), json, "another reader");
        }
    }

    #[test]
    fn readers_share_the_pieces_that_there_is_room_for() {
        let packed = matrix(60);
        let pieces = Pieces::default();
        let first = pieces.make(&packed, JsonPosition::default()).unwrap();
        let again = pieces.make(&packed, JsonPosition::default()).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(pieces.lock().bytes, first.deflated.len());
        let pieces = full();
        read(&pieces, &packed);
        assert!(pieces.lock().pieces.is_empty());
    }

    /// Pieces without room for another one.
    fn full() -> Pieces {
        let pieces = Pieces::default();
        pieces.lock().bytes = KEPT_MAX;
        pieces
    }

    fn read(pieces: &Pieces, packed: &Packed) -> Vec<u8> {
        let mut stream = Stream::default();
        let mut bytes = Vec::new();
        let mut position = Some(JsonPosition::default());
        while let Some(at) = position {
            let piece = pieces.make(packed, at).unwrap();
            bytes.extend(stream.append(&piece, bytes.is_empty()));
            position = piece.next;
        }
        bytes
    }

    fn inflated(bytes: &[u8]) -> Vec<u8> {
        let mut inflated = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut inflated).unwrap();
        inflated
    }

    fn matrix(nodes: usize) -> Packed {
        let name = |number: usize| NodeName::new(&format!("node-{number:04}")).unwrap();
        let node = |number: usize| Node {
            name: name(number),
            zone: String::new(),
            state: NodeState::Live,
            iperf3: None,
            row: Err("silent".to_owned()),
            is_unsealed: false,
        };
        let cell = |number: usize| RowCell {
            destination_node: name(number),
            protocol: Protocol::Tcp,
            result: CellResult {
                success: Some(true),
                bandwidth_mbps: Some((number * number) as f64 / 7.0),
                ..CellResult::default()
            },
        };
        let mut packed = Packed::new((0..nodes).map(node).collect(), vec![Protocol::Tcp]);
        for source in 0..nodes {
            let row = packed.columns().pack((0..nodes).map(cell).collect());
            packed.set_row(source, row);
        }
        packed
    }
}
