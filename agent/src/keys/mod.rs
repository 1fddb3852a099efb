//! The key file: its reading, its problems, and new keys. The use of the keys is in
//! [`iperf3_mesh_core::seal`].

mod file;
mod generate;
mod problem;

pub use file::{read, read_any};
pub use generate::{generate, id_of_today};
pub use problem::{KeyFileError, KeyReason};

use std::io;

use rand::TryRng;
use rand::rngs::SysRng;

/// Returns random bytes of the operating system, for keys and for everything that nobody may
/// foresee.
///
/// # Errors
/// Returns an error if the operating system has none.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(io::Error::other)?;
    Ok(bytes)
}
