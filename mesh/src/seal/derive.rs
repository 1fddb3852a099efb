//! Keys for each use, derived from a key of the mesh with HKDF-SHA256 (RFC 5869).
//!
//! The info of each derivation starts with its use and the name of the mesh, each with its length.
//! So no two uses, and no two meshes that share a key by accident, have a derived key in common.

use ring::hkdf;

use super::key::{KEY_LEN, Secret};
pub(super) use crate::WireId;

/// The salt of all derivations; see RFC 5869, section 3.1.
const SALT: &[u8] = b"iperf3-mesh/v1";

/// The use of a derived key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Authenticates the two messages with which two lives meet.
    Hello,
    /// Seals gossip.
    Gossip,
    /// Seals control messages, and their answers.
    Control,
    /// Seals requests for rows, and rows.
    Rows,
}

impl Use {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Hello => b"hello",
            Self::Gossip => b"gossip",
            Self::Control => b"control",
            Self::Rows => b"rows",
        }
    }
}

/// Returns the bytes by which messages name a key. They are the same in every mesh, so that a
/// message of another mesh is not taken for one with an unknown key.
pub(super) fn wire_id(key: &Secret) -> WireId {
    let mut id = WireId::default();
    expand(key, &[b"id"], &mut id);
    id
}

/// Fills `derived` with bytes for this use in this mesh, and for nothing but `context`, whose
/// parts have lengths that the use fixes.
pub(super) fn derive(key: &Secret, use_: Use, mesh: &str, context: &[&[u8]], derived: &mut [u8]) {
    // The name of a mesh has at most 63 bytes.
    let mesh_len = [u8::try_from(mesh.len()).unwrap_or(u8::MAX)];
    let label = use_.label();
    let label_len = [label.len() as u8];
    let mut info: Vec<&[u8]> = vec![&label_len, label, &mesh_len, mesh.as_bytes()];
    info.extend_from_slice(context);
    expand(key, &info, derived);
}

/// Returns the derived key of this use, for nothing but `context`.
pub(super) fn derive_key(key: &Secret, use_: Use, mesh: &str, context: &[&[u8]]) -> Secret {
    let mut derived = zeroize::Zeroizing::new([0; KEY_LEN]);
    derive(key, use_, mesh, context, &mut derived[..]);
    Secret::new(*derived)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(key: &Secret, info: &[&[u8]], derived: &mut [u8]) {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(key.bytes());
    // HKDF fails only beyond 255 blocks of 32 bytes, and all lengths here are constants below that.
    prk.expand(info, Length(derived.len()))
        .and_then(|okm| okm.fill(derived))
        .expect("HKDF-SHA256 yields up to 8,160 bytes");
}
