//! The memory of this process that the allocator keeps for later.

#![expect(unsafe_code, reason = "the allocator has no safe interface")]

/// From this size on, an allocation is a mapping of its own, which goes back to the system when it
/// is freed. glibc would raise the limit to 32 MiB after the first matrix, and keep later ones.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 256 << 10;
/// The number of heaps, one of which is that of the main thread. glibc would make one for each
/// thread that reads rows or writes matrices, and keep the greatest size of each.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// Makes the allocator keep little free memory. Call it before any other thread exists.
pub fn keep_little() {
    // SAFETY: the calls have no memory-safety conditions. A failure leaves the default.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Gives free memory back to the system. glibc keeps what lies below the last allocation in use,
/// which can be tens of megabytes after a matrix. This takes some milliseconds.
pub(crate) fn give_back() {
    // SAFETY: the call has no memory-safety conditions, and allocations stay where they are.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
