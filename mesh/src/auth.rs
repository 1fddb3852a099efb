//! The protection of an agent against strangers, as it tells its peers.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// Four bytes by which agents refer to a key of the mesh.
pub type WireId = [u8; 4];

/// The messages that an agent accepts.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum AuthMode {
    /// It accepts sealed messages only.
    Required,
    /// It accepts unsealed messages, too, until all its peers have a key.
    Permissive,
    /// It has no key. This is also what agents before wire version 4 do.
    #[default]
    Insecure,
}

impl AuthMode {
    /// Returns the name in labels, in logs and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The protection of an agent: by default there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// The messages that it accepts.
    pub mode: AuthMode,
    /// The member keys that it accepts, the newest first.
    pub accepted: Vec<WireId>,
}
