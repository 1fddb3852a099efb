//! An allocator that counts, for tests and benches of memory.

#![expect(unsafe_code, reason = "an allocator counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The allocator of the system, with a count of the bytes that are allocated and not yet freed. A
/// program that uses it declares it as its `#[global_allocator]`.
#[derive(Debug, Default)]
pub struct CountingAllocator(AtomicUsize);

impl CountingAllocator {
    /// Creates an allocator that has allocated nothing.
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Returns the sum of the requested sizes. The system's allocator itself needs some more.
    pub fn allocated(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

// SAFETY: every request goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.0.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) }
    }
}
