//! The `key` command: makes keys for the mesh.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;

use super::output::print;
use crate::cli::{KeyArgs, KeyCommand};
use crate::keys;

/// Prints a new key, as a line of a key file.
///
/// # Errors
/// Returns an error if the system has no random bytes, or if stdout cannot be written to.
pub(super) fn run(args: KeyArgs) -> anyhow::Result<ExitCode> {
    let KeyCommand::Generate(args) = args.command;
    let no_random_bytes = "cannot get random bytes from the system";
    let id = match args.id {
        Some(id) => id,
        None => {
            let digits = u16::from_ne_bytes(keys::random().context(no_random_bytes)?);
            let id = keys::id_of_today(SystemTime::now(), digits);
            id.context("the clock of this machine is far off: set --id")?
        }
    };
    let key = keys::generate(id, args.role).context(no_random_bytes)?;
    print(&key.to_line())?;
    print("\n")?;
    Ok(ExitCode::SUCCESS)
}
