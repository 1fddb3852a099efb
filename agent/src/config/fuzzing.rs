//! The entry point of [`crate::fuzzing`] for the configuration.

use super::{address, join, kubernetes};
use crate::units;

/// Reads `bytes` as a value of every kind that has its own grammar: bitrate, duration, target to
/// join, address, namespace, label selector. An accepted value must stay the same when it is
/// written and read again, and a value for a query of the Kubernetes API must be printable ASCII.
///
/// # Panics
/// Panics if one of these properties does not hold.
pub fn config_value(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = units::bitrate(&text);
    if let Ok(duration) = units::duration(&text) {
        let shown = units::show(duration).to_string();
        assert_eq!(units::duration(&shown), Ok(duration), "{shown}");
    }
    if let Ok(target) = join::join_target(&text) {
        let shown = target.to_string();
        assert_eq!(join::join_target(&shown), Ok(target), "{shown}");
    }
    if let Ok(address) = address::advertise_address(&text, None) {
        let shown = address.to_string();
        assert_eq!(address::advertise_address(&shown, None), Ok(address));
    }
    let namespace = kubernetes::namespace(&text);
    let selector = kubernetes::label_selector(&text);
    for accepted in namespace.into_iter().chain(selector) {
        let is_plain = |c: char| c.is_ascii_graphic() || c.is_whitespace();
        assert!(accepted.chars().all(is_plain), "{accepted:?}");
    }
}
