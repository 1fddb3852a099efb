//! The messages that an agent accepts from others.

use strum::{IntoStaticStr, VariantArray};

/// The messages that an agent accepts from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AuthMode {
    /// Sealed messages only.
    Required,
    /// Plain messages, too, while the mesh gets its first key.
    Permissive,
    /// Plain messages: it has no key.
    Insecure,
}

impl AuthMode {
    /// Returns the name in labels.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
