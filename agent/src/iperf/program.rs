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

/// The directory with the kernel's handlers for other formats, and the place of the architecture in
/// the hexadecimal line of a handler.
const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";
const HEX_MACHINE: Range<usize> = 36..40;

/// Returns the flaw of a `program` that did not run, if its file shows one.
pub(super) fn flaw(program: &Path) -> Option<Problem> {
    match fs::metadata(program) {
        Ok(metadata) if !metadata.is_file() => Some(Problem::NotAFile),
        Ok(metadata) => permissions(program, &metadata).or_else(|| content(program)),
        Err(error) => Some(missing(program, error)),
    }
}

/// Returns the flaw of a program that must not even be tried: one for another processor, which this
/// machine does not emulate. The C library would run it as a shell script, with any effect.
pub(super) fn foreign(program: &Path) -> Option<Problem> {
    let header = head(program).filter(|head| head.starts_with(ELF))?;
    let own = own_header()?;
    // A processor with 64 bits often runs programs with 32 bits as well.
    let is_same_size = header.get(ELF_CLASS) == own.get(ELF_CLASS);
    (is_same_size && is_of_other_processor(&header, &own) && !is_emulated(&header))
        .then_some(Problem::OtherProcessor(std::env::consts::ARCH))
}

/// Returns whether the kernel has a handler, such as QEMU, for programs with this `header`.
fn is_emulated(header: &[u8]) -> bool {
    let Some(&[low, high]) = header.get(ELF_MACHINE) else {
        return false;
    };
    let machine = format!("{low:02x}{high:02x}");
    let handlers = fs::read_dir(BINFMT_MISC).into_iter().flatten().flatten();
    handlers
        .filter_map(|handler| fs::read_to_string(handler.path()).ok())
        .any(|handler| {
            let mut magics = handler
                .lines()
                .filter_map(|line| line.strip_prefix("magic "));
            magics.any(|magic| magic.get(HEX_MACHINE) == Some(&machine))
        })
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

/// Returns the beginning of this agent's own file. The agent runs, so this machine executes files
/// of that format.
fn own_header() -> Option<Vec<u8>> {
    head(Path::new("/proc/self/exe"))
}

fn is_of_other_processor(header: &[u8], own: &[u8]) -> bool {
    let differs = |part: Range<usize>| header.get(part.clone()) != own.get(part);
    differs(ELF_CLASS) || differs(ELF_MACHINE)
}

fn elf(header: &[u8]) -> Option<Problem> {
    let own = own_header()?;
    // A processor with 64 bits often runs programs with 32 bits as well.
    let is_same_size = header.get(ELF_CLASS) == own.get(ELF_CLASS);
    if is_same_size && is_of_other_processor(header, &own) {
        return Some(Problem::OtherProcessor(std::env::consts::ARCH));
    }
    let loader = header
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .find(|text| text.starts_with('/') && text.contains("/ld"))?;
    (!Path::new(loader).exists()).then(|| Problem::NoLoader(loader.to_owned()))
}
