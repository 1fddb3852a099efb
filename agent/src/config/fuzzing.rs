//! The configuration's share of [`crate::fuzzing`].

use super::{address, join, kubernetes};
use crate::units;

/// One value of an option, read as every kind of value that has a grammar of its own: bitrate,
/// duration, target to join, address, namespace, label selector. An accepted value that is written
/// again reads the same; a value for a query of the Kubernetes API is printable ASCII.
///
/// # Panics
/// If that does not hold.
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
