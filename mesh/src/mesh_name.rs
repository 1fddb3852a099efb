//! The name of a mesh: agents with another one are not part of it.

use std::fmt;
use std::sync::Arc;

/// The maximum length of the name of a mesh, in bytes: that of a DNS label (RFC 1123).
pub const MESH_NAME_LEN_MAX: usize = 63;

/// The name of a mesh. It is no secret: it keeps meshes apart that reach each other by accident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshName(Arc<str>);

impl MeshName {
    /// Makes the name of a mesh from `text`: 1 to [`MESH_NAME_LEN_MAX`] lower-case letters, digits
    /// and '-'. Returns `None` if `text` is none.
    pub fn new(text: &str) -> Option<Self> {
        let is_sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_valid = (1..=MESH_NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(is_sign);
        is_valid.then(|| Self(text.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for MeshName {
    fn default() -> Self {
        Self("iperf3-mesh".into())
    }
}

impl fmt::Display for MeshName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
