//! The C library and the kernel, as far as the filter uses them.

use core::ffi::{c_char, c_int, c_long, c_short, c_void};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(target_arch = "x86_64")]
pub(crate) mod number {
    pub(crate) const BIND: i64 = 49;
    pub(crate) const PSELECT6: i64 = 270;
    pub(crate) const RECVFROM: i64 = 45;
    pub(crate) const SENDFILE: i64 = 40;
    pub(crate) const WRITE: i64 = 1;
}

// The numbers that all newer architectures share.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) mod number {
    pub(crate) const BIND: i64 = 200;
    pub(crate) const PSELECT6: i64 = 72;
    pub(crate) const RECVFROM: i64 = 207;
    pub(crate) const SENDFILE: i64 = 71;
    pub(crate) const WRITE: i64 = 64;
}

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const SOL_SOCKET: c_int = 1;
pub(crate) const SO_TYPE: c_int = 3;
pub(crate) const SO_LINGER: c_int = 13;
pub(crate) const SOCK_DGRAM: c_int = 2;
pub(crate) const F_GETFL: c_int = 3;
pub(crate) const F_SETFL: c_int = 4;
pub(crate) const O_NONBLOCK: c_int = 0o4000;
pub(crate) const MSG_PEEK: c_int = 2;
pub(crate) const MSG_DONTWAIT: c_int = 0x40;
pub(crate) const POLLIN: c_short = 1;
pub(crate) const SHUT_WR: c_int = 1;
pub(crate) const EINTR: c_int = 4;
pub(crate) const EAGAIN: c_int = 11;
pub(crate) const PROT_READ_WRITE: c_int = 3;
pub(crate) const MAP_SHARED: c_int = 1;

unsafe extern "C" {
    pub(crate) fn syscall(number: c_long, ...) -> c_long;
    pub(crate) fn __errno_location() -> *mut c_int;
    pub(crate) fn getenv(name: *const c_char) -> *const c_char;
    pub(crate) fn _exit(status: c_int) -> !;
    pub(crate) fn mmap(
        at: *mut c_void,
        size: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    pub(crate) fn accept4(fd: c_int, address: *mut Address, size: *mut u32, flags: c_int) -> c_int;
    pub(crate) fn connect(fd: c_int, address: *const Address, size: u32) -> c_int;
    pub(crate) fn getpeername(fd: c_int, address: *mut c_void, size: *mut u32) -> c_int;
    pub(crate) fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_int,
        size: *mut u32,
    ) -> c_int;
    pub(crate) fn setsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *const c_int,
        size: u32,
    ) -> c_int;
    pub(crate) fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    pub(crate) fn shutdown(fd: c_int, how: c_int) -> c_int;
    pub(crate) fn close(fd: c_int) -> c_int;
    pub(crate) fn poll(fds: *mut Poll, count: usize, timeout: c_int) -> c_int;
}

/// `struct sockaddr_storage`.
#[repr(C, align(8))]
pub(crate) struct Address(pub(crate) [u8; 128]);

/// `fd_set`.
pub(crate) type Set = [u64; 16];

/// `struct pollfd`.
#[repr(C)]
pub(crate) struct Poll {
    pub(crate) fd: c_int,
    pub(crate) events: c_short,
    pub(crate) found: c_short,
}

/// `struct timeval`, or `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Time {
    pub(crate) seconds: i64,
    pub(crate) fraction: i64,
}

/// File descriptors that `select` can take.
pub(crate) struct Fds(pub(crate) [AtomicU64; 16]);

impl Fds {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 16])
    }

    fn word(&self, fd: c_int) -> Option<(&AtomicU64, u64)> {
        let fd = usize::try_from(fd).ok()?;
        Some((self.0.get(fd / 64)?, 1 << (fd % 64)))
    }

    pub(crate) fn has(&self, fd: c_int) -> bool {
        self.word(fd)
            .is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    pub(crate) fn insert(&self, fd: c_int) {
        if let Some((word, bit)) = self.word(fd) {
            word.fetch_or(bit, Relaxed);
        }
    }

    /// Returns whether it was there.
    pub(crate) fn remove(&self, fd: c_int) -> bool {
        self.word(fd)
            .is_some_and(|(word, bit)| word.fetch_and(!bit, Relaxed) & bit != 0)
    }
}
