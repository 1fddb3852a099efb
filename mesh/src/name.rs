//! Node names and zones, and the epochs that distinguish one run of an agent from the next.
//!
//! Names and zones have the characters of Kubernetes' own: ASCII letters, digits, `-`, `_` and `.`,
//! with a letter or a digit at both ends. So no name can hide characters, change the direction of
//! the text around it, look like another one by letters of another script, or mean anything to a
//! terminal, a spreadsheet or a page. Names have no capital letters, so that no name differs from
//! another one by them alone.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// The maximum length of a node name, in bytes: that of a Kubernetes node (a DNS subdomain, RFC
/// 1123).
pub const NAME_LEN_MAX: usize = 253;

/// The maximum length of a zone, in bytes: that of a Kubernetes label value.
pub const ZONE_LEN_MAX: usize = 63;

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
    /// The text has a character that no node name has.
    #[error(
        "a node name has only the letters a to z, digits, '-', '_' and '.', this one has {:?} \
         (U+{:04X})", .0, u32::from(*.0)
    )]
    BadCharacter(char),
    /// The text begins or ends with a character that may stand only inside.
    #[error("a node name begins and ends with a letter or a digit, this one has {0:?} there")]
    BadEnd(char),
}

impl NodeName {
    /// Makes a node name from `name`.
    ///
    /// # Errors
    /// If the text is empty, longer than [`NAME_LEN_MAX`], or has other characters than a name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong(name.len()));
        }
        if let Some(bad) = name
            .chars()
            .find(|c| !is_inner(*c) || c.is_ascii_uppercase())
        {
            return Err(NameError::BadCharacter(bad));
        }
        match bad_end(name) {
            Some(bad) => Err(NameError::BadEnd(bad)),
            None => Ok(Self(name.into())),
        }
    }

    /// Returns a node name that resembles `text`, for a hint; `None` if nothing of it can remain.
    pub fn suggest(text: &str) -> Option<Self> {
        let plain: String = text
            .chars()
            .take(NAME_LEN_MAX)
            .map(|c| {
                if is_inner(c) {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        Self::new(plain.trim_matches(|c: char| !c.is_ascii_alphanumeric())).ok()
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether `text` is a zone: a value of a Kubernetes label, which may be empty.
pub fn is_zone(text: &str) -> bool {
    text.len() <= ZONE_LEN_MAX && text.chars().all(is_inner) && bad_end(text).is_none()
}

fn is_inner(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Returns the first or the last character, if it may not stand there.
fn bad_end(text: &str) -> Option<char> {
    let mut ends = text.chars().next().into_iter().chain(text.chars().last());
    ends.find(|c| !c.is_ascii_alphanumeric())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn name_of_a_host_or_a_kubernetes_node_is_a_name() {
        for name in [
            "n1",
            "ip-10-0-0-1.eu-west-1.compute.internal",
            "rack_1",
            "7",
        ] {
            assert_eq!(NodeName::new(name).unwrap().as_str(), name);
        }
        assert!(NodeName::new(&"x".repeat(NAME_LEN_MAX)).is_ok());
    }

    #[test]
    fn name_that_hurts_or_looks_like_another_is_refused() {
        for name in [
            "a b",
            "a\tb",
            "a\nb",
            "\x1b[31m",
            "=cmd|' /C calc'!A0",
            "<img src=x>",
            "a\"b",
            "a,b",
            "a/b",
            "node-1\u{202e}",
            "node\u{200b}-1",
            "n\u{43e}de-1",
            "n\u{f6}de",
            "node-1\u{fe0f}",
        ] {
            let error = NodeName::new(name).unwrap_err();
            assert!(
                matches!(error, NameError::BadCharacter(_)),
                "{name:?}: {error}"
            );
            assert!(!is_zone(name), "{name:?}");
        }
        assert_eq!(NodeName::new("NODE-1"), Err(NameError::BadCharacter('N')));
        assert!(is_zone("EU-1"));
        for name in ["-n", "n-", "_n", ".n", "n.", "..", "-"] {
            let error = NodeName::new(name).unwrap_err();
            assert!(matches!(error, NameError::BadEnd(_)), "{name:?}: {error}");
            assert!(!is_zone(name), "{name:?}");
        }
        assert_eq!(NodeName::new(""), Err(NameError::Empty));
        assert_eq!(
            NodeName::new(&"x".repeat(254)),
            Err(NameError::TooLong(254))
        );
        assert!(is_zone("") && is_zone(&"z".repeat(63)) && !is_zone(&"z".repeat(64)));
    }

    #[test]
    fn bad_character_is_named_by_its_number() {
        let error = NodeName::new("n\u{43e}de").unwrap_err().to_string();
        assert!(error.ends_with("has '\u{43e}' (U+043E)"), "{error}");
    }

    #[test]
    fn odd_host_name_gets_a_suggestion() {
        let suggested = |text| NodeName::suggest(text).map(|name| name.to_string());
        assert_eq!(suggested("My host").as_deref(), Some("my-host"));
        assert_eq!(suggested("-n\u{f6}de-").as_deref(), Some("n-de"));
        assert_eq!(suggested("\u{202e}"), None);
    }

    proptest! {
        #[test]
        fn name_has_no_other_characters_whatever_comes(text in any::<String>()) {
            let is_name = NodeName::new(&text).is_ok();
            let plain = text.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)
            });
            prop_assert!(!is_name || plain);
            if let Some(name) = NodeName::suggest(&text) {
                prop_assert!(NodeName::new(name.as_str()).is_ok());
            }
        }
    }
}
