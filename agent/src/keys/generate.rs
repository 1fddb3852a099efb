//! New keys.

use std::fmt::Write;
use std::io;
use std::time::{Duration, SystemTime};

use iperf3_mesh_core::seal::{Key, KeyId, Role, Secret};
use zeroize::Zeroizing;

use super::random;

/// Makes a new key from random bytes of the operating system.
///
/// # Errors
/// Returns an error if the operating system has none.
pub fn generate(id: KeyId, role: Role) -> io::Result<Key> {
    let bytes = Zeroizing::new(random()?);
    Ok(Key::new(id, role, Secret::new(*bytes)))
}

/// Returns the id of a key that the user gives none: the day of `now` (UTC), and four digits that
/// tell the keys of that day apart. Returns `None` if the clock is far off.
pub fn id_of_today(now: SystemTime, digits: u16) -> Option<KeyId> {
    // A clock before 1970 is not set yet.
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
    let day = SystemTime::UNIX_EPOCH + since_1970.unwrap_or(Duration::ZERO);
    let mut text = String::new();
    // It fails beyond the year 9999.
    write!(text, "{}", humantime::format_rfc3339_seconds(day)).ok()?;
    let (day, _) = text.split_once('T')?;
    KeyId::new(&format!("{day}-{digits:04x}"))
}
