//! The filter inside an iperf3 server: a shared object that the loader puts before the C library.
//!
//! It lets iperf3 see connections and first datagrams of the guest's address only. Every other
//! connection is reset, and every other datagram dropped, before iperf3 has read a byte; both are
//! counted. Unless the plan lets the server send data, an attempt to do so ends it.
//!
//! This file is no module of the agent. `build.rs` compiles it by itself. It needs no library: it
//! calls the C library that iperf3 brings along, and only what glibc and musl have in common.

#![no_std]

#[path = "../record.rs"]
mod record;
mod system;

use core::ffi::{c_int, c_long, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering::Relaxed};

use record::{ARMED, BREACH, CONNECTIONS, DATAGRAMS, GUEST, MAY_SEND, STRANGER, WORDS};
use system::{
    __errno_location, _exit, AF_INET, AF_INET6, Address, EAGAIN, EINTR, F_GETFL, F_SETFL, Fds,
    MAP_SHARED, MSG_DONTWAIT, MSG_PEEK, O_NONBLOCK, POLLIN, PROT_READ_WRITE, Poll, SHUT_WR,
    SO_LINGER, SO_TYPE, SOCK_DGRAM, SOL_SOCKET, Set, Time, accept4, close, connect, fcntl, getenv,
    getpeername, getsockopt, mmap, number, poll, setsockopt, shutdown, syscall,
};

/// The variable with the number of the shared file's descriptor.
const VARIABLE: &[u8] = b"IPERF3_MESH_FILTER\0";

/// The longest answer to a first datagram, in bytes. iperf3 sends four.
const ANSWER_MAX: usize = 8;

/// The strangers turned away in one go. iperf3 looks at its own clock in between.
const VISITS_MAX: usize = 1000;

/// The shared words; null outside a server.
static RECORD: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The sockets at which strangers can knock: bound, and not yet the guest's.
static DOORS: Fds = Fds::new();

/// The sockets of the test's data.
static STREAMS: Fds = Fds::new();

/// The streams whose first datagram has not been answered.
static UNANSWERED: Fds = Fds::new();

/// Whether the guest has its control connection: the connections after it are streams.
static HAS_CONTROL: AtomicBool = AtomicBool::new(false);

/// A connection of the guest that `select` took from the queue for `accept`, and its door.
static TAKEN: AtomicI32 = AtomicI32::new(-1);
static TAKEN_AT: AtomicI32 = AtomicI32::new(-1);

