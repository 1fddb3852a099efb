//! What a node remembers of its peers, in bytes, as its mesh grows.
//!
//! `cargo bench -p iperf3-mesh-core --no-default-features --bench memory`
//!
//! Counted is what is allocated and not yet freed, as it was asked for; the allocator itself takes
//! some more.

#![allow(clippy::print_stdout, reason = "a program that prints")]
#![allow(dead_code, reason = "of the crowd it uses a part")]

mod crowd;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use crowd::{Crowd, view};

/// The system's allocator, which counts.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: what is asked for is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(block, layout) }
    }
}

fn main() {
    println!("{:>6}  {:>10}  {:>10}", "nodes", "view", "node");
    for nodes in [10, 100, 1000, 10_000] {
        let before = ALLOCATED.load(Ordering::Relaxed);
        let view = view(nodes);
        let with_view = ALLOCATED.load(Ordering::Relaxed);
        let crowd = Crowd::waiting(nodes, &view);
        let with_node = ALLOCATED.load(Ordering::Relaxed);
        let [of_view, of_node] =
            [with_view - before, with_node - with_view].map(|bytes| bytes / (nodes - 1));
        println!("{nodes:>6}  {of_view:>4} B/peer  {of_node:>4} B/peer");
        drop(crowd);
    }
}
