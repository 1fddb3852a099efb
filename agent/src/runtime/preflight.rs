//! The conditions under which an agent can start: iperf3 can run the tests, and gets what it needs
//! for them. `agent`, `local` and `check` share these checks.

use std::path::Path;

use anyhow::{anyhow, bail};
use iperf3_mesh_core::{Protocol, TestSpec};
use nix::sys::resource::{Resource, getrlimit};

use crate::iperf::{self, DEFAULT_BUFFER_LIMIT, Iperf, Landlock, Needs};

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
    let landlock = iperf.landlock();
    if !matches!(landlock, Landlock::Version(_)) {
        let hint = landlock.hint().unwrap_or_default();
        tracing::warn!("a hole in iperf3 would open the agent's files, since {landlock}. {hint}");
    }
    let needs = iperf::needs(tests);
    iperf::remove_stale();
    iperf::try_filling(&std::env::temp_dir(), needs)
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
