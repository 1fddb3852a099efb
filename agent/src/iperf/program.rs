//! Looks at the file of a program that did not run, and finds out why.
//!
//! The operating system reports several problems by one error: "no such file" also means that the
//! interpreter of a script or the loader of a program is missing.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use super::problem::Problem;

/// The number of bytes at the beginning of a program that are read. The path of the loader is
/// among them, except after a tool has moved it.
const HEAD: u64 = 4096;

/// The beginning of a program in ELF, the format of Linux.
const ELF: &[u8] = b"\x7fELF";

/// The bytes of an ELF header that depend on the processor: word size and byte order, and the
/// number of the architecture.
const ELF_CLASS: Range<usize> = 4..6;
const ELF_MACHINE: Range<usize> = 18..20;

/// Returns the flaw of a `program` that did not run, if its file shows one.
pub(super) fn flaw(program: &Path) -> Option<Problem> {
    match fs::metadata(program) {
        Ok(metadata) if !metadata.is_file() => Some(Problem::NotAFile),
        Ok(metadata) => permissions(program, &metadata).or_else(|| content(program)),
        Err(error) => Some(missing(program, error)),
    }
}

fn missing(program: &Path, error: io::Error) -> Problem {
    if error.kind() != io::ErrorKind::NotFound {
        return Problem::Inaccessible(error);
    }
    match fs::read_link(program) {
        Ok(target) => Problem::DanglingLink(target),
        Err(_) => Problem::NoFile,
    }
}

fn permissions(program: &Path, metadata: &Metadata) -> Option<Problem> {
    // The owner of this directory is the user as whom this process runs.
    let user = fs::metadata("/proc/self").map_or(0, |own| own.uid());
    let mode = metadata.permissions().mode() & 0o7777;
    let bits = match user {
        0 => 0o111,
        user if user == metadata.uid() => 0o100,
        _ if is_own_group(metadata.gid()) => 0o010,
        _ => 0o001,
    };
    if mode & bits == 0 {
        return Some(Problem::Permissions { mode, user });
    }
    let flags = statvfs(program).ok()?.flags();
    flags
        .contains(FsFlags::ST_NOEXEC)
        .then_some(Problem::NoExec)
}

fn is_own_group(group: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .filter_map(|line| line.strip_prefix("Gid:").or(line.strip_prefix("Groups:")))
        .flat_map(str::split_whitespace)
        .any(|own| own.parse() == Ok(group))
}

fn content(program: &Path) -> Option<Problem> {
    let head = head(program)?;
    if head.is_empty() {
        Some(Problem::Empty)
    } else if let Some(rest) = head.strip_prefix(b"#!") {
        script(rest)
    } else if head.starts_with(ELF) {
        elf(&head)
    } else {
        None
    }
}

/// Returns the first bytes of a file. A program may be executable without being readable.
fn head(program: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(program).ok()?;
    file.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

fn script(rest: &[u8]) -> Option<Problem> {
    let line = rest.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split([' ', '\t']).find(|word| !word.is_empty())?;
    if Path::new(interpreter).exists() {
        return None;
    }
    Some(if interpreter.ends_with('\r') {
        Problem::CarriageReturn
    } else {
        Problem::NoInterpreter(interpreter.to_owned())
    })
}

fn elf(header: &[u8]) -> Option<Problem> {
    // This agent runs, so its own file has the format that this machine executes.
    let own = head(Path::new("/proc/self/exe"))?;
    let differs = |part: Range<usize>| header.get(part.clone()) != own.get(part);
    if differs(ELF_CLASS) || differs(ELF_MACHINE) {
        return Some(Problem::OtherProcessor(std::env::consts::ARCH));
    }
    let loader = header
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .find(|text| text.starts_with('/') && text.contains("/ld"))?;
    (!Path::new(loader).exists()).then(|| Problem::NoLoader(loader.to_owned()))
}
