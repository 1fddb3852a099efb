//! The conditions under which an agent can start: iperf3 can run the tests, and gets what it needs
//! for them. `agent`, `local` and `check` share these checks.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use iperf3_mesh_core::{Protocol, TestSpec};
use nix::sys::resource::{Resource, getrlimit};

use crate::iperf::{self, DEFAULT_BUFFER_LIMIT, Iperf, Needs};

/// Finds iperf3 and checks that it can run the tests.
///
/// # Errors
/// Returns an error if iperf3 is missing or too old, lacks a feature that a test needs, cannot fill
/// its temporary files, or may not open enough files. The message says how to fix it.
pub(crate) async fn probe(program: &Path, tests: &[TestSpec]) -> anyhow::Result<Iperf> {
    let mut iperf = Iperf::probe(program)
        .await
        .map_err(|error| anyhow!("{error}. {}", error.hint()))?;
    let version = iperf.version();
    if tests.iter().any(|test| test.bidir) && !version.names_bidir() {
        bail!(
            "--bidir (IPERF_BIDIR) needs iperf3 3.11 or newer, but {} is {version}: \
             install a newer one, or leave the option out",
            iperf.program().display()
        );
    }
    let needs = iperf::needs(tests);
    temporary_directory(&std::env::temp_dir(), needs)
        .map_err(|error| anyhow!("{error}. {}", error.hint()))?;
    open_files(needs).map_err(|error| anyhow!("{error}. {}", error.hint()))?;
    if tests.iter().any(|test| test.protocol == Protocol::Udp) {
        warn_of_small_buffers();
    }
    for drawback in version.drawbacks() {
        tracing::warn!(%version, "this iperf3 is old: {drawback}");
    }
    if let Err(error) = iperf.try_filter().await {
        tracing::warn!(
            %error,
            "the filter of the iperf3 servers does not work, so that a stranger can take the place \
             of the peer until it is noticed. {}",
            error.hint()
        );
    }
    Ok(iperf)
}

fn warn_of_small_buffers() {
    for limit in iperf::buffer_limits() {
        if let Some(bytes) = limit.bytes.filter(|bytes| *bytes < DEFAULT_BUFFER_LIMIT) {
            let setting = limit.name;
            tracing::warn!(
                bytes,
                "net.core.{setting} is below {DEFAULT_BUFFER_LIMIT}: UDP tests of this node may \
                 lose datagrams in a node instead of the network"
            );
        }
    }
}

/// The directory for temporary files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {}: {cause}", directory.display(), self.trouble())]
pub(crate) struct UnusableDirectory {
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

    /// Returns one sentence that says how to fix the error.
    pub(crate) fn hint(&self) -> &'static str {
        if self.is_full() {
            "Free space or raise the quota there, or set TMPDIR to a directory with more room."
        } else {
            "Set TMPDIR to a writable directory, or mount an emptyDir on /tmp."
        }
    }
}

/// Fills a file for each stream in `directory`, as iperf3 does, and removes all of them again.
///
/// # Errors
/// Returns an error if the files cannot be created or filled.
pub(crate) fn temporary_directory(directory: &Path, needs: Needs) -> Result<(), UnusableDirectory> {
    let mut files = Files(Vec::new());
    // A file of zeros would take no room in some file systems.
    let block = vec![rand::random::<u8>() | 1; usize::try_from(needs.file_size).unwrap_or(0)];
    let filled = (0..needs.files).try_for_each(|_| {
        // The process id does not suffice: containers that share the directory may have the same.
        let path = directory.join(format!("iperf3-mesh-check-{:016x}", rand::random::<u64>()));
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

/// Files that are removed in the end, whatever happens.
struct Files(Vec<PathBuf>);

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            // There is nobody left to tell, and the next test shows what is wrong.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The limit on open files is too low for the tests.
#[derive(Debug, thiserror::Error)]
#[error("at most {limit} open files are allowed, but iperf3 needs {needed} for its streams")]
pub(crate) struct TooFewFiles {
    limit: u64,
    needed: u64,
}

impl TooFewFiles {
    /// Returns one sentence that says how to fix the error.
    pub(crate) fn hint(&self) -> String {
        let Self { needed, .. } = self;
        format!("Raise the limit to {needed} (`ulimit -n`, LimitNOFILE), or use fewer --streams.")
    }
}

/// Checks the limit on open files, which iperf3 inherits, and returns it; `None` if it cannot be
/// read.
///
/// # Errors
/// Returns an error if iperf3 needs more.
pub(crate) fn open_files(needs: Needs) -> Result<Option<u64>, TooFewFiles> {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((limit, _)) if limit < needs.open_files => Err(TooFewFiles {
            limit,
            needed: needs.open_files,
        }),
        Ok((limit, _)) => Ok(Some(limit)),
        Err(_) => Ok(None),
    }
}
