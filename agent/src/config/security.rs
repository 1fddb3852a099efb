//! The keys of the mesh, and what is allowed without one.

use std::path::PathBuf;

use clap::ValueEnum;
use iperf3_mesh_core::MeshName;

use super::{choice, switch};
use crate::cli::{SecurityArgs, option_name};
use crate::config::error::{ConfigErrors, OptionErrors};
use crate::units::{self, InvalidValue};

/// The options of the security of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecuritySettings {
    /// The name of the mesh.
    pub mesh: MeshName,
    /// How messages between agents are protected.
    pub security: Security,
    /// Whether page and read API are closed to clients without a key.
    pub protect_read: bool,
}

/// How messages between agents are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all: the user said so.
    Insecure,
    /// With the keys of a file.
    Sealed {
        /// The key file.
        key_file: PathBuf,
        /// The messages to accept.
        auth: Auth,
    },
}

/// The messages that an agent with a key accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// Only sealed ones.
    Required,
    /// Plain ones too, for 24 h after the start.
    Permissive,
}

impl TryFrom<&SecurityArgs> for SecuritySettings {
    type Error = ConfigErrors;

    fn try_from(args: &SecurityArgs) -> Result<Self, ConfigErrors> {
        let mut errors = OptionErrors::default();
        let key_file = errors.read_if_given("key_file", args.key_file.as_deref(), path);
        let insecure = errors.read("insecure", &args.insecure, switch);
        let auth = errors.read("auth", &args.auth, choice);
        let mesh = errors.read("mesh", &args.mesh, units::mesh_name);
        let protect_read = errors.read("protect_read", &args.protect_read, switch);
        let security = match (key_file, insecure) {
            (Some(Some(key_file)), Some(false)) => {
                auth.map(|auth| Security::Sealed { key_file, auth })
            }
            (Some(None), Some(true)) => Some(Security::Insecure),
            (Some(None), Some(false)) => {
                errors.add("key_file", "", no_key());
                None
            }
            (Some(Some(_)), Some(true)) => {
                errors.add("insecure", &args.insecure, key_and_insecure());
                None
            }
            _ => None,
        };
        let settings = || {
            Some(Self {
                mesh: mesh?,
                security: security?,
                protect_read: protect_read?,
            })
        };
        errors.finish(settings())
    }
}

fn path(text: &str) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() {
        return Err(no_key());
    }
    Ok(PathBuf::from(text))
}

fn no_key() -> InvalidValue {
    InvalidValue::new(
        "the path of a key file",
        format!(
            "Write the line that `iperf3-mesh key generate` prints to a file that only this agent \
             may read, and give all agents of the mesh the same one. On a network where everybody \
             may steer the mesh, set {} instead.",
            option_name("insecure")
        ),
    )
}

fn key_and_insecure() -> InvalidValue {
    let key_file = option_name("key_file");
    InvalidValue::new(
        format!("false, since {key_file} is set"),
        "Remove one of the two.",
    )
}
