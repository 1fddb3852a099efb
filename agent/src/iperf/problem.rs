//! The reasons why a program cannot be used as iperf3, each with the step that helps.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use super::version::{LEAST, Version};
use crate::cli::option_name;

/// The reason why iperf3 cannot be used.
#[derive(Debug, Error)]
#[error("iperf3: {program:?} cannot be used: {problem}")]
pub struct ProbeError {
    /// The path of the program, or its name as the user gave it.
    pub program: PathBuf,
    /// The reason.
    pub problem: Problem,
}

impl ProbeError {
    /// Returns the fix, as one or two sentences.
    pub fn hint(&self) -> String {
        self.problem.hint(&self.program)
    }
}

/// A problem with a program that should be iperf3.
#[derive(Debug, Error)]
pub enum Problem {
    /// No directory of the `PATH` has the program.
    #[error("no directory of PATH has a program of this name (PATH={0:?})")]
    NotInPath(String),
    /// The option contains arguments for the program.
    #[error("no program has this name, which seems to contain arguments")]
    Arguments,
    /// The file does not exist.
    #[error("the file does not exist")]
    NoFile,
    /// The file is a link to a file that does not exist.
    #[error("it is a link to {0:?}, which does not exist")]
    DanglingLink(PathBuf),
    /// The file cannot be looked at.
    #[error("it cannot be looked at: {0}")]
    Inaccessible(io::Error),
    /// The file is a directory, a device or a socket.
    #[error("it is not a file")]
    NotAFile,
    /// The permissions of the file do not let this user execute it.
    #[error("its permissions, {mode:04o}, do not let user {user} execute it")]
    Permissions {
        /// The permissions of the file.
        mode: u32,
        /// The id of the user.
        user: u32,
    },
    /// The file system permits no execution.
    #[error("its file system is mounted with noexec")]
    NoExec,
    /// The operating system denies the execution, although the permissions allow it.
    #[error("the system denies its execution, although its permissions allow it: {0}")]
    Denied(io::Error),
    /// The file has no content.
    #[error("the file is empty")]
    Empty,
    /// The interpreter of a script does not exist.
    #[error("it is a script for {0:?}, which does not exist")]
    NoInterpreter(String),
    /// The first line of a script ends with a carriage return.
    #[error("the first line of this script ends with a carriage return, as in a file of Windows")]
    CarriageReturn,
    /// The dynamic loader of the program does not exist.
    #[error("its dynamic loader, {0}, does not exist")]
    NoLoader(String),
    /// The program was built for another processor.
    #[error("it was built for a processor other than {0}, the one of this machine")]
    OtherProcessor(&'static str),
    /// The operating system could not start the program for another reason.
    #[error("it could not be started: {0}")]
    Start(io::Error),
    /// The program did not end in time.
    #[error("`--version` did not end within {0:?}")]
    Hangs(std::time::Duration),
    /// A signal ended the program.
    #[error("`--version` was ended by signal {0}: {1}")]
    Signal(i32, String),
    /// The program needs a newer C library.
    #[error("it needs a newer C library than this system has: {0}")]
    OldLibc(String),
    /// A library of the program is missing or does not fit.
    #[error("a library that it needs is missing or has another version: {0}")]
    Library(String),
    /// The program is iperf 2.
    #[error("it is iperf 2, another program: {0:?}")]
    Iperf2(String),
    /// The program did not print a version of iperf3.
    #[error("`--version` printed {answer:?} and ended with {status}; expected \"iperf 3.x\"")]
    NoVersion {
        /// The beginning and the end of the output.
        answer: String,
        /// The exit status.
        status: String,
    },
    /// The program is older than the oldest supported version.
    #[error("it is version {0}; expected {LEAST} or later")]
    TooOld(Version),
}

impl Problem {
    fn hint(&self, program: &Path) -> String {
        let file = program.display();
        let option = option_name("iperf3");
        match self {
            Self::NotInPath(_) => format!(
                "Install iperf3 {LEAST} or later (its package is called iperf3), or set {option} \
                 to its path."
            ),
            Self::Arguments => format!(
                "Write a script with the line `exec {file} \"$@\"`, and set {option} to the script."
            ),
            Self::NoFile | Self::DanglingLink(_) => format!(
                "Set {option} to the path of iperf3, or leave it out for the iperf3 in PATH."
            ),
            Self::Inaccessible(_) => format!(
                "Let this user search the directories on the way to it, or set {option} to another \
                 path."
            ),
            Self::NotAFile => format!("Set {option} to the program, not to its directory."),
            Self::Permissions { .. } => format!("Run `chmod a+rx {file}`."),
            Self::NoExec => format!(
                "Copy it to another file system and set {option} to the copy, or remount that file \
                 system with exec."
            ),
            Self::Denied(_) => "A security policy (SELinux, AppArmor, seccomp) or the permissions \
                 of its interpreter deny it: look into the kernel's audit log (`dmesg`, \
                 `ausearch -m avc`)."
                .to_owned(),
            Self::Empty => "Install it again: a copy or download was interrupted.".to_owned(),
            Self::NoInterpreter(_) => {
                "Install that interpreter, or correct the first line of the script.".to_owned()
            }
            Self::CarriageReturn => format!("Run `sed -i 's/\\r$//' {file}`."),
            Self::NoLoader(_) => "It was built for another distribution or another C library \
                 (glibc, musl): install the iperf3 of this distribution."
                .to_owned(),
            Self::OtherProcessor(machine) => format!("Install an iperf3 for {machine}."),
            Self::Start(error) => start_hint(error, program),
            Self::Hangs(_) => by_hand(
                program,
                "It answers within milliseconds unless the machine is overloaded or its file \
                 system does not respond.",
            ),
            Self::Signal(signal, _) => signal_hint(*signal, program),
            Self::OldLibc(_) => "It was built on a newer system: install the iperf3 of this \
                 distribution, or build it here."
                .to_owned(),
            Self::Library(_) => "Install the library, or set LD_LIBRARY_PATH to its directory \
                 where the agent is started (unit file, pod), since the setting of another shell \
                 does not reach it. For a program with capabilities of its own, list the directory \
                 in /etc/ld.so.conf.d and run `ldconfig`, since the loader ignores the variable."
                .to_owned(),
            Self::Iperf2(_) => format!(
                "Install iperf3 (its package is called iperf3, not iperf), or set {option} to it."
            ),
            Self::NoVersion { .. } => by_hand(
                program,
                "A line of its output must begin with \"iperf 3.\".",
            ),
            Self::TooOld(_) => format!(
                "Install iperf3 {LEAST} or later and set {option} to it. If this distribution has \
                 none, take it from its backports or build it (https://github.com/esnet/iperf)."
            ),
        }
    }
}

fn by_hand(program: &Path, expectation: &str) -> String {
    let file = program.display();
    format!("Run `{file} --version` as the user of the agent. {expectation}")
}

pub(super) fn start_hint(error: &io::Error, program: &Path) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        // The input of iperf3 is /dev/null.
        Some(Errno::ENOENT) if !Path::new("/dev/null").exists() => {
            "Mount /dev: this system has no /dev/null.".to_owned()
        }
        Some(Errno::EAGAIN) => "Raise the limit on processes (`ulimit -u`, TasksMax, pids.max), \
             which is used up."
            .to_owned(),
        Some(Errno::ENOMEM) => {
            "Free memory, or raise the memory limit of the container.".to_owned()
        }
        Some(Errno::EMFILE | Errno::ENFILE) => {
            "Raise the limit on open files (`ulimit -n`, LimitNOFILE, fs.file-max).".to_owned()
        }
        Some(Errno::ETXTBSY) => "Try again: another process is still writing the file.".to_owned(),
        _ => by_hand(program, "It must run there, too."),
    }
}

fn signal_hint(signal: i32, program: &Path) -> String {
    match signal {
        libc::SIGILL => "It was built for a newer processor: install the iperf3 of this \
             distribution, or build it here."
            .to_owned(),
        libc::SIGSYS => "A seccomp profile ended it: allow its system calls.".to_owned(),
        libc::SIGKILL => {
            "The kernel ended it, probably for lack of memory: see `dmesg`, and raise \
             the memory limit of the container."
                .to_owned()
        }
        _ => by_hand(program, "If it crashes there, too, install it again."),
    }
}
