//! The directory for temporary files, `TMPDIR`. iperf3 fills a file there for each stream, and its
//! message is obscure if it cannot.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use nix::unistd::{AccessFlags, access, geteuid};

use super::{Needs, lack};
use crate::metrics::Resource;

/// The beginning of the names that this agent gives to files and directories.
const PREFIX: &str = "iperf3-mesh-";

/// The age from which on an own directory is that of an agent that was killed. No test lasts as
/// long.
const STALE: Duration = Duration::from_secs(3600);

/// The maximum number of entries of `TMPDIR` among which stale directories are looked for.
const ENTRIES_MAX: usize = 10_000;

/// The directory for temporary files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("TMPDIR {} {}: {cause}", directory.display(), self.trouble())]
pub struct UnusableDirectory {
    directory: PathBuf,
    /// The number of bytes that iperf3 needs there.
    bytes: u64,
    cause: io::Error,
}

impl UnusableDirectory {
    fn is_full(&self) -> bool {
        let full = [
            ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded,
            ErrorKind::FileTooLarge,
        ];
        full.contains(&self.cause.kind())
    }

    fn trouble(&self) -> String {
        if self.is_full() {
            let kib = self.bytes.div_ceil(1024);
            format!("has no room for the {kib} KiB that iperf3 needs there")
        } else {
            "is not writable, but iperf3 needs it".to_owned()
        }
    }

    /// Returns what this node lacks.
    pub fn lack(&self) -> Resource {
        lack(&self.cause).unwrap_or(Resource::TemporaryDirectory)
    }

    /// Returns one sentence that says how to fix the error.
    pub fn hint(&self) -> &'static str {
        if self.is_full() {
            "Free space or raise the quota there, or set TMPDIR to a directory with more room."
        } else {
            "Set TMPDIR to a writable directory, or mount an emptyDir on /tmp."
        }
    }
}

/// Checks that `directory` is writable and has room, without writing: a quota or a damaged disk
/// shows only when iperf3 writes.
///
/// # Errors
/// Returns an error if iperf3 cannot create and fill its files.
pub fn room(directory: &Path, needs: Needs) -> Result<(), UnusableDirectory> {
    let bytes = needs.files * needs.file_size;
    let look = || -> io::Result<()> {
        let system = statvfs(directory)?;
        if system.flags().contains(FsFlags::ST_RDONLY) {
            return Err(Errno::EROFS.into());
        }
        access(directory, AccessFlags::W_OK | AccessFlags::X_OK)?;
        if let Some(free) = free_bytes(&system).filter(|free| *free < bytes) {
            let text = format!("{} KiB are free", free / 1024);
            return Err(io::Error::new(ErrorKind::StorageFull, text));
        }
        if system.files() > 0 && system.files_available() <= needs.files {
            let text = "the file system has no free inodes";
            return Err(io::Error::new(ErrorKind::StorageFull, text));
        }
        Ok(())
    };
    look().map_err(|cause| UnusableDirectory {
        directory: directory.to_owned(),
        bytes,
        cause,
    })
}

/// Returns the free space of a file system; `None` if it does not tell.
fn free_bytes(system: &Statvfs) -> Option<u64> {
    // Some blocks are kept for root.
    let blocks = if geteuid().is_root() {
        system.blocks_free()
    } else {
        system.blocks_available()
    };
    (system.blocks() > 0).then(|| blocks.saturating_mul(system.fragment_size()))
}

/// Fills a file for each stream in `directory`, as iperf3 does, and removes all of them again.
///
/// # Errors
/// Returns an error if the files cannot be created or filled.
pub fn try_filling(directory: &Path, needs: Needs) -> Result<(), UnusableDirectory> {
    let mut files = Files(Vec::new());
    // A file of zeros would take no room in some file systems.
    let block = vec![rand::random::<u8>() | 1; usize::try_from(needs.file_size).unwrap_or(0)];
    let filled = (0..needs.files).try_for_each(|_| {
        let path = directory.join(own_name());
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        files.0.push(path);
        file.write_all(&block)
    });
    filled.map_err(|cause| UnusableDirectory {
        directory: directory.to_owned(),
        bytes: needs.files * needs.file_size,
        cause,
    })
}

/// Returns a new name. The process id does not suffice: containers that share the directory may
/// have the same.
fn own_name() -> String {
    format!("{PREFIX}{:016x}", rand::random::<u64>())
}

/// Files that are removed in the end, whatever happens.
struct Files(Vec<PathBuf>);

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            // There is nobody left to tell, and the next test shows what is wrong.
            let _ = fs::remove_file(path);
        }
    }
}

/// A directory within `TMPDIR` for one iperf3, which cannot write anywhere else. It is removed with
/// all that is in it.
#[derive(Debug)]
pub(super) struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    /// Creates the directory of an iperf3 that needs `needs`.
    ///
    /// # Errors
    /// Returns an error if `TMPDIR` cannot be used, or has no room.
    pub(super) fn create(needs: Needs) -> Result<Self, UnusableDirectory> {
        let parent = std::env::temp_dir();
        room(&parent, needs)?;
        let path = parent.join(own_name());
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(cause) => Err(UnusableDirectory {
                directory: parent,
                bytes: needs.files * needs.file_size,
                cause,
            }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // If this fails, the directory is removed as a stale one later.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the empty directories that killed agents have left behind.
pub fn remove_stale() {
    let entries = fs::read_dir(std::env::temp_dir());
    for entry in entries.into_iter().flatten().flatten().take(ENTRIES_MAX) {
        let is_own = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_own && age().is_some_and(|age| age > STALE) {
            // The directory of another user, or one with files in it, stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
