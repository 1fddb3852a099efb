//! Keys that a number decides.

use iperf3_mesh_core::seal::{Key, KeyId, Keyring, Role, Secret};

/// Returns the key with this number, whose id is `key-` and the number.
///
/// # Panics
/// Never: all such ids are valid.
pub fn key(number: u8, role: Role) -> Key {
    let bytes = std::array::from_fn(|at| number.wrapping_add(at as u8));
    let id = KeyId::new(&format!("key-{number}")).expect("letters, a dash and digits");
    Key::new(id, role, Secret::new(bytes))
}

/// Returns a keyring with these member keys, the newest first.
///
/// # Panics
/// If there are too many keys for a keyring, none, or one twice.
pub fn keyring(numbers: &[u8]) -> Keyring {
    let lines = numbers
        .iter()
        .map(|number| key(*number, Role::Member).to_line().to_string());
    let file: Vec<_> = lines.collect();
    Keyring::read(file.join("\n").as_bytes()).expect("a key file")
}