/// The shared words of a server; `None` in any other process.
struct Record(&'static [AtomicU64; WORDS]);

impl Record {
    fn get() -> Option<Self> {
        // SAFETY: the pointer is null or the mapping of `map`, which is never undone.
        unsafe { RECORD.load(Relaxed).cast::<[AtomicU64; WORDS]>().as_ref() }.map(Self)
    }

    /// Returns the words, mapped by the first call.
    fn map() -> Option<Self> {
        if let Some(record) = Self::get() {
            return Some(record);
        }
        let fd = descriptor()?;
        // SAFETY: the agent has given this descriptor a file of this size that cannot shrink.
        let at = unsafe {
            let size = WORDS * size_of::<u64>();
            mmap(ptr::null_mut(), size, PROT_READ_WRITE, MAP_SHARED, fd, 0)
        };
        if at.addr() == usize::MAX {
            return None;
        }
        RECORD.store(at.cast(), Relaxed);
        Self::get()
    }

    /// Returns whether the sender is the guest, and counts it as a stranger otherwise.
    fn admits(&self, sender: &Address, counter: usize) -> bool {
        let words = words(sender);
        if words == [self.0[GUEST].load(Relaxed), self.0[GUEST + 1].load(Relaxed)] {
            return true;
        }
        self.0[counter].fetch_add(1, Relaxed);
        self.0[STRANGER].store(words[0], Relaxed);
        self.0[STRANGER + 1].store(words[1], Relaxed);
        false
    }

    /// Ends this server if it is about to send data that the plan does not have.
    fn check_sending(&self, fd: c_int, len: usize) {
        if STREAMS.has(fd) && self.0[MAY_SEND].load(Relaxed) == 0 {
            if UNANSWERED.has(fd) && len <= ANSWER_MAX {
                return;
            }
            self.0[BREACH].store(1, Relaxed);
            // SAFETY: the call does not return.
            unsafe { _exit(1) }
        }
    }
}

/// Returns the descriptor that the variable names.
fn descriptor() -> Option<c_int> {
    // SAFETY: the name ends with a zero, and so does the value.
    unsafe {
        let mut at = getenv(VARIABLE.as_ptr().cast());
        if at.is_null() {
            return None;
        }
        let mut number = 0;
        while *at != 0 {
            let digit = (*at as u8).wrapping_sub(b'0');
            if digit > 9 || number > 0xffff {
                return None;
            }
            number = number * 10 + c_int::from(digit);
            at = at.add(1);
        }
        Some(number)
    }
}

/// Returns an address as the shared words have it.
fn words(address: &Address) -> [u64; 2] {
    let b = &address.0;
    match u16::from_ne_bytes([b[0], b[1]]) {
        AF_INET => [
            0,
            u64::from_ne_bytes([0, 0, 0xff, 0xff, b[4], b[5], b[6], b[7]]),
        ],
        AF_INET6 => [
            u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
            u64::from_ne_bytes([b[16], b[17], b[18], b[19], b[20], b[21], b[22], b[23]]),
        ],
        _ => [0, 0],
    }
}

fn errno() -> c_int {
    // SAFETY: the C library returns the place of this thread's errno.
    unsafe { *__errno_location() }
}

/// The attempt to find the guest at a door.
enum Visit {
    Guest(c_int),
    Nobody,
    /// The system refused; errno says why. iperf3 is to see that itself.
    Error,
}

/// Takes connections from the queue until one is the guest's, and resets the others.
fn next_connection(record: &Record, door: c_int) -> Visit {
    for _ in 0..VISITS_MAX {
        let mut from = Address([0; 128]);
        let mut size = 128;
        // SAFETY: both pointers are to variables of this function.
        let socket = unsafe { accept4(door, &raw mut from, &raw mut size, 0) };
        if socket < 0 {
            match errno() {
                EINTR => continue,
                EAGAIN => return Visit::Nobody,
                _ => return Visit::Error,
            }
        }
        if record.admits(&from, CONNECTIONS) {
            return Visit::Guest(socket);
        }
        // SAFETY: this function owns the socket.
        unsafe {
            let at_once: [c_int; 2] = [1, 0];
            setsockopt(socket, SOL_SOCKET, SO_LINGER, at_once.as_ptr(), 8);
            close(socket);
        }
    }
    Visit::Nobody
}

/// Drops datagrams from the queue until the next one is the guest's, and tells its sender.
fn next_datagram(record: &Record, door: c_int, from: &mut Address) -> Visit {
    for _ in 0..VISITS_MAX {
        let got = receive(door, MSG_PEEK | MSG_DONTWAIT, from);
        if got < 0 {
            match errno() {
                EINTR => continue,
                EAGAIN => return Visit::Nobody,
                _ => return Visit::Error,
            }
        }
        if record.admits(from, DATAGRAMS) {
            return Visit::Guest(door);
        }
        receive(door, MSG_DONTWAIT, from);
    }
    Visit::Nobody
}

/// Receives one byte of a datagram, and its sender.
fn receive(fd: c_int, flags: c_int, from: &mut Address) -> c_long {
    let mut byte = 0_u8;
    let mut size = 128_u32;
    // SAFETY: all pointers are to variables of this function and of its caller.
    unsafe {
        let (byte, size) = (&raw mut byte, &raw mut size);
        syscall(
            number::RECVFROM,
            fd,
            byte,
            1_usize,
            flags,
            ptr::from_mut(from),
            size,
        )
    }
}

fn is_datagram(fd: c_int) -> bool {
    let (mut kind, mut size) = (0, 4);
    // SAFETY: both pointers are to variables of this function.
    unsafe { getsockopt(fd, SOL_SOCKET, SO_TYPE, &raw mut kind, &raw mut size) };
    kind == SOCK_DGRAM
}

/// Returns whether `select` may say that this door is ready.
fn is_guest_at(record: &Record, door: c_int) -> bool {
    if is_datagram(door) {
        let mut from = Address([0; 128]);
        return !matches!(next_datagram(record, door, &mut from), Visit::Nobody);
    }
    if TAKEN.load(Relaxed) >= 0 {
        return TAKEN_AT.load(Relaxed) == door;
    }
    match next_connection(record, door) {
        Visit::Guest(socket) => {
            TAKEN.store(socket, Relaxed);
            TAKEN_AT.store(door, Relaxed);
            true
        }
        Visit::Nobody => false,
        Visit::Error => true,
    }
}

/// Returns the doors among the first `count` descriptors of a set.
fn doors_of(set: &Set) -> Set {
    let mut doors = [0; 16];
    for ((door, word), asked) in doors.iter_mut().zip(&DOORS.0).zip(set) {
        *door = word.load(Relaxed) & asked;
    }
    doors
}

/// # Safety
/// As bind(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, address: *const c_void, size: u32) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { syscall(number::BIND, fd, address, size) };
    if result == 0
        && let Some(record) = Record::map()
    {
        record.0[ARMED].store(1, Relaxed);
        STREAMS.remove(fd);
        DOORS.insert(fd);
        if !is_datagram(fd) {
            // A stranger in the queue is no reason to wait for the next one.
            // SAFETY: these are plain system calls.
            unsafe { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) };
        }
    }
    result as c_int
}

