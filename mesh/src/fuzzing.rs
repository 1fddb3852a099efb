//! Entry points of the fuzz targets in `fuzz/`: each takes arbitrary bytes and asserts what must
//! hold for all of them.
//!
//! The feature `fuzzing` enables them; no shipped build enables it. The parsers are private, so the
//! properties are stated here, next to them. `tests/fuzz_seeds.rs` runs the seed corpora through
//! them.

use crate::wire::{Body, MESSAGE_LEN_MAX, Message};

#[cfg(feature = "gossip")]
pub use crate::gossip::fuzzing::{gossip_datagram, gossip_datagrams, gossip_state};
#[cfg(feature = "seal")]
pub use crate::seal::fuzzing::{seal_handshake, sealed_datagrams, sealed_request};

/// Checks a control message. A message that is accepted can be sent on: it encodes within the limit
/// and decodes again.
///
/// # Panics
/// If that does not hold.
pub fn wire_message(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else {
        return;
    };
    let encoded = message.encode();
    assert!(
        encoded.len() <= MESSAGE_LEN_MAX,
        "encoding takes {} bytes",
        encoded.len()
    );
    let again = Message::decode(&encoded);
    // Decimal figures may change in their last digit, so results are not compared.
    if matches!(message.body, Body::Go { .. } | Body::End { .. }) {
        assert!(again.is_ok(), "{again:?}");
    } else {
        assert_eq!(again, Ok(message));
    }
}
