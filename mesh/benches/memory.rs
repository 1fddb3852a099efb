//! The bytes that a node remembers of each peer as its mesh grows.
//!
//! `cargo bench -p iperf3-mesh-core --no-default-features --bench memory`
//!
//! The figures are the requested sizes of what is allocated and not yet freed. The allocator itself
//! needs some more.

#![allow(clippy::print_stdout, reason = "a program that prints")]
#![expect(unsafe_code, reason = "an allocator counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use iperf3_mesh_core_testkit::{MockMesh, live_view};

/// The allocator of the system, with a count of the allocated bytes.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every request goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) }
    }
}

fn main() {
    println!("{:>6}  {:>10}  {:>10}", "nodes", "view", "node");
    for nodes in [10, 100, 1000, 10_000] {
        let before = allocated();
        let view = live_view(nodes);
        let of_view = allocated() - before;
        let node = MockMesh::waiting(nodes, &view).into_node();
        let with_node = allocated();
        drop(node);
        let of_node = with_node - allocated();
        let [of_view, of_node] = [of_view, of_node].map(|bytes| bytes / (nodes - 1));
        println!("{nodes:>6}  {of_view:>4} B/peer  {of_node:>4} B/peer");
    }
}

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}
