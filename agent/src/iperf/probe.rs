//! Finds iperf3 and reads its version, once, before anything is measured.
//!
//! This module does not test whether iperf3 can connect anywhere.

use std::env;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::Needs;
use super::fence::{Fence, Landlock, Permit, Ports};
use super::limits::Limits;
use super::problem::{ProbeError, Problem};
use super::process::{Cause, Ending, Process, Stdout};
use super::program;
use super::temporary::PrivateDirectory;
use super::version::{LEAST, Version};
use crate::clock::boot_now;
use crate::text::excerpt;

/// How long to wait for `iperf3 --version`, which takes about 2 ms on an idle machine.
const ANSWER: Duration = Duration::from_secs(5);

/// The maximum length of an excerpt from unexpected output. The messages of a loader contain the
/// paths of the program and of a library.
const QUOTE_MAX: usize = 300;

/// The messages of dynamic loaders (glibc and musl) about a missing or unfit library.
const LOADER_MESSAGES: [&str; 4] = [
    "error while loading shared libraries",
    "symbol lookup error",
    "Error loading shared library",
    "Error relocating",
];

/// An iperf3 that runs.
pub(super) struct Found {
    pub(super) program: PathBuf,
    pub(super) version: Version,
    pub(super) landlock: Landlock,
}

/// Finds iperf3, and reads its version.
pub(super) async fn probe(program: &Path) -> Result<Found, ProbeError> {
    let program = find(program)?;
    match version(&program).await {
        Ok((version, landlock)) => Ok(Found {
            program,
            version,
            landlock,
        }),
        Err(problem) => Err(ProbeError { program, problem }),
    }
}

/// Looks up a bare name on the `PATH`. A file that is not executable does not hide a program in a
/// later directory of the `PATH`.
fn find(program: &Path) -> Result<PathBuf, ProbeError> {
    which::which(program).map_err(|_| {
        if has_arguments(program) {
            return ProbeError {
                program: program.to_owned(),
                problem: Problem::Arguments,
            };
        }
        let is_path = program.components().count() > 1;
        if is_path || program.is_absolute() {
            return ProbeError {
                program: program.to_owned(),
                problem: unfitness(program).unwrap_or(Problem::NoFile),
            };
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let unfit = env::split_paths(&path)
            .map(|directory| directory.join(program))
            .filter(|file| file.is_file())
            .find_map(|file| unfitness(&file).map(|problem| (file, problem)));
        let (program, problem) = unfit.unwrap_or_else(|| {
            let path = path.to_string_lossy().into_owned();
            (program.to_owned(), Problem::NotInPath(path))
        });
        ProbeError { program, problem }
    })
}

/// Returns why an existing file cannot be executed.
fn unfitness(file: &Path) -> Option<Problem> {
    let denied = || Problem::Denied(io::ErrorKind::PermissionDenied.into());
    program::flaw(file).or_else(|| file.exists().then(denied))
}

/// Returns whether the first word of `program` is a program itself.
fn has_arguments(program: &Path) -> bool {
    let text = program.to_string_lossy();
    let first = text.split_once(' ').map(|(first, _)| which::which(first));
    matches!(first, Some(Ok(_)))
}

/// Returns the version of a program. One that runs outside of Landlock only, such as a wrapper with
/// files of its own, runs without it.
async fn version(program: &Path) -> Result<(Version, Landlock), Problem> {
    if let Some(problem) = program::foreign(program) {
        return Err(problem);
    }
    let landlock = Landlock::of_kernel();
    match version_within(program, &landlock).await {
        Ok(version) => Ok((version, landlock)),
        // Landlock has nothing to do with these.
        Err(
            problem @ (Problem::Start(_)
            | Problem::Hangs(_)
            | Problem::TooOld(_)
            | Problem::Iperf2(_)),
        ) => Err(problem),
        Err(problem) => {
            let landlock = Landlock::Unfit(problem.to_string());
            let version = version_within(program, &landlock).await?;
            Ok((version, landlock))
        }
    }
}

async fn version_within(program: &Path, landlock: &Landlock) -> Result<Version, Problem> {
    let deadline = boot_now() + ANSWER;
    let limits = Limits {
        start_by: deadline,
        deadline,
    };
    // `--version` needs no directory, so that an unusable one is reported as such later.
    let directory = PrivateDirectory::create(Needs::default()).ok();
    let permit = Permit {
        ports: Ports::None,
        streams: 1,
    };
    let args = ["--version".to_owned()];
    let spawned = Fence::new(landlock, program, directory, permit).and_then(|fence| {
        Process::spawn(
            program.as_os_str(),
            &args,
            limits,
            fence,
            None,
            Stdout::Keep,
        )
    });
    let mut process = spawned.map_err(|error| not_started(program, error))?;
    let Ending {
        cause,
        stdout,
        stderr,
    } = process.wait().await;
    // A failure to start, for instance one of the dynamic linker, is reported on standard error.
    let text = if stdout.is_empty() { stderr } else { stdout };
    let text = String::from_utf8_lossy(text);
    match (Version::parse(&text), cause) {
        (Some(found), _) if found < LEAST => Err(Problem::TooOld(found)),
        (Some(found), _) => Ok(found),
        (None, Cause::Exited(status)) => Err(match no_version(&text, *status) {
            // The C library runs a file that the kernel does not recognise as a shell script.
            problem @ Problem::NoVersion { .. } => program::flaw(program).unwrap_or(problem),
            problem => problem,
        }),
        (None, Cause::Deadline | Cause::Killed) => Err(Problem::Hangs(ANSWER)),
    }
}

fn not_started(program: &Path, error: io::Error) -> Problem {
    program::flaw(program).unwrap_or_else(|| match error.kind() {
        io::ErrorKind::PermissionDenied => Problem::Denied(error),
        _ => Problem::Start(error),
    })
}

/// Returns the reason why the output of a program is not the version of an iperf3.
fn no_version(text: &str, status: ExitStatus) -> Problem {
    let answer = excerpt(text, QUOTE_MAX);
    if let Some(signal) = status.signal() {
        Problem::Signal(signal, answer)
    } else if text.contains("version `GLIBC_") {
        Problem::OldLibc(answer)
    } else if LOADER_MESSAGES.iter().any(|part| text.contains(part)) {
        Problem::Library(answer)
    } else if text.trim_start().starts_with("iperf version 2") {
        Problem::Iperf2(answer)
    } else {
        Problem::NoVersion {
            answer,
            status: status.to_string(),
        }
    }
}
