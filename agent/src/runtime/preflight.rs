//! The conditions under which an agent can start: iperf3 can run the tests and can write its
//! temporary files. `agent`, `local` and `check` share these checks.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use iperf3_mesh_core::TestSpec;

use crate::iperf::Iperf;

/// Finds iperf3 and checks that it can run the tests.
///
/// # Errors
/// Returns an error if iperf3 is missing or too old, lacks a feature that a test needs, or cannot
/// write temporary files. The message says how to fix it.
pub(crate) async fn probe(program: &Path, tests: &[TestSpec]) -> anyhow::Result<Iperf> {
    let iperf = Iperf::probe(program)
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
    temporary_directory(&std::env::temp_dir())
        .map_err(|error| anyhow!("{error}. {}", error.hint()))?;
    for drawback in version.drawbacks() {
        tracing::warn!(%version, "this iperf3 is old: {drawback}");
    }
    Ok(iperf)
}

/// The directory for temporary files is not writable.
#[derive(Debug, thiserror::Error)]
#[error("{} is not writable, but iperf3 needs it: {cause}", directory.display())]
pub(crate) struct UnwritableDirectory {
    directory: PathBuf,
    cause: io::Error,
}

impl UnwritableDirectory {
    /// Returns one sentence that says how to fix the error.
    pub(crate) const fn hint(&self) -> &'static str {
        "Set TMPDIR to a writable directory, or mount an emptyDir on /tmp."
    }
}

/// Creates a file in `directory` and removes it again, as iperf3 does for each stream.
///
/// # Errors
/// Returns an error if files cannot be created in `directory`.
pub(crate) fn temporary_directory(directory: &Path) -> Result<(), UnwritableDirectory> {
    // The process id does not suffice: containers that share the directory may have the same one.
    let file = directory.join(format!("iperf3-mesh-check-{:016x}", rand::random::<u64>()));
    let made = OpenOptions::new().write(true).create_new(true).open(&file);
    made.and_then(|_| std::fs::remove_file(&file))
        .map_err(|cause| UnwritableDirectory {
            directory: directory.to_owned(),
            cause,
        })
}
