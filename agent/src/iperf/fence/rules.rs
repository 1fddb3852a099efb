//! The rules of Landlock for an iperf3 process.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope, make_bitflags, path_beneath_rules,
};

use super::Ports;

/// The newest version of Landlock that these rules are made for. On an older kernel, the crate
/// leaves out the rest.
const ABI: ABI = ABI::V6;

/// The directories of libraries and of the dynamic loader.
const LIBRARIES: &[&str] = &[
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
];

/// The directories of the programs that a wrapper script may run.
const PROGRAMS: &[&str] = &[
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
];

/// The other files that the loader, the C library and iperf3 read. `numactl` in a wrapper script
/// looks at the processors.
const READ: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/localtime",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
    "/sys/devices/system",
];

/// The variables that name libraries, or directories of libraries.
const LIBRARY_VARIABLES: [&str; 2] = ["LD_LIBRARY_PATH", "LD_PRELOAD"];

/// Builds the rules of a `program` that writes in `directory` only.
///
/// # Errors
/// Returns an error if the kernel does not take the rules.
pub(super) fn build(
    program: &Path,
    directory: Option<&Path>,
    ports: Ports,
) -> io::Result<Option<OwnedFd>> {
    let rules = rules(program, directory, ports);
    rules
        .map(Into::into)
        .map_err(|error: RulesetError| io::Error::from_raw_os_error(*landlock::Errno::from(error)))
}

fn rules(
    program: &Path,
    directory: Option<&Path>,
    ports: Ports,
) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = read | AccessFs::Execute;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI))?
        .handle_access(AccessNet::from_all(ABI))?
        .scope(Scope::from_all(ABI))?
        .create()?
        .add_rules(path_beneath_rules([program], run))?
        .add_rules(path_beneath_rules(LIBRARIES, run))?
        .add_rules(path_beneath_rules(named_libraries(), run))?
        .add_rules(path_beneath_rules(READ, read))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(directory, temporary_files()))?;
    let rules = if is_script(program) {
        rules.add_rules(path_beneath_rules(PROGRAMS, run))?
    } else {
        rules
    };
    match ports {
        Ports::None => Ok(rules),
        Ports::Listen(port) => rules.add_rule(NetPort::new(port, AccessNet::BindTcp)),
        Ports::Connect(port) => rules
            // Port 0 stands for any free port.
            .add_rule(NetPort::new(0, AccessNet::BindTcp))?
            .add_rule(NetPort::new(port, AccessNet::ConnectTcp)),
    }
}

/// Returns what iperf3 does with its temporary files: it creates and fills them, and reads them as
/// memory.
fn temporary_files() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        ReadFile | WriteFile | Truncate | MakeReg | RemoveFile | ReadDir
    })
}

/// Returns the libraries, and directories of libraries, that the environment names.
fn named_libraries() -> impl Iterator<Item = PathBuf> {
    let values = LIBRARY_VARIABLES.into_iter().filter_map(env::var_os);
    let paths = values.flat_map(|value| {
        let parts = value.as_bytes().split(|byte| b":; ".contains(byte));
        let paths = parts.map(|part| PathBuf::from(OsStr::from_bytes(part)));
        paths.collect::<Vec<_>>()
    });
    paths.filter(|path| path.is_absolute())
}

/// Returns whether an interpreter runs the program.
fn is_script(program: &Path) -> bool {
    let mut start = [0; 2];
    let read = File::open(program).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *b"#!"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_file_of_the_manifests_is_out_of_reach() {
        const KEYS: &str = "/etc/iperf3-mesh/keys";
        let manifest = include_str!("../../../../manifests/daemonset.yaml");
        assert!(manifest.contains(&format!("value: {KEYS}\n")));
        for allowed in LIBRARIES.iter().chain(PROGRAMS).chain(READ) {
            assert!(!Path::new(KEYS).starts_with(allowed), "{allowed}");
        }
    }
}
