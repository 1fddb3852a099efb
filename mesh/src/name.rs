//! Node names, and the epochs that distinguish one run of an agent from the next.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// The maximum length of a node name, in bytes: that of a Kubernetes node (a DNS subdomain, RFC
/// 1123).
pub const NAME_LEN_MAX: usize = 253;

/// The name of a node, as it appears in the labels of the metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeName(Arc<str>);

/// The reason why a text is not a node name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a node name must not be empty")]
    Empty,
    /// The text is longer than [`NAME_LEN_MAX`].
    #[error("a node name has at most {NAME_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// The text has a character that would break logs, labels or addresses.
    #[error("a node name has no blanks or control characters, this one has {0:?}")]
    BadCharacter(char),
}

impl NodeName {
    /// Makes a node name from `name`.
    ///
    /// # Errors
    /// If the text is empty, longer than [`NAME_LEN_MAX`], or has white space or control
    /// characters.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong(name.len()));
        }
        if let Some(bad) = name.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(NameError::BadCharacter(bad));
        }
        Ok(Self(name.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// The identity of one run of an agent: a random number, drawn at the start and compared for
/// equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
