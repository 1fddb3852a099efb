//! The filter of an iperf3 server, loaded into it by `LD_PRELOAD`: iperf3 sees connections and
//! datagrams of the guest, the one node that it serves, and of nobody else.
//!
//! `preload` has the code that runs in iperf3, and `build.rs` compiles it. It is loaded from a
//! file in memory, so that no directory is needed. A program that is linked statically, or that has
//! capabilities or another user id of its own, does not load it; the file that the filter shares
//! with the agent shows that.

#![expect(
    unsafe_code,
    reason = "the filter's files stay open between fork and exec"
)]

mod record;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use record::{ARMED, BREACH, CONNECTIONS, DATAGRAMS, GUEST, MAY_SEND, STRANGER, WORDS};

/// The shared object; empty if this agent was built for a processor that it does not support.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/filter.so"));

/// The size of a shared word, in bytes.
const WORD: usize = size_of::<u64>();

/// `MFD_NOEXEC_SEAL` (Linux 6.3). A loader needs no right to execute, and the setting
/// `vm.memfd_noexec=2` demands this flag.
const NO_EXEC: MFdFlags = MFdFlags::from_bits_retain(0x8);

/// The shared object in memory, for all servers of this agent.
#[derive(Clone, Debug)]
pub(super) struct Filter(Arc<File>);

impl Filter {
    /// Writes the shared object to memory.
    pub(super) fn new() -> io::Result<Self> {
        if OBJECT.is_empty() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut file = memory("iperf3-mesh filter")?;
        file.write_all(OBJECT)?;
        let sealed = SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_WRITE
            | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(sealed))?;
        Ok(Self(Arc::new(file)))
    }

    /// Prepares the filter of one server, for the only guest that it serves. `may_send` says
    /// whether the server sends data in this test.
    pub(super) fn for_guest(&self, guest: IpAddr, may_send: bool) -> io::Result<Gate> {
        let file = memory("iperf3-mesh guest")?;
        let mut bytes = [0; WORDS * WORD];
        let address = match guest {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        bytes[GUEST * WORD..][..2 * WORD].copy_from_slice(&address.octets());
        bytes[MAY_SEND * WORD..][..WORD].copy_from_slice(&u64::from(may_send).to_ne_bytes());
        file.write_all_at(&bytes, 0)?;
        let sealed = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(sealed))?;
        Ok(Gate {
            object: self.0.clone(),
            file,
        })
    }
}

/// The filter of one server.
#[derive(Debug)]
pub(super) struct Gate {
    object: Arc<File>,
    file: File,
}

/// The counts of a filter. A server that an attacker has taken over can forge them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Whether the filter works in the server. Otherwise, it was not loaded, or iperf3 has not
    /// bound its port yet.
    pub(super) armed: bool,
    /// The number of connections and datagrams from strangers.
    pub(super) strangers: u64,
    /// The address of the last stranger.
    pub(super) last: Option<IpAddr>,
    /// Whether the filter has ended the server because it was about to send data.
    pub(super) breach: bool,
}

impl Gate {
    /// Lets `command` load the filter. The two files are open in its process only: every other
    /// child of this agent closes them on exec.
    pub(super) fn apply(&self, command: &mut Command) {
        let (object, file) = (self.object.as_raw_fd(), self.file.as_raw_fd());
        let mut preload = OsString::from(format!("/proc/self/fd/{object}"));
        if let Some(others) = std::env::var_os("LD_PRELOAD") {
            preload.push(":");
            preload.push(others);
        }
        command.env("LD_PRELOAD", preload);
        command.env("IPERF3_MESH_FILTER", file.to_string());
        // SAFETY: the closure runs in the forked child before exec. It makes two system calls with
        // plain numbers.
        unsafe {
            command.pre_exec(move || {
                keep_open(object)?;
                keep_open(file)
            });
        }
    }

    /// Reads the counts.
    pub(super) fn tally(&self) -> Tally {
        let mut bytes = [0; WORDS * WORD];
        // The file cannot shrink, so that this does not fail.
        let read = self.file.read_exact_at(&mut bytes, 0);
        let word = |at: usize| {
            let word = bytes[at * WORD..].first_chunk().copied();
            u64::from_ne_bytes(word.unwrap_or_default())
        };
        let last: [u8; 2 * WORD] = bytes[STRANGER * WORD..]
            .first_chunk()
            .copied()
            .unwrap_or_default();
        let strangers = word(CONNECTIONS).saturating_add(word(DATAGRAMS));
        Tally {
            armed: read.is_ok() && word(ARMED) == 1,
            strangers,
            last: (strangers > 0).then(|| IpAddr::from(Ipv6Addr::from(last)).to_canonical()),
            breach: word(BREACH) != 0,
        }
    }
}

/// Clears the close-on-exec flag.
fn keep_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: this is a plain system call with plain numbers.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
    Ok(())
}

fn memory(name: &str) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = match memfd_create(name, flags | NO_EXEC) {
        Err(Errno::EINVAL) => memfd_create(name, flags),
        made => made,
    };
    Ok(File::from(file?))
}
