//! Reads the key file. The mounts of Kubernetes are links, which it follows.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use iperf3_mesh_core::seal::{KEY_FILE_MAX, KeyFileProblem, Keyring};
use zeroize::Zeroizing;

use super::problem::{KeyFileError, Problem};

/// The permissions that no key file has: only the owner may change it, and only the owner and the
/// group may read it. The Secret of a pod belongs to root, and the agent reads it as the group.
const FORBIDDEN: u32 = 0o026;

/// Reads the keys in the file at `path`.
///
/// # Errors
/// Returns an error if the file cannot be read, if others than its owner may change it, or users
/// outside its group read it, or if its content is not valid.
pub fn read(path: &Path) -> Result<Keyring, KeyFileError> {
    read_with(path, Keyring::read)
}

/// Reads the keys in the file of a program that only asks agents.
///
/// # Errors
/// As [`read`], but the file may have no key with the role member.
pub fn read_any(path: &Path) -> Result<Keyring, KeyFileError> {
    read_with(path, Keyring::read_any)
}

type Parse = fn(&[u8]) -> Result<Keyring, Vec<KeyFileProblem>>;

fn read_with(path: &Path, parse: Parse) -> Result<Keyring, KeyFileError> {
    read_keys(path, parse).map_err(|problem| KeyFileError {
        path: path.to_owned(),
        problem,
    })
}

fn read_keys(path: &Path, parse: Parse) -> Result<Keyring, Problem> {
    // A pipe would block without this flag until somebody writes to it.
    let nonblocking = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nonblocking).open(path)?;
    let status = file.metadata()?;
    if !status.is_file() {
        return Err(Problem::Unreadable("it is not a file".to_owned()));
    }
    let mode = status.permissions().mode() & 0o7777;
    if mode & FORBIDDEN != 0 {
        return Err(Problem::Permissions { mode });
    }
    parse(&content(&file)?).map_err(Problem::Invalid)
}

/// Returns the content, and at most one byte more than a key file has. The bytes are wiped when
/// they are dropped. They are never moved, which would leave a copy behind.
fn content(file: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * KEY_FILE_MAX));
    file.take(KEY_FILE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