/// # Safety
/// As select(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn select(
    count: c_int,
    read: *mut c_void,
    write: *mut c_void,
    except: *mut c_void,
    timeout: *mut Time,
) -> c_int {
    let sets: [*mut Set; 3] = [read.cast(), write.cast(), except.cast()];
    // SAFETY: sets that are not null are valid, by the caller's promise.
    let asked = sets.map(|set| unsafe { set.as_ref() }.copied());
    let doors = asked[0].as_ref().map_or([0; 16], doors_of);
    let record = Record::get().filter(|_| doors != [0; 16]);
    loop {
        // SAFETY: the caller's promise.
        let ready = unsafe { wait(count, sets, timeout) };
        let Some(record) = record.as_ref().filter(|_| ready > 0) else {
            return ready;
        };
        // SAFETY: a set with a door is not null.
        let refused = unsafe { keep_guests(record, &doors, &mut *sets[0]) };
        if refused < ready {
            return ready - refused;
        }
        // SAFETY: as above.
        if unsafe { timeout.as_ref() }.is_some_and(|left| left.seconds == 0 && left.fraction == 0) {
            return 0;
        }
        for (set, asked) in sets.into_iter().zip(&asked) {
            if let Some(asked) = asked {
                // SAFETY: as above.
                unsafe { *set = *asked };
            }
        }
    }
}

/// Removes the doors without a guest from the ready descriptors, and returns their number.
fn keep_guests(record: &Record, doors: &Set, ready: &mut Set) -> c_int {
    let mut refused = 0;
    for (at, (word, doors)) in ready.iter_mut().zip(doors).enumerate() {
        let mut left = *word & doors;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            left ^= bit;
            if !is_guest_at(record, (at * 64) as c_int + bit.trailing_zeros() as c_int) {
                *word ^= bit;
                refused += 1;
            }
        }
    }
    refused
}

/// Calls the system's `select`, which shortens the timeout by the time that has passed.
///
/// # Safety
/// As select(2).
unsafe fn wait(count: c_int, sets: [*mut Set; 3], timeout: *mut Time) -> c_int {
    let nothing = ptr::null::<c_void>();
    // SAFETY: the caller's promise.
    unsafe {
        let mut left = timeout.as_ref().copied().unwrap_or_default();
        left.fraction *= 1000;
        let limit = if timeout.is_null() {
            ptr::null_mut()
        } else {
            &raw mut left
        };
        let ready = syscall(
            number::PSELECT6,
            count,
            sets[0],
            sets[1],
            sets[2],
            limit,
            nothing,
        );
        if let Some(timeout) = timeout.as_mut() {
            *timeout = left;
            timeout.fraction /= 1000;
        }
        ready as c_int
    }
}

