//! Finds iperf3 and asks for its version, once, before anything is measured.
//!
//! It does not test whether iperf3 can connect anywhere.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::limits::Limits;
use super::process::{Cause, Process, Stdout};
use super::version::{LEAST, Version};
use crate::clock::boot_now;

/// For `iperf3 --version`, which takes some 2 ms on an idle machine.
const ANSWER: Duration = Duration::from_secs(5);

/// Characters of a strange answer that are quoted.
const QUOTE_MAX: usize = 80;

/// Why iperf3 cannot be used.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// There is no such program.
    #[error(
        "iperf3: no program {program:?} was found; expected a path or a name in PATH \
         (install it: apt-get install iperf3)"
    )]
    NotFound {
        /// What was looked for.
        program: PathBuf,
    },
    /// It is there but is not a program that this user may run.
    #[error(
        "iperf3: {program:?} cannot be executed; expected a program that this user may run \
         (chmod +x, or install another: apt-get install iperf3)"
    )]
    NotExecutable {
        /// What was run.
        program: PathBuf,
    },
    /// It answered with something else than a version of iperf3, or not at all.
    #[error(
        "iperf3: {program:?} --version answered {answer:?} within {ANSWER:?}; expected \"iperf 3.x\" \
         (install it: apt-get install iperf3)"
    )]
    NotIperf {
        /// What was run.
        program: PathBuf,
        /// The beginning of its answer.
        answer: String,
    },
    /// It is older than the oldest that is supported.
    #[error(
        "iperf3: {program:?} is version {found}; expected {LEAST} or later \
         (install a newer one: apt-get install iperf3)"
    )]
    TooOld {
        /// What was run.
        program: PathBuf,
        /// Its version.
        found: Version,
    },
    /// The system refused to start it.
    #[error("iperf3: {program:?} could not be started: {source}")]
    Spawn {
        /// What was to be run.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The path of iperf3 and its version.
pub(super) async fn probe(program: &Path) -> Result<(PathBuf, Version), ProbeError> {
    let program = find(program)?;
    let answer = ask(&program).await?;
    let Some(found) = Version::parse(&answer) else {
        return Err(ProbeError::NotIperf {
            program,
            answer: answer.chars().take(QUOTE_MAX).collect(),
        });
    };
    if found < LEAST {
        return Err(ProbeError::TooOld { program, found });
    }
    Ok((program, found))
}

/// A bare name is looked up once, here: iperf3 itself is run without the agent's environment, PATH
/// included.
fn find(program: &Path) -> Result<PathBuf, ProbeError> {
    let found = if program.components().count() > 1 {
        Some(program.to_owned()).filter(|path| path.exists())
    } else {
        let dirs = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&dirs)
            .map(|dir| dir.join(program))
            .find(|path| path.is_file())
    };
    found.ok_or_else(|| ProbeError::NotFound {
        program: program.to_owned(),
    })
}

async fn ask(program: &Path) -> Result<String, ProbeError> {
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
    // What fails to start says so on standard error, for instance the dynamic linker.
    let text = match ending.cause {
        Cause::Exited(_) if ending.stdout.is_empty() => &ending.stderr,
        _ => &ending.stdout,
    };
    Ok(String::from_utf8_lossy(text).into_owned())
}
