//! The memory of this process that the allocator keeps for later.

#![expect(unsafe_code, reason = "the allocator has no safe interface")]

/// Gives free memory back to the system. glibc keeps what lies below the last allocation in use,
/// which can be tens of megabytes after a matrix. This takes some milliseconds.
pub(crate) fn give_back() {
    // SAFETY: the call has no memory-safety conditions, and allocations stay where they are.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
