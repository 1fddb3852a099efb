//! A key of the mesh: 32 random bytes with an id for people and a role.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// The length of a key, in bytes.
pub const KEY_LEN: usize = 32;
/// The maximum length of the id of a key, in bytes.
pub(super) const ID_LEN_MAX: usize = 32;

/// Secret bytes. They are wiped from memory when they are dropped, and are never printed. They stay
/// where they are when their owner moves, so that no copy remains there.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Secret(Box<[u8; KEY_LEN]>);

impl Secret {
    /// Takes over `bytes`, which must be random and come from nowhere else.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(Box::new(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The name of a key in its file, in labels and in logs: 1 to 32 lower-case letters, digits, '-'
/// and '.'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Reads an id; `None` if `text` is none.
    pub fn new(text: &str) -> Option<Self> {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_valid = (1..=ID_LEN_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| is_part(byte) || matches!(byte, b'-' | b'.'));
        is_valid.then(|| Self(text.to_owned()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rights of the holder of a key.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// The holder may be a member of the mesh, and do whatever an operator may do.
    Member,
    /// The holder may read and steer the mesh, but is no member.
    Operator,
}

/// A key of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub id: KeyId,
    /// The rights of its holder.
    pub role: Role,
    pub(super) secret: Secret,
}

impl Key {
    /// Creates a key from random bytes.
    pub fn new(id: KeyId, role: Role, secret: Secret) -> Self {
        Self { id, role, secret }
    }

    /// Returns the key as a line of a key file, without the end of the line.
    pub fn to_line(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(format!("{}:{}:", self.id, self.role));
        let secret = Zeroizing::new(STANDARD.encode(self.secret.bytes()));
        line.push_str(&secret);
        line
    }
}