/// Waits until something is in the queue of a socket.
fn wait_for(fd: c_int) {
    let mut wanted = Poll {
        fd,
        events: POLLIN,
        found: 0,
    };
    // SAFETY: the pointer is to a variable of this function.
    unsafe { poll(&raw mut wanted, 1, -1) };
}

/// # Safety
/// As accept(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept(fd: c_int, address: *mut c_void, size: *mut u32) -> c_int {
    let Some(record) = Record::get().filter(|_| DOORS.has(fd)) else {
        // SAFETY: the caller's promise.
        return unsafe { accept4(fd, address.cast(), size, 0) };
    };
    let socket = loop {
        if TAKEN_AT.load(Relaxed) == fd {
            let taken = TAKEN.swap(-1, Relaxed);
            if taken >= 0 {
                break taken;
            }
        }
        match next_connection(&record, fd) {
            Visit::Guest(socket) => break socket,
            Visit::Nobody => wait_for(fd),
            Visit::Error => return -1,
        }
    };
    STREAMS.remove(socket);
    if HAS_CONTROL.swap(true, Relaxed) {
        STREAMS.insert(socket);
        UNANSWERED.insert(socket);
    }
    if !address.is_null() {
        // SAFETY: the caller's promise.
        unsafe { getpeername(socket, address, size) };
    }
    socket
}

/// # Safety
/// As recvfrom(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    len: usize,
    flags: c_int,
    address: *mut c_void,
    size: *mut u32,
) -> isize {
    let record = Record::get().filter(|_| DOORS.has(fd));
    if let Some(record) = &record {
        let mut from = Address([0; 128]);
        loop {
            match next_datagram(record, fd, &mut from) {
                Visit::Guest(_) => break,
                Visit::Nobody => wait_for(fd),
                Visit::Error => return -1,
            }
        }
        let size = if from.0[..2] == AF_INET.to_ne_bytes() {
            16
        } else {
            28
        };
        // From here on, the kernel lets nobody else in.
        // SAFETY: the address is a variable of this function.
        unsafe { connect(fd, &raw const from, size) };
    }
    // SAFETY: the caller's promise.
    let got = unsafe { syscall(number::RECVFROM, fd, buffer, len, flags, address, size) };
    if let Some(record) = &record {
        // Strangers that came before that would otherwise be read as data.
        next_datagram(record, fd, &mut Address([0; 128]));
        DOORS.remove(fd);
        STREAMS.insert(fd);
        UNANSWERED.insert(fd);
    }
    got as isize
}

/// # Safety
/// As write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, len: usize) -> isize {
    let record = Record::get().filter(|_| STREAMS.has(fd));
    if let Some(record) = &record {
        record.check_sending(fd, len);
    }
    // SAFETY: the caller's promise.
    let written = unsafe { syscall(number::WRITE, fd, buffer, len) };
    if let Some(record) = &record
        && UNANSWERED.has(fd)
    {
        UNANSWERED.remove(fd);
        if record.0[MAY_SEND].load(Relaxed) == 0 && is_datagram(fd) {
            // The kernel refuses the rest, whichever call sends it.
            // SAFETY: this is a plain system call.
            unsafe { shutdown(fd, SHUT_WR) };
        }
    }
    written as isize
}

/// # Safety
/// As sendfile(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile(to: c_int, from: c_int, offset: *mut i64, count: usize) -> isize {
    if let Some(record) = Record::get() {
        record.check_sending(to, usize::MAX);
    }
    // SAFETY: the caller's promise.
    unsafe { syscall(number::SENDFILE, to, from, offset, count) as isize }
}

/// # Safety
/// As sendfile(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(
    to: c_int,
    from: c_int,
    offset: *mut i64,
    count: usize,
) -> isize {
    // SAFETY: the caller's promise.
    unsafe { sendfile(to, from, offset, count) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the call does not return.
    unsafe { _exit(1) }
}
