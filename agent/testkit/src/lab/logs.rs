//! The directory of the agents' logs.

use std::path::Path;

use tempfile::TempDir;

use crate::program::scratch;

/// The logs of one laboratory. They are kept after a failure, and removed otherwise.
#[derive(Debug)]
pub struct Logs(TempDir);

impl Logs {
    /// Creates an empty directory.
    pub(crate) fn create() -> Self {
        let mut builder = tempfile::Builder::new();
        Self(builder.prefix("lab-").tempdir_in(scratch()).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Keeps the logs, and prints where they are.
    pub fn keep(&mut self) {
        self.0.disable_cleanup(true);
        eprintln!("logs: {}", self.path().display());
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}
