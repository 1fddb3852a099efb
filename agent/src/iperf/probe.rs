//! Finds iperf3 and reads its version, once, before anything is measured.
//!
//! This module does not test whether iperf3 can connect anywhere.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::limits::Limits;
use super::process::{Cause, Process, Stdout};
use super::version::{LEAST, Version};
use crate::clock::boot_now;
use crate::text::excerpt;

/// How long to wait for `iperf3 --version`, which takes about 2 ms on an idle machine.
const ANSWER: Duration = Duration::from_secs(5);

/// The maximum length of an excerpt from unexpected output.
const QUOTE_MAX: usize = 80;

/// The reason why iperf3 cannot be used.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The program does not exist.
    #[error(
        "iperf3: program {program:?} not found; expected a path, or a name in PATH \
         (install it: apt-get install iperf3)"
    )]
    NotFound {
        /// The program as the user gave it.
        program: PathBuf,
    },
    /// The file exists, but this user may not execute it.
    #[error(
        "iperf3: {program:?} cannot be executed; expected a program that this user may execute \
         (chmod +x, or install another: apt-get install iperf3)"
    )]
    NotExecutable {
        /// The path of the program.
        program: PathBuf,
    },
    /// The program did not print a version of iperf3, or did not end in time.
    #[error(
        "iperf3: {program:?} --version printed {answer:?} within {ANSWER:?}; expected \"iperf 3.x\" \
         (install it: apt-get install iperf3)"
    )]
    NotIperf {
        /// The path of the program.
        program: PathBuf,
        /// The beginning of the program's output.
        answer: String,
    },
    /// The program is older than the oldest supported version.
    #[error(
        "iperf3: {program:?} is version {found}; expected {LEAST} or later \
         (install a newer one: apt-get install iperf3)"
    )]
    TooOld {
        /// The path of the program.
        program: PathBuf,
        /// The version of the program.
        found: Version,
    },
    /// The operating system refused to start the program.
    #[error("iperf3: {program:?} could not be started: {source}")]
    Spawn {
        /// The path of the program.
        program: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Returns the path and the version of iperf3.
pub(super) async fn probe(program: &Path) -> Result<(PathBuf, Version), ProbeError> {
    let program = find(program)?;
    let answer = version_text(&program).await?;
    let Some(found) = Version::parse(&answer) else {
        return Err(ProbeError::NotIperf {
            program,
            answer: excerpt(&answer, QUOTE_MAX),
        });
    };
    if found < LEAST {
        return Err(ProbeError::TooOld { program, found });
    }
    Ok((program, found))
}

/// Looks up a bare name on the `PATH`. This happens only once, because iperf3 itself runs without
/// the agent's environment, and therefore without a `PATH`. A file that is not executable does not
/// hide a program in a later directory of the `PATH`.
fn find(program: &Path) -> Result<PathBuf, ProbeError> {
    let is_path = program.components().count() > 1;
    which::which(program).map_err(|_| {
        let program = program.to_owned();
        if is_path && program.exists() {
            ProbeError::NotExecutable { program }
        } else {
            ProbeError::NotFound { program }
        }
    })
}

async fn version_text(program: &Path) -> Result<String, ProbeError> {
    let deadline = boot_now() + ANSWER;
    let limits = Limits {
        start_by: deadline,
        deadline,
    };
    let spawned = Process::spawn(
        OsStr::new(program),
        &["--version".to_owned()],
        limits,
        Stdout::Keep,
    );
    let mut process = spawned.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ProbeError::NotExecutable {
            program: program.to_owned(),
        },
        _ => ProbeError::Spawn {
            program: program.to_owned(),
            source,
        },
    })?;
    let ending = process.wait().await;
    // A failure to start, for instance one of the dynamic linker, is reported on standard error.
    let text = match ending.cause {
        Cause::Exited(_) if ending.stdout.is_empty() => &ending.stderr,
        _ => &ending.stdout,
    };
    Ok(String::from_utf8_lossy(text).into_owned())
}
