//! The reasons why a key file cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use iperf3_mesh_core::seal::KeyFileProblem;
use strum::{IntoStaticStr, VariantArray};

/// A key file that cannot be used. The texts never contain a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key file {} {problem}", path.display())]
pub struct KeyFileError {
    /// The file, as configured.
    pub path: PathBuf,
    pub(super) problem: Problem,
}

/// The problem with a key file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("does not exist")]
    Missing,
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is open to other users (mode {mode:04o})")]
    Permissions {
        /// The permissions of the file.
        mode: u32,
    },
    #[error("has errors: {}", list(.0))]
    Invalid(Vec<KeyFileProblem>),
}

/// The kind of a problem with the key file, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum KeyReason {
    /// The file does not exist.
    Missing,
    /// The file cannot be read.
    Unreadable,
    /// Others than its owner may read or change the file.
    Permissions,
    /// The content of the file is not valid.
    Invalid,
}

impl KeyFileError {
    /// Returns the error for a file that cannot be read, and why.
    pub fn unreadable(path: &Path, why: String) -> Self {
        Self {
            path: path.to_owned(),
            problem: Problem::Unreadable(why),
        }
    }

    /// Returns the kind of the problem.
    pub fn reason(&self) -> KeyReason {
        match self.problem {
            Problem::Missing => KeyReason::Missing,
            Problem::Unreadable(_) => KeyReason::Unreadable,
            Problem::Permissions { .. } => KeyReason::Permissions,
            Problem::Invalid(_) => KeyReason::Invalid,
        }
    }

    /// Returns how to fix it, as a sentence.
    pub fn hint(&self) -> String {
        let path = self.path.display();
        match self.problem {
            Problem::Missing => format!(
                "Give this node the key file of the other nodes. For a new mesh, make a key with \
                 `iperf3-mesh key generate`. In Kubernetes, {path} comes from the Secret \
                 iperf3-mesh-key."
            ),
            Problem::Unreadable(_) => {
                format!("Make {path} a file that the user of the agent may read.")
            }
            Problem::Permissions { .. } => format!(
                "Let only the agent's user or group read it, and only its owner change it: `chmod \
                 600 {path}`, or defaultMode: 0440 in a pod."
            ),
            Problem::Invalid(_) => "Correct these lines.".to_owned(),
        }
    }
}

impl KeyReason {
    /// Returns the name in labels.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

fn list(problems: &[KeyFileProblem]) -> String {
    let texts: Vec<_> = problems.iter().map(KeyFileProblem::to_string).collect();
    texts.join("; ")
}
